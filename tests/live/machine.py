#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""machine.py - what changes something of the machine for a moment: no other test may run beside it."""

import contextlib
import pathlib
import subprocess

import lib
import lifecycle
from lib import check

FAST = ("--hz", "500")


@contextlib.contextmanager
def setting(name, value):
    """A sysctl, for a moment."""
    path = pathlib.Path("/proc/sys/kernel") / name
    before = path.read_text()
    path.write_text(value)
    try:
        yield
    finally:
        path.write_text(before)
        check(path.read_text() == before, "%s is not as it was" % name)


def test_kernel_addresses_are_hidden():
    """kptr_restrict 2: the kernel's frames are there, nameless, and one line says why."""
    p = lib.start("shapes", "plt", "600")
    d = lib.Daemon(p, arguments=FAST)
    with setting("kptr_restrict", "2"):
        profiles = [d.profile(1, at_least=100) for _ in range(2)]
    for profile in profiles:
        lib.check_complete(profile)
        kernel = {f.name for f in profile.functions} & {"[kernel]"}
        check(kernel, "no kernel frames: %s" % sorted(f.name for f in profile.functions))
        addresses = {f.address for s in profile.samples for f in s.frames if f.name == "[kernel]"}
        check(not [a for a in addresses if a >> 56 == 0xff], "addresses of the kernel are shown")
    said = d.said("kernel frames go without names")
    check(len(said) == 1 and "kptr_restrict" in said[0], "%d lines: %s" % (len(said), said))
    d.stop()


def test_the_kernel_is_paranoid():
    """perf_event_paranoid 3, with the capabilities that we have."""
    p = lib.start("rungs", "600")
    with setting("perf_event_paranoid", "3"):
        d = lib.Daemon(p, arguments=FAST)
        lib.check_complete(d.profile(1, at_least=50))
        d.stop()


def test_a_pid_used_again():
    """The number comes again for another process: that one is not profiled under it."""
    for _ in range(5): # a thread of somebody's may have taken it
        if pid_used_again():
            return
    lib.fail("the number does not come again")


def pid_used_again():
    p = lifecycle.life("end", "1", "0", stdin=subprocess.PIPE)
    d = lib.Daemon(p)
    d.three()
    lifecycle.go(p)
    p.wait()
    # in the namespace of the test, the next process gets the number after this one
    last = "/proc/sys/kernel/ns_last_pid"
    q = None
    for _ in range(50):
        with open(last, "w") as f:
            f.write(str(p.pid - 1))
        q = lib.start("rungs", "600")
        if q.pid == p.pid:
            break
        q.kill()
    again = q.pid == p.pid
    if again:
        lifecycle.check_gone(d, p.pid)
    d.stop()
    return again


if __name__ == "__main__":
    lib.run(globals())
