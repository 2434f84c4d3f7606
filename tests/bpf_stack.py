#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bpf_stack.py CLANG OBJECT... - no chain of calls in a BPF object needs more stack than Linux 6.1 allows: 512 bytes, each
function's part rounded up to 32, eight functions deep (check_max_stack_depth; later kernels count some chains as less). Counted from
the instructions, from above: what is never run counts, and any function whose address is taken counts as called there."""

import collections
import pathlib
import struct
import subprocess
import sys
import tempfile

LIMIT, FRAMES, BEFORE_TAIL_CALL, ROUND = 512, 8, 256, 32
R10, CALL, TAIL_CALL, LD_IMM64, MOV64_X, ADD64_K = 10, 0x85, 12, 0x18, 0xbf, 0x07
PSEUDO_CALL, PSEUDO_FUNC = 1, 4
LDX, ST, STX, ALU, ALU64, LD = 1, 2, 3, 4, 7, 0
SHT_SYMTAB, SHT_REL, STT_FUNC, SHF_EXECINSTR = 2, 9, 2, 4

Function = collections.namedtuple("Function", "name stack calls tail")


class Object:
    """Sections, symbols and relocations of a relocatable ELF64 file, little-endian."""

    def __init__(self, data):
        assert data[:6] == b"\x7fELF\x02\x01", "no ELF64 file"
        at, = struct.unpack_from("<Q", data, 40)
        size, n = struct.unpack_from("<HH", data, 58)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(n)]
        self.data = data
        table = next(s for s in self.sections if s[1] == SHT_SYMTAB)
        names = self.bytes(self.sections[table[6]])
        self.symbols = []
        for name, info, _, section, value, _ in struct.iter_unpack("<IBBHQQ", self.bytes(table)):
            self.symbols.append((names[name:names.index(b"\0", name)].decode(), info & 15, section, value))

    def bytes(self, section):
        return self.data[section[4]:section[4] + section[5]]

    def relocations(self, index):
        """{offset in the section: symbol}"""
        found = {}
        for s in self.sections:
            if s[1] == SHT_REL and s[7] == index:
                found.update((at, self.symbols[info >> 32]) for at, info in struct.iter_unpack("<QQ", self.bytes(s)))
        return found

    def functions(self):
        """{(section, offset): name}"""
        return {(section, value): name for name, kind, section, value in self.symbols if kind == STT_FUNC}


def callee(code, pc, imm, symbol):
    """(section, offset) that a call, or a function's address, leads to."""
    if symbol is None:
        return code, pc + 8 * (imm + 1)
    _, kind, section, value = symbol
    return section, value if kind == STT_FUNC else value + 8 * (imm + 1)


def stack_of(instructions):
    """Bytes below r10 that they may touch: accesses by r10, or by what was made of it in straight line."""
    depth, made = 0, {R10: 0}
    for op, registers, off, imm in instructions:
        to, by = registers & 15, registers >> 4
        kind = op & 7
        base = by if kind == LDX else to if kind in (ST, STX) else None
        if base in made:
            depth = max(depth, -(made[base] + off))
        if op == MOV64_X and by in made:
            made[to] = made[by]
        elif op == ADD64_K and to in made:
            made[to] += imm
            depth = max(depth, -made[to])
        elif kind in (ALU, ALU64, LDX, LD) and to != R10:
            made.pop(to, None)
        elif op == CALL:
            for register in range(6):
                made.pop(register, None)
    return depth


def functions_of(data):
    """{(section, offset): Function} of an object's code."""
    o = Object(data)
    starts = o.functions()
    found = {}
    for index, section in enumerate(o.sections):
        if not section[2] & SHF_EXECINSTR or not section[5]:
            continue
        code = list(struct.iter_unpack("<BBhi", o.bytes(section)))
        relocations = o.relocations(index)
        bounds = sorted(value for at, value in starts if at == index)
        assert bounds and bounds[0] == 0, "code without a function"
        for i, start in enumerate(bounds):
            end = bounds[i + 1] if i + 1 < len(bounds) else section[5]
            body = code[start // 8:end // 8]
            calls, tail = set(), False
            for n, (op, registers, _, imm) in enumerate(body):
                pc, symbol = start + 8 * n, relocations.get(start + 8 * n)
                if op == CALL and registers >> 4 == PSEUDO_CALL:
                    calls.add(callee(index, pc, imm, symbol))
                elif op == LD_IMM64 and (registers >> 4 == PSEUDO_FUNC or
                                         symbol and symbol[2] < len(o.sections) and o.sections[symbol[2]][2] & SHF_EXECINSTR):
                    calls.add((symbol[2], symbol[3] + (0 if symbol[1] == STT_FUNC else imm)))
                elif op == CALL and registers >> 4 == 0 and imm == TAIL_CALL:
                    tail = True
            found[index, start] = Function(starts[index, start], stack_of(body), calls, tail)
    assert found, "no code"
    for f in found.values():
        assert f.calls <= found.keys(), "%s calls what is no function" % f.name
    return found


def deepest(functions):
    """[(bytes, names)] of the deepest chain from each function; what no kernel takes is an AssertionError."""
    def chains(key, above, names):
        f = functions[key]
        names = names + [f.name]
        assert f.name not in names[:-1], "recursion: " + " -> ".join(names)
        assert len(names) <= FRAMES, "%d functions deep: %s" % (len(names), " -> ".join(names))
        assert not (f.tail and above >= BEFORE_TAIL_CALL), "%d bytes above a tail call: %s" % (above, " -> ".join(names))
        here = above + -(-max(f.stack, 1) // ROUND) * ROUND
        return max([(here, names)] + [chains(c, here, names) for c in f.calls], key=lambda x: x[0])
    called = set().union(*(f.calls for f in functions.values()))
    return sorted((chains(key, 0, []) for key in functions if key not in called), reverse=True)


def verdict(data):
    depth, names = deepest(functions_of(data))[0]
    assert depth <= LIMIT, "%d bytes: %s" % (depth, " -> ".join(names))
    return "%d bytes: %s" % (depth, " -> ".join(names))


def made(clang, text):
    with tempfile.TemporaryDirectory() as d:
        out = pathlib.Path(d, "o")
        subprocess.run([clang, "-O2", "-target", "bpf", "-mcpu=v3", "-x", "c", "-", "-c", "-o", out], input=text.encode(), check=True,
                       timeout=60)
        return out.read_bytes()


def refused(data, words):
    try:
        said = verdict(data)
    except AssertionError as e:
        assert words in str(e), e
        return str(e)
    raise AssertionError("taken: " + said)


FILL = """
#define NI __attribute__((noinline))
NI %s int third(int a) { volatile char x[%d]; x[a & 15] = a; return x[3]; }
NI int second(int a) { volatile char x[160]; x[a & 15] = a; return third(a) + x[3]; }
__attribute__((section("kprobe"))) int first(void *c) { volatile char x[160]; x[(long)c & 15] = 1; return second((long)c) + x[5]; }
"""


def test_made_objects(clang):
    """What it is there for: 160 + 160 + 192 are taken, 8 bytes more are not, in its section and out of it."""
    assert verdict(made(clang, FILL % ("static", 192))) == "512 bytes: first -> second -> third"
    assert refused(made(clang, FILL % ("static", 200)), "544 bytes: first -> second -> third")
    assert refused(made(clang, FILL % ("__attribute__((section(\"kprobe\")))", 200)), "544 bytes: first -> second -> third")
    callback = """static long (*loop)(unsigned, void *, void *, long) = (void *)181;
static long each(unsigned i, void *c) { volatile char x[%d]; x[i & 15] = i; return x[3]; }
__attribute__((section("kprobe"))) int first(void *c) { volatile char x[256]; x[(long)c & 15] = 1; loop(3, each, 0, 0); return x[3]; }"""
    assert verdict(made(clang, callback % 256)) == "512 bytes: first -> each"
    refused(made(clang, callback % 264), "544 bytes: first -> each")
    deep = "".join("__attribute__((noinline)) int f%d(int a) { return f%d(a) + a; }" % (n, n - 1) for n in range(1, 8))
    deep = "__attribute__((noinline)) int f0(int a) { volatile int x = a; return x; }" + deep
    entry = "__attribute__((section(\"kprobe\"))) int first(void *c) { return f%d((long)c) + 1; }"
    verdict(made(clang, deep + entry % 6))
    refused(made(clang, deep + entry % 7), "9 functions deep")
    tail = """static long (*tail)(void *, void *, int) = (void *)12;
__attribute__((noinline)) int jump(void *c) { tail(c, 0, 1); return 0; }
__attribute__((section("kprobe"))) int first(void *c) { volatile char x[%d]; x[(long)c & 15] = 1; return jump(c) + x[3]; }"""
    verdict(made(clang, tail % 224))
    refused(made(clang, tail % 256), "256 bytes above a tail call")


def main():
    clang, objects = sys.argv[1], sys.argv[2:]
    tests = [("made objects", lambda: test_made_objects(clang))]
    tests += [(pathlib.Path(o).name, lambda o=o: verdict(pathlib.Path(o).read_bytes())) for o in objects]
    failed = 0
    print("1..%d" % len(tests))
    for n, (name, test) in enumerate(tests, 1):
        try:
            said = test()
            print("ok %d %s%s" % (n, name, " # " + said if said else ""))
        except (AssertionError, subprocess.SubprocessError) as e:
            print("not ok %d %s\n# %s" % (n, name, e or "not so"))
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
