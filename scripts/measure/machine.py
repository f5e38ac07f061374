"""The machine under the benchmark: its limits, its caches, and the test image."""

import json
import os
import random
import shutil
import subprocess
import tempfile
import time

BLOCK = 4096


def settle(directory=None):
    """Waits until the file system of a directory is written; no other one, which may be
    busy or stuck for reasons of its own."""
    subprocess.run(["sync", "-f", str(directory or tempfile.gettempdir())], check=False)


def timed(command, **options):
    """Runs a command that must succeed and returns its seconds."""
    settle()
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.decode(errors='replace')[-800:]}")
    return seconds


def tree_bytes(path):
    """Returns the bytes of all files below a path."""
    return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(path) for name in names)


def warm(path):
    """Brings a file into the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def warm_tree(path):
    for top, _, names in os.walk(path):
        for name in names:
            warm(os.path.join(top, name))


def cached_bytes(paths):
    """Returns how many bytes of these files are in the page cache, by mincore(2) in fincore."""
    done = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", *paths],
                          check=True, capture_output=True, text=True)
    return sum(int(line) for line in done.stdout.split())


def evict(*roots):
    """Takes files, and all files of folders, out of the page cache and checks that they are
    gone; nothing else on the machine is touched. Returns whether that worked."""
    paths = []
    for top in roots:
        if os.path.isfile(top):
            paths.append(top)
        else:
            paths += [os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names]
    settle(roots[0])
    for path in paths:
        with open(path, "rb") as file:
            # What is dirty or mapped stays: hence the settling and the check.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    paths = [path for path in paths if os.path.getsize(path) > 0]
    total = sum(os.path.getsize(path) for path in paths)
    return shutil.which("fincore") is not None and cached_bytes(paths) <= total // 1000


def disk_write_mb_s(directory, mebibytes):
    """Writes incompressible bytes with a final fsync, as a pack writer would."""
    block = random.randbytes(1 << 20)
    path = os.path.join(directory, "write-rate")
    settle(directory)
    started = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range(mebibytes):
            file.write(block)
        os.fsync(file.fileno())
    seconds = time.monotonic() - started
    os.unlink(path)
    return mebibytes * 1.048576 / seconds


class Limits:
    """The helper tests/bench/limits.rs, which shares no code with the product."""

    def __init__(self, binary):
        self.binary = binary

    def _run(self, *arguments):
        done = subprocess.run([self.binary, *map(str, arguments)], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def codec(self, image, level):
        return self._run("codec", image, level)

    def sequential(self, path, source):
        return self._run("sequential", path, source)["mb_s"]

    def random(self, path, source, count, depth, seed):
        return self._run("random", path, source, count, depth, seed)


def images_dir():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    path = os.environ.get("TINTYPE_IMAGES", os.path.join(cache, "tintype-images"))
    os.makedirs(path, exist_ok=True)
    return path


def _copy_some(target, megabytes):
    """Copies files of /usr, in the order of their names, until there are enough."""
    left = megabytes * 1_000_000
    for start in ("/usr/lib", "/usr/share", "/usr/bin"):
        for top, directories, names in os.walk(start):
            directories.sort()
            for name in sorted(names):
                source = os.path.join(top, name)
                if left <= 0 or os.path.islink(source) or not os.path.isfile(source):
                    continue
                goal = target + source
                os.makedirs(os.path.dirname(goal), exist_ok=True)
                try:
                    shutil.copy2(source, goal)
                except OSError:
                    continue
                left -= os.path.getsize(source)


def bench_image(megabytes):
    """Returns an ext4 image with about that much data of /usr, made once."""
    path = os.path.join(images_dir(), f"bench-{megabytes}.img")
    if os.path.exists(path):
        return path
    with tempfile.TemporaryDirectory(dir=images_dir()) as work:
        tree, image = os.path.join(work, "tree"), os.path.join(work, "image")
        _copy_some(tree, megabytes)
        with open(image, "wb") as file:
            file.truncate(megabytes * 4_000_000 // BLOCK * BLOCK)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, image], check=True)
        os.rename(image, path)
    return path


def changed_image(path, ranges, part=0.01):
    """Returns a copy of an image in which a part of the data blocks is different."""
    changed = path.replace(".img", "-changed.img")
    if os.path.exists(changed):
        return changed
    subprocess.run(["cp", "--sparse=always", path, changed + ".tmp"], check=True)
    rng = random.Random(1)
    blocks = [block for start, end in ranges for block in range(start // BLOCK, end // BLOCK)]
    with open(changed + ".tmp", "r+b") as file:
        for block in rng.sample(blocks, int(len(blocks) * part)):
            file.seek(block * BLOCK)
            file.write(rng.randbytes(BLOCK))
    os.rename(changed + ".tmp", changed)
    return changed


def set_read_ahead(mountpoint, kib):
    """Sets the kernel's read-ahead of a mount (None: leaves it); returns what it is."""
    device = os.stat(mountpoint).st_dev
    control = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    try:
        if kib is not None:
            with open(control, "w", encoding="ascii") as file:
                file.write(str(kib))
        with open(control, encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return None
