#!/usr/bin/env python3
"""Fills a mounted FAT or exFAT with everything that readers get wrong.

    fill.py ROOT vfat|exfat ENTRIES
"""

import fcntl
import os
import struct
import sys

root, kind, entries = os.fsencode(sys.argv[1]), sys.argv[2], int(sys.argv[3])
FAT_IOCTL_SET_ATTRIBUTES = 0x40047211


def noise(seed, count):
    """Bytes that look like nothing else."""
    state, words = seed * 2654435761 + 1, []
    for _ in range(count // 4 + 1):
        state = (state * 1103515245 + 12345) & 0xFFFFFFFFFFFF
        words.append((state >> 12) & 0xFFFFFFFF)
    return struct.pack(f"<{len(words)}I", *words)[:count]


def path(*names):
    names = (name if isinstance(name, bytes) else name.encode() for name in names)
    return os.path.join(root, *names)


def write(data, *names):
    with open(path(*names), "wb") as file:
        file.write(data)


def names():
    os.mkdir(path("names"))
    plain = [
        "UPPER.TXT", "lower.txt", "lowbase.TXT", "LOWEXT.txt", "Mixed.Txt", "NOEXT",
        "noext", ".dotfile", "..two", "a.b.c.d", " leading", "inner  spaces  x",
        "plus+comma,semi;equal=", "[brackets]", "LONGNA~1.TXT", "ends in dots...",
        "ends in space ", "x" * 255, "12345678.123", "123456789.123", "12345678.1234",
        "thirteen.char", "twentysixcharactersexactly", "twentysevencharactersexactl",
        "n\u00e4me-\u65e5\u672c\u8a9e", "\u00c4RGER", "\u00df", "\u00fc" * 255, "\U0001f600" * 127,
        "\u00c7\u00c9", "\u0391\u0392\u0393 \u03b1\u03b2\u03b3", "o\u0308 combining", "\u4e2d" * 85, "con", "aux.txt", "`~!@#$%^&()-_{}'",
    ]  # fmt: skip
    for number, name in enumerate(plain):
        try:
            write(noise(number, number * 7), "names", name)
        except OSError as error:
            print(f"{name[:20]!r}: {error}")
    for number in range(120):
        write(b"%d" % number, "names", f"collision of prefixes {number:03}.text")


def many():
    os.mkdir(path("many"))
    for number in range(entries):
        name = f"entry-{number:05}-{'x' * (number % 10)}"
        write(b"%d" % number if number % 16 == 0 else b"", "many", name)
    for number in range(0, entries, 7):
        os.unlink(path("many", f"entry-{number:05}-{'x' * (number % 10)}"))
    for number in range(0, entries, 70):
        write(b"", "many", f"again {number}" + "y" * (number % 90))
    os.mkdir(path("emptied"))
    for number in range(200):
        write(b"", "emptied", f"goes away {number}")
    for number in range(200):
        os.unlink(path("emptied", f"goes away {number}"))
    os.mkdir(path("empty"))
    deep = path("deep")
    for number in range(50):
        deep = os.path.join(deep, b"d%d" % number)
    os.makedirs(deep)
    with open(os.path.join(deep, b"bottom"), "wb") as file:
        file.write(b"deep")


def files():
    for count in [0, 1, 511, 512, 513, 4095, 4096, 4097, 32768, 65537, 300_000]:
        write(noise(count, count), f"file-{count}")
    pair = [open(path(f"fragments-{number}"), "wb", buffering=0) for number in range(2)]
    for step in range(60):
        for number, file in enumerate(pair):
            file.write(noise(step * 2 + number, 4096))
    for file in pair:
        file.close()
    # Falls into the gaps of files that are gone.
    for number in range(40):
        write(noise(number, 8192), f"gap-{number}")
    for number in range(0, 40, 2):
        os.unlink(path(f"gap-{number}"))
    write(noise(5, 250_000), "in-the-gaps")
    with open(path("grown"), "wb") as file:
        file.write(noise(6, 1000))
        file.truncate(50_000)
    with open(path("shrunk"), "wb") as file:
        file.write(noise(7, 50_000))
        file.truncate(1000)
    write(noise(8, 5000), "read-only")
    os.chmod(path("read-only"), 0o555)
    os.mkdir(path("renamed"))
    os.rename(path("file-513"), path("renamed", "FILE of 513 bytes"))
    os.rename(path("renamed"), path("after renaming"))


def attributes():
    for number, (name, bits) in enumerate([("hidden", 2), ("system", 4), ("both", 6), ("none", 0)]):
        write(noise(number, 100), name)
        with open(path(name), "rb") as file:
            fcntl.ioctl(file, FAT_IOCTL_SET_ATTRIBUTES, struct.pack("I", bits))


def times():
    os.mkdir(path("times"))
    for second in [315532800, 315532801, 946684799, 951782400, 1700000001, 2147483648,
                   4107542399, 4107542400, 4354819198]:  # fmt: skip
        for nanosecond in [0, 10_000_000, 999_999_999]:
            name = f"t{second}-{nanosecond}"
            write(b"", "times", name)
            stamp = second * 1_000_000_000 + nanosecond
            os.utime(path("times", name), ns=(stamp, stamp))


names()
many()
files()
times()
if kind == "vfat":
    attributes()
