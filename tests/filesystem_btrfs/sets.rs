//! Feature sets of `mkfs.btrfs`.

use crate::oracle::nasty::Scale;

const SMALL: Scale = Scale {
    large_directory: 2000,
    hard_links: 300,
    has_reflink: true,
    has_bigtime: true,
    xattr_len_max: 3000,
};

/// For nodes of 4 KiB.
const SHORT_XATTRS: Scale = Scale {
    xattr_len_max: 1000,
    ..SMALL
};

const LARGE: Scale = Scale {
    large_directory: 20_000,
    hard_links: 5000,
    has_reflink: true,
    has_bigtime: true,
    xattr_len_max: 4096,
};

/// What is said of one set.
pub struct Set {
    pub name: &'static str,
    /// Options of `mkfs.btrfs`.
    pub mkfs: &'static str,
    /// Options of the mount that fills it.
    pub mount: &'static str,
    pub scale: Scale,
    /// What is done to the unmounted image before it is filled.
    pub tune: &'static str,
    /// A feature that the summary must have.
    pub feature: &'static str,
}

const DEFAULT: Set = Set {
    name: "defaults",
    mkfs: "",
    mount: "",
    scale: SMALL,
    tune: "",
    feature: "crc32c",
};

/// All of them.
pub const SETS: [Set; 12] = [
    Set {
        name: "defaults",
        scale: LARGE,
        ..DEFAULT
    },
    Set {
        name: "mixed_groups_and_small_nodes",
        mkfs: "--mixed",
        scale: SHORT_XATTRS,
        feature: "mixed-bg",
        ..DEFAULT
    },
    Set {
        name: "xxhash_and_small_nodes",
        mkfs: "--csum xxhash -n 4096",
        scale: SHORT_XATTRS,
        feature: "xxhash64",
        ..DEFAULT
    },
    Set {
        name: "sha256_and_large_nodes",
        mkfs: "--csum sha256 -n 65536",
        scale: LARGE,
        feature: "sha256",
        ..DEFAULT
    },
    Set {
        name: "blake2_and_the_features_of_long_ago",
        mkfs: "--csum blake2 -O ^no-holes,^skinny-metadata,^extref -R ^free-space-tree",
        scale: Scale {
            hard_links: 100,
            ..SMALL
        },
        feature: "blake2b",
        ..DEFAULT
    },
    Set {
        name: "compressed_by_zlib",
        mount: "compress-force=zlib:3",
        ..DEFAULT
    },
    Set {
        name: "compressed_by_lzo",
        mount: "compress-force=lzo",
        feature: "compress-lzo",
        ..DEFAULT
    },
    Set {
        name: "compressed_by_zstd",
        mount: "compress-force=zstd:9",
        feature: "compress-zstd",
        ..DEFAULT
    },
    Set {
        name: "two_copies_of_everything",
        mkfs: "-d dup -m dup",
        ..DEFAULT
    },
    Set {
        name: "stripes_on_one_device",
        mkfs: "-d raid0 -m raid0",
        ..DEFAULT
    },
    Set {
        name: "a_tree_of_block_groups",
        tune: "btrfstune --convert-to-block-group-tree",
        feature: "block-group-tree",
        ..DEFAULT
    },
    Set {
        name: "an_identity_of_its_own",
        tune: "btrfstune -m",
        feature: "metadata-uuid",
        ..DEFAULT
    },
];

/// Returns the set with this name.
pub fn named(name: &str) -> &'static Set {
    let found = SETS.iter().find(|set| set.name == name);
    found.expect("a set of this name")
}
