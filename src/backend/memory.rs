//! Objects in memory, for tests: the same promises, nothing durable.

use super::error::Context;
use super::{Backend, Object, PendingObject, Put, Result, Space};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

type Objects = Arc<Mutex<BTreeMap<String, Arc<Vec<u8>>>>>;

/// Named immutable objects in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryBackend {
    objects: Objects,
}

impl MemoryBackend {
    /// Returns an empty backend.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the bytes of an object, as a failing medium would.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock();
        if let Some(object) = objects.get_mut(name) {
            let mut bytes = object.to_vec();
            change(&mut bytes);
            *object = Arc::new(bytes);
        }
    }

    /// Returns the names of all objects, sorted.
    pub fn names(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }
}

fn put(objects: &Objects, name: &str, bytes: Vec<u8>) -> Put {
    let mut objects = objects.lock();
    if objects.contains_key(name) {
        return Put::Exists;
    }
    objects.insert(name.to_owned(), Arc::new(bytes));
    Put::Created
}

fn copy_range(bytes: &[u8], offset: u64, target: &mut [u8]) -> io::Result<()> {
    crate::base::ReadAt::read_exact_at(bytes, offset, target)
}

impl Backend for MemoryBackend {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        Ok(put(&self.objects, name, bytes.to_vec()))
    }

    fn begin(&self) -> Result<Arc<dyn PendingObject>> {
        Ok(Arc::new(MemoryPending {
            objects: Arc::clone(&self.objects),
            bytes: Mutex::new(vec![]),
        }))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Object>> {
        let bytes = self.objects.lock().get(name).cloned();
        let bytes = bytes
            .ok_or(io::ErrorKind::NotFound.into())
            .context("opening", name)?;
        Ok(Arc::new(MemoryObject {
            name: name.to_owned(),
            bytes,
        }))
    }

    fn read(&self, name: &str, len_max: u64) -> Result<Vec<u8>> {
        let object = self.open(name)?;
        if object.len() > len_max {
            return Err(io::ErrorKind::InvalidData.into()).context("reading", name);
        }
        let mut bytes = vec![0; usize::try_from(object.len()).unwrap_or(0)];
        object.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }

    fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.objects.lock().contains_key(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = format!("{folder}/");
        let objects = self.objects.lock();
        let mut names: Vec<String> = objects
            .keys()
            .filter_map(|name| name.strip_prefix(&prefix))
            .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.objects.lock().remove(name);
        Ok(())
    }

    fn space(&self) -> Result<Space> {
        Ok(Space {
            available_len_bytes: 1 << 40,
            total_len_bytes: 1 << 40,
        })
    }

    fn local_path(&self) -> Option<&Path> {
        None
    }
}

#[derive(Debug)]
struct MemoryObject {
    name: String,
    bytes: Arc<Vec<u8>>,
}

impl Object for MemoryObject {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> Result<()> {
        copy_range(&self.bytes, offset, target).context("reading", &self.name)
    }
}

#[derive(Debug)]
struct MemoryPending {
    objects: Objects,
    bytes: Mutex<Vec<u8>>,
}

impl PendingObject for MemoryPending {
    fn append(&self, bytes: &[u8]) -> Result<u64> {
        let mut all = self.bytes.lock();
        let offset = all.len() as u64;
        all.extend_from_slice(bytes);
        Ok(offset)
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> Result<()> {
        copy_range(&self.bytes.lock(), offset, target).context("reading", "a new object")
    }

    fn commit(&self, name: &str) -> Result<Put> {
        Ok(put(&self.objects, name, self.bytes.lock().clone()))
    }
}
