#!/usr/bin/env python3
"""Fills a small NTFS for the tests of damage: damage.py ROOT [small]"""
import os
import struct
import sys

os.chdir(sys.argv[1])
scale = 5 if len(sys.argv) > 2 else 1
os.makedirs("folder/deeper")
os.mkdir("many")
os.mkdir("compressed")
os.setxattr("compressed", "system.ntfs_attrib", struct.pack("<I", 0x800))
for number in range(10):
    with open(f"folder/file {number}", "w") as file:
        file.write(f"content {number}")
for number in range(300 // scale):
    open(f"many/entry {number}", "w").close()
with open("dense", "wb") as file:
    file.write(bytes(range(1, 251)) * 1200)
with open("sparse", "wb") as file:
    for number in range(40 // scale):
        file.seek(number * 131072)
        file.write(b"island" * 100)
with open("compressed/text", "w") as file:
    file.write("".join(f"line {number} of text\n" for number in range(4000)))
with open("hiberfil.sys", "wb") as file:
    file.write(bytes(600))
with open("folder/a name with a short one.text", "w") as file:
    file.write("two names")
os.setxattr("folder/a name with a short one.text", "system.ntfs_dos_name", b"ANAMEW~1.TEX")
open("linked", "w").close()
for number in range(60 // scale):
    os.link("linked", f"folder/deeper/link {number}")
    os.setxattr("linked", f"user.stream {number}", bytes([number]) * number)
os.symlink("folder/file 1", "symlink")
os.mkfifo("fifo")
os.mknod("device", 0o020666, os.makedev(1, 3))
os.mkdir("junction")
name = "\\??\\C:\\Folder".encode("utf-16-le")
data = struct.pack("<HHHH", 0, len(name), len(name) + 2, 0) + name + b"\0\0\0\0"
os.setxattr("junction", "system.ntfs_reparse_data", struct.pack("<IHH", 0xA0000003, len(data), 0) + data)
