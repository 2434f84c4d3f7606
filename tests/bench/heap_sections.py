# SPDX-License-Identifier: Apache-2.0
"""heap_sections.py - the heap's tables of tools/bench.

    heap-truth      per site, what was estimated and what the target says of itself
    heap-cost       a probe hit against an empty uprobe
    heap-governor   what the default limit lets through in a minute
    heap-memory     64 K live sampled objects
"""

import ctypes
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "live"))

bench = None   # tools/bench itself
lib = heaplib = None


def prepare(o):
    """The live tests' library, on this build."""
    global lib, heaplib
    os.environ["PPROFD_BUILD"] = str(o.build)
    import heaplib as h
    import lib as l
    lib, heaplib = l, h


def allocators():
    for name in heaplib.LIBRARIES:
        try:
            heaplib.preload(name)
            yield name
        except lib.Skip:
            print(f"| {name} | not installed |")


# ---- truth

def truth_rows(program, allocator, runs):
    """{(site, column): [(estimate, truth, deviation)]}"""
    found = {}
    for _ in range(runs):
        t = heaplib.Accountant(program, 60, 8, 0, allocator=allocator)
        d = heaplib.watched(t)
        t.say()
        time.sleep(2)
        truth, seen = t.account(), heaplib.by_site(heaplib.get(d))
        d.kill()
        t.kill()
        for site, (n, n_bytes, live, live_bytes) in truth.items():
            row = seen.get(site, [0] * 4)
            found.setdefault((site, "allocated"), []).append(
                (row[1], n_bytes, heaplib.deviation(n, n_bytes)))
            found.setdefault((site, "in use"), []).append(
                (row[3], live_bytes, heaplib.deviation(live, live_bytes)))
    return found


def section_truth(o):
    prepare(o)
    runs = min(o.runs, 5)
    print(f"\n## Heap: estimates against the target's own account\n\n{runs} runs of 2 s, 8 threads, all probed from "
          f"before the first allocation (--max-overhead none), mean of 512 KiB between samples; difference and "
          f"its expected size (one deviation of the sampling error) of the sum of all runs\n")
    print("| allocator, program | site | allocated, MB | difference | one deviation | in use, MB | difference | "
          "one deviation | beyond 3 deviations |\n|---|---|---|---|---|---|---|---|---|")
    programs = [("heap", a) for a in allocators()]
    programs += [(p, "glibc") for p in ("heap-static", "heap-c", "heap-musl", "heap-musl-static",
                                        "heap-rust") if (lib.TARGETS / p).exists()]
    for program, allocator in programs:
        rows = truth_rows(program, allocator, runs)
        for site in dict.fromkeys(s for s, _ in rows):
            cells, beyond = [], 0
            for column in ("allocated", "in use"):
                figures = rows[site, column]
                got, true = sum(f[0] for f in figures), sum(f[1] for f in figures)
                sigma = sum(f[2] ** 2 for f in figures) ** 0.5
                unknown = column == "in use" and site == "site_c" and allocator != "glibc"
                beyond += 0 if unknown else sum(
                    abs(g - w) > 3 * s + (RARE if w else 0) for g, w, s in figures)
                cells.append(f"{true / 1e6:.1f} | not known | " if unknown else
                             f"{true / 1e6:.1f} | {100 * (got - true) / true:+.2f} % | {100 * sigma / true:.2f} %"
                             if true else f"0 | {got} bytes | 0")
            print(f"| {program}, {allocator} | {site} | {' | '.join(cells)} | {beyond} of {2 * len(figures)} |",
                  flush=True)


RARE = 1 << 20  # where a sample or two are expected their number is no bell curve


# ---- cost

def bpf(command, attributes):
    """The system call."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return lib.syscall(321, ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes)))


def empty_uprobe(path, offset, pid):
    """A program of no work on an instruction of the process; stays while we live. Its descriptor."""
    code = ctypes.create_string_buffer(struct.pack("<QQ", 0xb7, 0x95))  # r0 = 0; exit
    license_text = ctypes.create_string_buffer(b"GPL")
    load = struct.pack("<IIQQIIQII16sII", 2, 2, ctypes.addressof(code), ctypes.addressof(license_text),
                       0, 0, 0, 0, 0, b"empty", 0, 48)
    program = bpf(5, load)
    name = ctypes.create_string_buffer(os.fsencode(path))
    offsets = (ctypes.c_uint64 * 1)(offset)
    link = struct.pack("<IIIIQQQQIII", program, 0, 48, 0, ctypes.addressof(name),
                       ctypes.addressof(offsets), 0, 0, 1, 0, pid)
    fd = bpf(28, link)
    os.close(program)
    return fd


def offset_of(path, symbol):
    names = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    address = int(re.search(rf"^(\w+) T {symbol}$", names, re.M).group(1), 16)
    parts = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True).stdout
    for at, virtual, size in re.findall(r"^\s+LOAD\s+(0x\w+) (0x\w+) 0x\w+ (0x\w+)", parts, re.M):
        if int(virtual, 16) <= address < int(virtual, 16) + int(size, 16):
            return address - int(virtual, 16) + int(at, 16)
    raise ValueError(symbol)


def slices(t, seconds):
    """The smallest and the middle of what it prints meanwhile: {name: (ns, ns)}"""
    t.read()
    n = len(t.lines)
    time.sleep(seconds)
    t.read()
    rows = [dict(re.findall(r"(\w+) ([\d.]+)", line)) for line in t.lines[n + 1:]]
    return {k: (min(float(r[k]) for r in rows), bench.median([float(r[k]) for r in rows]))
            for k in rows[0]}


def alone(allocator, directory):
    """The environment of a program whose allocator is a file of its own: others who probe the same file, for
    whatever process, tax each hit."""
    if allocator == "musl":  # its loader is its library, and has one place
        return dict(os.environ)
    path = heaplib.preload(allocator).get("LD_PRELOAD", "/lib/x86_64-linux-gnu/libc.so.6")
    copy = shutil.copy(path, directory)
    if allocator == "glibc":
        return dict(os.environ, LD_LIBRARY_PATH=directory)
    return dict(os.environ, LD_PRELOAD=copy)


def cost_of_a_hit(o):
    with tempfile.TemporaryDirectory() as directory:
        hits(directory)


def hits(directory):
    print("\n## Heap: what a probe hit adds to a call that is not sampled\n\nns of the thread's CPU time, one process, turns "
          "of 1000 calls of each by turns; smallest (median of half seconds); `empty`: a BPF program of two "
          "instructions by uprobe.multi on a `push`; each allocator but musl is a copy of its file, which nobody else "
          "probes\n")
    print("| allocator | call | bare | probed | added | times an empty uprobe |\n|---|---|---|---|---|---|")
    for allocator, program in [*((a, "heap-loop") for a in allocators()), ("musl", "heap-loop-musl")]:
        if not (lib.TARGETS / program).exists():
            print(f"| {allocator} | there was no musl-gcc when the build was configured | | | | |")
            continue
        t = heaplib.Told(program, "slices", 120, environment=alone(allocator, directory))
        t.say()
        time.sleep(0.5)
        bare = slices(t, 3)
        d = heaplib.watched(t)
        fd = empty_uprobe(lib.target(program), offset_of(lib.target(program), "empty_call"), t.pid)
        time.sleep(0.5)
        probed = slices(t, 8)
        os.close(fd)
        d.kill()
        t.kill()
        empty = [probed["empty"][i] - bare["empty"][i] for i in (0, 1)]
        for k in ("empty", "malloc", "free"):
            added = [probed[k][i] - bare[k][i] for i in (0, 1)]
            print(f"| {allocator} | {k} | {bare[k][0]:.1f} ({bare[k][1]:.1f}) | {probed[k][0]:.0f} "
                  f"({probed[k][1]:.0f}) | {added[0]:.0f} ({added[1]:.0f}) | {added[0] / empty[0]:.2f} "
                  f"({added[1] / empty[1]:.2f}) |", flush=True)


def section_cost(o):
    prepare(o)
    cost_of_a_hit(o)


# ---- governor

def totals_of(d):
    """By pprofd's own account: what hits and samples have cost, ns; hits, us of one; and the profile."""
    p = heaplib.get(d)
    n, us, ms = re.search(r"cost: (\d+) probe hits of some ([\d.]+) us.*; with their samples ([\d.]+) ms in all",
                          "\n".join(p.comments)).groups()
    return float(ms) * 1e6, int(n), float(us), p


def top_sites(profile, column):
    """The first three."""
    rows = {}
    for s in profile.samples:
        rows[heaplib.site_of(s)] = rows.get(heaplib.site_of(s), 0) + s.values[column]
    rows.pop(None, None)
    top = sorted(rows, key=rows.get, reverse=True)[:3]
    all_of_them = sum(rows.values()) or 1
    return ", ".join(f"{site} {100 * rows[site] / all_of_them:.0f} %" for site in top if rows[site]) or "-"


class Redis:
    """redis-server under redis-benchmark."""

    def __enter__(self):
        self.w = bench.Workload(lib.BUILD, "redis")
        return self.w.__enter__().pid

    def __exit__(self, *a):
        self.w.__exit__(*a)


class Own:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __enter__(self):
        self.t = heaplib.Told(*self.arguments)
        self.t.say()
        return self.t.pid

    def __exit__(self, *a):
        self.t.kill()


def section_governor(o):
    prepare(o)
    print("\n## Heap: what the default limit (2 %) lets through, over a minute after the first 5 s\n\nhits times their measured "
          "cost, and samples, against the target's CPU time\n")
    print("| target | CPU of the target, s | hits | cost of one, us | share | level at the end | heap (in use) points at | "
          "growth points at |\n|---|---|---|---|---|---|---|---|")
    for name, make in (("loop of malloc and free, leaks 1 MiB/s", Own("heap-loop", "pairs", 300, 1024)),
                       ("C++ churn, 8 threads, leaks 1 MiB/s", Own("heap", 300, 8, 320, 1024)),
                       ("the same, as fast as can be", Own("heap", 300, 8, 0, 1024)),
                       ("redis under redis-benchmark", Redis())):
        if isinstance(make, Redis) and not shutil.which("redis-server"):
            print(f"| {name} | not installed | | | | | | |")
            continue
        with make as pid:
            d = lib.Daemon(pid)
            heaplib.attached(d)
            time.sleep(5)
            (cost0, n0, _, _), cpu0 = totals_of(d), lib.cpu_seconds(pid)
            time.sleep(60)
            (cost1, n1, us, p), cpu1 = totals_of(d), lib.cpu_seconds(pid)
            level = [c for c in p.comments if c.startswith("limit: ")]
            print(f"| {name} | {cpu1 - cpu0:.1f} | {n1 - n0} | {us:.2f} | "
                  f"{100 * (cost1 - cost0) / 1e9 / (cpu1 - cpu0):.2f} % | "
                  f"{level[0][7:60] + '...' if level else 'in full'} | "
                  f"{top_sites(p, 3)} | {top_sites(heaplib.get(d, 'growth'), 1)} |", flush=True)
            d.kill()


# ---- memory

def section_memory(o):
    prepare(o)
    print("\n## Heap: memory of our own, KiB\n\njemalloc target, objects of 8 MiB that are never touched, all live, all sampled\n")
    print("| live sampled objects | broker | serve | symbolizer | together resident | BPF maps | lost |\n"
          "|---|---|---|---|---|---|---|")
    t = heaplib.Told("heap-steps", allocator="jemalloc")
    d = heaplib.watched(t)
    for more in (0, 1000, 64536):
        t.do(f"one {more} {8 << 20}")
        time.sleep(1)
        p = heaplib.get(d)
        p = heaplib.get(d)
        pids = d.three()
        figures = [bench.resident_kib(pid) for pid in pids]
        lost = [c for c in p.comments if c.startswith("lost")]
        live = sum(s.values[2] for s in p.samples)
        print(f"| {live} | {' | '.join(str(f) for f in figures)} | {sum(figures)} | {bench.bpf_map_kib(pids)} | "
              f"{lost[0] if lost else 'none'} |", flush=True)
    d.kill()
    t.kill()


SECTIONS = {"heap-truth": section_truth, "heap-cost": section_cost, "heap-governor": section_governor,
            "heap-memory": section_memory}
