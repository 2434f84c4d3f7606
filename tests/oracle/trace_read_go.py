#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""trace_read_go.py - the recorded input as a Go trace, read by the real `go tool trace`: whole, and with events lost,
doubled, late and of clocks that differ. What it says of states and reasons is what our own reader found."""
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import recorded

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import pprof  # noqa: E402

BUILD = pathlib.Path(os.environ["PPROFD_BUILD"])
HARMS = [
    (23, ["calls=1"]),
    (26, []),
    (22, ["calls=1", "lose=1000", "ns=50000000"]),
    (23, ["lose=10000", "skew=20000", "twice=20000", "late=5000", "ns=20000000", "seed=2"]),
    (25, ["calls=1", "lose=50000", "skew=3000000", "ns=100000000", "seed=3"]),
    (26, ["calls=1", "lose=200000", "late=20000", "ns=10000000", "seed=4"]),
]


def run(*arguments, binary=False):
    p = subprocess.run([str(a) for a in arguments], stdin=subprocess.DEVNULL, check=False, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=300, env=dict(os.environ, GOTOOLCHAIN=os.environ.get("GOTOOLCHAIN", "local")))
    if p.returncode:
        print("%s: %s" % (" ".join(str(a) for a in arguments), p.stderr.decode()[-500:]))
        sys.exit(1)
    return p.stdout if binary else p.stdout.decode()


def newest():
    """The newest header that this machine's go reads."""
    if not shutil.which("go"):
        print("skipped: go is not installed")
        sys.exit(77)
    found = re.match(r"go1\.(\d+)", run("go", "env", "GOVERSION"))
    if not found or int(found.group(1)) < 22:
        print("skipped: this go reads no such traces")
        sys.exit(77)
    return int(found.group(1))


def printed(file, go):
    """Its events as text."""
    return run("go", "tool", "trace", "-d=parsed" if go >= 24 else "-d=1", file)


def reasons(text, pattern):
    return collections.Counter("".join(m.groups("")) for m in re.finditer(pattern, text, re.M))


def left(step):
    """What their text says of such a step; before 1.24 its reason came first."""
    return r'(?:Reason="([^"]+)" GoID=\d+ )?%s(?: Reason="([^"]+)")?$' % step


def read(file, go):
    """Once by each reader."""
    theirs = printed(file, go)
    ours = run(BUILD / "tests" / "trace-check", "-d", file)
    for what, their, our in (
            ("blocks", left("Running->Waiting"), r'GoBlock [^"\n]*"([^"]+)"'),
            ("stops", left("Running->Runnable"), r'GoStop [^"\n]*"([^"]+)"'),
            ("starts", r"GoID=\d+ (Runnable->Running)", r" (GoStart) "),
            ("ends", r"GoID=\d+ (Running->NotExist)", r" (GoDestroy)$"),
            ("messages", r'Message="([^"]+)"', r'UserLog [^"\n]*"([^"]+)"')):
        a, b = reasons(theirs, their), reasons(ours, our)
        if not b or sorted(a.values()) != sorted(b.values()) or len(a) > 1 and a != b:
            print("%s: %s: %s, ours: %s" % (file, what, dict(a), dict(b)))
            sys.exit(1)


def waited(events, reasons_):
    """ns that threads waited for these reasons, each until it was woken."""
    since, total = {}, 0
    for e in events:
        if e.kind == recorded.OUT and e.why in reasons_:
            since[e.tid] = e.time
        elif e.kind in (recorded.WAKING, recorded.IN):
            total += e.time - since.pop(e.tid, e.time)
    return total


def check_pages(folder, go):
    """The profiles that its pages show."""
    file = pathlib.Path(folder, "pages.trace")
    run(BUILD / "tests" / "trace-make", 22, file)
    _, events = recorded.read()
    for page, why in (("net", [recorded.NETWORK]), ("syscall", [recorded.SYSCALL]),
                      ("sync", [recorded.SYNC, recorded.PIPE, recorded.EVENTFD])):
        profile = pprof.parse(run("go", "tool", "trace", "-pprof=" + page, file, binary=True))
        total, truth = sum(s.values[1] for s in profile.samples), waited(events, why)
        exact = page != "syscall" or go >= 26  # 1.23 counts on until the thread's next event with a stack
        if not truth or total < truth * 0.98 or exact and total > truth * 1.02:
            print("%s: %d ns, recorded %d" % (page, total, truth))
            sys.exit(1)
        if page == "syscall" and {s.frames[0].name for s in profile.samples} != {"syscall:fsync"}:
            print("not only fsync: %s" % {s.frames[0].name for s in profile.samples})
            sys.exit(1)


def main():
    go = newest()
    n = 0
    with tempfile.TemporaryDirectory() as folder:
        for version, harm in HARMS:
            if version <= go:
                file = pathlib.Path(folder, "t.trace")
                run(BUILD / "tests" / "trace-make", version, file, *harm)
                read(file, go)
                n += 1
        check_pages(folder, go)
    for version in (22, 23, 25, 26):
        if version <= go:
            printed(recorded.FIXTURES / ("small-%d.trace" % version), go)
            n += 1
    print("%d traces read by go1.%d" % (n, go))


main()
