#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""steady.py - what requests take they give back: descriptors, threads, BPF maps, programs and links, files."""

import collections
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

import lib
from lib import check, eventually

KINDS = ("profile?seconds=1", "profile?seconds=1&format=svg", "profile?seconds=1&format=folded", "profile?seconds=1&debug=1", "heap",
         "heap?seconds=1", "heap?debug=1", "allocs", "block", "block?seconds=1", "mutex", "goroutine", "goroutine?debug=1", "goroutine?debug=2",
         "threadcreate", "growth", "offcpu?seconds=1", "wall?seconds=1", "trace?seconds=1", "trace?seconds=1&format=perfetto", "delta_heap",
         "delta_block", "delta_mutex", "cmdline", "symbol", "no-such", "heap?seconds=x", "")
OTHERS = ("/metrics", "/sd", "/", "/-/live", "/-/history", "/-/healthy", "/-/ready", "/no-such")


def holds(pid):
    """What a process has: {kind of descriptor, or "threads", "maps": how many}."""
    found = collections.Counter(threads=len(os.listdir("/proc/%d/task" % pid)))
    maps = set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            link = os.readlink("/proc/%d/fd/%s" % (pid, fd))
            info = pathlib.Path("/proc/%d/fdinfo/%s" % (pid, fd)).read_text()
        except OSError:
            continue  # it has just been closed
        found[re.sub(r"\d+", "N", link)] += 1
        maps |= set(re.findall(r"^map_id:\s+(\d+)", info, re.M))
    found["maps"] = len(maps)
    return found


def all_hold(pids):
    return [holds(pid) for pid in pids]


def ask(d, path):
    try:
        d.get(path)
    except lib.Failure:
        pass  # it may have hung up


def hang_up(d, path, seconds):
    """Asks, and is gone before the answer, or in the middle of it."""
    s = socket.create_connection((d.host, d.port))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
    time.sleep(seconds)
    s.close()


def burst(d):
    paths = ["/debug/pprof/" + k for k in KINDS] + list(OTHERS)
    jobs = [threading.Thread(target=ask, args=(d, p), daemon=True) for p in paths]
    jobs += [threading.Thread(target=hang_up, args=(d, p, 0.3), daemon=True) for p in paths]
    jobs.append(threading.Thread(target=hang_up, args=(d, "/debug/pprof/trace?seconds=60", 0.5), daemon=True))
    for j in jobs:
        j.start()
    for j in jobs:
        j.join(lib.DEADLINE)
        check(not j.is_alive(), "a request has no end")


def test_a_burst_leaves_nothing():
    """All is attached that counts from the start on, growth last; a first burst loads the programs and opens the files that only
    a request needs, and they stay; another leaves all as it was."""
    d = lib.Daemon(lib.start("rungs", "600"))
    pids = d.three()
    eventually(lambda: b'pprofd_collector_attached{collector="growth"} 1\n' in d.get("/metrics").body, "not all is attached")
    burst(d)
    said = []
    for _ in range(3):  # a busy machine may load or let go something late
        before = eventually(lambda: settled(pids), "descriptors come and go without requests", pause=0)
        burst(d)
        try:
            eventually(lambda: all_hold(pids) == before, "", timeout=30)
            d.stop()
            return
        except lib.Failure:
            said.append([(a - b, b - a) for a, b in zip(all_hold(pids), before)])
    lib.fail("more, and less, than before: %s" % said)


def settled(pids):
    """What they hold, if that is the same for half a second."""
    first = all_hold(pids)
    for _ in range(5):
        time.sleep(0.1)
        if all_hold(pids) != first:
            return None
    return first


def files_of(pid):
    found = set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            found.add(os.path.basename(os.readlink("/proc/%d/fd/%s" % (pid, fd))))
        except OSError:
            pass
    return found


def test_files_go_while_windows_overlap():
    """A program that nobody runs any more is let go although there is no moment without a window."""
    p = lib.start("life", "exec", "100", lib.target("rungs"), "600", stdin=subprocess.PIPE)
    d = lib.Daemon(arguments=("--comm", "life", "--comm", "rungs"))
    eventually(lambda: d.get("/pid/%d/debug/pprof/profile?seconds=1" % p.pid).status == 200, "it is not known")
    serve = d.three()[1]
    check("life" in files_of(serve), "serve has not opened the program: %s" % files_of(serve))
    over = threading.Event()

    def windows(i):
        time.sleep(i / 8)
        while not over.is_set():
            ask(d, "/pid/%d/debug/pprof/profile?seconds=1" % p.pid)

    jobs = [threading.Thread(target=windows, args=(i,), daemon=True) for i in range(8)]
    for j in jobs:
        j.start()
    p.popen.stdin.write(b"go\n")
    p.popen.stdin.flush()
    p.line("^ready", start=1)
    eventually(lambda: "rungs" in files_of(serve), "the new program is not opened")
    eventually(lambda: "life" not in files_of(serve), "the old program is kept")
    over.set()
    for j in jobs:
        j.join(lib.DEADLINE)
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
