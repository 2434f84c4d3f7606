#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""machine.py - what changes something of the machine for a moment, and what hangs on how soon pprofd gets to run: no
other test may run beside it."""

import contextlib
import os
import pathlib
import re
import subprocess

import idle
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


def test_the_kernel_stops_the_clock():
    """A limit of samples far below the clock's: what is missing is said by the profile and by /metrics, and is enough."""
    p = lib.start("rungs", "600")
    d = lib.Daemon(p)
    d.profile(1, at_least=50)
    with setting("perf_event_max_sample_rate", "100"):
        begun = lib.cpu_seconds(p.pid)
        profile = d.profile(3)
        used = lib.cpu_seconds(p.pid) - begun
    own = lib.comments(profile, "^cpu: ")
    check(len(own) == 1, "comments: %s" % profile.comments)
    by_clock, in_samples = (float(x) for x in re.findall(r"[\d.]+(?= s )", own[0]))
    check(0.8 * used - 0.1 < by_clock < used + 0.1, "%s; %.3f s used" % (own[0], used))
    check(abs(in_samples - profile.total("cpu") / 1e9) < 0.002, "%s; %d ns in samples" % (own[0], profile.total("cpu")))
    found = lib.comments(profile, "^clock: ")
    if not found and profile.total("cpu") / 1e9 > 0.9 * used - 0.1:
        lib.skip("this kernel's own tick is faster than our clock")
    check(len(found) == 1, "comments: %s" % profile.comments)
    stood = float(found[0].split()[1])
    seen = profile.total("cpu") / 1e9
    check(seen + stood > 0.9 * used - 0.1, "%.2f s seen, %.2f s not looked at, %.2f s used" % (seen, stood, used))
    told = re.search(r"^pprofd_clock_stood_seconds_total (\S+)$", d.get("/metrics").text(), re.M)
    check(told and float(told.group(1)) >= stood - 0.001, "%s, the comment has %.3f" % (told and told.group(0), stood))
    d.stop()


def test_dlopen_during_the_window():
    """Two libraries of one size take turns at one address, seven times a second. Each sample's label tells
    which of them it was in truth: the libraries call the thread so. Until serve has read the new list
    of mappings, the kernel takes the one for the other, or knows neither: milliseconds, more where the
    CPUs are busy. The comment must count these."""
    lib.patiently(dlopen_during, 6, 20, 60)


def dlopen_during(seconds):
    p = lib.start("shapes", "dlopen", "600",
                  env={"LIB1": lib.target("libone.so"), "LIB2": lib.target("libtwo.so")})
    profile = lib.Daemon(p, arguments=lifecycle.FAST).profile(seconds, at_least=1000)
    right = {n: lib.samples(profile, n, thread=n) for n in ("work_one", "work_two")}
    wrong = sum(lib.samples(profile, m, thread=n) for n, m in
                (("work_one", "work_two"), ("work_two", "work_one")))
    broken = lib.Account(profile).broken
    total = sum(s.values[0] for s in profile.samples
                if s.labels.get("thread", [""])[0] in right)
    said = [int(re.search(r"\d+", c).group()) for c in lib.comments(profile, "mapping or unmapping")]
    for name in right:
        n = sum(s.values[0] for s in profile.samples if s.labels.get("thread") == [name])
        check(0.2 * total <= n <= 0.8 * total, "%s: %d of %d" % (name, n, total))
    # these two are a matter of how soon serve gets to run after a swap
    lib.enough(sum(right.values()) >= 0.6 * total, "%d of %d have a name: %s" %
               (sum(right.values()), total, profile.comments))
    lib.enough(wrong <= 0.1 * total, "%d of %d samples under the other's name" % (wrong, total))
    # a few are not: two swaps while one list is being read
    check(wrong + broken <= sum(said) + 0.01 * total, "%d samples under the other's name, %d broken; the comment "
          "says %s" % (wrong, broken, sum(said)))
    found = [c for c in lib.comments(profile, "^broken: ") if not re.match("broken: NO_MAPPING", c)]
    check(not found, "%s" % found)


def test_exec_during_the_window():
    """Both programs are in the profile, each under its own names, and a comment says so."""
    lib.patiently(exec_during, 8, 30, 100)


def exec_during(seconds):
    p = lifecycle.life("exec", "800", lib.target("rungs"), "600", stdin=subprocess.PIPE)
    d = lib.Daemon(p, arguments=lifecycle.FAST)
    lifecycle.once_armed(d.pid, lambda: lifecycle.go(p))
    profile = lib.profile_of(d.window(seconds).body)
    n = {f: lib.samples(profile, f) for f in ("before_exec", "rung_leaf")}
    lib.enough(all(v > 50 for v in n.values()), "%s: %s" % (n, profile.comments))
    check(lib.comments(profile, "executed a new program"), "%s" % profile.comments)
    # the new program's tables have to be made first
    account = lib.Account(profile)
    lib.enough(account.complete >= 0.7 * account.samples, "%s" % profile.comments)
    why = {c.split()[1].rstrip(":") for c in lib.comments(profile, "^broken: ")}
    # while it executes, the old stack is gone and the new one is not there yet
    check(why <= {"EXEC", "NO_MAPPING", "UNREADABLE_STACK"}, "%s" % profile.comments)
    files = {os.path.basename(m.file) for m in profile.mappings}
    check({"life", "rungs"} <= files, "mappings of %s" % files)
    # and the next window knows the new one only
    profile = d.profile(1, at_least=50)
    check(not lib.samples(profile, "before_exec"), "the old program still runs")
    check(not lib.comments(profile, "executed a new program"), "%s" % profile.comments)
    lib.check_complete(profile)
    d.stop()


def test_the_target_maps_code():
    """It loads libraries all the time, and still nobody asks: nothing tells us, nothing wakes us. (Where it
    is not let run for long enough, its waits do: their stacks are walked.)"""
    p = lib.start("shapes", "dlopen", "3600",
                  env={"LIB1": lib.target("libone.so"), "LIB2": lib.target("libtwo.so")})
    d = lib.Daemon(p)
    pids = d.three()
    idle.settle(pids)
    idle.check_idle(pids, 5)
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
