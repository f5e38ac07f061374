#!/usr/bin/env python3
"""Makes files whose records force the MFT into many pieces: pieces.py ROOT"""
import os
import sys

os.chdir(sys.argv[1])
os.mkdir("fill")
os.mkdir("d")
# Small files take all space; removing every second one leaves gaps, and free records.
count = 0
try:
    while True:
        with open(f"fill/{count}", "wb", buffering=0) as file:
            file.write(bytes([1]) * 2000)
        count += 1
except OSError as error:
    print(error)
for number in range(0, count, 2):
    os.remove(f"fill/{number}")
# The first half takes those records; the MFT grows into the gaps for the second.
for number in range(count * 7 // 10):
    with open(f"d/{number}", "w") as file:
        file.write(str(number))
