#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heap_safety.py - nothing that programs do with their allocator and their stack ends otherwise because
pprofd looks at it: exceptions, jumps, cancellation, signals, threads, forks, a seccomp filter."""

import os
import pathlib
import re
import time

import heaplib
import lib
from heaplib import Told
from lib import check

SECONDS = 0.7  # of each part
PARTS = ["exceptions", "handlers", "faults", "signals", "cancellations", "endings", "checksums", "forks",
         "seccomp"]


def installed():
    found = []
    for allocator in heaplib.LIBRARIES:
        try:
            heaplib.preload(allocator)
            found.append(allocator)
        except lib.Skip:
            pass
    return found


def counted(d, t):
    """The allocations that the probes have seen."""
    text = d.get(heaplib.path("heap", "?debug=1", pid=t.pid)).text()
    return int(re.search(r"^# Mallocs = (\d+)$", text, re.M).group(1))


def check_sane(d, t):
    """The profile is valid and none of it is negative; the child's allocations are nobody's."""
    p = heaplib.get(d, pid=t.pid)
    heaplib.no_negatives(p)
    sites = heaplib.by_site(p)
    check("site_child" not in sites, "what a child has allocated is counted: %s" % sites)
    check(p.samples, "nothing was sampled: %s" % p.comments)


def test_programs_behave():
    """All allocators at once; each ends as without us, having been looked at all the time."""
    targets = {a: Told("heap-safety", SECONDS, allocator=a) for a in installed()}
    d = lib.Daemon(*targets.values(), arguments=heaplib.EVERYTHING)
    for allocator, t in targets.items():
        what = heaplib.attached(d, pid=t.pid)
        check(what.startswith("uprobes"), "%s: source: %s" % (allocator, what))
    for t in targets.values():
        t.say()
    for allocator, t in targets.items():
        for part in PARTS[:-1]:
            t.line("^part %s$" % part)
        try:
            check(counted(d, t) > 10000, "%s: few allocations were seen" % allocator)
            check_sane(d, t)
        except lib.Failure:
            if lib.alive(t.pid):  # the last part is short: it may be over
                raise
    for allocator, t in targets.items():
        code = t.wait()
        t.read(1)
        check(code == 0 and t.lines[-1] == "OK", "%s: status %d: %s" % (allocator, code, t.lines[-2:]))
    d.read()
    bad = d.said("has died|AddressSanitizer|runtime error")
    check(not bad, " | ".join(bad))


def test_two_of_a_kind():
    """Two processes with one allocator, which throw: the kernel puts the return probes of the one's session into the
    other, too."""
    targets = [(a, Told("heap-safety", 0.1, allocator=a)) for a in installed() for _ in range(2)]
    d = lib.Daemon(*[t for _, t in targets], arguments=heaplib.EVERYTHING)
    for allocator, t in targets:
        what = heaplib.attached(d, pid=t.pid)
        check(what.startswith("uprobes"), "%s: source: %s" % (allocator, what))
    for _, t in targets:
        t.say()
    for allocator, t in targets:
        code = t.wait()
        t.read(1)
        check(code == 0 and t.lines[-1] == "OK", "%s: status %d: %s" % (allocator, code, t.lines[-2:]))
    d.stop()


def test_probes_come_and_go():
    """Programs run on while they are attached to and left, again and again."""
    targets = {a: Told("heap-safety", SECONDS, allocator=a) for a in installed()}
    for t in targets.values():
        t.say()
    while any(lib.alive(t.pid) for t in targets.values()):
        alive = [t for t in targets.values() if lib.alive(t.pid)]
        try:
            d = lib.Daemon(*alive, arguments=heaplib.EVERYTHING)
            for t in alive:
                heaplib.attached(d, pid=t.pid)
            d.kill()
        except lib.Failure:
            if all(lib.alive(t.pid) for t in alive):
                raise
    for allocator, t in targets.items():
        code = t.wait()
        t.read(1)
        check(code == 0 and t.lines[-1] == "OK", "%s: status %d: %s" % (allocator, code, t.lines[-2:]))


def breakpoints(pid):
    """The mappings of files that are not what the files are."""
    found = []
    with open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in pathlib.Path("/proc/%d/maps" % pid).read_text().splitlines():
            span, rights, offset, _, _, *path = line.split(maxsplit=5)
            if "x" not in rights or not path or not path[0].startswith("/"):
                continue
            start, end = (int(n, 16) for n in span.split("-"))
            with open(path[0], "rb") as f:
                there = os.pread(f.fileno(), end - start, int(offset, 16))
            if os.pread(memory.fileno(), len(there), start) != there:
                found.append(path[0])
    return found


def test_killed_while_probes_go():
    """The kernel takes no breakpoint out for a process that is being killed, and never tries again: pprofd sees to it that
    none of its own does it then."""
    if tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2]) < (6, 13):
        lib.skip("without sessions of uprobes it is not seen to")
    allocator = installed()[:2][-1]
    for wait in (0.002, 0.005, 0.01, 0.02):
        t = Told("heap-loop", "slices", 60, allocator=allocator)
        d = lib.Daemon(t)
        heaplib.attached(d)
        check(breakpoints(t.pid), "no breakpoints are found")
        t.say()
        d.line("its allocator is probed (for moments only|without frees) from now on")
        time.sleep(wait)  # it goes about it
        d.kill()
        lib.eventually(lambda p=t: not breakpoints(p.pid), "breakpoints stay", timeout=5)
        t.kill()


if __name__ == "__main__":
    lib.run(globals())
