"""Browsing: files/ of a mount beside the kernel's own loop mount of the same raw image.

Cold means that the file system was just mounted, here and there, with the raw image and the
store's files in the page cache."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import machine
import ours as product

FIND = ["-printf", "%p %y %m %U %G %n %s %b %T@ %C@ %l\\n"]
TERABYTE = 1 << 40
COPY_BYTES_MAX = 2 << 30


def entries_per_s(tree):
    """Returns the entries that find prints in a second, attributes included."""
    started = time.monotonic()
    done = subprocess.run(["find", tree, *FIND], check=True, stdout=subprocess.PIPE)
    return done.stdout.count(b"\n") / (time.monotonic() - started)


def copy_s(tree, scratch):
    """Returns the seconds of `cp -a` of a tree to a fresh folder: in memory where there is
    room, since the reading is measured and not how busy the disk is with the last copy."""
    memory = "/dev/shm"
    has_room = os.path.isdir(memory) and shutil.disk_usage(memory).free > COPY_BYTES_MAX
    target = os.path.join(memory if has_room else scratch, f"tintype-copied-{os.getpid()}")
    machine.settle(scratch)
    started = time.monotonic()
    try:
        subprocess.run(["cp", "-a", tree, target], check=True)
        return time.monotonic() - started
    finally:
        shutil.rmtree(target, ignore_errors=True)


# Who shows a file system of others: programs in user space where that is who does it
# everywhere (NTFS), or where the kernel of the test machine may have no driver.
JUDGES = {"fat": "fusefat", "exfat": "exfat-fuse", "ntfs": "ntfs-3g"}


class KernelMount:
    """A loop mount of the raw image: by the kernel, or by a program in user space."""

    def __init__(self, name, image, scratch, options="ro"):
        self.image, self.options = image, options
        self.judge = JUDGES.get(name)
        self.point = os.path.join(scratch, "kernel-mnt")
        os.makedirs(self.point, exist_ok=True)

    def remount(self):
        self.unmount()
        if self.judge == "fusefat":
            command = ["fusefat", "-o", self.options, self.image, self.point]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return
        kind = ["-t", self.judge] if self.judge else []
        command = ["mount", *kind, "-o", f"loop,{self.options}", self.image, self.point]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def unmount(self):
        subprocess.run(["umount", self.point], check=False, capture_output=True)


# Other file systems with the tree of the first Debian image: how they are made, and what
# of the tree they can hold.
OTHERS = {
    "xfs": (["mkfs.xfs", "-q"], "."),
    "btrfs": (["mkfs.btrfs", "-q"], "."),
    "fat": (["mkfs.fat", "-F", "32"], "usr/share"),
    "exfat": (["mkfs.exfat"], "usr/share"),
    "ntfs": (["mkntfs", "-q", "-F", "-Q"], "usr/share"),
}
NAMES = ("ext4", *OTHERS)


def debian_images():
    """Returns name and path of the Debian image that scripts/images has built, and of the
    same tree in other file systems, made here."""
    folder = machine.images_dir()
    ext4 = os.path.join(folder, "machine-day1.img")
    if not os.path.exists(ext4) or os.geteuid() != 0:
        return []
    images = [("ext4", ext4)]
    for name, (mkfs, part) in OTHERS.items():
        path = os.path.join(folder, f"machine-{name}.img")
        if not os.path.exists(path) and shutil.which(mkfs[0]):
            try:
                _copy_to(ext4, path, name, mkfs, part)
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                # There is nothing to compare with, say.
                print(f"  SKIPPED: browsing {name}: {error}", file=sys.stderr)
        if os.path.exists(path):
            images.append((name, path))
    return images


def _copy_to(source, target, name, mkfs, part):
    unfinished = target + ".part"
    is_done = False
    with open(unfinished, "wb") as file:
        file.truncate(6 << 30)
    points = [target + end for end in (".from", ".to")]
    for point in points:
        os.makedirs(point, exist_ok=True)
    try:
        subprocess.run([*mkfs, unfinished], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "loop,ro,noload", source, points[0]], check=True)
        _fill(os.path.join(points[0], part), unfinished, name, points[1])
        is_done = True
    finally:
        for point in points:
            subprocess.run(["umount", point], check=False, capture_output=True)
            os.rmdir(point)
        if not is_done:
            os.unlink(unfinished)
    os.rename(unfinished, target)


def _fill(tree, image, name, point):
    """Copies a tree into an image. What FAT, exFAT and NTFS cannot hold (links, names that
    differ by case) is left out."""
    if name == "fat":
        children = sorted(os.path.join(tree, child) for child in os.listdir(tree))
        command = ["mcopy", "-s", "-Q", "-m", "-n", "-i", image, *children, "::/"]
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
        return
    judge = JUDGES.get(name)
    kind = ["-t", judge] if judge else []
    subprocess.run(["mount", *kind, "-o", "loop", image, point], check=True, stdout=subprocess.DEVNULL)
    copy = ["cp", "-r" if judge else "-a", tree + "/.", point]
    subprocess.run(copy, check=not judge, stderr=subprocess.DEVNULL if judge else None)


def copy_image_s(command, scratch):
    """Returns the seconds of a copy of a whole image without a mount; `command` takes the
    folder."""
    folder = tempfile.mkdtemp(prefix="tintype-copied-", dir="/dev/shm" if os.path.isdir("/dev/shm") else scratch)
    started = time.monotonic()
    try:
        subprocess.run([*command, folder], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.monotonic() - started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(samples, tintype, scratch, name, image):
    """One round over one image: find cold and warm, and cp -a of usr."""
    machine.warm(image)
    store = product.Tintype(tintype, scratch, "browse")
    store.put(image, "full")
    machine.warm_tree(store.store)
    kernel = KernelMount(name, image, scratch)
    files = os.path.join(store.point, "snapshots", "bench", "full", "files")
    try:
        for who, remount, tree in (("kernel", kernel.remount, kernel.point), ("ours", store.remount, files)):
            remount()
            samples.add(f"{who}.find.{name}.cold", entries_per_s(tree))
            samples.add(f"{who}.find.{name}.warm", entries_per_s(tree))
            remount()
            part = "." if name in JUDGES else "usr"
            samples.add(f"{who}.copy.{name}", copy_s(os.path.join(tree, part), scratch))
        if name == "fat":
            mtools = ["mcopy", "-s", "-Q", "-m", "-n", "-i", image, "::/*"]
            samples.add("mtools.copy", copy_image_s(mtools, scratch))
            samples.add("ours.copy.image", copy_image_s([tintype, "cp", "-a", "--quiet", "--image", image, "/"], scratch))
    finally:
        kernel.unmount()
        store.unmount()
        shutil.rmtree(store.store, ignore_errors=True)


def first_list_ms(samples, tintype, scratch):
    """The first `ls` of files/ in a mounted image of 1 TiB."""
    image = os.path.join(scratch, "terabyte.img")
    with open(image, "wb") as file:
        file.truncate(TERABYTE)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1", image], check=True)
    store = product.Tintype(tintype, scratch, "terabyte")
    try:
        store.put(image, "full")
        machine.warm_tree(store.store)
        for _ in range(5):
            store.remount()
            files = os.path.join(store.point, "snapshots", "bench", "full", "files")
            started = time.monotonic()
            os.listdir(files)
            samples.add("ours.first_list_ms", (time.monotonic() - started) * 1000)
    finally:
        store.unmount()
        shutil.rmtree(store.store, ignore_errors=True)
        os.unlink(image)


# What a copy must reach of the kernel's rate, where it is not 0.7.
COPY_SHARES = {"btrfs": 0.5}


def rows(row, samples):
    """Returns the rows of the table."""
    table = []
    for name in NAMES:
        # A program in user space is met, a driver of the kernel by half.
        judge, share = (JUDGES[name], 1.0) if name in JUDGES else ("kernel", 0.5)
        copied, copy_share = ("all", share) if name in JUDGES else ("usr", COPY_SHARES.get(name, 0.7))
        for how in ("cold", "warm"):
            kernel = samples.med(f"kernel.find.{name}.{how}")
            if kernel:
                table.append(row(f"find -printf, Debian on {name}, {how}", samples.med(f"ours.find.{name}.{how}"), "/s",
                                 share * kernel, f"{share} x {judge} {kernel:.0f}"))
        kernel = samples.med(f"kernel.copy.{name}")
        if kernel:
            table.append(row(f"cp -a {copied}, Debian on {name}", samples.med(f"ours.copy.{name}"), "s",
                             kernel / copy_share, f"{judge} {kernel:.2f} s / {copy_share}", higher=False))
    mtools = samples.med("mtools.copy")
    if mtools:
        table.append(row("tintype cp -a --image, Debian on fat", samples.med("ours.copy.image"), "s",
                         mtools, f"mcopy -s {mtools:.2f} s", higher=False))
    if samples.med("ours.first_list_ms"):
        table.append(row("first ls of files/, image of 1 TiB", samples.med("ours.first_list_ms"), "ms", 20, "20 ms", higher=False))
    return table
