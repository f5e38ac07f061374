//! Feature sets of ext2, ext3 and ext4.

/// Feature sets: (name, arguments of mke2fs).
pub const SETS: [(&str, &[&str]); 17] = [
    ("ext2-1k", &["-t", "ext2", "-b", "1024"]),
    (
        "ext2-old",
        &[
            "-t",
            "ext2",
            "-b",
            "4096",
            "-O",
            "^filetype,^dir_index",
            "-I",
            "128",
        ],
    ),
    ("ext3-2k", &["-t", "ext3", "-b", "2048"]),
    ("ext4", &["-t", "ext4"]),
    ("ext4-1k", &["-t", "ext4", "-b", "1024"]),
    (
        "ext4-uninit",
        &["-t", "ext4", "-O", "^64bit,^metadata_csum,uninit_bg"],
    ),
    (
        "ext4-plain",
        &[
            "-t",
            "ext4",
            "-O",
            "^64bit,^metadata_csum,^uninit_bg,^flex_bg",
        ],
    ),
    ("ea-inode", &["-t", "ext4", "-O", "ea_inode", "-b", "1024"]),
    ("bigalloc", &["-t", "ext4", "-O", "bigalloc", "-C", "16384"]),
    (
        "bigalloc-1k",
        &["-t", "ext4", "-O", "bigalloc", "-b", "1024", "-C", "8192"],
    ),
    (
        "meta-bg",
        &["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024"],
    ),
    (
        "sparse-super2",
        &["-t", "ext4", "-O", "sparse_super2", "-E", "num_backup_sb=2"],
    ),
    (
        "csum-seed",
        &[
            "-t",
            "ext4",
            "-O",
            "metadata_csum_seed,^flex_bg",
            "-g",
            "8192",
        ],
    ),
    ("no-extents", &["-t", "ext4", "-O", "^extents,^64bit"]),
    ("large-dir", &["-t", "ext4", "-O", "large_dir", "-I", "512"]),
    (
        "orphan-file",
        &["-t", "ext4", "-O", "orphan_file,fast_commit,verity"],
    ),
    (
        "no-journal",
        &["-t", "ext4", "-O", "^has_journal", "-I", "128"],
    ),
];

/// What the kernel does not write, does not mount, or must not write: Linux 6.18
/// deadlocks when it writes back to inline_data (the journal thread and the writer wait
/// for each other, and nothing ends that). `mke2fs -d` fills these.
pub const FILLED_BY_MKE2FS: [(&str, &[&str]); 5] = [
    ("inline", &["-t", "ext4", "-O", "inline_data"]),
    (
        "inline-ea-inode",
        &["-t", "ext4", "-O", "inline_data,ea_inode", "-I", "1024"],
    ),
    ("64k", &["-t", "ext4", "-b", "65536"]),
    ("casefold", &["-t", "ext4", "-O", "casefold,encrypt"]),
    ("16k-ext2", &["-t", "ext2", "-b", "16384"]),
];
