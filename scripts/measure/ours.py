"""Tintype as a user runs it: the command line and a mount."""

import os
import shutil
import signal
import subprocess
import time

from machine import timed


class Tintype:
    """One store in a scratch directory."""

    def __init__(self, binary, scratch, name="tintype"):
        self.binary = binary
        self.store = os.path.join(scratch, name)
        self.point = os.path.join(scratch, name + "-mnt")
        shutil.rmtree(self.store, ignore_errors=True)
        os.makedirs(self.point, exist_ok=True)
        self.daemon = None
        self.run("init")

    def command(self, *arguments):
        return [self.binary, "--store", self.store, *arguments]

    def run(self, *arguments):
        return timed(self.command(*arguments), stdin=subprocess.DEVNULL)

    def put(self, image, label):
        return self.run("create", "--resource", "bench", "--name", label, image)

    def image(self, label):
        return os.path.join(self.point, "snapshots", "bench", label, "disk.img")

    def mount(self):
        """Mounts and returns when it answers."""
        outside = os.stat(self.point).st_dev
        self.daemon = subprocess.Popen(
            self.command("mount", "--foreground", self.point),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while os.stat(self.point).st_dev == outside:
            if self.daemon.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the mount did not start")
            time.sleep(0.0005)

    def unmount(self):
        if self.daemon is None:
            return
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            subprocess.run(["umount", "-l", self.point], check=False)
        self.daemon = None

    def remount(self):
        """Nothing of the image is cached by us or by the kernel's cache of the mount."""
        self.unmount()
        self.mount()

    def first_read_ms(self, label):
        """From starting the program to the first 4 KiB of an image."""
        self.unmount()
        started = time.monotonic()
        self.mount()
        with open(self.image(label), "rb", buffering=0) as file:
            file.read(4096)
        return (time.monotonic() - started) * 1000
