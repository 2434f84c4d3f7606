#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""waits_kinds.py - what each profile of waiting shows and leaves out, against the targets' own account: reasons, deltas,
counters, wall clock, open waits, several processes. waits_forms.py has the rest, which may run beside others."""

import os
import signal
import time

import lib
import waitlib
from lib import check
from waitlib import Target, started


# What is in which

REASONS = {"site_sleep": "sleep", "site_poll": "poll", "site_epoll": "poll", "site_select": "poll",
           "site_socket": "network", "site_disk": "disk"}


def check_reasons(truth, offcpu, reasons):
    wrong = {k: v for k, v in waitlib.wrong_waits(truth, offcpu.sites, 0).items() if k != "site_disk"}
    disk = truth.get("site_disk")  # fsync works besides: some tens of microseconds a call are CPU time
    if disk and disk.ns > 5e7 and not 0.8 * disk.ns - 60e3 * disk.calls <= offcpu.sites["site_disk"][0] <= 1.03 * disk.ns:
        wrong["site_disk"] = "%.3f ms of %.3f" % (offcpu.sites["site_disk"][0] / 1e6, disk.ns / 1e6)
    for site, row in waitlib.by_label(offcpu, "reason").items():
        if site not in reasons or sum(row.values()) < 5e7:
            continue
        share = sum(v for k, v in row.items() if k in reasons[site].split()) / sum(row.values())
        if share < 0.9:  # the rest: preempted, in between
            wrong["reason", site] = "%s waits for %s" % (site, dict(row))
    return wrong


def test_what_is_no_lock():
    """Sleep, poll, network and disk are in offcpu, with the reason, and not in block."""
    def once():
        t = Target("waits", "alone")
        d = waitlib.watched(t)
        truth, offcpu, block = waitlib.span(t, d, names=("offcpu", "block"))
        bad = {k: v for k, v in block.sites.items() if k in truth and v[1] > 0}
        check(not bad, "in block: %s" % bad)
        d.stop()
        t.kill()
        return {**waitlib.what_is_lost(offcpu), **check_reasons(truth, offcpu, REASONS)}

    waitlib.again(once)


def test_locks_are_in_offcpu_too():
    reasons = {"site_long": "futex", "site_short": "futex", "site_b": "futex", "site_eventfd": "eventfd pipe",
               "site_pipe_read": "pipe", "site_pipe_write": "pipe"}

    def once():
        wrong = {}
        for arguments in (("waits", "mutex"), ("waits-odd", "queue")):
            t = Target(*arguments)
            d = waitlib.watched(t)
            truth, offcpu = waitlib.span(t, d, names=("offcpu",))
            labels = waitlib.by_label(offcpu, "reason")
            for site in truth:  # who holds asleep is at the same site
                futex = labels.get(site, {}).get(reasons[site].split()[0], 0)
                if arguments[0] == "waits" and abs(futex - truth[site].ns) > (
                        0.03 * truth[site].ns + 4000 * truth[site].waits):
                    wrong[site] = "%s: futex %d, true %d" % (site, futex, truth[site].ns)
            if arguments[0] != "waits":
                wrong.update(check_reasons(truth, offcpu, reasons))
            d.stop()
            t.kill()
        return wrong

    waitlib.again(once)


def test_preempted():
    """Two threads that would run all the time on one CPU: half of it each."""
    t, other = Target("waits-load", "syscalls"), Target("waits-load", "syscalls")
    for p in (t, other):
        os.sched_setaffinity(p.pid, {0})
    d = waitlib.watched(t)
    for p in (t, other):
        p.begin()

    def off():  # how long it did not run, from an instant on
        return time.monotonic() - lib.cpu_seconds(t.pid)

    def preempted():  # between two instants
        earliest = off()
        p = waitlib.get(d, "offcpu")
        return earliest, off(), sum(r.get("preempted", 0) for r in waitlib.by_label(p, "reason").values()) / 1e9

    before = preempted()
    time.sleep(2)
    after = preempted()
    got, low, high = after[2] - before[2], after[0] - before[1], after[1] - before[0]
    check(0.9 * low - 0.1 < got < 1.1 * high + 0.1,
          "preempted for %.2f s, it did not run for %.2f to %.2f s" % (got, low, high))
    block = waitlib.get(d)
    check(not any(s.labels for s in block.samples if not s.labels.get("lock")), "no lock")
    d.stop()


# Deltas and counters

def test_delta():
    """?seconds=: what came in between, and nothing else."""
    t, d = started("waits", "mutex", 8)
    time.sleep(0.5)
    for name, column in (("block", 1), ("mutex", 1), ("offcpu", 0)):
        a = d.get(waitlib.path(name, "?seconds=1"))
        check(a.status == 200, "%d: %s" % (a.status, a.text()[:100]))
        check(a.headers["Content-Disposition"] == 'attachment; filename="%s-delta"' % name, str(a.headers))
        p = waitlib.decode(a.body, name)
        check(0.95e9 < p.duration_nanos < 30e9, "duration %d" % p.duration_nanos)
        total = sum(v[column] for k, v in waitlib.by_site(p).items() if k)
        # eight threads wait most of their time, and hold or sleep for the rest
        check(0.5 * p.duration_nanos < total < 8.2 * p.duration_nanos, "%s: %d ns in %d" % (
            name, total, p.duration_nanos))
    truth = t.stop()
    for name in ("block", "mutex"):
        p = waitlib.decode(d.get(waitlib.path(name, "?seconds=1")).body, name)
        check(not p.samples, "%s: nothing has happened: %s" % (name, waitlib.by_site(p)))
    p = waitlib.get(d)
    wrong = waitlib.wrong_waits(truth, waitlib.by_site(p))
    check(not wrong, "after the deltas: %s" % wrong)
    d.stop()


def key_of(s):
    return (tuple((f.address, f.name, f.line) for f in s.frames),
            tuple(sorted((k, tuple(v)) for k, v in s.labels.items())))


def test_counters_never_decrease():
    """1,000 scrapes under load, per stack and labels."""
    t = Target("waits", "mutex", 8)
    other = Target("waits-load", "pingpong", 4)
    d = waitlib.watched(t, other)
    for p in (t, other):
        p.begin()
    last = {}
    for i in range(1000):
        pid = (t.pid, other.pid)[i % 2]
        name = ("block", "mutex", "offcpu")[i // 2 % 3]
        profile, now = waitlib.get(d, name, pid=pid), {}
        for s in profile.samples:
            check(key_of(s) not in now, "%s: the same stack and labels twice" % name)
            now[key_of(s)] = s.values
        for key, values in last.get((name, pid), {}).items():
            check(key in now, "%s, scrape %d: a stack is gone: %s" % (name, i, key))
            check(all(a >= b for a, b in zip(now[key], values)),
                  "%s, scrape %d: %s, before %s: %s" % (name, i, now[key], values, key))
        last[name, pid] = now
    truth = t.stop()
    wrong = waitlib.wrong_waits(truth, waitlib.by_site(waitlib.get(d, pid=t.pid)))
    check(not wrong, "after 1,000 scrapes: %s" % wrong)
    other.stop()
    d.stop()


# Wall clock

def test_wall():
    """Each thread is somewhere all the time: each of those that do nothing but wait at one site has
    the whole window there, as far as some hundred waits of which one in 2 to 16 is taken can tell; all
    threads together have theirs; fgprof is the same."""
    def once():
        wrong = {}
        t, d = started("waits", "alone")
        for name in ("wall", "fgprof"):
            p = waitlib.get(d, name, "?seconds=2", timeout=lib.DEADLINE)
            time_of = {k: v[1] for k, v in waitlib.by_site(p).items()}
            for site in ("site_sleep", "site_poll", "site_epoll", "site_select", "site_socket"):
                share = time_of.get(site, 0) / p.duration_nanos
                if not 0.8 < share < 1.2:
                    wrong[name, site] = "%s: %s was there for %.3f of the window" % (name, site, share)
            n = len(os.listdir("/proc/%d/task" % t.pid))
            share = p.total("time") / p.duration_nanos / n
            if not 0.93 < share < 1.07:
                wrong[name, "all"] = "%s: %d threads, %.3f of the window each" % (name, n, share)
        t.stop()
        d.stop()
        t.kill()
        return wrong

    waitlib.again(once)


def test_wall_of_work():
    """A thread that works: as much time as the window, running or kept from it."""
    def once():
        t, d = started("waits-load", "syscalls")
        p = waitlib.get(d, "wall", "?seconds=3")
        got = sum(s.values[1] for s in p.samples if any(f.name == "call" for f in s.frames))
        running = sum(s.values[1] for s in p.samples if s.labels.get("state", ["running"]) == ["running"])
        t.stop()
        d.stop()
        t.kill()
        wrong = {}
        if not 0.9 < got / p.duration_nanos < 1.1:
            wrong["time"] = "%.3f of the window" % (got / p.duration_nanos)
        if running < 0.02 * p.duration_nanos:
            wrong["running"] = "it never ran: %d" % running
        return wrong

    waitlib.again(once)


# Waits that are not over

def test_open_waits():
    """Four threads that wait for one that does not come: they are counted up to the moment."""
    t, d = started("waits", "stuck", 4)
    time.sleep(0.5)
    readings = []
    for _ in range(4):
        start = time.monotonic()
        block, offcpu = waitlib.get(d), waitlib.get(d, "offcpu")
        readings.append((start, time.monotonic(), waitlib.by_site(block)["site_long"],
                         waitlib.by_site(offcpu)["site_long"][0]))
        time.sleep(0.7)
    for a, b in zip(readings, readings[1:]):
        least, most = 4e9 * (b[0] - a[1]), 4e9 * (b[1] - a[0])
        for what, grown in (("block", b[2][1] - a[2][1]), ("offcpu", b[3] - a[3])):
            check(least - 2e7 <= grown <= most + 2e7, "%s has grown by %.3f s, %.3f to %.3f are true" % (
                what, grown / 1e9, least / 1e9, most / 1e9))
    check(readings[-1][2][0] == 4, "contentions: %s" % readings[-1][2])
    mutex = waitlib.by_site(waitlib.get(d, "mutex"))
    check(not any(v[1] for v in mutex.values()), "nobody has released: %s" % mutex)
    p = waitlib.decode(d.get(waitlib.path("block", "?seconds=1")).body, "block")
    got = waitlib.by_site(p)["site_long"]
    check(abs(got[1] - 4 * p.duration_nanos) < 2e8, "the delta has %s in %d" % (got, p.duration_nanos))
    truth = t.stop()
    block, mutex = waitlib.by_site(waitlib.get(d)), waitlib.by_site(waitlib.get(d, "mutex"))
    wrong = waitlib.wrong_waits(truth, block)
    check(not wrong, "in the end: %s" % wrong)
    # who had it from the beginning; the four pass it on with 2 ms each
    w = truth["site_long"]
    check(0.9 * w.low - 1e6 < mutex["site_long"][1] < 1.1 * w.high + 1e6, "%s, %s" % (mutex, truth))
    held = sum(v[1] for k, v in mutex.items() if k != "site_long")
    check(abs(held - truth["site_short"].high) < 0.1 * held, "%s, %s" % (mutex, truth))
    d.stop()


def test_exit_with_waiters():
    """It ends with threads that wait; so does another by a signal. pprofd goes on with a third."""
    a, b, c = Target("waits", "stuck", 16), Target("waits", "stuck", 16), Target("waits", "mutex")
    d = waitlib.watched(a, b, c)
    a.begin()
    b.begin()
    time.sleep(0.3)
    for t in (a, b):
        check(waitlib.by_site(waitlib.get(d, pid=t.pid))["site_long"][0] == 16, "they do not wait")
    a.say("quit")
    b.popen.send_signal(signal.SIGKILL)
    a.wait()
    b.wait()
    for t in (a, b):
        for name in ("block", "mutex", "offcpu"):
            answer = d.get(waitlib.path(name, pid=t.pid))
            check(answer.status in (200, 404), "%d: %s" % (answer.status, answer.text()[:100]))
            if answer.status == 200:
                waitlib.decode(answer.body, name)

    def once():
        truth, block, mutex = waitlib.span(c, d)
        waitlib.check_lost(block)
        return {**waitlib.wrong_waits(truth, block.sites), **waitlib.wrong_holders(truth, mutex.sites)}

    waitlib.again(once)
    d.stop()


def test_threads_that_come_and_go():
    """Each waits and is gone; none of them is left over."""
    t, d = started("waits", "join", 16)
    time.sleep(2)
    truth = t.stop()
    p = waitlib.get(d)
    waitlib.check_lost(p)
    check(truth["site_join"].calls > 500, "it hardly ran")
    wrong = waitlib.wrong_waits(truth, waitlib.by_site(p))
    check(not wrong, str(wrong))
    d.stop()


# Several processes

def shared(n_targets):
    """Two processes at one mutex in memory that they share, some of them targets."""
    file = lib.directory() / "shared"
    both = [Target("waits-odd", "shared", 3, file) for _ in range(2)]
    d = waitlib.watched(*both[:n_targets])
    for t in both:
        t.begin()
    time.sleep(waitlib.SECONDS)
    truths = [t.stop() for t in both]
    found = []
    for t in both[:n_targets]:
        found.append([waitlib.get(d, name, pid=t.pid) for name in ("block", "mutex")])
        waitlib.check_lost(found[-1][0])
    d.stop()
    for t in both:
        t.kill()
    return truths, found


def test_shared_mutex_both_targets():
    """Each has its own waits; each is charged with all that it made others wait, in both. A wake of the
    other's waiter may be in the account of either."""
    def once():
        truths, found = shared(2)
        wrong = {}
        for i, (truth, (block, _)) in enumerate(zip(truths, found)):
            for site, text in waitlib.wrong_waits(truth, waitlib.by_site(block)).items():
                wrong[i, site] = text
            wrong.update({(i, k, "lock"): v for k, v in waitlib.wrong_labels(block, truth).items()})
        charged = sum(waitlib.by_site(m).get("site_shared", [0, 0])[1] for _, m in found)
        waited = sum(t["site_shared"].ns for t in truths)
        if abs(charged - waited) > 0.1 * waited:
            wrong["holders"] = "%.3f ms charged, %.3f waited" % (charged / 1e6, waited / 1e6)
        for _, m in found:
            if any(f.name == waitlib.OTHER_PROCESS for s in m.samples for f in s.frames):
                wrong["other"] = "both are targets, yet one is another process"
        return wrong

    waitlib.again(once)


def test_shared_mutex_one_target():
    """What the other makes us wait for is charged to it, as a frame that says so."""
    def once():
        truths, found = shared(1)
        block, mutex = found[0]
        truth = truths[0]["site_shared"]
        wrong = dict(waitlib.wrong_waits(truths[0], waitlib.by_site(block)))
        other = sum(s.values[1] for s in mutex.samples
                    if s.frames and s.frames[-1].name == waitlib.OTHER_PROCESS)
        ours = waitlib.by_site(mutex).get("site_shared", [0, 0])[1]
        if abs(other + ours - truth.ns) > 0.1 * truth.ns:
            wrong["sum"] = "%.3f ms ours, %.3f another's, %.3f waited" % (
                ours / 1e6, other / 1e6, truth.ns / 1e6)
        if other < 0.2 * truth.ns or ours < 0.1 * truth.ns:
            wrong["shares"] = "%.3f ms ours, %.3f another's" % (ours / 1e6, other / 1e6)
        return wrong

    waitlib.again(once)


# Real programs

GIL = """
import sys, threading, time
def spin(end):
    n = 0
    while time.monotonic() < end:
        for i in range(10000): n += i
end = time.monotonic() + float(sys.argv[1])
print("ready", flush=True)
threads = [threading.Thread(target=spin, args=(end,)) for i in range(4)]
for t in threads: t.start()
for t in threads: t.join()
"""


def test_python_with_threads():
    """Four threads that want the interpreter lock, which is a mutex and a condition variable (timed): three
    of them wait for it at any time, in take_gil."""
    python = next((p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if os.path.exists(p)), None)
    if not python:
        lib.skip("there is no python of the system's")
    p = lib.Process(python, "-c", GIL, 600)
    d = waitlib.watched(p)
    time.sleep(0.5)
    before = waitlib.get(d)
    time.sleep(2)
    after = waitlib.get(d)

    def waited(profile, label):
        return sum(s.values[1] for s in profile.samples if s.labels.get("lock") == [label])

    conds = (waited(after, "cond") - waited(before, "cond")) / 1e9
    # three of four wait; the main thread joins by a semaphore, or waits too
    check(4.5 < conds < 9, "%.2f s of condition variables in 2 s" % conds)
    everything = after.total("delay") - before.total("delay")
    check(everything < 11e9, "%.2f s in all" % (everything / 1e9))
    waitlib.check_lost(after)
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
