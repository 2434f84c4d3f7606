#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""names_matrix.py NAMES-OF [WORD]: lines.c and lines.rs, by every compiler there is, linked in every way, with what names come
from in every place where it can be; names-of has to say what the programs say of themselves. What the machine's
tools cannot build is counted, and said. No root, no BPF."""

import collections
import concurrent.futures
import functools
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent / "fixtures"
TOOL = sys.argv[1]
WORD = sys.argv[2] if len(sys.argv) > 2 else ""
LINKS = {"pie": ["-fPIE", "-pie"], "fixed": ["-fno-pie", "-no-pie"], "static": ["-static"]}
RUST_LINKS = {"pie": [], "fixed": ["-C", "relocation-model=static"],
              "static": ["-C", "target-feature=+crt-static", "-C", "relocation-model=static"]}
Variant = collections.namedtuple("Variant", "file beside how")


class Pointless(Exception):
    """Nobody does it."""


class Missing(Exception):
    """The machine cannot build it."""


def run(*line, cwd=None, text=None, missing=False):
    p = subprocess.run([str(x) for x in line], cwd=cwd, input=text, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, check=False)
    if p.returncode:
        if missing:
            raise Missing("%s: %s" % (line[0], (p.stderr.strip().splitlines() or ["?"])[-1][:120]))
        raise SystemExit("names_matrix: %s: %s" % (" ".join(str(x) for x in line), p.stderr[-2000:]))
    return p.stdout


def need(*tools):
    for t in tools:
        if not shutil.which(t):
            raise Missing("no %s" % t)


def compile_it(language, version, link, where, split=False, out="prog"):
    """A program with DWARF of this version, and the .dwo files it has."""
    if language == "rustc":
        need("rustc")
        flags = ["-C", "split-debuginfo=unpacked"] if split else []
        run("rustc", "-C", "opt-level=2", "-g", "-C", "dwarf-version=%d" % version, "--edition=2021",
            "-C", "codegen-units=1", *RUST_LINKS[link], *flags, "-o", out, HERE / "lines.rs", cwd=where, missing=True)
    else:
        need(language)
        run(language, "-O2", "-gdwarf-%d" % version, *(["-gsplit-dwarf"] if split else []), "-Wl,--build-id=sha1",
            *LINKS[link], "-o", out, HERE / "lines.c", cwd=where, missing=True)
    return where / out


def truth_of(program, language):
    """Lines of an address and the chain of functions and lines there."""
    if language != "rustc":
        return run(program).splitlines()
    return run(program).splitlines()


def strip(program, where, *more):
    debug, bare = where / "prog.debug", where / "bare"
    run("objcopy", "--only-keep-debug", program, debug)
    run("objcopy", "--strip-all", *more, program, bare)
    return debug, bare


def plain(program, where, _):
    return Variant(program, [], "chains")


def compressed(kind):
    def make(program, where, _):
        to = where / kind
        run("objcopy", "--compress-debug-sections=" + kind, program, to, missing=True)
        return Variant(to, [], "chains")
    return make


def stripped(program, where, _):
    run("objcopy", "--strip-all", program, where / "none")
    return Variant(where / "none", [], "nothing")


def symbols(program, where, _):
    run("objcopy", "--strip-debug", program, where / "symbols")
    return Variant(where / "symbols", [], "functions")


def build_id(program, where, _):
    debug, bare = strip(program, where)
    return Variant(bare, ["debug=%s" % debug], "chains")


def debuglink(program, where, _):
    debug, bare = strip(program, where, "--remove-section=.note.gnu.build-id")
    run("objcopy", "--add-gnu-debuglink=%s" % debug, bare)
    return Variant(bare, ["link=%s" % debug], "chains")


def uleb(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def no_ranges(program, where, _):
    """As old compilers wrote units: DW_AT_ranges and DW_AT_high_pc of theirs become attributes that nobody knows."""
    found = re.search(r"\] \.debug_abbrev\s+PROGBITS\s+\w+ (\w+) (\w+)", run("readelf", "-SW", program))
    at, n = int(found[1], 16), int(found[2], 16)
    data, end, changed = bytearray(program.read_bytes()), at + n, 0
    while at < end:
        code, at = uleb(data, at)
        if not code:
            continue
        tag, at = uleb(data, at)
        at += 1
        while True:
            place = at
            attribute, at = uleb(data, at)
            form, at = uleb(data, at)
            if form == 0x21:  # implicit_const
                _, at = uleb(data, at)
            if not attribute and not form:
                break
            if tag == 0x11 and attribute in (0x12, 0x55):
                data[place] = 0x06
                changed += 1
    if not changed:
        raise Missing("no unit tells its ranges")
    to = where / "no-ranges"
    to.write_bytes(data)
    to.chmod(0o755)
    return Variant(to, [], "chains")


def other_debuglink(program, where, _):
    """One byte of the debug file is another: its CRC does not fit."""
    debug, bare = strip(program, where, "--remove-section=.note.gnu.build-id")
    run("objcopy", "--add-gnu-debuglink=%s" % debug, bare)
    data = bytearray(debug.read_bytes())
    data[-1] ^= 1
    debug.write_bytes(data)
    return Variant(bare, ["link=%s" % debug], "misfit")


def other_build_id(program, where, _):
    debug, bare = strip(program, where)
    data = bare.read_bytes()
    at = data.index(b"GNU\0", data.index(b"\x14\0\0\0\x03\0\0\0GNU\0")) + 4
    bare.write_bytes(data[:at] + bytes(20) + data[at + 20:])
    return Variant(bare, ["debug=%s" % debug], "misfit")


def mini(program, where, _):
    need("xz", "nm")
    run("sh", HERE / "mini.sh", program, where / "mini", missing=True)
    return Variant(where / "mini", [], "functions")


def dwz(program, where, compile_again):
    """Two programs that have much in common, so that there is something to move."""
    need("dwz")
    again = compile_again(out="again")
    shutil.copy(program, where / "one")
    shutil.copy(again, where / "two")
    run("dwz", "-m", "common.dwz", "one", "two", cwd=where, missing=True)
    if not (where / "common.dwz").exists():
        raise Missing("dwz found nothing in common")
    return Variant(where / "one", ["alt=%s" % (where / "common.dwz")], "chains")


def dwz_stripped(program, where, compile_again):
    v = dwz(program, where, compile_again)
    debug, bare = strip(v.file, where)
    return Variant(bare, ["debug=%s" % debug] + v.beside, "chains")


def split(program, where, compile_again):
    out = compile_again(split=True, out="split")
    dwos = sorted(where.glob("*.dwo"))
    if not dwos:
        raise Missing("no .dwo is written")
    return Variant(out, ["dwo=%s" % d for d in dwos], "chains")


def loose(program, where, compile_again):
    """Where the compiler says that they are."""
    if compile_again.how[0] == "rustc" and compile_again.how[2] != "pie":  # it takes long
        raise Pointless()
    v = split(program, where, compile_again)
    return Variant(v.file, ["loose=%d" % len(v.beside)], "chains")


def single(program, where, compile_again):
    """In the object file itself, which the program names instead of a .dwo."""
    language, version, link = compile_again.how
    if language != "clang":
        raise Pointless()
    run(language, "-O2", "-gdwarf-%d" % version, "-gsplit-dwarf=single", *([] if link == "fixed" else ["-fPIE"]), "-c", "-o", "lines.o",
        HERE / "lines.c", cwd=where, missing=True)
    run(language, *LINKS[link], "-o", "single", "lines.o", cwd=where)
    return Variant(where / "single", ["loose=1"], "chains")


def package(tool):
    def make(program, where, compile_again):
        need(tool)
        if tool == "dwp" and (compile_again.how[0] == "rustc" or compile_again.how[2] != "pie"):
            raise Pointless()
        v = split(program, where, compile_again)
        run(tool, "-e", v.file, "-o", where / "split.dwp", cwd=where, missing=True)
        lists = b".debug_rnglists.dwo"
        if lists not in (where / "split.dwp").read_bytes() and any(
                lists in pathlib.Path(b.split("=")[1]).read_bytes() for b in v.beside):
            raise Missing("%s leaves out %s" % (tool, lists.decode()))
        return Variant(v.file, ["dwo=%s" % (where / "split.dwp")], "chains")
    return make


PACKAGING = {"plain": plain, "zlib": compressed("zlib"), "zlib-gnu": compressed("zlib-gnu"), "zstd": compressed("zstd"), "no-ranges": no_ranges,
             "stripped": stripped, "symbols": symbols, "build-id": build_id, "debuglink": debuglink,
             "other-crc": other_debuglink, "other-id": other_build_id, "mini": mini, "dwz": dwz,
             "dwz-stripped": dwz_stripped, "split": split, "loose": loose, "single": single, "dwp": package("llvm-dwp"), "dwp-binutils": package("dwp")}


def expect(said, truth, how, language):
    """What is wrong, or None."""
    if how == "misfit":
        return None if said and said[0].startswith("misfit") else "it was taken"
    for want, got in zip(truth, said):
        address, *chain = want.split()
        if how == "functions":
            chain = [chain[-1].rsplit(":", 1)[0] + ":0"]
        elif how == "nothing":
            chain = []
        if language == "rustc":
            got = " ".join(re.sub(r"^lines::", "", x) for x in got.split())
        if got.split() != [address, *chain]:
            return "%s instead of %s" % (got, " ".join([address, *chain]))
    return None if len(said) == len(truth) else "%d addresses of %d" % (len(said), len(truth))


def one(language, version, link, where, counts):
    def again(out, **options):
        return compile_it(language, version, link, where, out=out, **options)

    name = "%s/dwarf%d/%s" % (language, version, link)
    try:
        program = again("prog")
        truth = truth_of(program, language)
    except Missing as e:
        counts["not built"] += len(PACKAGING)
        print("not built: %s (%d packagings): %s" % (name, len(PACKAGING), e))
        return
    for packaging, make in PACKAGING.items():
        if WORD not in name + "/" + packaging:
            continue
        below = where / packaging
        below.mkdir()
        try:
            compile_again = functools.partial(compile_it, language, version, link, below)
            compile_again.how = (language, version, link)
            v = make(program, below, compile_again)
            told = truth_of(v.file, language) if packaging in ("split", "loose", "single", "dwp", "dwp-binutils") else truth
        except Pointless:
            continue
        except Missing as e:
            counts["not built"] += 1
            print("not built: %s/%s: %s" % (name, packaging, e))
            continue
        p = subprocess.run([TOOL, str(v.file), *v.beside], input="\n".join(told) + "\n", text=True,
                           stdout=subprocess.PIPE, check=False)
        wrong = expect(p.stdout.splitlines(), told, v.how, language)
        if p.returncode not in (0, 3):
            wrong = "names-of ended with %d" % p.returncode
        counts["wrong" if wrong else "right"] += 1
        if wrong:
            print("WRONG %s/%s: %s" % (name, packaging, wrong))


def deep(language, where, depth):
    """Blocks within blocks. Where they are more than are kept, what comes behind them, in the function and in the file, is known."""
    if not shutil.which(language):
        return None
    blocks = "".join("{ volatile int a%d = %d;\n" % (i, i) for i in range(depth))
    here = "static inline __attribute__((always_inline)) void %s(void) { __asm__ volatile(\".globl at_%s\\nat_%s: nop\"); }\n"
    names = ("first", "second", "third")
    (where / "deep.c").write_text("".join(here % (n, n, n) for n in names) + "void nested(void) {\n" + blocks + "first();\n" + "}" * depth +
                                  "\nsecond();\n}\nvoid after(void) { third(); }\nint main(void) { nested(); after(); }\n")
    run(language, *(["-fbracket-depth=10000"] if language == "clang" else []), "-g", "-O0", "-o", where / "deep", where / "deep.c")
    at = dict(reversed(x.split()[::2]) for x in run("nm", where / "deep").splitlines() if " at_" in x)
    said = [x.split()[1:] for x in run(TOOL, where / "deep", text="".join("%s\n" % at["at_" + n] for n in names)).splitlines()]
    end = 3 + 1 + depth + 1  # where the blocks end
    want = [["first:1", "nested:%d" % end], ["second:2", "nested:%d" % (end + 2)], ["third:3", "after:%d" % (end + 4)]]
    if depth > 4096:
        want[0] = ["nested:1"]
    return None if said == want else "%s instead of %s" % (said, want)


def main():
    counts = collections.Counter()
    os.environ.pop("DEBUGINFOD_URLS", None)
    rows = [(language, version, link)
            for language, version, link in itertools.product(("gcc", "clang", "rustc"), (4, 5), LINKS)
            if any(WORD in "%s/dwarf%d/%s/%s" % (language, version, link, p) for p in PACKAGING)]

    def row(arguments):
        with tempfile.TemporaryDirectory(prefix="pprofd-names-") as where:
            one(*arguments, pathlib.Path(where), counts)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(row, rows))
    for language, depth in itertools.product(("gcc", "clang"), (400, 5000)) if WORD in "deep" else ():
        with tempfile.TemporaryDirectory(prefix="pprofd-names-") as where:
            wrong = deep(language, pathlib.Path(where), depth)
        counts["wrong" if wrong else "right"] += 1
        if wrong:
            print("WRONG %s/deep/%d: %s" % (language, depth, wrong))
    print("names_matrix: %(right)d right, %(wrong)d wrong, %(not built)d not built" %
          collections.defaultdict(int, counts))
    return 1 if counts["wrong"] or not counts["right"] else 0


sys.exit(main())
