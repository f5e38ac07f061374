"""Other programs that keep images, driven as their manuals say. None must be there."""

import glob
import os
import shutil
import subprocess
import time

from machine import timed, tree_bytes


class Peer:
    """One program with a store of its own in a scratch directory."""

    name = ""
    deduplicates = True
    mounts = False

    def __init__(self, scratch):
        self.store = os.path.join(scratch, self.name)
        shutil.rmtree(self.store, ignore_errors=True)
        os.makedirs(self.store)

    @classmethod
    def is_here(cls):
        return shutil.which(cls.name) is not None

    def size(self):
        return tree_bytes(self.store)

    def env(self):
        return os.environ.copy()

    def mount_at(self, point):
        """Mounts the store; returns the path of the first image when it can be read."""
        raise NotImplementedError

    def unmount(self, point):
        subprocess.run(["fusermount3", "-u", "-z", point], stderr=subprocess.DEVNULL, check=False)


def wait_for(pattern, seconds=30):
    """Waits until a file that matches appears, and returns its path."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = glob.glob(pattern, recursive=True, include_hidden=True)
        if found:
            return found[0]
        time.sleep(0.02)
    raise RuntimeError(f"nothing at {pattern}")


class Restic(Peer):
    name = "restic"
    mounts = True

    def env(self):
        cache = os.path.join(self.store, "..", "restic-cache")
        return {**os.environ, "RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": self.store, "RESTIC_CACHE_DIR": cache}

    def __init__(self, scratch):
        super().__init__(scratch)
        timed(["restic", "init"], env=self.env())

    def put(self, image, label):
        return timed(["restic", "backup", "--quiet", "--force", "--tag", label, image], env=self.env())

    def mount_at(self, point):
        subprocess.Popen(["restic", "mount", point], env=self.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return wait_for(f"{point}/tags/full/latest/**/*.img")


class Borg(Peer):
    name = "borg"
    mounts = True

    def env(self):
        return {**os.environ, "BORG_BASE_DIR": os.path.join(self.store, "..", "borg-base"),
                "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def __init__(self, scratch):
        super().__init__(scratch)
        timed(["borg", "init", "-e", "none", self.store], env=self.env())

    def put(self, image, label):
        command = ["borg", "create", "-C", "zstd,3", "--files-cache", "disabled", f"{self.store}::{label}", image]
        return timed(command, env=self.env())

    def mount_at(self, point):
        timed(["borg", "mount", f"{self.store}::full", point], env=self.env())
        return wait_for(f"{point}/**/*.img")


class Desync(Peer):
    name = "desync"
    mounts = True

    def mount_at(self, point):
        index = os.path.join(self.store, "full.caibx")
        subprocess.Popen(["desync", "mount-index", "-s", self.store, index, point],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return wait_for(f"{point}/*")

    def put(self, image, label):
        return timed(["desync", "make", "-s", self.store, os.path.join(self.store, f"{label}.caibx"), image])


class QemuImg(Peer):
    name = "qemu-img"
    deduplicates = False

    def put(self, image, label):
        return timed(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", image,
                      os.path.join(self.store, f"{label}.qcow2")])


def present():
    return [peer for peer in (Restic, Borg, Desync, QemuImg) if peer.is_here()]
