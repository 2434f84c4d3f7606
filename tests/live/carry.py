#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""carry.py - counts outlive a pprofd that is killed: no client sees a number go down."""

import os
import signal
import subprocess

import heaplib
import lib
import pprof
from lib import check, eventually

PLAIN = ("--heap", "off", "--wait", "off")


def sums(daemon, name):
    """{sample type: total} of what only grows."""
    p = pprof.parse(daemon.get("/debug/pprof/" + name).body)
    check(not pprof.validate(p), str(pprof.validate(p)[:3]))
    return {t: p.total(t) for t, _ in p.sample_types if not t.startswith("inuse")}, p


def never_less(daemon, before):
    for name, old in before.items():
        now, p = sums(daemon, name)
        check(all(now[t] >= old[t] for t in old), "%s: %s, and before %s: %s" % (name, now, old, p.comments))
        check(lib.comments(p, "^goes on from an earlier pprofd: "), "%s: %s" % (name, p.comments))


def counted(daemon, names):
    """What each has shown, once each has shown something."""
    eventually(lambda: all(all(sums(daemon, n)[0].values()) for n in names), "nothing is counted", pause=0.3)
    return {n: sums(daemon, n)[0] for n in names}


def test_killed():
    t = lib.start("heap", "600", "2", "50")
    options = ("--max-overhead", "none", "--state-dir", lib.directory())
    d = lib.Daemon(t, arguments=options)
    before = counted(d, ("allocs", "offcpu", "growth", "threadcreate"))
    samples = sums(d, "allocs")[1].samples
    sites, known = {s.frames[0].name for s in samples}, {heaplib.identity(s) for s in samples}
    memstats = d.get("/debug/pprof/heap?debug=1").text()
    d.kill()
    d = lib.Daemon(t, arguments=options)
    never_less(d, before)
    samples = sums(d, "allocs")[1].samples
    found = {s.frames[0].name for s in samples}
    check(known <= {heaplib.identity(s) for s in samples}, "samples that were there have become others")
    check(sites <= found and any("site_" in f for f in found), "%s and %s" % (sites, found))
    mallocs = [int(x.split("# Mallocs = ")[1].split()[0]) for x in (memstats, d.get("/debug/pprof/heap?debug=1").text())]
    check(mallocs[1] >= mallocs[0], str(mallocs))
    before["allocs"] = sums(d, "allocs")[0]
    eventually(lambda: sums(d, "allocs")[0]["alloc_space"] > before["allocs"]["alloc_space"], "no more is counted",
               pause=0.3)
    os.kill(d.child("pprofd-serve"), signal.SIGKILL)  # the broker starts another
    eventually(lambda: d.said("pprofd-serve has died and is started again"), "not started again")
    never_less(d, {"allocs": before["allocs"]})


def test_what_is_no_use():
    """A file that is cut, changed, or not ours; another process."""
    t = lib.start("heap", "600", "2", "50")
    state = str(lib.directory())
    options = PLAIN + ("--state-dir", state)
    d = lib.Daemon(t, arguments=options)
    counted(d, ("growth",))
    d.kill()
    files = [os.path.join(state, f) for f in os.listdir(state)]
    check(len(files) == 2, str(files))
    for f in files:
        with open(f, "r+b") as file:
            data = bytearray(file.read())
            if len(data) > 60:
                data[60] ^= 1
            file.seek(0)
            file.write(data)
    other = os.path.join(state, "1-1.0")
    open(other, "w").close()
    open(os.path.join(state, "999999999-1.0"), "w").close()
    d = lib.Daemon(t, arguments=options)
    p = sums(d, "growth")[1]
    check(not lib.comments(p, "^goes on"), str(p.comments))
    check(not os.path.exists(os.path.join(state, "999999999-1.0")) and os.path.exists(other), str(os.listdir(state)))
    again = lib.Daemon(t, arguments=options)  # while the other has them
    check(not lib.comments(sums(again, "growth")[1], "^goes on"), "two write the same files")
    again.stop()
    before = counted(d, ("growth",))
    d.stop()  # told the directory: the next one goes on
    d = lib.Daemon(t, arguments=options)
    never_less(d, before)
    d.stop()
    out = subprocess.run([lib.PPROFD, "--cleanup", "--state-dir", state], capture_output=True, timeout=lib.DEADLINE,
                         check=False)
    check(out.returncode == 0 and b"files of counts removed" in out.stderr and not os.listdir(state), str(out))


def test_two_at_once():
    """The files are the first one's; the second says that its counts are its own alone."""
    t = lib.start("heap", "600", "2", "50")
    options = (*PLAIN, "--state-dir", lib.directory())
    first, second = lib.Daemon(t, arguments=options), None
    eventually(lambda: first.get("/debug/pprof/growth").status == 200, "no growth")
    second = lib.Daemon(t, arguments=options)
    said = "^these counts would not survive pprofd: "
    eventually(lambda: lib.comments(sums(second, "growth")[1], said), "the second does not say it")
    check(not lib.comments(sums(first, "growth")[1], said), "the first says it")
    first.stop()
    second.stop()


def test_stopped():
    """Without a directory of one's own choice nothing stays of a pprofd that was stopped; others' directories are refused."""
    t = lib.start("heap", "600", "2", "50")
    place = str(lib.directory())
    d = lib.Daemon(t, arguments=PLAIN, env={**os.environ, "RUNTIME_DIRECTORY": place})
    counted(d, ("growth",))
    check(len(os.listdir(place + "/counts")) == 2, "no files")
    d.stop()
    check(not os.listdir(place + "/counts"), str(os.listdir(place + "/counts")))
    os.chmod(place, 0o777)
    out = subprocess.run([lib.PPROFD, "--pid", str(t.pid), "--state-dir", place, "--listen", "127.0.0.1:0"],
                         capture_output=True, timeout=lib.DEADLINE, check=False)
    check(out.returncode == 1 and b"others may write there" in out.stderr, str(out))


if __name__ == "__main__":
    lib.run(globals())
