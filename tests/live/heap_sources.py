#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heap_sources.py - which source of allocations is chosen and why, and what comes and goes: programs, libraries,
children, targets."""

import os
import pathlib
import re
import shutil
import signal
import time

import heaplib
import lib
from heaplib import Told
from lib import check


def test_told_by_the_process():
    """otel_memory probes are used as they are: weights are exact."""
    t = Told("heap-usdt")
    check(t.do("told 10") == "0", "a semaphore is up before anybody looks")
    d = lib.Daemon(t)
    what = heaplib.attached(d)
    check("otel_memory" in what, "source: %s" % what)
    check(t.do("told 100") == "1", "the semaphore is not up")
    p = heaplib.get(d)
    check(p.period == 1, "period %d" % p.period)
    row = heaplib.by_site(p)["site_told"]
    n = 100 * 70001 // 3000
    check(row[1] == row[3] == 100 * 70001 and abs(row[0] - n) <= 1 and abs(row[2] - n) <= 1,
          "values: %s" % row)
    t.do("released 60")  # ten that were never told, and fifty that were
    row = heaplib.by_site(heaplib.get(d))["site_told"]
    check(row[1] == 100 * 70001 and row[3] == 50 * 70001, "values: %s" % row)
    text = d.get(heaplib.path("heap", "?debug=1")).text()
    check(re.search(r"^heap profile: .* @ heap/2$", text, re.M), text[:200])
    d.stop()
    check(t.do("told 1") == "0", "the semaphore stays up")


def test_told_in_a_way_that_cannot_be_read():
    """Malformed notes are named, and the allocator's functions are probed instead."""
    t = Told("heap-usdt-malformed")
    d = heaplib.watched(t)
    t.do("plain 10000")
    p = heaplib.get(d)
    row = heaplib.by_site(p)["site_plain"]
    check(abs(row[3] - 1e9) < 6 * heaplib.deviation(10000, 1e9), "values: %s" % row)
    for probe in ("alloc", "free"):
        check(lib.comments(p, "not probed: otel_memory:%s: an argument is where" % probe), "comments: %s" % p.comments)
    d.stop()


def test_told_by_our_library():
    """libpprofd-alloc.so, where the build has it; each site against the target's own account."""
    library = lib.BUILD / "libpprofd-alloc.so"
    if not library.exists():
        lib.skip("libpprofd-alloc.so is not built")

    class Preloaded(heaplib.Accountant):
        pass

    def once():
        os.environ["LD_PRELOAD"] = str(library)
        try:
            t = Preloaded("heap", 3600, 8, 0)
        finally:
            del os.environ["LD_PRELOAD"]
        d = lib.Daemon(t)
        check("otel_memory" in heaplib.attached(d), "it is not used")
        t.say()
        lib.let_work(t.pid, 2)
        truth = t.account()
        p = heaplib.get(d)
        heaplib.no_negatives(p)
        d.stop()
        t.kill()
        return heaplib.errors(p, truth)

    heaplib.check_truth(once)


def test_nothing_to_probe():
    """No allocator in it: an empty profile that says so."""
    d = lib.Daemon(lib.start("rungs-static", "60"), arguments=heaplib.EVERYTHING)
    what = heaplib.attached(d)
    p = heaplib.get(d)
    check(what.startswith("uprobes") or "no allocation function" in what, "source: %s" % what)
    check(not p.samples, "there are samples")
    d.stop()


def test_no_cost_at_all():
    """--max-overhead 0: no probe, and the reason."""
    t = Told("heap-steps")
    d = lib.Daemon(t, arguments=("--max-overhead", "0"))
    what = heaplib.attached(d)
    check(what == "nothing; probes are refused (--max-overhead 0)", "source: %s" % what)
    check(heaplib.no_breakpoints(t.pid, "/libc.so.6"), "there is a probe in libc")
    d.stop()


def seen_at(t, d, text):
    """The answer where a step of "two" is seen: a new program is known by its first calls, and probed anew."""
    def seen():
        t.do("two 50 1000000")
        p = heaplib.get(d)
        return heaplib.by_site(p).get("site_two", [0] * 4)[3] > 2e7 and p

    return lib.eventually(seen, text, pause=0.2, timeout=60)


def test_exec():
    """The new program has a heap of its own."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 50 1000000")
    check("site_one" in heaplib.by_site(heaplib.get(d)), "the first program's is not seen")
    check(t.do("exec") == "second", "no second program")
    p = seen_at(t, d, "the second program's heap is not seen")
    heaplib.no_negatives(p)
    rows = heaplib.by_site(p)
    check(not lib.comments(p, "^limit"), "comments: %s" % p.comments)
    check(rows.get("site_one", [0] * 4)[2:] == [0, 0], "the first program's is in use: %s" % rows)
    d.stop()


def test_many_execs():
    """A look may come in the middle of any of them, when the program is not all there: the last one is found."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    check(t.do("exec 500") == "second", "no second program")
    seen_at(t, d, "the last program's heap is not seen")
    d.stop()


def test_library_that_comes_later():
    """One without an allocator changes nothing; an allocator that comes late is not the program's."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 50 1000000")
    before = heaplib.by_site(heaplib.get(d))
    t.do("open %s" % lib.target("libone.so"))
    time.sleep(0.5)
    t.do("two 50 1000000")
    after = heaplib.by_site(heaplib.get(d))
    check(after["site_one"] == before["site_one"], "%s, before %s" % (after, before))
    check(after["site_two"][3] > 2e7, "rows: %s" % after)
    d.stop()


def test_a_child_is_not_the_target():
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 50 1000000")
    before = heaplib.by_site(heaplib.get(d))
    t.do("fork 300")
    after = heaplib.by_site(heaplib.get(d))
    check(after == before, "%s, before the child %s" % (after, before))
    d.stop()


def test_end_in_the_middle():
    """The target ends during ?seconds=: an answer comes, and soon."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 50 1000000")

    def end():
        time.sleep(0.5)
        t.say("quit")

    began = time.monotonic()
    a, _ = lib.together(lambda: d.get(heaplib.path("heap", "?seconds=60")), end)
    check(time.monotonic() - began < 45, "the answer has waited for the window")
    check(a.status in (200, 404), "status %d" % a.status)
    if a.status == 200:
        check(not lib.pprof.validate(lib.pprof.parse(a.body)), "no valid profile")
    else:
        check("ended" in a.text(), a.text())
    d.stop()


def test_symbolizer_is_found_dead():
    """Of something else, when it is asked for the allocator: another one is asked."""
    other = Told("heap-steps")
    d = lib.Daemon(arguments=("--comm", "heap-steps", *heaplib.EVERYTHING))
    lib.eventually(lambda: heaplib.source(heaplib.get(d, pid=other.pid)).startswith("uprobes"), "no probes")
    where = lib.directory(world=True)  # a file that nobody has asked about
    libc = re.search(r"\S+/libc\.so\.6$", pathlib.Path("/proc/%d/maps" % other.pid).read_text(), re.M).group()
    shutil.copy(libc, where)
    t = Told("heap-steps", environment=dict(os.environ, LD_LIBRARY_PATH=str(where)))
    lib.eventually(lambda: d.window(1, pid=t.pid).status == 200, "it is not found")
    os.kill(d.child("pprofd-symbolizer"), signal.SIGKILL)
    check(heaplib.attached(d, pid=t.pid).startswith("uprobes"), heaplib.source(heaplib.get(d, pid=t.pid)))
    d.stop()


def test_nine_targets():
    """Eight of one libc are probed, the ninth says why not, until one of them has ended."""
    targets = [Told("heap-steps") for _ in range(9)]
    d = lib.Daemon(*targets, arguments=heaplib.EVERYTHING)
    for t in targets:
        heaplib.attached(d, pid=t.pid)
    seen = []
    for t in targets:
        t.do("one 50 1000000")
        p = heaplib.get(d, pid=t.pid)
        seen.append("site_one" in heaplib.by_site(p))
        if not seen[-1]:
            check(re.search(r"8 other processes that use \S*libc\.so\.6", heaplib.source(p)),
                  "the reason: %s" % p.comments)
    check(seen.count(True) == 8, "%s" % seen)
    late = targets[seen.index(False)]
    targets[seen.index(True)].kill()
    lib.eventually(lambda: "other processes" not in heaplib.source(heaplib.get(d, pid=late.pid)),
                   "the ninth is not probed when there is room")
    late.do("one 50 1000000")
    check("site_one" in heaplib.by_site(heaplib.get(d, pid=late.pid)), "the ninth's heap is not seen")
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
