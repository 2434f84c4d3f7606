#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stacks.py - stacks that are not a thread's own, and large ones: they end where they begin.

libdw walks on from a coroutine's first function into whatever stands there, so the truth is the program's own."""

import platform
import re

import lib
from lib import check


def ends_of(kind):
    """The names of the outermost frames of all stacks, none of which may be incomplete or lead to what is no code."""
    p = lib.start("stacks", kind)
    d = lib.Daemon(p, arguments=["--heap=off"])
    profile = d.profile(1, at_least=20)
    lib.check_complete(profile)
    names = {f.name for s in profile.samples for f in s.frames}
    check("[anonymous code]" not in names, "data was taken for code: %s" % sorted(names))
    check(lib.samples(profile, "work"), "nothing of work")
    d.stop()
    return profile


def test_coroutines():
    """A function of makecontext's ends at __start_context, which has no name without debug information."""
    if platform.machine() != "x86_64":
        lib.skip("x86-64 only")
    profile = ends_of("contexts")
    for name in ("coroutine_one", "coroutine_two"):
        mine = [s for s in profile.samples if any(f.name == name for f in s.frames)]
        check(mine, "no sample of %s" % name)
        for s in mine:
            names = [f.name for f in s.frames]
            after = names[names.index(name) + 1:]
            check(len(after) == 1 and re.fullmatch(r"__start_context|libc\.so\.6\+0x[0-9a-f]+", after[0]),
                  "behind %s: %s" % (name, after))


def test_fiber():
    if platform.machine() != "x86_64":
        lib.skip("x86-64 only")
    for s in ends_of("fiber").samples:
        names = [f.name for f in s.frames]
        if "fiber" in names:
            check(names[-2:] == ["fiber", "begin_fiber"], "it ends with %s" % names[-3:])


def test_large_frame():
    """More of a stack is read than 1 MiB, where a frame is that large."""
    p = lib.start("stacks", "frame")
    d = lib.Daemon(p, arguments=["--heap=off", "--wait=off"])
    dump = d.get("/debug/pprof/goroutine?debug=2")
    check(dump.status == 200, dump.text()[:200])
    mine = [g for g in dump.text().split("\n\n") if "wait_below(" in g]
    check(len(mine) == 1, "not one thread waits: %s" % dump.text()[:1000])
    check("large_frame(" in mine[0] and "[broken" not in mine[0] and re.search(r"\b(clone3|__clone)\(", mine[0]),
          mine[0])
    d.stop()


lib.run(globals())
