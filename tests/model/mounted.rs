//! The model against a real mount: drafts in create/ written in any order, read while
//! they are written, published, and read back.

use crate::operations::{Operation, content, for_each_sequence, moved, punch, write};
use crate::support::{Fixture, data_ranges, expected_ranges, needs, tintype_ok, wait_until};
use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// One mount for all sequences; each has a resource of its own.
struct World<'a> {
    fixture: &'a Fixture,
    resource: String,
    draft: Option<File>,
    drafts: usize,
    model: Vec<u8>,
    published: Vec<(String, Vec<u8>)>,
}

impl World<'_> {
    /// The open draft; its content begins as the model, in two halves, the last first.
    fn draft(&mut self) -> &File {
        if self.draft.is_none() {
            self.drafts += 1;
            // A `.part` name: what comes out must not depend on when it is published.
            let name = format!("{}@n{}.part", self.resource, self.drafts);
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(self.fixture.point().join("create").join(name))
                .expect("a draft");
            let (head, tail) = self.model.split_at(self.model.len() / 2);
            file.write_all_at(tail, head.len() as u64).expect("write");
            file.write_all_at(head, 0).expect("write");
            file.set_len(self.model.len() as u64).expect("truncate");
            self.draft = Some(file);
        }
        self.draft.as_ref().expect("just made")
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write {
                offset,
                len,
                seed,
                fill,
            } => {
                let bytes = content(len, seed, fill);
                self.draft().write_all_at(&bytes, offset).expect("write");
                write(&mut self.model, offset, &bytes);
            }
            Operation::Truncate { len } => {
                self.draft().set_len(len).expect("truncate");
                self.model.resize(len as usize, 0);
            }
            Operation::Punch { offset, len } if len > 0 => {
                punch_hole(self.draft(), offset, len);
                punch(&mut self.model, offset, len);
            }
            Operation::Punch { .. } => {}
            Operation::Move { from, to, len } => {
                if let Some((to, bytes)) = moved(&self.model, from, to, len) {
                    let mut read = vec![0; bytes.len()];
                    self.draft().read_exact_at(&mut read, from).expect("read");
                    assert!(read == bytes, "the draft reads differently at {from}");
                    self.draft().write_all_at(&read, to).expect("write");
                    write(&mut self.model, to, &bytes);
                }
            }
            Operation::Snapshot => self.publish(),
            Operation::Delete { which } => self.delete(which),
        }
    }

    fn publish(&mut self) {
        self.draft();
        drop(self.draft.take());
        let (resource, number) = (&self.resource, self.drafts);
        let create = self.fixture.point().join("create");
        std::fs::rename(
            create.join(format!("{resource}@n{number}.part")),
            create.join(format!("{resource}@n{number}")),
        )
        .expect("a rename publishes");
        self.published
            .push((format!("n{number}"), self.model.clone()));
    }

    fn delete(&mut self, which: usize) {
        if self.published.is_empty() {
            return;
        }
        let (name, _) = self.published.remove(which % self.published.len());
        tintype_ok(
            &self.fixture.store,
            &["delete", &format!("{}@{name}", self.resource)],
        );
    }

    fn check(&self) {
        let dir = self.fixture.point().join("snapshots").join(&self.resource);
        let mut expected: Vec<_> = self
            .published
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        expected.sort();
        let listed = || {
            let mut names: Vec<_> = self
                .fixture
                .snapshots(&self.resource)
                .iter()
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect();
            names.sort();
            names
        };
        wait_until(Duration::from_secs(2), || listed() == expected);
        assert_eq!(listed(), expected);
        for (name, bytes) in &self.published {
            let path = dir.join(name).join("disk.img");
            assert!(
                std::fs::read(&path).expect("read") == *bytes,
                "{name} differs"
            );
            let file = File::open(&path).expect("open");
            assert_eq!(
                data_ranges(&file),
                expected_ranges(bytes),
                "holes of {name}"
            );
        }
    }
}

#[expect(unsafe_code, reason = "std has no fallocate")]
fn punch_hole(file: &File, offset: u64, len: u64) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: fallocate has no memory effects; the descriptor is open.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as i64, len as i64) };
    assert_eq!(
        result,
        0,
        "punching {len} at {offset}: {}",
        std::io::Error::last_os_error()
    );
}

#[test]
fn snapshots_are_what_was_written_into_create() {
    needs!("fuse");
    let fixture = Fixture::new();
    let number = Cell::new(0);
    for_each_sequence(16, 1000, |list| {
        number.set(number.get() + 1);
        let mut world = World {
            fixture: &fixture,
            resource: format!("case{}", number.get()),
            draft: None,
            drafts: 0,
            model: vec![],
            published: vec![],
        };
        list.iter().for_each(|operation| world.apply(operation));
        world.check();
    });
}
