"""What deduplication could save, computed without any code of Tintype.

Reads images in order and computes what a store would hold that deduplicates by a fixed
grid: blocks of 4 KiB compressed in runs of 64 KiB (the aim), and whole chunks of 64 KiB
and of 4 MiB (as other systems do it). Zeros are free everywhere.
"""

import hashlib
import os

import zstandard

BLOCK = 4096
RUN = 65536
# What each unit costs in an index (id, place, length) and each run in a map.
UNIT_COST = 48
RUN_COST = 24


def data_ranges(path):
    """Yields (start, end) of the parts of a file that are not holes."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = 0
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, at


def data_bytes(path):
    return sum(end - start for start, end in data_ranges(path))


def pieces(path, unit):
    """Yields (index, bytes) of the aligned pieces of an image that are not all zero."""
    zeros = bytes(unit)
    last = -1
    with open(path, "rb") as file:
        for start, end in data_ranges(path):
            for index in range(start // unit, (end + unit - 1) // unit):
                if index <= last:
                    continue
                last = index
                file.seek(index * unit)
                piece = file.read(unit)
                if piece != zeros[: len(piece)]:
                    yield index, piece


class Grid:
    """A store that deduplicates pieces of one size and compresses `run` bytes together."""

    def __init__(self, unit, run, level):
        self.unit, self.run = unit, run
        self.codec = zstandard.ZstdCompressor(level=level)
        self.seen = {}
        self.stored = self.runs = self.data = 0

    def add(self, path):
        pending, previous = bytearray(), None
        for index, piece in pieces(path, self.unit):
            self.data += len(piece)
            digest = hashlib.blake2b(piece, digest_size=16).digest()
            place = self.seen.get(digest)
            if place is None:
                place = self.seen[digest] = len(self.seen)
                pending += piece
                if len(pending) >= self.run:
                    self._store(pending)
                    pending = bytearray()
            # A run of a map ends where the image or the place jumps.
            if previous != (index - 1, place - 1):
                self.runs += 1
            previous = (index, place)
        if pending:
            self._store(pending)

    def _store(self, content):
        self.stored += min(len(content), len(self.codec.compress(bytes(content))))

    @property
    def total(self):
        return self.stored + UNIT_COST * len(self.seen) + RUN_COST * self.runs


def grids(level):
    """The aim first, then what it is compared with."""
    return {
        "4 KiB blocks in runs of 64 KiB": Grid(BLOCK, RUN, level),
        "fixed 64 KiB": Grid(RUN, RUN, level),
        "fixed 4 MiB": Grid(4 << 20, 4 << 20, level),
    }


def store_bytes(store):
    """Returns the bytes of packs, indexes and the catalog of a store, each."""
    sizes = {}
    for part in ("packs", "indexes", "catalog"):
        sizes[part] = 0
        for directory, _, names in os.walk(os.path.join(store, part)):
            sizes[part] += sum(os.path.getsize(os.path.join(directory, name)) for name in names)
    return sizes
