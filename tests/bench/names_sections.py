# SPDX-License-Identifier: Apache-2.0
"""names_sections.py - the table of tools/bench on names.

    names   10,000 random addresses with lines and inlined calls: how fast the first time and again, in how much memory,
            beside peers that are asked about the same addresses; and how many answers are llvm-symbolizer's

What is built for it stays in $PPROFD_BENCH_CACHE (~/.cache/pprofd-bench): a program with some 300 MB of DWARF, and blazecli
from crates.io if cargo is there. Time is CPU time of all processes, which says more than a clock on a machine that is
busy; the best of the runs."""

import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile

import names_big
import names_compare

CACHE = pathlib.Path(os.environ.get("PPROFD_BENCH_CACHE", pathlib.Path.home() / ".cache/pprofd-bench"))
LIBRARY = "/usr/lib/x86_64-linux-gnu/libpython3.11d.so.1.0"
N = 10000
N_SLOW = 200  # for who takes minutes
AGAIN = 10  # passes of ours
TIMES = 4  # of peers


def text_of(path):
    """Where its .text is, and how large."""
    out = subprocess.run(["readelf", "-SW", str(path)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\] \.text\s+PROGBITS\s+(\w+) \w+ (\w+)", out)
    return int(found[1], 16), int(found[2], 16)


def dwarf_of(path):
    out = subprocess.run(["readelf", "-SW", str(path)], capture_output=True, text=True, check=True).stdout
    return sum(int(n, 16) for n in re.findall(r"\] \.debug_\w+\s+PROGBITS\s+\w+ \w+ (\w+)", out))


def addresses_of(path, n, seed=8):
    start, size = text_of(path)
    r = random.Random(seed)
    return [hex(start + r.randrange(size)) for _ in range(n)]


def blazecli():
    """Its path; None: it cannot be had."""
    path = CACHE / "cargo/bin/blazecli"
    if not path.exists() and shutil.which("cargo"):
        subprocess.run(["cargo", "install", "--root", str(CACHE / "cargo"), "-j1", "blazecli"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
    return str(path) if path.exists() else None


def run(argv, stdin=None, stdout=subprocess.DEVNULL):
    """(seconds of CPU, peak RSS in MB of the largest process)"""
    p = subprocess.Popen(argv, stdin=open(stdin) if stdin else subprocess.DEVNULL, stdout=stdout,
                         stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = status
    if status:
        raise RuntimeError(f"{argv[0]} ends with {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class Peer:
    """One that reads addresses, or takes them as arguments."""

    def __init__(self, name, argv, package, as_arguments=False, n=N):
        self.name, self.argv, self.package, self.as_arguments, self.n = name, argv, package, as_arguments, n

    def once(self, at, addresses):
        if self.as_arguments:
            return run([*self.argv, *addresses])
        (at / "in").write_text("\n".join(addresses) + "\n")
        return run(self.argv, at / "in")

    def measure(self, at, path, addresses, runs):
        """(seconds first, seconds again, MB)"""
        addresses = addresses[:self.n]
        first = min(self.once(at, addresses) for _ in range(runs))
        both = min(self.once(at, addresses * (1 + TIMES)) for _ in range(runs))
        return first[0], (both[0] - first[0]) / TIMES, first[1]


class Ours(Peer):
    """Both processes count: the child, and who asks it."""

    def measure(self, at, path, addresses, runs):
        (at / "in").write_text("\n".join(addresses) + "\n")
        argv = [str(self.argv / "tests/names-bench"), str(self.argv / "pprofd-symbolizer"), str(path), str(at / "in")]
        first = min(run([*argv, "1"]) for _ in range(runs))
        both = min(run([*argv, str(1 + AGAIN)]) for _ in range(runs))
        return first[0], (both[0] - first[0]) / AGAIN, max(first[1], both[1])


def peers_of(path, build):
    found = [Ours("pprofd-symbolizer", build, None)]
    blaze = blazecli()
    found.append(Peer("blazecli", [blaze, "symbolize", "elf", "--path", str(path)] if blaze else None, "cargo", True))
    for name, options, package, n in [("llvm-symbolizer", ["--inlines"], "llvm", N), ("addr2line", ["-i", "-f", "-C"], "binutils", N),
                                      ("eu-addr2line", ["-i", "-f", "-C"], "elfutils", N_SLOW)]:
        e = ["-e", str(path)]
        found.append(Peer(name, [name, *options, *e] if shutil.which(name) else None, package, n=n))
    return found


def compare(at, build, path, addresses):
    """{kind: number} of addresses whose answers differ from llvm-symbolizer's."""
    (at / "in").write_text("\n".join(addresses) + "\n")
    theirs = subprocess.run(["llvm-symbolizer", "--no-demangle", "-e", str(path)], stdin=open(at / "in"),
                            capture_output=True, text=True, check=True).stdout
    ours = subprocess.run([str(build / "tests/names-bench"), str(build / "pprofd-symbolizer"), str(path), str(at / "in"), "1",
                           "print"], capture_output=True, text=True, check=True).stdout
    found = names_compare.differences(names_compare.read(ours.split("\npass ")[0], True), names_compare.read(theirs, False))
    return {kind: len(where) for kind, where in found.items()}


def section_names(o):
    build = pathlib.Path(o.build)
    program = names_big.make(CACHE / "mid")
    print(f"\n## Names of {N} random addresses, with lines and inlined calls\n\nCPU time of all processes, best of {o.runs} runs; "
          "memory: the peak of the largest process. Again: the same addresses once more, in the same process\n")
    print("| file (MB of DWARF) | symbolizer | addresses/s, first | again | MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as d:
        at = pathlib.Path(d)
        for path in [pathlib.Path(LIBRARY), program]:
            if not path.exists():
                print(f"| {path.name} | not here (libpython3.11-dbg) | | | |")
                continue
            addresses = addresses_of(path, N)
            for p in peers_of(path, build):
                label = f"| {path.name} ({dwarf_of(path) / 1e6:.0f}) | {p.name} |"
                if not p.argv:
                    print(f"{label} not here ({p.package}) | | |")
                    continue
                first, again, memory = p.measure(at, path, addresses, 1 if p.n == N_SLOW else o.runs)
                told = f"{p.n / again:,.0f}" if again > 0 else "lost in the noise"
                print(f"{label} {p.n / first:,.0f} | {told} | {memory:.0f} |", flush=True)
            if shutil.which("llvm-symbolizer"):
                kinds = compare(at, build, path, addresses)
                different = ", ".join(f"{k}: {n}" for k, n in sorted(kinds.items())) or "none"
                print(f"\nAnswers that are not llvm-symbolizer's, of {N} (docs/names.md): {different}\n")




SECTIONS = {"names": section_names}
