#!/usr/bin/env python3
"""Makes files that the overlay filter compressed, with the compressors of wimlib, and files
with reparse points that ntfs-3g does not know: wof.py ROOT EXPECTED [small]. ROOT is
mounted with streams_interface=windows; the content lies in EXPECTED."""
import ctypes
import os
import random
import struct
import sys

root, expected = sys.argv[1:3]
IS_SMALL = len(sys.argv) > 3
wim = ctypes.CDLL("libwim.so.15")
wim.wimlib_compress.restype = ctypes.c_size_t
wim.wimlib_compress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
wim.wimlib_create_compressor.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_uint, ctypes.c_void_p]
assert wim.wimlib_global_init(0) == 0
XPRESS, LZX = 1, 2
# Name: number of the algorithm, compressor, length of a chunk.
ALGORITHMS = {
    "xpress4k": (0, XPRESS, 4096), "lzx": (1, LZX, 32768),
    "xpress8k": (2, XPRESS, 8192), "xpress16k": (3, XPRESS, 16384),
}
rng = random.Random(9)


def compress(data, kind, chunk_len, level=50):
    compressor = ctypes.c_void_p()
    assert wim.wimlib_create_compressor(kind, chunk_len, level, ctypes.byref(compressor)) == 0
    chunks = []
    for start in range(0, len(data), chunk_len):
        chunk = data[start:start + chunk_len]
        target = ctypes.create_string_buffer(len(chunk))
        count = wim.wimlib_compress(chunk, len(chunk), target, len(chunk) - 1, compressor)
        chunks.append(target.raw[:count] if count else chunk)
    wim.wimlib_free_compressor(compressor)
    table, place = b"", 0
    for chunk in chunks[:-1]:
        place += len(chunk)
        table += struct.pack("<I", place)
    return table + b"".join(chunks)


def reparse(path, tag, data):
    os.setxattr(path, "system.ntfs_reparse_data", struct.pack("<IHH", tag, len(data), 0) + data)


def code(length):
    """Bytes with calls in them, as programs have."""
    data = bytearray()
    while len(data) < length:
        data += b"\x55\x48\x89\xe5\xe8" + struct.pack("<i", rng.randrange(-70_000, 70_000))
        data += rng.choice([b"\xc3\x90\x90", b"\xb8\0\0\0\0\xc9\xc3", b"\x48\x8b\x45\xf8"]) * rng.randrange(1, 9)
    return bytes(data[:length])


def main():
    lines = 900 if IS_SMALL else 30_000
    text = b"".join(b"line %d of %d\n" % (number, rng.randrange(1000)) for number in range(lines))
    contents = {
        "text": text, "small": text[:500], "one": b"x", "code": code(300_000),
        "mixed": text[:50_000] + rng.randbytes(70_000) + bytes(100_000) + code(33_333),
        "random": rng.randbytes(100_000), "zeros": bytes(200_001), "chunk": text[:32768], "chunks": text[:65536],
    }
    if IS_SMALL:
        contents = {"text": text[:6000], "code": code(34_000), "mixed": text[:5000] + rng.randbytes(3000) + bytes(9000)}
    for name, (number, kind, chunk_len) in ALGORITHMS.items():
        for what, data in contents.items():
            for level in (20, 100) if what in ("code", "mixed") and not IS_SMALL else (50,):
                path = f"{name} {what} {level}"
                with open(os.path.join(expected, path), "wb") as file:
                    file.write(data)
                full = os.path.join(root, path)
                with open(full, "wb") as file:
                    file.truncate(len(data))
                with open(full + ":WofCompressedData", "wb") as file:
                    file.write(compress(data, kind, chunk_len, level))
                reparse(full, 0x80000017, struct.pack("<IIII", 1, 2, 1, number))
    for name, tag, data in (
        ("deduplicated", 0x80000013, bytes(100)), ("image file", 0x80000017, struct.pack("<II", 1, 1) + bytes(40)),
        ("other", 0x8000001B, b"something"), ("cloud", 0x9000301A, b"here"),
    ):
        full = os.path.join(root, name)
        with open(full, "wb") as file:
            file.write(b"what the file has now")
        reparse(full, tag, data)


main()
