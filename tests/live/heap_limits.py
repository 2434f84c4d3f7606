#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heap_limits.py - what looking at allocations may cost, whom, and what remains of it: leaks in churn, children,
other targets, pprofd killed. heap_sources.py has the rest, which may run beside others."""

import re
import signal
import time

import heaplib
import lib
from heaplib import Told
from lib import check


def spent(d, t):
    """What the probes have cost so far by their own account, and the CPU time of the target; ns."""
    p = heaplib.get(d)
    found = lib.comments(p, r"^cost: \d+ probe hits of some [\d.]+ us")
    check(len(found) == 1, "comments: %s" % p.comments)
    ms = re.search(r"; with their samples ([\d.]+) ms in all", found[0]).group(1)
    return float(ms) * 1e6, lib.cpu_seconds(t.pid) * 1e9, p


def test_governor():
    """The worst case, a loop of malloc and free: below 2 % of its CPU time, and says what is missing;
    what leaks in it is seen by /growth."""
    t = Told("heap-loop", "pairs", 3600, 1024)
    d = lib.Daemon(t)
    t.say()
    heaplib.attached(d)
    lib.let_work(t.pid, 5)
    cost0, cpu0, _ = spent(d, t)
    lib.let_work(t.pid, 15)  # of its CPU time, which is what the limit is a share of
    cost1, cpu1, p = spent(d, t)
    share = (cost1 - cost0) / (cpu1 - cpu0)
    check(share < 0.02, "%.2f %% of its CPU time: %s" % (100 * share, p.comments))
    check(lib.comments(p, "^limit: the process allocates too often"), "comments: %s" % p.comments)
    heaplib.no_negatives(p)
    check(d.said("its allocator is probed for moments only"), "it is not logged: %s" % d.lines)
    row = heaplib.by_site(p).get("site_loop", [0] * 4)
    check(row[1] > 0, "no window has seen the loop: %s" % heaplib.by_site(p))
    growth = heaplib.get(d, "growth")
    rows = {}
    for s in growth.samples:
        rows[heaplib.site_of(s)] = rows.get(heaplib.site_of(s), 0) + s.values[1]
    check(max(rows, key=rows.get) == "site_leak" and rows["site_leak"] > 5e6, "growth: %s" % rows)
    check(heaplib.no_breakpoints(t.pid, "/libc.so.6") or
          lib.eventually(lambda: heaplib.no_breakpoints(t.pid, "/libc.so.6"),
                         "the probes are always there"), "")
    d.stop()


def held(p):
    """{site: bytes in use}"""
    return {site: row[3] for site, row in heaplib.by_site(p).items() if row[3]}


def test_a_leak_in_churn():
    """Eight threads that allocate far too often, and one of them leaks 1 MiB/s: it is what is held. Its
    pages are recycled ones: growth does not see it."""
    t = Told("heap", 200, 8, 320, 1024)
    d = lib.Daemon(t)
    t.say()
    heaplib.attached(d)

    def found():
        rows = held(heaplib.get(d))
        return rows.get("site_leak", 0) > max(60000, 0.5 * sum(rows.values()))

    lib.eventually(found, "the leak is not found", timeout=120, pause=2)
    p = heaplib.get(d)
    check(lib.comments(p, "^limit: the process allocates too often"), "comments: %s" % p.comments)
    check(lib.comments(p, "^in use: objects that were sampled in windows"), "comments: %s" % p.comments)
    heaplib.no_negatives(p)
    older = held(heaplib.get(d, query="?minage=15"))
    check(older.get("site_leak", 0) <= held(heaplib.get(d)).get("site_leak", 0), "older: %s" % older)
    check(not held(heaplib.get(d, query="?minage=1000")), "minage is not regarded")
    text = d.get(heaplib.path("heap", "?debug=1")).text()
    check(re.search(r"^heap profile: .* @ heap/2$", text, re.M), text[:200])
    d.stop()


def test_what_is_freed_is_not_held():
    """The same without a leak: what lies where others lay is not taken for held."""
    t = Told("heap", 100, 8, 320, 0.001)
    d = lib.Daemon(t)
    t.say()
    heaplib.attached(d)
    time.sleep(35)
    t.popen.send_signal(signal.SIGUSR1)
    t.line(r"^truth total")
    rows, live = held(heaplib.get(d)), 40 << 20  # what B and D hold in truth, about
    check(sum(rows.values()) < live, "held: %s" % rows)
    d.stop()


def test_a_quiet_program_is_seen_in_full():
    """Below the limit nothing is left out: frees too."""
    t = heaplib.Accountant("heap", 3600, 2, 20)
    d = heaplib.watched(t, limit=())
    t.say()
    time.sleep(4)
    t.account()
    p = heaplib.get(d)
    check(not lib.comments(p, "^limit"), "comments: %s" % p.comments)
    d.stop()


def test_killed():
    """kill -9 of the broker: no probe remains, and the target goes on."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    check(not heaplib.no_breakpoints(t.pid, "/libc.so.6"), "this test does not see probes")
    d.kill()
    lib.eventually(lambda: heaplib.no_breakpoints(t.pid, "/libc.so.6"), "probes are left")
    t.do("churn 100000 100")
    n, ns = map(int, t.do("pairs 1").split())
    check(ns / n < 400, "a pair takes %d ns" % (ns / n))



def test_children_are_rid_of_probes():
    """A forked child has its parent's breakpoints; they are taken out while the parent's stay."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    took = [int(n) for n in t.do("forked 20").split()]
    check(took[0] > 300 or took[-1] < 200, "this test does not see probes: %s ns a pair" % took)
    check(took[-1] < 200, "the child pays: %s ns a pair" % took)
    t.do("one 50 1000000")
    p = heaplib.get(d)
    check(lib.comments(p, r"^cost: 1 children were forked while probes were on"), "comments: %s" % p.comments)
    check(heaplib.by_site(p)["site_one"][3] > 2e7, "the parent is not seen any more: %s" % heaplib.by_site(p))
    d.stop()


def test_what_sharing_a_file_costs():
    """The cost of a hit is that of now: with as many targets as probe the same libc."""
    def cost(d, pid):
        found = lib.comments(heaplib.get(d, pid=pid), r"^cost: ")
        return found[0], float(re.search(r"of some ([\d.]+) us", found[0]).group(1))

    targets = [Told("heap-steps") for _ in range(3)]
    d = lib.Daemon(*targets, arguments=heaplib.EVERYTHING)
    for t in targets:
        heaplib.attached(d, pid=t.pid)
    text, three = lib.eventually(
        lambda: (lambda c: c if "(2 other processes probe the same file)" in c[0] else None)(cost(d, targets[0].pid)),
        "the others are not counted")
    n, ns = map(int, targets[0].do("pairs 1").split())
    check(0.3 < three * 2000 / (ns / n) < 3, "%s; a pair takes %d ns" % (text, ns / n))
    for t in targets[1:]:
        t.kill()
    text, one = lib.eventually(
        lambda: (lambda c: c if "other processes" not in c[0] else None)(cost(d, targets[0].pid)),
        "the others are counted still")
    check(one <= three, "%s alone, %s among three" % (one, three))
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
