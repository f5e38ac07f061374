#!/usr/bin/env python3
"""Fills an NTFS that ntfs-3g has mounted: fill.py ROOT tree|compressed|wsl|streams [SCALE]"""
import os
import random
import socket
import struct
import sys

root, what = sys.argv[1], sys.argv[2]
scale = int(sys.argv[3]) if len(sys.argv) > 3 else 1
rng = random.Random(7)
ATTRIBUTES = "system.ntfs_attrib"
REPARSE = "system.ntfs_reparse_data"
os.chdir(root)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def attributes(path, value):
    os.setxattr(path, ATTRIBUTES, struct.pack("<I", value), follow_symlinks=False)


def reparse(path, tag, data):
    value = struct.pack("<IHH", tag, len(data), 0) + data
    os.setxattr(path, REPARSE, value, follow_symlinks=False)


def symlink(path, target, flags=1, directory=False):
    os.mkdir(path) if directory else write(path, b"")
    name = target.encode("utf-16-le")
    head = struct.pack("<HHHHI", 0, len(name), len(name), len(name), flags)
    reparse(path, 0xA000000C, head + name + name)


def junction(path, target):
    os.mkdir(path)
    name = target.encode("utf-16-le")
    zero = b"\0\0"
    head = struct.pack("<HHHH", 0, len(name), len(name) + 2, len(name))
    reparse(path, 0xA0000003, head + name + zero + name + zero)


def text(length):
    words = [b"alpha", b"beta ", b"gamma", b"  ", b"\n", b"delta", b"0123"]
    data = bytearray()
    while len(data) < length:
        data += rng.choice(words)
    return bytes(data[:length])


def directories():
    for count in (0, 1, 5, 12, 40, 150, 600, 2000 * scale):
        os.mkdir(f"dir-{count}")
        for number in range(count):
            write(f"dir-{count}/entry number {number}", b"")
    os.mkdir("thinned")
    for number in range(1500):
        write(f"thinned/{number:060}", b"")
    for number in range(1500):
        if number % 5 or 500 < number < 1100:
            os.remove(f"thinned/{number:060}")
    os.makedirs("/".join(["down"] * 60))
    write("/".join(["down"] * 60) + "/bottom", b"here")


def names():
    os.mkdir("names")
    for name in ("n" * 255, "\u00e4\u65e5\u672c\U0001F389", "\u65e5" * 255, "Case", "case", "CASE",
                 "a:b*c?d<e>f|g", "trailing.", "trailing ", "new\nline", "$notsystem", "\x01",
                 "\u00df\u0130\u0131\u01c5"):
        write(os.path.join("names", name).encode(), name.encode())
    for raw in (b"\xed\xa0\x80", b"half \xed\xb0\x80 pair", b"\xed\xa0\xbd at the end"):
        try:
            write(b"names/" + raw, raw)
        except OSError as error:
            print(f"not written: {raw}: {error}")
    for number in range(200):
        write("names/" + chr(97 + number % 26) * (1 + number) + "x", b"")


def files():
    for length in (1, 7, 8, 9, 500, 511, 512, 513, 690, 740, 4095, 4096, 4097, 70_000):
        write(f"length {length}", text(length))
    write("dense", rng.randbytes(3 << 20))
    with open("sparse", "wb") as file:
        for block in (0, 3, 100, 1000):
            file.seek(block * 65536 + 10)
            file.write(b"island")
        file.truncate(1001 * 65536 + 1)
    write("grown", text(5000))
    os.truncate("grown", 3_000_001)
    with open("grown", "r+b") as file:
        file.seek(1_000_000)
        file.write(text(3000))
    write("shrunk", rng.randbytes(900_000))
    os.truncate("shrunk", 12_345)
    with open("only holes", "wb") as file:
        file.truncate(50_000_000)
    with open("fragmented", "wb") as file:
        for number in range(900 * scale):
            file.seek(number * 2 * 65536)
            file.write(bytes([number % 251 + 1]) * 500)
    # Two files that grow beside each other: runs of both lie between one another.
    with open("left", "wb") as left, open("right", "wb") as right:
        for number in range(300 * scale):
            for file in (left, right):
                file.write(bytes([number % 256]) * 5000)
                file.flush()


def links():
    os.mkdir("links")
    write("links/first", b"many names")
    for number in range(300):
        os.link("links/first", f"links/name {number}")
    for length in (1, 40, 200, 336, 900):
        os.symlink("t" * length, f"links/interix {length}")
    write("links/with a short name.text", b"two names")
    os.setxattr("links/with a short name.text", "system.ntfs_dos_name", b"WITHAS~1.TEX")
    symlink("links/relative", "..\\NAMES\\AX")
    symlink("links/beside", "First")
    symlink("links/dangling", "no\\such\\file")
    symlink("links/directory", "..\\dir-5", directory=True)
    symlink("links/absolute", "\\DIR-5\\entry number 1")
    symlink("links/drive", "C:\\dir-5\\entry number 2", flags=1)
    symlink("links/other drive", "\\??\\d:\\Some\\where", flags=0)
    junction("links/junction", "\\??\\C:\\Dir-12")
    junction("links/mounted", "\\??\\Volume{01234567-89ab-cdef-0123-456789abcdef}\\")
    write("links/linux", b"")
    reparse("links/linux", 0xA000001D, struct.pack("<I", 2) + b"../dir-5/x")


def special():
    os.mkdir("special")
    os.mkfifo("special/fifo")
    os.mknod("special/null", 0o020666, os.makedev(1, 3))
    os.mknod("special/disk", 0o060660, os.makedev(259, 70000))
    socket.socket(socket.AF_UNIX).bind("special/socket")
    for name, value in (("hidden", 2), ("system", 4), ("hidden system", 6), ("read-only", 1)):
        write(f"special/{name}", b"some content of a file")
        attributes(f"special/{name}", value)


def streams():
    os.mkdir("streams")
    for number, length in enumerate((0, 1, 300, 3000, 60_000)):
        path = f"streams/value of {length}"
        write(path, b"main")
        os.setxattr(path, "user.Zone.Identifier", text(length))
    write("streams/many", b"main")
    for number in range(120):
        os.setxattr("streams/many", f"user.stream {number}", bytes([number]) * (number * 3))
    os.mkdir("streams/directory")
    os.setxattr("streams/directory", "user.of a directory", b"yes")
    write("streams/unicode", b"")
    os.setxattr("streams/unicode", "user.\u65e5\u672c", b"name")


def times():
    os.mkdir("times")
    for number, seconds in enumerate((-11644473600, -2145916800, -1, 0, 2147483648, 16725225600)):
        write(f"times/{number}", b"")
        os.utime(f"times/{number}", ns=(seconds * 10**9 + 123456700, seconds * 10**9 + 987654300))


def compressed():
    os.mkdir("compressed")
    attributes("compressed", 0x800)
    os.chdir("compressed")
    for length in (1, 100, 700, 4096, 5000, 8191, 65_536, 65_537, 200_000, 1_000_003):
        write(f"text {length}", text(length))
    write("random", rng.randbytes(300_001))
    write("zeros", bytes(500_000))
    write("mixed", text(70_000) + rng.randbytes(70_000) + bytes(200_000) + text(30_000))
    with open("sparse", "wb") as file:
        for place in (0, 300_000, 9_000_000):
            file.seek(place)
            file.write(text(20_000))
        file.truncate(12_000_000)
    write("appended", b"")
    for number in range(40):
        with open("appended", "ab") as file:
            file.write(text(7_777))
    write("changed", text(400_000))
    with open("changed", "r+b") as file:
        for place in (10, 70_000, 333_333):
            file.seek(place)
            file.write(rng.randbytes(5000))
    write("cut", text(300_000))
    os.truncate("cut", 100_001)
    write("grown", text(10_000))
    os.truncate("grown", 2_000_000)
    with open("grown", "r+b") as file:
        file.seek(1_500_000)
        file.write(text(1000))
    for number in range(60):
        write(f"small {number}", text(number * 900))
    os.chdir("..")


def windows_streams():
    """Through ntfs-3g's interface where a colon names a stream; see wof.py."""
    write("long stream", b"main")
    write("long stream:long", text(100_000))


if what == "tree":
    for part in (directories, names, files, links, special, streams, times):
        part()
elif what == "compressed":
    compressed()
elif what == "wsl":
    os.mkdir("wsl")
    os.mkfifo("wsl/fifo")
    os.mknod("wsl/null", 0o020666, os.makedev(1, 3))
    os.mknod("wsl/disk", 0o060660, os.makedev(259, 70000))
    socket.socket(socket.AF_UNIX).bind("wsl/socket")
    os.symlink("../dir-5", "wsl/symlink")
elif what == "streams":
    windows_streams()
