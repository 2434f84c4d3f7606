#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""names_memory.py ASK-CHILD SYMBOLIZER - files that want memory, or time: none takes the child above 256 MiB of it, or kills it, and a file
without malice is answered afterwards in full.

VmHWM, the child's largest resident set, counts its own memory and a few MB of program; so it is a bound of RssAnon that no poll
can miss."""

import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

MAX_KB = 256 << 10
BASE, TEXT, LARGE_TEXT = 0x400000, 2 << 20, 32 << 20
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_DYNSYM = 1, 2, 3, 7, 11
SHF_ALLOC, SHF_EXEC, SHF_COMPRESSED = 2, 4, 0x800
MB = 1 << 20


def uleb(n):
    out = bytearray()
    while True:
        out.append(n & 0x7f | (0x80 if n > 0x7f else 0))
        n >>= 7
        if not n:
            return bytes(out)


def write(path, sections, headers=(), text=TEXT):
    """sections: (name, type, flags, bytes, or the size of a hole, link). The text is a hole, too."""
    sections = [("", 0, 0, b"", 0), (".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXEC, text, 0), *sections]
    names = b"".join(s[0].encode() + b"\0" for s in sections) + b".shstrtab\0"
    sections.append((".shstrtab", SHT_STRTAB, 0, names, 0))
    table, at, name = b"", 4096, 0
    with open(path, "wb") as f:
        for i, (called, kind, flags, data, link) in enumerate(sections):
            n = data if isinstance(data, int) else len(data)
            f.seek(at)
            if not isinstance(data, int):
                f.write(data)
            entry = 24 if kind in (SHT_SYMTAB, SHT_DYNSYM) else 0
            table += struct.pack("<IIQQQQIIQQ", name, kind, flags, BASE + at if flags & SHF_ALLOC else 0, at, n, link, 1, 8, entry) \
                if i else bytes(64)
            name += len(called) + 1
            at = (at + n + 15) & ~15
        f.truncate(at)
        f.seek(at)
        f.write(table)
        found = [struct.pack("<IIQQQQQQ", 1, 5, 4096, BASE + 4096, BASE + 4096, text, text, 4096), *headers]
        f.seek(0)
        f.write(struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1" + bytes(9), 2, 62, 1, 0, 64, at, 0, 64, 56, len(found),
                            64, len(sections), len(sections) - 1))
        f.write(b"".join(found))


def zlib_of(data):
    return struct.pack("<IIQQ", 1, 0, len(data), 1) + zlib.compress(data, 1)


def zstd_of(byte, n):
    """n equal bytes, as blocks that say so (RFC 8878, 3.1.1.2)."""
    out = bytearray(struct.pack("<IIQQ", 2, 0, n, 1) + b"\x28\xb5\x2f\xfd" + bytes([0x80 | 0x20 | 0x00]) + struct.pack("<I", n))
    for i in range(0, n, 128 << 10):
        k = min(128 << 10, n - i)
        out += ((k << 3) | 2 | (i + k >= n)).to_bytes(3, "little") + bytes([byte])
    return bytes(out)


# ---- what DWARF is made of. Abbreviation 1: a unit, 2: a function with code, 3: another without

ABBREVS = b"".join([
    uleb(1) + uleb(0x11) + b"\1" + b"".join(uleb(x) for x in (0x11, 1, 0x12, 6, 0x10, 0x17, 0, 0)),
    uleb(2) + uleb(0x2e) + b"\0" + b"".join(uleb(x) for x in (0x11, 1, 0x12, 6, 3, 8, 0, 0)),
    uleb(3) + uleb(0x1d) + b"\1" + b"".join(uleb(x) for x in (0x31, 0x13, 0x11, 1, 0x12, 6, 0, 0)), b"\0"])


def unit(dies, size=TEXT, line=0):
    body = struct.pack("<HIB", 4, 0, 8) + uleb(1) + struct.pack("<QII", BASE + 4096, size, line) + dies + b"\0"
    return struct.pack("<I", len(body)) + body


def functions(n):
    return b"".join(uleb(2) + struct.pack("<QI", BASE + 4096 + 8 * i, 8) + b"f%d\0" % i for i in range(n))


def line_program(body):
    head = bytes([1, 1, 1, 251 & 0xff, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1]) + b"\0" + b"a.c\0\0\0\0" + b"\0"
    rest = struct.pack("<HI", 4, len(head)) + head + b"\0\x09\2" + struct.pack("<Q", BASE + 4096) + body + b"\0\1\1"
    return struct.pack("<I", len(rest)) + rest


def debug(info, abbrev=ABBREVS, line=b"", **more):
    sections = {"info": info, "abbrev": abbrev, "line": line, **more}
    return [(".debug_" + k, SHT_PROGBITS, 0, v, 0) for k, v in sections.items() if v]


def compressed(sections, how):
    return [(name, kind, flags | SHF_COMPRESSED, how(data), link) for name, kind, flags, data, link in sections]


def bombs(how):
    """More than may be inflated, each a little less."""
    return [(".debug_" + k, SHT_PROGBITS, SHF_COMPRESSED, how, 0)
            for k in ("info", "abbrev", "line", "str", "line_str", "addr", "ranges", "str_offsets")]


def one_honest(path):
    write(path, debug(unit(functions(4)), line=line_program(b"\x4b" * 8)))


def eh_frame(n):
    """One function that moves its CFA all the time."""
    cie = struct.pack("<IIB", 0x14, 0, 1) + b"zR\0" + uleb(1) + b"\x78" + b"\x10\1\0\x0c\7\x08\x90\1\0\0"
    cie = cie[:24].ljust(24, b"\0")
    program = b"\x41\x0e\x10\x41\x0e\x08" * n
    program += bytes(-(len(program) + 4 + 16 + 1) % 4)
    fde = struct.pack("<IQQ", len(cie) + 4, BASE + 4096, LARGE_TEXT) + b"\0" + program
    return cie + struct.pack("<I", len(fde)) + fde + bytes(4)


def files(at):
    def add(name, *arguments, **more):
        write(at / name, *arguments, **more)
        yield at / name

    huge = functions(200000)
    yield from add("zlib-bombs", bombs(zlib_of(bytes([1]) * (40 * MB))))
    yield from add("zstd-bombs", bombs(zstd_of(1, 127 * MB)))
    yield from add("zstd-over", bombs(zstd_of(1, 1000 * MB)))
    yield from add("large-unit", debug(unit(huge * 12)))
    yield from add("large-unit-zlib", compressed(debug(unit(huge * 12)), zlib_of))
    # one byte a DIE, and for each 256 attributes to pass: as good as endless
    yield from add("endless", compressed(debug(unit(b"\4" * (60 * MB)), ABBREVS[:-1] + uleb(4) + uleb(0x34) + b"\0" + (uleb(0x3f) + uleb(0x19)) * 250
                                               + b"\0\0\0"), zlib_of))
    yield from add("many-units", debug(b"".join(unit(b"", 16) for _ in range(10)) * 60000))
    yield from add("abbrevs", debug(unit(functions(3)), b"".join(
        uleb(i) + uleb(0x2e) + b"\0" + (uleb(0x3fff) + uleb(0x0b)) * 200 + b"\0\0" for i in range(4, 40000)) + ABBREVS))
    yield from add("lines", debug(unit(functions(3)), line=line_program(b"\x4b" * (30 * MB))))
    yield from add("symbols", [(".symtab", SHT_SYMTAB, 0, 200 * MB, 3), (".strtab", SHT_STRTAB, 0, 400 * MB, 0)])
    symbols = b"".join(struct.pack("<IBBHQQ", 1 + i % 9, 0x12, 0, 1, BASE + 4096 + 16 * i, 16) for i in range(100000)) * 15
    yield from add("true-symbols", [(".symtab", SHT_SYMTAB, 0, symbols, 3), (".strtab", SHT_STRTAB, 0, b"\0abcdefghij\0" + bytes(90 * MB), 0),
                                    (".dynsym", SHT_DYNSYM, 0, symbols, 3)])
    yield from add("notes", [(".note.x", SHT_NOTE, 0, 240 * MB, 0)],
                   [struct.pack("<IIQQQQQQ", 4, 4, TEXT + 4096, 0, 0, 240 * MB, 240 * MB, 4)])
    yield from add("frames", [(".eh_frame", SHT_PROGBITS, SHF_ALLOC, eh_frame(2 * MB), 0)],
                   [struct.pack("<IIQQQQQQ", 1, 4, LARGE_TEXT + 4096, BASE + LARGE_TEXT + 4096, BASE + LARGE_TEXT + 4096, 16 * MB, 16 * MB,
                                4096)], text=LARGE_TEXT)
    yield from add("frames-hole", [(".eh_frame", SHT_PROGBITS, SHF_ALLOC, 1000 * MB, 0)])
    yield from add("all", compressed(debug(unit(huge * 10)), zlib_of) + [
        (".symtab", SHT_SYMTAB, 0, symbols, 6), (".strtab", SHT_STRTAB, 0, b"\0abcdefghij\0" + bytes(40 * MB), 0)])


def main():
    ask, child = sys.argv[1:]
    failures = []
    with tempfile.TemporaryDirectory(prefix="pprofd-memory-") as d:
        at = pathlib.Path(d)
        one_honest(at / "honest")
        arguments = []
        for i, path in enumerate(files(at)):
            arguments += [path, "%x" % (BASE + 4096 + 8 * 3 + i % 8), at / "honest", "%x" % (BASE + 4096 + 8 * 2 + 1)]
        out = subprocess.run([ask, child, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True).stdout
        lines = out.splitlines()
        for line in lines:
            words = line.split()
            print("#", pathlib.Path(words[0]).name, *words[1:])
            if words[-1] == "failed":
                failures.append("the child dies: " + line)
            elif int(words[-1]) >= MAX_KB or int(words[-1]) < 1000:
                failures.append("too much memory: " + line)
            elif words[0].endswith("/honest") and words[-3] != "f2":
                failures.append("a file without malice has no names: " + line)
        if len(lines) != len(arguments) // 2:
            failures.append("%d lines" % len(lines))
    for f in failures:
        print("not ok:", f)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
