#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""abuse.py - a disk without room, a clock that jumps, memory that is refused: a clear line or an error, and nothing
dies. tools/bench has the large ones (abuse-*)."""

import collections
import contextlib
import errno
import http.client
import os
import pathlib
import re
import shutil
import time

import debuginfod
import lib
import pprof
from lib import check

LARGE = ("allocs", "goroutine", "growth", "heap", "mutex", "offcpu", "threadcreate", "profile?seconds=1", "wall?seconds=1")


def troubled(*targets, after=0, seconds=0, jump=0, malloc=0, **options):
    """pprofd whose serve has trouble from `after` seconds from now on; when it begins and ends."""
    t = time.monotonic()
    place = lib.directory(world=True)
    for name in ("pprofd", "pprofd-symbolizer", "pprofd-fetch"):
        shutil.copy(lib.BUILD / name, place)
    shutil.copy(lib.BUILD / "tests" / "serve-troubled", place / "pprofd-serve")
    (place / "trouble").write_text("%f %f %d %d\n" % (t + after, t + after + seconds, jump, malloc))
    return lib.Daemon(*targets, program=place / "pprofd", **options), t + after, t + after + seconds


def profile(d, name):
    a = d.get("/debug/pprof/" + name)
    check(a.status == 200, "%s: status %d: %s" % (name, a.status, a.text()[:200]))
    p = pprof.parse(a.body)
    check(not pprof.validate(p), "%s: %s" % (name, pprof.validate(p)[:3]))
    return p


@contextlib.contextmanager
def full():
    """A file system with no room, and the file that takes it."""
    place = lib.directory()
    lib.libc("mount", b"tmpfs", os.fsencode(place), b"tmpfs", 0, b"size=4m,mode=700")
    try:
        fill = place / "fill"
        fd = os.open(fill, os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(fd, bytes(65536)):
                pass
        except OSError as e:
            check(e.errno == errno.ENOSPC, str(e))
        os.close(fd)
        yield place, fill
    finally:
        lib.libc("umount2", os.fsencode(place), 2)


def test_no_room_for_counts():
    """A state directory on a full file system: answers as ever, a comment, one line; and with room again, neither."""
    t = lib.start("heap", "600", "2", "50")
    with full() as (place, fill):
        d = lib.Daemon(t, arguments=("--wait", "off", "--state-dir", place))
        lib.eventually(lambda: profile(d, "growth").samples, "nothing is counted", pause=0.1)
        for _ in range(3):
            p = profile(d, "growth")
            check(lib.comments(p, "^these counts would not survive pprofd: No space left on device"), str(p.comments))
        said = d.said("are not kept for a later pprofd: No space left on device")
        check(len(said) == 1, "%s" % d.lines)
        fill.unlink()
        lib.eventually(lambda: not lib.comments(profile(d, "growth"), "^these counts would not survive"), "there is room again")
        d.stop()


def test_no_room_for_debug_files():
    """debuginfod's cache on a full file system: a profile without names, counted and said once; what is there stays."""
    where = lib.directory()
    with full() as (place, fill):
        target, known = debuginfod.program(where)
        debug = (where / "prog.debug").read_bytes()
        server = debuginfod.Server(lambda handler, path: debuginfod.send(handler, debug, 200 if known in path else 404))
        d = debuginfod.daemon(target, server.url(), place)
        p = lib.eventually(lambda: (lambda p: debuginfod.counts(p)[3] and p)(debuginfod.one_window(d)), "it has not failed")
        debuginfod.check_nameless(p, "without room")
        check(len(d.said("debuginfod: a debug file was not fetched: .*No space left on device")) == 1, "%s" % d.lines)
        check([f.name for f in place.iterdir()] == [fill.name], "%s" % list(place.iterdir()))
        d.stop()
        server.end()


def test_the_clock_jumps():
    """A year back and forth: durations, windows and leases are told by another clock."""
    t = lib.start("heap", "600", "2", "50")
    for jump in (-365 * 86400, 365 * 86400):
        d, begins, _ = troubled(t, after=1, seconds=3600, jump=jump, arguments=("--max-overhead", "none", "--max-rate", "1000"))
        began = time.monotonic()
        for name in LARGE[:-2]:
            profile(d, name)
        time.sleep(max(0, begins - time.monotonic()))
        profiles = lib.together(*[lambda name=name: profile(d, name) for name in LARGE])
        for p in profiles:
            for text in p.comments:
                for s in re.findall(r"(?:since|for|in) (-?[\d.]+) s", text):
                    check(0 <= float(s) < time.monotonic() - began + 60, text)
            check(0 <= p.duration_nanos < (time.monotonic() - began + 60) * 1e9, "duration %d" % p.duration_nanos)
        p = profiles[-1]
        check(abs(p.time_nanos / 1e9 - time.time() - jump) < 3600, "the clock has not jumped: %d" % p.time_nanos)
        check(d.get("/-/healthy").status == 200, "not healthy")
        d.stop()


def test_memory_is_refused():
    """Each 37th request for memory of serve's fails for two seconds: an error here and there, and then all is as before."""
    t = lib.start("heap", "600", "2", "50")
    d, begins, ends = troubled(t, after=2, seconds=2, malloc=37, arguments=("--max-overhead", "none"))
    profile(d, "heap")
    serve = d.child("pprofd-serve")
    first = [int(pathlib.Path("/proc/%d/oom_score_adj" % pid).read_text()) for pid in d.three()]
    check(first[1] == first[2] == min(first[0] + 200, 1000), "who goes first: %s" % first)
    time.sleep(max(0, begins - time.monotonic()))
    found = collections.Counter()
    while time.monotonic() < ends:
        for name in LARGE[:-2] + ("heap?debug=1", "goroutine?debug=2"):
            try:
                c = d.connect()
                c.request("GET", "/debug/pprof/" + name)
                found[c.getresponse().status] += 1
            except (OSError, http.client.HTTPException):  # the library had not even room for the request
                found[0] += 1
    check(d.child("pprofd-serve") == serve, "serve has died: %s" % d.said("."))
    check(found[500] > 0 and set(found) <= {0, 200, 500, 503}, "%s" % found)
    lib.together(*[lambda name=name: profile(d, name) for name in LARGE])
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
