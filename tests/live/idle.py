#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""idle.py - nobody asks, the target is quiet: pprofd does not wake up."""

import os
import pathlib
import subprocess
import time

import lib
from lib import check

SECONDS = 10


def threads(pids):
    """{(pid, tid): how often it went to sleep} of all their threads: once for each time it is woken, however
    often a busy machine interrupts it before."""
    found = {}
    for pid in pids:
        for tid in os.listdir("/proc/%d/task" % pid):
            try:
                found[pid, int(tid)] = int(lib.status(pid, "voluntary_ctxt_switches", int(tid)))
            except OSError: # it has just ended
                found[pid, int(tid)] = -1
    return found


def asleep(pids):
    try:
        return all(pathlib.Path("/proc/%d/task/%s/stat" % (pid, tid)).read_text().rsplit(")", 1)[1].split()[0] == "S"
                   for pid in pids for tid in os.listdir("/proc/%d/task" % pid))
    except OSError:
        return False


def settle(pids):
    """Waits until the first scan and its tables are done: three quiet seconds, at whose ends all threads are
    asleep. On a busy machine one that waits for a CPU is quiet, too."""
    last, n_quiet = {}, 0

    def quiet():
        nonlocal last, n_quiet
        now = threads(pids)
        n_quiet = n_quiet + 1 if now == last and asleep(pids) else 0
        last = now
        return n_quiet >= 3

    lib.eventually(quiet, "it never comes to rest", pause=1, timeout=3 * lib.DEADLINE)


def check_idle(pids, seconds=SECONDS):
    """One of three such times is without wake-ups: on a busy machine what was begun may go on after it seemed
    to be at rest."""
    def woken():
        before = threads(pids)
        time.sleep(seconds)
        after = threads(pids)
        check(set(before) == set(after), "threads have come or gone")
        lib.eventually(lambda: asleep(pids), "a thread works")
        moved = {k: after[k] - before[k] for k in after if after[k] != before[k]}
        return None if sum(moved.values()) <= 1 else "wake-ups in %d s: %s" % (seconds, {
            "%s/%d" % (lib.status(pid, "Name"), tid): n for (pid, tid), n in moved.items()})

    said = []
    for _ in range(3):
        said.append(woken())
        if not said[-1]:
            return
        settle(pids)
    lib.fail("; then ".join(said))


def test_the_target_sleeps():
    d = lib.Daemon(lib.start("life", "sleep"))
    pids = d.three()
    settle(pids)
    check_idle(pids)
    d.stop()


def test_the_target_works():
    """What it does in user space is nothing to us while nobody asks."""
    d = lib.Daemon(lib.start("rungs", "3600"))
    pids = d.three()
    settle(pids)
    check_idle(pids, 5)
    d.stop()


def test_after_a_window():
    """As before: no clock is left, no thread, no timer."""
    d = lib.Daemon(lib.start("rungs", "3600"))
    pids = d.three()
    lib.check_complete(d.profile(1, at_least=20))
    settle(pids)
    check_idle(pids, 5)
    d.stop()


def test_clients_that_keep_their_connections():
    """Two connections that have had an answer and wait for nothing, for less than they may."""
    d = lib.Daemon(lib.start("life", "sleep"))
    pids = d.three()
    clients = [d.connect() for _ in range(2)]
    for c in clients:
        check(d.get("/debug/pprof/cmdline", connection=c).status == 200, "no answer")
    time.sleep(11)  # the deadline of the first head has passed, which is looked at once, for nothing
    settle(pids)
    check_idle(pids, 5)
    for c in clients:  # and they are still good
        check(d.get("/debug/pprof/cmdline", connection=c).status == 200, "no second answer")
        c.close()
    d.stop()


def test_the_target_has_ended():
    p = lib.start("life", "end", "1", "0", stdin=subprocess.PIPE)
    d = lib.Daemon(p)
    pids = d.three()
    p.popen.stdin.write(b"go\n")
    p.popen.stdin.flush()
    p.wait()
    settle(pids)
    check_idle(pids, 5)
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
