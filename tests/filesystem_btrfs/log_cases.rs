//! What is done after a commit and forced to disk by `fsync`, one case after the other.

/// What is there at the last commit.
pub const BEFORE: &str = "mkdir a b a/sub; for i in $(seq 40); do echo $i > a/f$i; done; \
    head -c 200000 /dev/urandom > a/data; head -c 100 /dev/urandom > a/inline; \
    fallocate -l 300000 a/prealloc; \
    for i in 1 2 3 4 5; do setfattr -n user.n$i -v $i a/f1; done; \
    ln a/f2 a/f2-link; ln a/f3 b/f3-link; mkdir a/dir; touch a/dir/x a/dir/y; \
    mknod a/null c 1 3; mkfifo a/fifo; ln -s target a/symlink; \
    touch a/ktbfvjj a/nqkebot a/cdmkwuz; ln a/f30 a/ebciosn; \
    setfattr -n user.oalgjxa -v 1 a/f30; setfattr -n user.qjymgft -v 2 a/f30; \
    touch a/plain; chattr +C a/plain; head -c 50000 /dev/urandom >> a/plain; \
    for i in $(seq 90); do ln a/f4 b/$(printf 'long-name-%0200d' $i); done";

/// Names of cases, and what is done after the commit.
pub const CASES: [(&str, &str); 46] = [
    ("new file", "echo new > a/new; sync a/new"),
    (
        "new files of a directory",
        "for i in 1 2 3; do echo $i > a/n$i; done; sync a/n1 a",
    ),
    (
        "new directory",
        "mkdir a/m; touch a/m/in; sync a/m/in; sync a/m",
    ),
    (
        "deep",
        "mkdir -p a/1/2/3; echo deep > a/1/2/3/file; sync a/1/2/3/file",
    ),
    (
        "overwrite",
        "head -c 50000 /dev/urandom | dd of=a/data bs=1000 seek=30 conv=notrunc \
        status=none; sync a/data",
    ),
    (
        "append",
        "head -c 70000 /dev/urandom >> a/data; echo tail >> a/inline; sync a/data a/inline",
    ),
    (
        "truncate",
        "truncate -s 100001 a/data; truncate -s 50 a/inline; sync a/data a/inline",
    ),
    (
        "shrink and grow",
        "truncate -s 5000 a/data; truncate -s 150000 a/data; sync a/data",
    ),
    (
        "punch",
        "fallocate -p -o 20480 -l 65536 a/data; sync a/data",
    ),
    (
        "prealloc",
        "head -c 9000 /dev/urandom | dd of=a/prealloc bs=4096 seek=5 conv=notrunc \
        status=none; fallocate -n -o 300000 -l 100000 a/prealloc; sync a/prealloc",
    ),
    (
        "attributes",
        "setfattr -x user.n2 a/f1; setfattr -n user.n3 -v changed a/f1; \
        setfattr -n user.new -v $(printf '%0900d' 7) a/f1; sync a/f1",
    ),
    (
        "attributes of a directory",
        "setfattr -n user.d -v d a; setfacl -d -m u:9:r a; sync a",
    ),
    (
        "mode and owner",
        "chmod 700 a/f5; chown 12:34 a/f5; touch -d 2001-02-03 a/f5; sync a/f5",
    ),
    ("unlink", "rm a/f6 a/f7 a/f8; sync a"),
    (
        "unlink one of two",
        "rm a/f2-link; sync a/f2; rm b/f3-link; sync b",
    ),
    (
        "unlink and make anew",
        "rm a/f9; echo other > a/f9; sync a/f9",
    ),
    ("link", "ln a/f10 a/link; ln a/f11 b/link; sync a/f10 a/f11"),
    (
        "many links",
        "for i in $(seq 5); do ln a/f4 b/$(printf 'more-%0200d' $i); done; sync a/f4",
    ),
    ("fewer links", "rm b/long*1; sync a/f4 b"),
    (
        "rename",
        "mv a/f12 a/renamed; sync a/renamed; mv a/f13 b/f13; sync b/f13",
    ),
    ("rename over", "mv a/f14 a/f15; sync a/f15; sync a"),
    (
        "exchange",
        "mv a/f16 a/t; mv a/f17 a/f16; mv a/t a/f17; sync a/f16 a/f17 a",
    ),
    ("remove a directory", "rm -r a/dir; sync a"),
    (
        "special files",
        "mkfifo a/fifo2; mknod a/block b 8 1; ln -s else a/link2; sync a",
    ),
    (
        "entries of a directory alone",
        "ln a/f18 a/x1; ln a/f19 a/x2; rm a/f20; sync a",
    ),
    (
        "several times",
        "for i in 1 2 3 4 5; do echo $i >> a/f21; sync a/f21; mv a/f21 a/f21b; \
        mv a/f21b a/f21; echo $i > a/again$i; sync a/again$i; done; rm a/again2; sync a/again3",
    ),
    (
        "clones",
        "cp --reflink=always a/data a/whole; \
        xfs_io -f -c 'reflink a/data 65536 4096 65536' a/part; sync a/part a/whole",
    ),
    // The first of the two has checksums of more than the second, from one address on.
    (
        "a clone of a part in another subvolume",
        "btrfs -q subvolume create one; btrfs -q subvolume create two; sync -f .; \
        head -c 65536 /dev/urandom > one/whole; sync one/whole; \
        xfs_io -f -c 'reflink one/whole 0 0 16384' two/part; sync two/part",
    ),
    (
        "attributes of one hash",
        "setfattr -x user.oalgjxa a/f30; setfattr -n user.guzmtnl -v 3 a/f30; \
        setfattr -n user.astolhx -v 4 a/f30; sync a/f30",
    ),
    (
        "names of one hash",
        "rm a/nqkebot; mv a/ktbfvjj a/nqkebot; rm a/ebciosn; sync a/nqkebot a",
    ),
    (
        "other names of one hash",
        "mv a/cdmkwuz b/cdmkwuz; echo new > a/cdmkwuz; mv a/ebciosn b; sync a/cdmkwuz b",
    ),
    (
        "a name that comes last",
        "xfs_io -T -c 'pwrite -q 0 9000' -c 'flink a/linked' -c fsync a",
    ),
    (
        "open without a name",
        "exec 3<>a/f22; rm a/f22; echo more >&3; sync /dev/fd/3; echo x > a/f23; sync a/f23; \
        exec 3>&-",
    ),
    (
        "replace a directory",
        "rm -r a/dir; mkdir a/dir; touch a/dir/z; sync a/dir/z; sync a/dir",
    ),
    (
        "beyond the end",
        "fallocate -z -o 8192 -l 20000 a/data; fallocate -n -o 1000000 -l 50000 a/data; \
        truncate -s 900000 a/inline; sync a/data a/inline",
    ),
    (
        "between extents beyond the end",
        "fallocate -n -o 400000 -l 200000 a/prealloc; truncate -s 450001 a/prealloc; \
        fallocate -p -o 8192 -l 4096 a/prealloc; sync a/prealloc",
    ),
    (
        "links here and there",
        "ln a/f24 a/sub/l1; ln a/f24 b/l2; sync a/f24; rm a/f24 a/sub/l1; sync b/l2; sync a",
    ),
    (
        "links of many names in another directory",
        "for i in $(seq 40); do ln a/f4 a/sub/$(printf 'other-%0200d' $i); done; \
        rm b/long*2; sync a/f4",
    ),
    (
        "one type over the other",
        "ln -sf x a/f25; rm a/symlink; echo s > a/symlink; rm a/fifo; mkdir a/fifo; \
        sync a/symlink a",
    ),
    ("all files of a directory", "rm a/f* a/data; sync a"),
    (
        "many extents",
        "for i in $(seq 0 3 45); do head -c 4096 /dev/urandom | dd of=a/data bs=4096 \
        seek=$i conv=notrunc status=none; done; sync a/data",
    ),
    (
        "no checksums",
        "head -c 9000 /dev/urandom | dd of=a/plain bs=4096 seek=3 conv=notrunc status=none; \
        head -c 9000 /dev/urandom >> a/plain; sync a/plain",
    ),
    (
        "a chain of names",
        "mv a/f26 a/t; mv a/f27 a/f26; mv a/f28 a/f27; mv a/t a/f28; sync a/f26; sync a",
    ),
    (
        "all attributes",
        "for i in 1 2 3 4 5; do setfattr -x user.n$i a/f1; done; \
        for i in $(seq 40); do setfattr -n user.$i -v $(printf '%0300d' $i) a/f29; done; \
        sync a/f1 a/f29",
    ),
    (
        "to nothing and little",
        ": > a/data; head -c 10 /dev/zero > a/data; : > a/plain; sync a/data a/plain",
    ),
    (
        "flags",
        "chattr +c a/f31; chattr +A a/f32; setfattr -n btrfs.compression -v zstd a/f33; \
        sync a/f31 a/f32 a/f33",
    ),
];
