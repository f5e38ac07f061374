//! The life of a mount: from the first request answered to the last draft written
//! down.

use crate::filesystem::Substitutes;
use crate::fuse::filesystem::Adapter;
use crate::fuse::mount_point::{self, Refusal};
use crate::fuse::preload::Preloader;
use crate::fuse::turns::Turns;
use crate::snapshot::{Catalog, Lease, LeaseRole};
use crate::tree::{self, Tree, TreeOptions};
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often changes of other processes are looked for.
const REFRESH: Duration = Duration::from_millis(200);
/// How long requests that wait may take at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(60);
/// Threads that answer requests, where none are asked for: even on one processor one
/// must be free while another waits for the disk.
const THREADS_MIN: usize = 4;

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Where: a directory outside of the store.
    pub mount_point: PathBuf,
    /// Other users may use the mount, as far as permissions let them.
    pub allow_other: bool,
    /// Threads that answer requests; 0 for a number that fits the machine.
    pub thread_count: usize,
    /// There is no `create/`.
    pub read_only: bool,
    /// A processor may be kept busy for moments in which it could sleep, so that requests
    /// in quick succession are answered sooner.
    pub spins: bool,
    /// Bytes of memory for the metadata of file systems inside images.
    pub block_cache_len_bytes: u64,
    /// Where a log goes that is too large to be replayed in memory: a folder on a disk.
    pub spill_folder: PathBuf,
    /// What is shown of files where the format does not say it.
    pub substitutes: Substitutes,
    /// For tests: how much later than it came RELEASE is handled.
    pub release_delay: Duration,
    /// For tests: reading anything of this name inside an image is a fault.
    pub fault_at: Option<Vec<u8>>,
}

impl MountOptions {
    /// Returns the usual options for this place. Files without owners belong to this
    /// process.
    pub fn new(mount_point: impl Into<PathBuf>) -> Self {
        Self {
            mount_point: mount_point.into(),
            allow_other: false,
            thread_count: 0,
            read_only: false,
            spins: true,
            block_cache_len_bytes: 32 << 20,
            spill_folder: PathBuf::from("/var/tmp"),
            substitutes: Substitutes {
                user: rustix::process::geteuid().as_raw(),
                group: rustix::process::getegid().as_raw(),
                ..Substitutes::default()
            },
            release_delay: Duration::ZERO,
            fault_at: None,
        }
    }
}

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The place is refused.
    #[error(transparent)]
    Place(#[from] Refusal),
    /// The tree cannot be opened.
    #[error("opening the store's tree failed")]
    Tree(#[from] tree::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// FUSE is not there, or refuses.
    #[error("mounting on {mount_point} failed; is FUSE installed and may this user mount there?")]
    Mount {
        /// The place.
        mount_point: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

#[derive(Default)]
struct Ending {
    is_over: Mutex<bool>,
    changed: Condvar,
}

impl Ending {
    fn finish(&self) {
        *self.is_over.lock() = true;
        self.changed.notify_all();
    }

    /// Waits; true when the mount is over.
    fn wait(&self, limit: Duration) -> bool {
        let mut is_over = self.is_over.lock();
        if !*is_over {
            self.changed.wait_for(&mut is_over, limit);
        }
        *is_over
    }
}

/// A mount that answers.
pub struct MountHandle {
    tree: Arc<Tree>,
    mount_point: PathBuf,
    session: Option<BackgroundSession>,
    ending: Arc<Ending>,
    refresher: Option<JoinHandle<()>>,
    _lease: Option<Lease>,
}

/// Ends a mount from another thread, such as the one that waits for signals.
#[derive(Clone, Debug)]
pub struct Unmounter {
    mount_point: PathBuf,
}

impl Unmounter {
    /// Unmounts; if somebody uses the mount, takes it out of the tree, and it ends with
    /// its last user.
    pub fn unmount(&self) -> io::Result<()> {
        mount_point::unmount(&self.mount_point)
            .or_else(|_| mount_point::unmount_lazily(&self.mount_point))
    }
}

/// Mounts; the mount answers when this returns.
///
/// # Errors
///
/// If the place is refused, the store cannot be read, or the system does not mount.
pub fn mount(catalog: &Arc<Catalog>, options: &MountOptions) -> Result<MountHandle, Error> {
    let store_path = catalog
        .store()
        .backend()
        .local_path()
        .map(Path::to_path_buf);
    let place = mount_point::prepare(&options.mount_point, store_path.as_deref())?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let tree_options = TreeOptions {
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        is_read_only: options.read_only,
        block_cache_len_bytes: options.block_cache_len_bytes,
        spill_folder: options.spill_folder.clone(),
        substitutes: options.substitutes,
        fault_at: options.fault_at.clone(),
    };
    let tree = Tree::open(Arc::clone(catalog), tree_options)?;
    let lease = take_lease(catalog, &place);
    if uid.is_root() && rustix::process::configure_io_flusher_behavior(true).is_err() {
        log::warn!("loop devices on drafts may hang when memory is short: no IO_FLUSHER");
    }
    let turns = Arc::new(Turns::default());
    let preloader = Arc::new(Preloader::default());
    let adapter = Adapter {
        tree: Arc::clone(&tree),
        turns: Arc::clone(&turns),
        preloader: Arc::clone(&preloader),
        release_delay: options.release_delay,
        checks_permissions: options.allow_other,
    };
    let failed = |source| Error::Mount {
        mount_point: place.clone(),
        source,
    };
    let config = config(options);
    let session = Session::new(adapter, &place, &config).map_err(failed)?;
    let device = session.as_fd().try_clone_to_owned().map_err(failed)?;
    turns.begin(device, config.n_threads.unwrap_or(1), options.spins);
    preloader.begin(session.notifier());
    let session = session.spawn().map_err(failed)?;
    if uid.is_root() {
        mount_point::raise_read_ahead(&place);
    }
    let ending = Arc::new(Ending::default());
    let refresher = start_refresher(&tree, &ending).map_err(failed)?;
    Ok(MountHandle {
        tree,
        mount_point: place,
        session: Some(session),
        ending,
        refresher: Some(refresher),
        _lease: lease,
    })
}

/// Takes a lease, which only keeps the place tidy: a store on a medium that cannot be
/// written to is mounted without.
fn take_lease(catalog: &Arc<Catalog>, place: &Path) -> Option<Lease> {
    let mount_point = Some(place.to_string_lossy().into_owned());
    let sequence = catalog.state().sequence();
    Lease::take(catalog.store(), LeaseRole::Mount, sequence, mount_point)
        .inspect_err(|error| log::warn!("no lease: {}", crate::store::chain(error)))
        .ok()
}

fn config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("tintype".to_owned()),
        MountOption::Subtype("tintype".to_owned()),
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    if options.read_only {
        // It does more than refuse: a read of a file or a directory leaves its
        // attributes in the kernel, since no time of access can have changed.
        config.mount_options.push(MountOption::RO);
    }
    if options.allow_other {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let fitting = (processors * 2).clamp(THREADS_MIN, 16);
    config.n_threads = Some(if options.thread_count == 0 {
        fitting
    } else {
        options.thread_count
    });
    config.clone_fd = true;
    config
}

fn start_refresher(tree: &Arc<Tree>, ending: &Arc<Ending>) -> io::Result<JoinHandle<()>> {
    let (tree, ending) = (Arc::clone(tree), Arc::clone(ending));
    std::thread::Builder::new()
        .name("refresher".to_owned())
        .spawn(move || {
            let mut is_failing = false;
            while !ending.wait(REFRESH) {
                let refreshed = tree.refresh();
                if let Err(error) = &refreshed
                    && !is_failing
                {
                    log::error!(
                        "changes of others are not seen: {}",
                        crate::store::chain(error)
                    );
                }
                is_failing = refreshed.is_err();
            }
        })
}

impl MountHandle {
    /// Returns the real path of the mount.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Returns what the mount shows.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Returns what ends the mount from another thread.
    pub fn unmounter(&self) -> Unmounter {
        Unmounter {
            mount_point: self.mount_point.clone(),
        }
    }

    /// Waits until the mount is over, whoever ended it; drafts are written down then.
    pub fn wait(mut self) -> io::Result<()> {
        self.end()
    }

    /// Ends the mount, lazily if somebody uses it. Waits for the last user's requests.
    pub fn unmount(mut self) -> io::Result<()> {
        let unmounted = self.unmounter().unmount();
        if let Err(error) = unmounted
            && error.raw_os_error() != Some(libc::EINVAL)
        {
            return Err(error);
        }
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let joined = match self.session.take() {
            Some(session) => session.join().or_else(|error| match error.raw_os_error() {
                // What a thread gets that was taking a request at the very moment.
                Some(libc::ECONNABORTED) => Ok(()),
                _ => Err(error),
            }),
            None => Ok(()),
        };
        self.ending.finish();
        if let Some(refresher) = self.refresher.take() {
            drop(refresher.join());
        }
        // A RELEASE may still be at work.
        for pool in [self.tree.pool(), self.tree.opening_pool()] {
            if !pool.wait_until_idle(LAST_REQUESTS) {
                log::warn!("some requests did not end in time");
            }
        }
        self.tree.settle();
        joined
    }
}

impl Drop for MountHandle {
    fn drop(&mut self) {
        if self.session.is_some() {
            if let Err(error) = self.unmounter().unmount() {
                log::warn!("{}: {error}", self.mount_point.display());
            }
            if let Err(error) = self.end() {
                log::warn!("{}: {error}", self.mount_point.display());
            }
        }
    }
}
