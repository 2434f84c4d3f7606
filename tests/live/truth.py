#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""truth.py - a profile against what the target itself says it did.

deep.cc keeps five kinds of work apart by its thread's CPU clock. Samples are coin tosses: their
number may differ from the truth by chance, which is why the tests here reject only what one run
in a thousand would show, and only when two more windows show it again: one in 10^9."""

import math
import re
import signal
import threading
import time

import lib
from lib import check

TOP = {"A": 44, "B": 30, "C": 40, "D": 20, "E": 25}  # deep.cc: the level that each branch calls
LEAF = {"A": "leaf_spin", "B": "leaf_qsort", "C": "leaf_sort", "D": "leaf_copy",
        "E": "leaf_alloca"}
COIN = 0.1  # of the ticks of the clock one in about ten is kept


class Deep(lib.Process):
    """deep, asked for its account whenever we like."""

    def __init__(self, program, *arguments):
        super().__init__(lib.target(program), "3600", *arguments)
        self.n = 0

    def account(self):
        """{branch: ns} up to now, and the target's CPU time at that moment."""
        self.popen.send_signal(signal.SIGUSR1)
        self.line(r"^truth total \d+", start=self.n)
        found = dict(re.findall(r"^truth branch_(\w) (\d+)$", "\n".join(self.lines[self.n:]), re.M))
        self.n = len(self.lines)
        return {k: int(v) for k, v in found.items()}


# deep_rust.rs: its branches are left by a jump, so the work tells them apart.
RUST = {"deep_rust::work_sort": "a", "deep_rust::work_map": "b", "deep_rust::work_spin": "c"}


def branch_of(sample):
    found = [RUST.get(f.name) or f.name[-1] for f in sample.frames
             if re.fullmatch("branch_[A-E]", f.name) or f.name in RUST]
    check(len(found) < 2, "two branches on one stack")
    return found[0] if found else None


def counts(profile, branches):
    """Samples of each branch."""
    n = dict.fromkeys(branches, 0)
    for s in profile.samples:
        b = branch_of(s)
        if b:
            n[b] += s.values[0]
    return n


def chi_squared(observed, truth):
    """The probability of such a difference by chance; closed form for even degrees of freedom."""
    n, total, half = sum(observed.values()), sum(truth.values()), (len(truth) - 1) // 2
    x = sum((observed[b] - n * truth[b] / total) ** 2 / (n * truth[b] / total) for b in truth)
    check(len(truth) == 2 * half + 1, "%d kinds of work" % len(truth))
    return math.exp(-x / 2) * sum((x / 2) ** i / math.factorial(i) for i in range(half))


def window(d, t, seconds):
    """A profile, and what the target did meanwhile: {branch: ns} scaled to the window's length."""
    for factor in (1, 3, 10, 30):  # a busy machine may give it too little time
        before, began = t.account(), time.monotonic_ns()
        profile = d.profile(seconds * factor)
        after, ended = t.account(), time.monotonic_ns()
        if profile.total("samples") >= 30 * seconds:
            break
    share = profile.duration_nanos / (ended - began)
    check(share <= 1.01, "the window was %.3f of the time it took" % share)
    return profile, {b: (after[b] - before[b]) * share for b in before}


def check_shares(d, t, seconds):
    """The shares of the branches; one in a thousand is rejected by chance, so three times is too much."""
    p_values = []
    for _ in range(3):
        profile, truth = window(d, t, seconds)
        lib.check_complete(profile, at_least=30 * seconds)
        n = counts(profile, truth)
        p_values.append(chi_squared(n, truth))
        if p_values[-1] > 0.001:
            return
    lib.fail("p = %s: %s against %s" % (p_values, n, truth))


def levels(sample):
    """The levels of the chain from the leaf to the root, and the name of the frame above them."""
    found, above = [], None
    for f in sample.frames:
        if f.inlined:
            continue
        match = re.match(r"_ZN5ChainILi(\d+)EE3run", f.system_name)
        if match:
            found.append(int(match.group(1)))
        elif not found:
            above = f.name
    return found, above


def check_chain(profile):
    """Every level of every stack is there, in order, and none twice."""
    whole = 0
    for s in profile.samples:
        b = branch_of(s)
        if not b:
            continue
        found, above = levels(s)
        names = [f.name for f in s.frames]
        first = found[0] if found else TOP[b] + 1
        check(found == list(range(first, TOP[b] + 1)), "branch %s: levels %s" % (b, found))
        if LEAF[b] in names:
            check(first == 0, "branch %s: %s under level %d" % (b, LEAF[b], first))
            whole += s.values[0]
        i = names.index("branch_" + b)
        check(names[i + 1] == "main", "branch_%s called by %s" % (b, names[i + 1]))
    check(whole >= 0.9 * sum(counts(profile, TOP).values()), "only %d stacks from leaf to root" % whole)


class Watch(threading.Thread):
    """What the target uses, by its own CPU clock, every few milliseconds: on a busy machine it does not
    get the same share all the time."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.points, self.end = pid, [], threading.Event()
        self.note()     # before whatever is asked next, however late the thread starts
        self.start()

    def note(self):
        self.points.append((time.time(), lib.cpu_seconds(self.pid)))

    def run(self):
        while not self.end.wait(0.005):
            self.note()

    def stop(self):
        self.end.set()
        self.join()
        self.note()     # after whatever was asked before

    def at(self, t):
        """CPU seconds at a moment of the wall clock; of the first or the last moment where somebody has set it."""
        before = ([p for p in self.points if p[0] <= t] or self.points[:1])[-1]
        after = ([p for p in self.points if p[0] > t] or self.points[-1:])[0]
        if before[0] >= after[0]:
            return before[1]
        return before[1] + (after[1] - before[1]) * (t - before[0]) / (after[0] - before[0])


def check_total(d, t, seconds, hz):
    """All its CPU time, user and kernel: within three and a half standard deviations of the coin (one window in
    2,000 is not), and 2 % for the edges, between whose clocks a busy machine may hold us up. So
    three windows must be off: one run in 10^10."""
    wrong = []
    while len(wrong) < 3:
        text = one_total(d, t, seconds, hz)
        if not text:
            return
        wrong.append(text)
    lib.fail("; ".join(wrong))


def one_total(d, t, seconds, hz):
    """What is wrong with the sum of one window, if anything."""
    watch = Watch(t.pid)
    profile = d.profile(seconds)
    watch.stop()
    start = profile.time_nanos / 1e9
    used = watch.at(start + profile.duration_nanos / 1e9) - watch.at(start)
    n, ticks = profile.total("samples"), used * hz / COIN
    deviation = math.sqrt(ticks * COIN * (1 - COIN))
    expected = used * 1e9 / profile.period
    if abs(n - expected) <= 3.5 * deviation + 0.02 * expected:
        return None
    return "%d samples, %.1f expected, deviation %.1f" % (n, expected, deviation)


def test_shares():
    t = Deep("deep")
    check_shares(lib.Daemon(t, arguments=("--hz", "500", "--heap=off")), t, 5)


def test_shares_of_big_frames():
    """More than 20 KiB of stack, beyond what copying profilers take."""
    t = Deep("deep-pad")
    check_shares(lib.Daemon(t, arguments=("--hz", "500", "--heap=off")), t, 4)


def test_shares_with_frame_pointers():
    t = Deep("deep-fp")
    check_shares(lib.Daemon(t, arguments=("--hz", "500", "--heap=off")), t, 3)


def test_slots_of_ten_milliseconds():
    """What it does by the clock must not beat with ours: at the default rate, whose period is the
    slots' own. A regular clock of 100 Hz would see one branch only."""
    t = Deep("deep", "10")
    check_shares(lib.Daemon(t, arguments=("--heap=off",)), t, 8)


def test_chain_is_whole_and_in_order():
    for program in ("deep", "deep-pad", "deep-fp"):
        t = Deep(program)
        d = lib.Daemon(t, arguments=("--hz", "500", "--heap=off"))
        profile = d.profile(2, at_least=100)
        lib.check_complete(profile, at_least=100)
        check_chain(profile)
        lib.check_nothing_lost(profile)
        d.stop()
        t.kill()


def test_total():
    for arguments, hz in ((("--hz", "1000"), 1000), ((), 100)):
        t = Deep("deep")
        d = lib.Daemon(t, arguments=arguments)
        check_total(d, t, 3, hz)
        d.stop()
        t.kill()


def test_rust():
    """A release binary of rustc, which has no frame pointers either: three kinds of work."""
    if not (lib.TARGETS / "deep-rust").exists():
        lib.skip("there was no rustc on this machine when the build was configured")
    t = Deep("deep-rust")
    d = lib.Daemon(t, arguments=("--hz", "500", "--heap=off"))
    check_shares(d, t, 4)
    profile = d.profile(1, at_least=20)
    check(lib.samples(profile, "deep_rust::descend") >= 0.9 * profile.total("samples"),
          "no recursion")
    check(lib.samples(profile, "deep_rust::main") >= 0.9 * profile.total("samples"), "no main")


if __name__ == "__main__":
    lib.run(globals())
