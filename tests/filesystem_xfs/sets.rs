//! Feature sets of `mkfs.xfs`.

use crate::oracle::nasty::Scale;

const SMALL: Scale = Scale {
    large_directory: 3000,
    hard_links: 500,
    has_reflink: false,
    has_bigtime: true,
    xattr_len_max: 65_536,
};

const LARGE: Scale = Scale {
    large_directory: 20_000,
    hard_links: 5000,
    has_reflink: true,
    has_bigtime: true,
    xattr_len_max: 65_536,
};

/// One set.
pub struct Set {
    pub name: &'static str,
    /// Options of `mkfs.xfs`.
    pub mkfs: &'static str,
    /// What it is filled with.
    pub scale: Scale,
}

/// All of them.
pub const SETS: [Set; 10] = [
    Set {
        name: "defaults",
        mkfs: "",
        scale: LARGE,
    },
    Set {
        name: "small_blocks_with_rmapbt",
        mkfs: "-b size=1024 -m rmapbt=1",
        scale: SMALL,
    },
    Set {
        name: "large_directory_blocks",
        mkfs: "-n size=65536",
        scale: LARGE,
    },
    Set {
        name: "scattered_directory_blocks",
        mkfs: "-b size=1024 -n size=16384 -i size=512",
        scale: Scale {
            has_reflink: true,
            ..SMALL
        },
    },
    Set {
        name: "old_features",
        mkfs: "-m reflink=0,bigtime=0,finobt=0,inobtcount=0 -i sparse=0",
        scale: Scale {
            has_bigtime: false,
            ..SMALL
        },
    },
    Set {
        name: "large_counts_and_inodes",
        mkfs: "-i nrext64=1,size=1024,maxpct=7",
        scale: LARGE,
    },
    Set {
        name: "large_sectors_and_inodes",
        mkfs: "-s size=4096 -i size=2048,nrext64=1 -m rmapbt=1",
        scale: SMALL,
    },
    Set {
        name: "many_groups_and_a_striped_log",
        mkfs: "-d agcount=12,su=64k,sw=4 -l su=262144,size=64m -i maxpct=0",
        scale: SMALL,
    },
    Set {
        name: "blocks_of_16_kib",
        mkfs: "-b size=16384",
        scale: SMALL,
    },
    Set {
        name: "blocks_of_64_kib",
        mkfs: "-b size=65536",
        scale: SMALL,
    },
];

/// Returns the set with this name.
pub fn named(name: &str) -> &'static Set {
    let found = SETS.iter().find(|set| set.name == name);
    found.expect("a set of this name")
}
