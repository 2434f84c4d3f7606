#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""shapes.py - the walker in the kernel against libdw, on the same registers and the same bytes.

build/oracle takes both of every sample and compares frame by frame; this file runs it over every
shape of stack that tests/targets/shapes.cc knows, over probes, and over interpreters and JITs."""

import re
import shutil
import subprocess
import sys

import lib
from lib import check

FIGURES = re.compile(
    r"^(?P<mode>\S+): (?P<n>\d+) samples, (?P<frames>[\d.]+) frames, complete (?P<complete>[\d.]+) %; "
    r"equal to libdw (?P<equal>\d+), longer (?P<longer>\d+), truncated (?P<truncated>\d+), "
    r"shorter (?P<shorter>\d+), different (?P<different>\d+), "
    r"in the probes' trampoline (?P<trampoline>\d+), beyond it (?P<beyond>\d+)$", re.M)


class Result:
    def __init__(self, text, code):
        found = FIGURES.search(text)
        check(found, "the oracle ended with %d: %s" % (code, text.strip()[-300:]))
        for key, value in found.groupdict().items():
            setattr(self, key, value if key == "mode" else float(value))
        self.text, self.code = text.strip(), code
        self.incomplete = round(self.n * (100 - self.complete) / 100)


def oracle(pid, mode, at_least=20, seconds=1):
    """On a busy machine it looks until there are as many samples."""
    p = subprocess.run([str(lib.BUILD / "oracle"), str(pid), mode, str(seconds), str(at_least)],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=300,
                       stderr=subprocess.STDOUT, check=False)
    r = Result(p.stdout.decode(errors="replace"), p.returncode)
    check(r.n >= at_least, "only %d samples" % r.n)
    return r


def shape(kind):
    return lib.start("shapes", kind, "600")


def agrees(r):
    """Not one stack differs, none is shorter, and (nearly) all reach their root."""
    check(r.code == 0 and not r.different and not r.shorter and not r.trampoline, r.text)
    check(r.complete >= 99.9, r.text)


def rare(k, r, rate):
    """No more of the samples than happen where each does with this probability."""
    check(not lib.too_many(k, r.n, rate), "%d: %s" % (k, r.text))


def check_shape(kind, mode="perf"):
    agrees(oracle(shape(kind).pid, mode))


def test_qsort():
    check_shape("qsort")


def test_signal_handler():
    check_shape("sigprof")


def test_signal_stack():
    check_shape("sigaltstack")


def test_nested_signals():
    check_shape("nested")


def test_realigned_frames():
    check_shape("drap")


def test_procedure_linkage():
    check_shape("plt")


def test_lazy_binding():
    """The library comes and goes hundreds of times a second, far faster than maps can be read: there
    the stacks may end, by name; none may be wrong."""
    r = oracle(shape("lazy").pid, "perf")
    check(not r.different, r.text)
    check(r.complete >= 50, r.text)


def test_vdso():
    check_shape("vdso")


def test_exceptions():
    """libgcc writes the registers of the handler into its own frame before it returns there: for these
    few instructions its table is wrong, and libdw follows it as we do (0.1 to 0.2 % of a program that
    does nothing but throw)."""
    r = oracle(shape("throw").pid, "perf", at_least=1000, seconds=2)
    check(r.code == 0 and not r.different and not r.shorter and not r.trampoline, r.text)
    rare(r.incomplete, r, 0.004)


def test_vfork():
    """A child that borrows our memory until it executes another program."""
    check_shape("vfork")


def test_malloc():
    check_shape("malloc")


def test_futex_clock():
    check_shape("futex")


def test_futex_wait():
    """In the tracepoint of the system call: registers as the entry saved them."""
    check_shape("futex", "futex")


def test_too_deep():
    """2,000 frames: the 255 innermost are right, and the stack says that it was cut."""
    r = oracle(shape("recursive").pid, "perf")
    check(r.code == 0 and not r.different and not r.shorter, r.text)
    check(r.truncated >= 0.9 * r.n, r.text)


def test_uprobe():
    check_shape("malloc", "uprobe:libc.so.6:malloc")


def test_uprobe_and_clock():
    """A tick may come while the kernel emulates the instruction under the probe, `push`: the stack
    pointer has moved and the instruction pointer has not. No unwinder can know (one in 20,000 seen). And
    where somebody else on this machine has a return probe on the same function, the kernel arms it
    here too, and does nothing else (one in 10,000)."""
    r = oracle(shape("malloc").pid, "both:libc.so.6:malloc", at_least=1000, seconds=2)
    check(not r.different, r.text)
    rare(r.shorter, r, 0.001)
    rare(r.trampoline, r, 0.001)
    rare(r.incomplete, r, 0.002)


def test_return_probe_and_clock():
    """Here the clock alone is counted, and the probes are most of what the program does. Beside the
    emulation (0.6 % seen), there are ticks in the trampoline itself and in the kernel between its
    writing the return address and its noting what that was (10 % together): those stacks
    end there and say so, and libdw's too. Through the trampoline of any other frame we
    find the caller in the kernel's list, which libdw does not have."""
    r = oracle(shape("malloc").pid, "uretprobe:libc.so.6:malloc", at_least=1000, seconds=2)
    check(not r.different, r.text)
    rare(r.shorter, r, 0.01)
    check(r.trampoline <= 0.25 * r.n, r.text)
    check(r.beyond >= 0.05 * r.n, "none went through the trampoline: " + r.text)
    rare(r.incomplete - r.trampoline, r, 0.01)


def test_frame_pointers():
    p = lib.Process(lib.target("deep-fp"), "600")
    agrees(oracle(p.pid, "perf"))


def test_big_frames():
    """Beyond the bytes of stack that the oracle copies, ours goes on: longer, and never otherwise."""
    p = lib.Process(lib.target("deep-pad"), "600")
    agrees(oracle(p.pid, "perf"))


def test_rust():
    if not (lib.TARGETS / "deep-rust").exists():
        lib.skip("there was no rustc on this machine when the build was configured")
    p = lib.Process(lib.target("deep-rust"), "600")
    agrees(oracle(p.pid, "perf"))


def test_python():
    p = lib.Process(sys.executable, lib.ROOT / "tests/targets/work.py", "600")
    p.line("ready")
    agrees(oracle(p.pid, "perf"))


def node(*arguments):
    path = shutil.which("node")
    if not path:
        lib.skip("node is not installed")
    p = lib.Process(path, lib.ROOT / "tests/targets/jit.js", "3600", *arguments)
    p.line("ready", timeout=600)  # after so much CPU time
    return p


def test_node():
    """Code that a JIT makes has no file and no table: its frame pointers lead through it. Here libdw
    guesses too, and both may meet a prologue."""
    r = oracle(node().pid, "perf", at_least=200, seconds=2)
    check(r.different + r.shorter <= 0.005 * r.n, r.text)
    check(r.complete >= 99.5, r.text)


def test_node_that_never_rests():
    """New code all the time: pprofd follows what is mapped while it looks; how soon, is a matter of when it
    gets to run."""
    lib.patiently(never_rests, 3, 10, 30, 60)


def never_rests(seconds):
    p = node("new")
    profile = lib.Daemon(p, arguments=("--hz", "500")).profile(seconds)
    account = lib.Account(profile)
    lib.enough(account.samples >= 300, "%s" % profile.comments)
    check(all(c.startswith("broken: NO_MAPPING") for c in lib.comments(profile, "^broken: ")),
          "%s" % profile.comments)
    lib.enough(account.complete >= 0.99 * account.samples, "%s" % profile.comments)
    check(lib.samples(profile, r"\[anonymous code\]") > 0, "no JIT frames")
    lib.check_nothing_lost(profile)


if __name__ == "__main__":
    lib.run(globals())
