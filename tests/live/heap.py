#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heap.py - heap and allocs against the target's own account, for each allocator and language.

An estimate may be off by chance: heaplib.check_truth() says what is rejected."""

import time

import heaplib
import lib
from heaplib import Accountant, Told
from lib import check

SECONDS = 2.0  # of its own CPU time


def one_truth(program, allocator, unknown):
    t = Accountant(program, 3600, 8, 0, allocator=allocator)
    d = heaplib.watched(t)
    t.say()
    lib.let_work(t.pid, SECONDS)
    truth = t.account()
    profile = heaplib.get(d)
    check(all(n > 100 for n, *_ in truth.values()), "it hardly ran: %s" % truth)
    heaplib.no_negatives(profile)
    unknown_said = lib.comments(profile, "of [0-9]+ samples the pointer cannot be known")
    check(bool(unknown_said) == bool(unknown), "comments: %s" % profile.comments)
    check(not lib.comments(profile, "^lost"), "comments: %s" % profile.comments)
    d.stop()
    t.kill()
    return heaplib.errors(profile, truth, unknown)


def check_truth(program, allocator="glibc", unknown=()):
    heaplib.check_truth(lambda: one_truth(program, allocator, unknown))


def test_glibc():
    check_truth("heap")


def test_jemalloc():
    """Its operator new may throw and has no return probe: what site_c holds is not known."""
    check_truth("heap", "jemalloc", unknown=("site_c",))


def test_tcmalloc():
    check_truth("heap", "tcmalloc", unknown=("site_c",))


def test_mimalloc():
    check_truth("heap", "mimalloc", unknown=("site_c",))


def test_static():
    check_truth("heap-static")


def test_c():
    check_truth("heap-c")


def test_musl():
    if not (lib.TARGETS / "heap-musl").exists():
        lib.skip("there was no musl-gcc when the build was configured")
    check_truth("heap-musl")


def test_musl_static():
    if not (lib.TARGETS / "heap-musl-static").exists():
        lib.skip("there was no musl-gcc when the build was configured")
    check_truth("heap-musl-static")


def test_rust():
    if not (lib.TARGETS / "heap-rust").exists():
        lib.skip("there was no rustc when the build was configured")
    check_truth("heap-rust")


def test_what_was_there_before():
    """It is one row, on request; its frees are nothing to us."""
    t = Told("heap-steps")
    t.do("one 200 100000")
    t.do("churn 2000 20000")
    d = heaplib.watched(t)
    p = heaplib.get(d)
    check(not heaplib.by_site(p), "samples of what was before: %s" % heaplib.by_site(p))
    said = lib.comments(p, r"what was allocated before is not in here \((\d+) bytes")
    check(said, "comments: %s" % p.comments)
    p = heaplib.get(d, query="?unseen=1")
    rows = [s for s in p.samples if s.frames[0].name == heaplib.UNSEEN]
    check(len(rows) == 1 and rows[0].values[3] > 0 and rows[0].values[:3] == [0, 0, 0],
          "rows: %s" % rows)
    check("(%d bytes" % rows[0].values[3] in said[0], "%s, the row is %s" % (said, rows[0].values))
    t.do("free")
    t.do("two 100 1000000")
    p = heaplib.get(d)
    heaplib.no_negatives(p)
    found = heaplib.by_site(p)
    check(set(found) == {"site_two"}, "sites: %s" % found)
    check(6e7 < found["site_two"][3] < 1.4e8, "in use: %s" % found)
    d.stop()


def test_only_allocations():
    """--heap=allocs sees no free and says so; --heap=off probes nothing."""
    t = Told("heap-steps")
    d = heaplib.watched(t, "--heap=allocs")
    t.do("one 100 1000000")
    t.do("free")
    p = heaplib.get(d)
    row = heaplib.by_site(p)["site_one"]
    check(6e7 < row[1] < 1.4e8 and row[2:] == [0, 0], "values: %s" % row)
    check(lib.comments(p, "in use is not looked at"), "comments: %s" % p.comments)
    d.stop()
    d = lib.Daemon(t, arguments=("--heap=off",))
    p = heaplib.get(d)
    check("--heap=off" in heaplib.source(p), "comments: %s" % p.comments)
    check(not p.samples, "there are samples")
    check(heaplib.no_breakpoints(t.pid, "/libc.so.6"), "there is a probe in libc")
    d.stop()


def test_realloc_and_failures():
    """Null, smaller, larger, too large: nothing of it is in use in the end, nothing that failed counts."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("bound 3000")
    p = heaplib.get(d)
    heaplib.no_negatives(p)
    row = heaplib.by_site(p)["site_odd"]
    check(row[2:] == [0, 0], "in use: %s" % row)
    # 70000 and 200000 always; 300 and 150000 may move
    wanted = 3000 * 270000
    sigma = heaplib.deviation(6000, wanted)
    check(wanted - 6 * sigma < row[1] < wanted * 420300 / 270000 + 6 * sigma, "allocated: %s" % row)
    d.stop()


def test_minimum_age():
    """?minage leaves out what is younger."""
    lib.patiently(minimum_age, 2, 10, 40)


def minimum_age(seconds):
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 100 1000000")
    time.sleep(seconds + 0.5)
    began = time.monotonic()
    t.do("two 100 1000000")
    rows = heaplib.by_site(heaplib.get(d, query="?minage=%d" % seconds))
    lib.enough(time.monotonic() - began < seconds, "it has aged meanwhile")
    check(rows["site_one"][3] > 5e7, "rows: %s" % rows)
    check(rows.get("site_two", [0] * 4)[3] == 0, "what is younger is there: %s" % rows)
    rows = heaplib.by_site(heaplib.get(d, query="?minage=0"))
    check(rows["site_two"][3] > 5e7, "rows: %s" % rows)
    check(d.get(heaplib.path("heap", "?minage=x")).status == 400, "minage=x")
    check(d.get(heaplib.path("heap", "?minage=-1")).status == 400, "minage=-1")
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
