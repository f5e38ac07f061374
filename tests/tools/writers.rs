//! Each tool copies an image into create/ in its own way and leaves one snapshot.

use super::support::{Fixture, needs};

/// What the snapshot of resource `a` must hold after a script.
#[derive(Debug, Clone, Copy)]
enum Expect {
    /// The image with a hole.
    Img,
    /// The image with zeros and an odd length.
    Dense,
    /// What the script left in the file `expected`.
    File,
}

/// Runs a script; its one snapshot must be there and right, also after a new mount.
#[track_caller]
fn one_snapshot(script: &str, expect: Expect) {
    let mut fixture = Fixture::new();
    let file = match expect {
        Expect::Img => "img.raw",
        Expect::Dense => "dense.raw",
        Expect::File => "expected",
    };
    fixture.shell_ok(script);
    let expected = fixture.scratch.join(file);
    fixture.expect_one("a", &expected);
    assert_eq!(fixture.resources(), ["a"]);
    fixture.remount(&Default::default());
    fixture.expect_one("a", &expected);
    assert_eq!(fixture.resources(), ["a"]);
}

/// One test for each tool: its name, what it needs, its script, what must come out.
macro_rules! writers {
    ($($name:ident [$($need:literal),*] $script:literal => $expect:ident;)*) => {
        $(#[test]
        fn $name() {
            needs!("fuse" $(, $need)*);
            one_snapshot($script, Expect::$expect);
        })*
    };
}

writers! {
    cp [] "cp $IMG $C/a" => Img;
    cp_sparse_always [] "cp --sparse=always $DENSE $C/a" => Dense;
    cp_sparse_never [] "cp --sparse=never $IMG $C/a" => Img;
    cp_preserving [] "cp -a $IMG $C/a" => Img;
    dd [] "dd if=$IMG of=$C/a bs=1M status=none" => Img;
    dd_small_blocks [] "dd if=$DENSE of=$C/a bs=1000 status=none" => Dense;
    dd_notrunc_sparse [] "dd if=$DENSE of=$C/a bs=64k conv=notrunc,sparse status=none" => Dense;
    dd_fsync [] "dd if=$IMG of=$C/a bs=1M conv=fsync status=none" => Img;
    dd_direct [] "dd if=$IMG of=$C/a bs=1M oflag=direct status=none" => Img;
    dd_two_passes_replace []
        "dd if=$IMG of=$C/a bs=1M count=8 status=none
         dd if=$IMG of=$C/a bs=1M skip=8 seek=8 conv=notrunc status=none" => Img;
    cat [] "cat $DENSE > $C/a" => Dense;
    cat_two [] "{ cat $IMG; cat $DENSE; } > $C/a; cat $IMG $DENSE > $W/expected" => File;
    shell_append
        [] "cat $IMG > $C/a; cat $DENSE >> $C/a; cat $IMG $DENSE > $W/expected" => File;
    shell_descriptor
        [] "exec 3>$C/a; head -c 100000 $IMG >&3; tail -c 100000 $IMG >&3; exec 3>&-
            { head -c 100000 $IMG; tail -c 100000 $IMG; } > $W/expected" => File;
    slow_pipe [] "( head -c 5M $IMG; sleep 1; tail -c +5242881 $IMG ) > $C/a" => Img;
    tee [] "cat $IMG | tee $C/a > $W/expected" => File;
    rsync ["rsync"] "rsync $IMG $C/a" => Img;
    rsync_archive ["rsync"] "rsync -a $IMG $C/a" => Img;
    rsync_inplace ["rsync"] "rsync --inplace $IMG $C/a" => Img;
    rsync_sparse ["rsync"] "rsync -S $DENSE $C/a" => Dense;
    qemu_img_raw ["qemu-img"]
        "qemu-img convert -f raw -O qcow2 $IMG $W/q.qcow2; qemu-img convert -O raw $W/q.qcow2 $C/a" => Img;
    qemu_img_raw_direct ["qemu-img"]
        "qemu-img convert -f raw -O qcow2 $IMG $W/q.qcow2
         qemu-img convert -t none -W -O raw $W/q.qcow2 $C/a" => Img;
    qemu_img_dd ["qemu-img"] "qemu-img dd -f raw -O raw bs=1M if=$IMG of=$C/a" => Img;
    mv_from_elsewhere [] "cp $IMG $W/moved; mv $W/moved $C/a; [ ! -e $W/moved ]" => Img;
    install [] "install -m 644 $IMG $C/a" => Img;
    ddrescue ["ddrescue"] "ddrescue -q $IMG $C/a" => Img;
    tar_x ["tar"] "cp $IMG $W/a; tar -C $W -cf - a | tar -C $C -xf -" => Img;
    tar_x_sparse ["tar"] "cp $IMG $W/a; tar -C $W -cSf - a | tar -C $C -xf -" => Img;
    curl ["curl"] "curl -s -o $C/a file://$IMG" => Img;
    python_copyfile ["python3"]
        "python3 -c 'import shutil, sys; shutil.copyfile(*sys.argv[1:])' $IMG $C/a" => Img;
    python_mmap ["python3"]
        "python3 -c 'import mmap, os, sys
data = open(sys.argv[1], \"rb\").read()
fd = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, len(data))
m = mmap.mmap(fd, len(data))
os.close(fd)
m[:] = data
m.close()' $IMG $C/a" => Img;
    reverse_order ["python3"]
        "python3 -c 'import os, sys
data = open(sys.argv[1], \"rb\").read()
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
for at in range(len(data) - (1 << 20), -1, -(1 << 20)):
    os.pwrite(fd, data[at:at + (1 << 20)], at)
os.close(fd)' $IMG $C/a" => Img;
    sftp ["sftp"]
        "[ -x /usr/lib/openssh/sftp-server ] || { cp $IMG $C/a; exit 0; }
         echo \"put $IMG $C/a\" | sftp -q -D /usr/lib/openssh/sftp-server -b - >/dev/null" => Img;
    preallocated ["fallocate"] "fallocate -l 24M $C/a; dd if=$IMG of=$C/a bs=1M conv=notrunc status=none" => Img;
    punched ["fallocate"]
        "cat $DENSE > $W/expected; fallocate -p -o 65536 -l 1M $W/expected
         exec 3<>$C/a; cat $DENSE >&3; fallocate -p -o 65536 -l 1M $C/a; exec 3>&-" => File;
    two_writers []
        "exec 3<>$C/a; ( exec 4<>$C/a; head -c 65536 $IMG >&4; exec 4>&- )
         head -c 4096 $DENSE >&3; exec 3>&-
         { head -c 4096 $DENSE; head -c 65536 $IMG | tail -c +4097; } > $W/expected" => File;
    mkfs_on_a_draft ["mkfs.ext4"]
        "truncate -s 64M $W/expected; mkfs.ext4 -q -F -U 12345678-1234-1234-1234-123456789abc \
            -E hash_seed=12345678-1234-1234-1234-123456789abc $W/expected
         dd if=$W/expected of=$C/a bs=1M conv=sparse status=none" => File;
}

#[test]
fn a_rename_from_a_temporary_name_publishes() {
    needs!("fuse");
    for suffix in [".filepart", ".part", ".partial", ".tmp"] {
        let fixture = Fixture::new();
        fixture.shell_ok(&format!("cp $IMG $C/a{suffix}"));
        fixture.expect_count("a", 0);
        assert_eq!(
            fixture.resources(),
            Vec::<String>::new(),
            "{suffix} is a draft"
        );
        fixture.shell_ok(&format!("mv $C/a{suffix} $C/a"));
        fixture.expect_one("a", &fixture.scratch.join("img.raw"));
    }
}

#[test]
fn a_name_with_a_dot_in_front_is_a_draft() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $DENSE $C/.a.Xy12ab; cmp $DENSE $C/.a.Xy12ab");
    assert_eq!(fixture.resources(), Vec::<String>::new());
    fixture.shell_ok("mv $C/.a.Xy12ab $C/a");
    fixture.expect_one("a", &fixture.scratch.join("dense.raw"));
}

#[test]
fn an_image_without_data_stays_a_draft_until_it_is_renamed() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("truncate -s 10M $C/a; [ $(stat -c %s $C/a) = 10485760 ]");
    fixture.expect_count("a", 0);
    fixture.shell_ok("mv $C/a $C/b; truncate -s 10M $W/expected");
    fixture.expect_one("b", &fixture.scratch.join("expected"));
}

#[test]
fn a_qcow2_target_ends_as_one_snapshot() {
    needs!("fuse", "qemu-img");
    let fixture = Fixture::new();
    fixture.shell_ok("qemu-img convert -f raw -O qcow2 $IMG $C/a");
    let found = fixture.expect_count("a", 1);
    let image = found[0].join("disk.img");
    fixture.shell_ok(&format!(
        "qemu-img compare -f raw -F qcow2 $IMG {}",
        image.display()
    ));
}

#[test]
fn a_label_names_the_snapshot() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/web@before-upgrade; cp $DENSE $C/web@after");
    fixture.expect_count("web", 2);
    fixture.shell_ok(
        "cmp $IMG $M/snapshots/web/before-upgrade/disk.img
         cmp $DENSE $M/snapshots/web/after/disk.img
         [ $(readlink $M/snapshots/web/latest) = after ]",
    );
}

#[test]
fn writing_anew_is_a_second_snapshot() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $DENSE $C/a; sleep 0.3; dd if=$IMG of=$C/a bs=1M status=none");
    fixture.expect_count("a", 2);
    fixture.shell_ok("cmp $IMG $M/snapshots/a/latest/disk.img");
}

#[test]
fn a_copy_inside_the_mount_adds_no_data() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a");
    fixture.expect_count("a", 1);
    let before: u64 = fixture
        .shell_ok("du -sb $S/packs | cut -f1")
        .parse()
        .expect("bytes");
    fixture.shell_ok("cp $M/snapshots/a/latest/disk.img $C/b");
    fixture.expect_one("b", &fixture.scratch.join("img.raw"));
    let after: u64 = fixture
        .shell_ok("du -sb $S/packs | cut -f1")
        .parse()
        .expect("bytes");
    assert!(
        after - before < 1 << 20,
        "packs grew by {} bytes",
        after - before
    );
}

#[test]
fn several_drafts_at_once_stay_apart() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok(
        "pids=(); for n in 1 2 3 4 5 6; do
            ( dd if=$IMG of=$C/m$n bs=64k status=none ) & pids+=($!)
         done
         for pid in ${pids[@]}; do wait $pid; done",
    );
    for name in ["m1", "m2", "m3", "m4", "m5", "m6"] {
        fixture.expect_one(name, &fixture.scratch.join("img.raw"));
    }
}

#[test]
fn a_draft_reads_as_it_was_written() {
    needs!("fuse");
    let fixture = Fixture::new();
    fixture.shell_ok(
        "exec 3<>$C/a.part; cat $DENSE >&3; cmp $DENSE $C/a.part
         dd if=$IMG of=$C/a.part bs=4k count=3 seek=7 conv=notrunc status=none
         cp $DENSE $W/expected; dd if=$IMG of=$W/expected bs=4k count=3 seek=7 conv=notrunc status=none
         cmp $W/expected $C/a.part; exec 3>&-; cmp $W/expected $C/a.part",
    );
}
