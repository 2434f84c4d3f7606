#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""waits_limits.py - what looking at waits may cost: who does not wait, who waits a hundred thousand times a
second, and those that nobody asked about; --wait=off and strict."""

import math
import re
import time

import lib
import waitlib
from lib import check
from waitlib import Target

WAITS = "switch|wak|wait|exit"  # the programs that see waits, by name


def cost(d, seconds, *targets):
    """What our programs took, and ran, while the targets did: ns, runs, switches of the whole machine."""
    programs = waitlib.Programs(d, WAITS)
    try:
        for t in targets:
            t.begin()
        before, switches = programs.read(), waitlib.machine_switches()
        time.sleep(seconds)
        spent, switches = programs.since(before), waitlib.machine_switches() - switches
        for t in targets:
            t.stop()
    finally:
        programs.close()
    return sum(v[0] for v in spent.values()), sum(v[1] for v in spent.values()), switches, spent


def test_locks_that_nobody_waits_for():
    """A million pairs of lock and unlock a second: our programs see the context switches of the machine
    and what is woken, and nothing else."""
    t = Target("waits-load", "uncontended")
    d = waitlib.watched(t, limit=())
    _, runs, switches, spent = cost(d, 2, t)
    operations, own_switches, ns = t.rate()[:3]
    check(operations / (ns / 1e9) > 3e5, "only %d pairs in %d ns" % (operations, ns))
    check(runs <= 2.5 * switches + 1000, "%d runs, %d switches: %s" % (runs, switches, spent))
    check(operations > 10 * own_switches, "%d pairs, %d switches" % (operations, own_switches))
    p = waitlib.get(d)
    check("site_uncontended" not in waitlib.by_site(p), "it has waited")
    d.stop()


def test_a_hot_lock():
    """A wait with each operation: most are not looked at, and the sums are
    right to 5 %, besides what chance does to long ones, and 0.3 us of a wait that the look at it takes (docs/limits.md). What is true: its threads are off their CPUs when they
    do not run, and the kernel counts the switches."""
    sites, seconds, n = ("site_ping", "site_pong"), 4, 4

    def once():
        t = Target("waits-load", "pingpong", n)
        d = waitlib.watched(t, limit=())
        programs = waitlib.Programs(d, WAITS)
        t.begin()
        time.sleep(1)  # until the weight has settled
        before, cpu = programs.read(), lib.cpu_seconds(t.pid)
        time.sleep(seconds)
        spent, cpu = programs.since(before), lib.cpu_seconds(t.pid) - cpu
        t.stop()
        programs.close()
        r = t.rate()
        block, offcpu = waitlib.get(d), waitlib.get(d, "offcpu")
        said = waitlib.comment(block, "^waits: ")
        wrong, took = {}, sum(v[0] for v in spent.values())
        if r.voluntary / (r.ns / 1e9) < 2e4:
            lib.skip("this machine makes %d waits of it in %d ns" % (r.voluntary, r.ns))
        print("     %.1f %% of its CPU time at %.0f switches/s" % (took / cpu / 1e7, r.switches / (r.ns / 1e9)))
        taken, seen = map(int, re.search(r"(\d+) of (\d+) looked at", said).groups())
        if taken > seen / 2:
            wrong["sampling"] = "%d of %d were looked at" % (taken, seen)
        # twice what it is of late: it was more at times
        weight = 2 * int(re.search(r"one of (\d+)", said).group(1))
        deviation = 1000 * math.sqrt(weight * r.squares)
        true = n * r.ns - r.cpu_ns
        got = sum(v[0] for k, v in waitlib.by_site(offcpu).items() if k in sites)
        chance = 0.05 * true + 3 * deviation
        if not -chance < got - true < chance + 300 * r.voluntary:
            wrong["offcpu"] = "off CPU %.3f s, %.3f s are true, deviation %.3f; %s" % (
                got / 1e9, true / 1e9, deviation / 1e9, said)
        count = sum(v[0] for k, v in waitlib.by_site(block).items() if k in sites)
        if abs(count - r.voluntary) > 0.05 * r.voluntary:
            wrong["count"] = "%d contentions, %d switches that were waits; %s" % (
                count, r.voluntary, said)
        halves = [waitlib.by_site(block).get(s, [0, 0])[0] for s in sites]
        if abs(halves[0] - halves[1]) > 0.1 * sum(halves):
            wrong["halves"] = "each side waits as often as the other: %s" % halves
        d.stop()
        t.kill()
        return wrong

    waitlib.again(once)


def test_rare_waits_beside_a_hot_lock():
    """Sampling is for each process: one that waits little loses nothing because another waits much."""
    def once():
        hot, quiet = Target("waits-load", "pingpong", 4), Target("waits", "sem", 4)
        d = waitlib.watched(hot, quiet, limit=())
        hot.begin()
        time.sleep(0.5)
        truth, block, _ = waitlib.span(quiet, d)
        hot.stop()
        d.stop()
        for t in (hot, quiet):
            t.kill()
        return waitlib.wrong_waits(truth, block.sites)

    waitlib.again(once)


def test_long_waits_of_a_hot_program():
    """Those that are open when it is asked are counted, whatever the coin says of short ones."""
    t = Target("waits-load", "handover", 64)
    d = waitlib.watched(t, limit=())
    t.begin()
    last = 0
    for _ in range(5):
        time.sleep(0.4)
        p = waitlib.get(d)
        total = p.total("delay")
        check(total >= last, "it has decreased: %d, before %d" % (total, last))
        last = total
        waitlib.get(d, "mutex")
    t.stop()
    d.stop()


def test_bystander():
    """Two runs of our programs for each context switch, and none for its system calls. What they take is
    printed; tools/bench has the table."""
    quiet, t = Target("waits-load", "nothing"), Target("waits-load", "bystander")
    d = waitlib.watched(quiet)
    ns, runs, switches, spent = cost(d, 2, t)
    calls = t.rate()[0] * 3
    check(switches > 20000, "only %d switches" % switches)
    check(runs <= 2.5 * switches + 1000, "%d runs, %d switches, %d calls: %s" % (runs, switches, calls, spent))
    print("     %.0f ns for a switch" % (ns / switches))
    d.stop()


def test_system_calls_of_others():
    """A million a second by another process: no run of ours."""
    quiet, t = Target("waits-load", "nothing"), Target("waits-load", "syscalls")
    d = waitlib.watched(quiet)
    _, runs, switches, spent = cost(d, 1.5, t)
    calls = t.rate()[0]
    check(calls > 10 * switches, "%d calls, %d switches" % (calls, switches))
    check(runs <= 2.5 * switches + 1000, "%d runs, %d switches, %d calls: %s" % (
        runs, switches, calls, spent))
    d.stop()


def nothing_runs(*arguments):
    """What runs for another's context switches."""
    quiet, t = Target("waits-load", "nothing"), Target("waits-load", "bystander")
    d = lib.Daemon(quiet, arguments=("--heap=off", *arguments))
    for name in ("block", "offcpu"):
        d.get(waitlib.path(name))
    _, runs, switches, spent = cost(d, 1, t)
    check(switches > 10000, "only %d switches" % switches)
    check(runs < switches / 100, "%d runs for %d switches: %s" % (runs, switches, spent))
    d.stop()


def test_strict_costs_others_nothing():
    nothing_runs("--wait=strict")


def test_off_costs_nobody_anything():
    nothing_runs("--wait=off")


def test_off():
    """Empty profiles that say why; never an error."""
    t = Target("waits", "mutex")
    d = lib.Daemon(t, arguments=("--heap=off", "--wait=off"))
    waitlib.span(t, d, 0.5, names=())
    for name in ("block", "mutex", "offcpu"):
        p = waitlib.get(d, name)
        check(not p.samples, "%s: there are samples" % name)
        check(lib.comments(p, "--wait=off"), "%s: comments: %s" % (name, p.comments))
    for name in ("block", "mutex"):
        check(not waitlib.contention_text(d.get(waitlib.path(name, "?debug=1")).text(), name), "rows")
    d.stop()


def test_strict():
    """The waits are there, with the same accuracy; there is no mutex profile, and it says so."""
    def once():
        t = Target("waits", "mutex", 8)
        d = waitlib.watched(t, arguments=("--wait=strict",))
        truth, block, mutex, offcpu = waitlib.span(t, d, names=("block", "mutex", "offcpu"))
        check(not mutex.samples, "mutex has samples")
        check(lib.comments(mutex, "strict"), "mutex, comments: %s" % mutex.comments)
        check(any(k for k in offcpu.sites), "nothing in offcpu")
        wrong = {**waitlib.wrong_waits(truth, block.sites), **waitlib.wrong_labels(block, truth)}
        d.stop()
        t.kill()
        return wrong

    waitlib.again(once)


def test_wait_is_checked():
    p = lib.Process(lib.PPROFD, "--pid", "1", "--wait=never", output="stderr")
    check(p.wait() == 64 or p.popen.returncode != 0, "--wait=never is taken")
    check(any("--wait" in line for line in p.lines) or p.line("wait"), "it does not say why")


if __name__ == "__main__":
    lib.run(globals())
