#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""waits.py - block and mutex against the target's own account: who waited, how long and how often, for
what, and who made him wait; for each thing that can be waited for, in C, C++ and Rust."""

import lib
import waitlib
from lib import check
from waitlib import LOCKS, Target


def one_truth(program, kind, n, holders):
    t = Target(program, kind, n)
    d = waitlib.watched(t)
    truth, block, mutex = waitlib.span(t, d)
    unknown = {k: v[1] for k, v in block.sites.items()
               if k and k not in truth and v[1] > 1e6}
    check(not unknown, "nobody waits there: %s" % unknown)
    wrong = waitlib.what_is_lost(block, mutex)
    if not any(w.waits for w in truth.values()):
        wrong["ran"] = "it hardly ran: %s" % truth
    wrong.update({("block", k): v for k, v in waitlib.wrong_waits(truth, block.sites).items()})
    wrong.update({("count", k): v for k, v in waitlib.wrong_counts(truth, block.sites).items()})
    if (program, kind) != ("waits-rust", "barrier"):  # which has a mutex inside
        wrong.update({("lock", k): v for k, v in waitlib.wrong_labels(block, truth).items()})
    if holders:
        wrong.update({("mutex", k): v for k, v in waitlib.wrong_holders(truth, mutex.sites).items()})
        total = sum(v[1] for v in mutex.sites.values())
        low, high = sum(w.low for w in truth.values()), sum(w.high for w in truth.values())
        if not 0.9 * low < total < 1.1 * high:
            wrong["mutex", "total"] = "%.3f ms by holders, %.3f to %.3f are true" % (
                total / 1e6, low / 1e6, high / 1e6)
    elif program != "waits-rust":  # its barrier has a mutex inside
        # a condition variable's mutex is released in the wait for it
        charged = {k: v for k, v in mutex.sites.items() if k in truth and
                   (v[1] > 1e6 or LOCKS.get(k) != "cond")}
        if charged:
            wrong["mutex", "charged"] = "mutex has what is neither mutex nor rwlock: %s" % charged
    d.stop()
    t.kill()
    return wrong


def truth_of(program, kind, n=4, holders=False):
    waitlib.has_target(program)
    waitlib.again(lambda: one_truth(program, kind, n, holders))


def test_mutex():
    truth_of("waits", "mutex", holders=True)


def test_mutex_2_threads():
    truth_of("waits", "mutex", 2, holders=True)


def test_mutex_16_threads():
    truth_of("waits", "mutex", 16, holders=True)


def test_mutex_64_threads():
    truth_of("waits", "mutex", 64, holders=True)


def test_short_holds():
    """Tens to hundreds of microseconds, at work meanwhile. Who holds is not judged: threads that do
    not sleep may take a lock before who was woken comes to it, so the machine decides."""
    def once():
        wrong = one_truth("waits", "short", 4, True)
        return {k: v for k, v in wrong.items() if k[0] != "mutex" or k[1] == "total"}

    waitlib.again(once)


def test_condition_variable():
    truth_of("waits", "cond")


def test_condition_variable_64_threads():
    truth_of("waits", "cond", 64)


def test_semaphore():
    truth_of("waits", "sem")


def test_semaphore_32_threads():
    truth_of("waits", "sem", 32)


def test_rwlock():
    truth_of("waits", "rwlock", holders=True)


def test_rwlock_16_threads():
    truth_of("waits", "rwlock", 16, holders=True)


def test_barrier():
    truth_of("waits", "barrier")


def test_barrier_16_threads():
    truth_of("waits", "barrier", 16)


def test_join():
    truth_of("waits", "join")


def test_once():
    truth_of("waits", "once")


def test_time_is_up():
    """Waits that nobody ended are in block, and in mutex nobody is charged with them."""
    truth_of("waits", "timed", 6)


def test_static():
    truth_of("waits-static", "mutex", holders=True)
    truth_of("waits-static", "cond")


def one_sum(program, kind):
    """Of all sites, whatever can be said of the stacks."""
    waitlib.has_target(program)
    t = Target(program, kind)
    d = waitlib.watched(t)
    truth, block = waitlib.span(t, d, names=("block",))
    wrong = waitlib.what_is_lost(block)
    d.stop()
    t.kill()
    total, waits = sum(w.ns for w in truth.values()), sum(w.waits for w in truth.values())
    got = sum(v[1] for v in block.sites.values())  # and main, which waits for the threads' end
    if not -0.03 * total - 4000 * waits < got - total < 0.03 * total + 4000 * waits + 2e7:
        wrong["sum"] = "%.3f ms, %.3f are true" % (got / 1e6, total / 1e6)
    return wrong


def test_musl_sums():
    for program in ("waits-musl", "waits-musl-static"):
        for kind in ("mutex", "cond", "rwlock"):
            waitlib.again(lambda p=program, k=kind: one_sum(p, k))


def test_musl():
    for kind in ("cond", "sem", "barrier", "join", "once", "timed"):
        truth_of("waits-musl", kind)
    for kind in ("mutex", "rwlock"):
        truth_of("waits-musl", kind, holders=True)


def test_musl_static():
    truth_of("waits-musl-static", "mutex", holders=True)
    truth_of("waits-musl-static", "cond")


# What is odd

def test_priority_inheritance():
    truth_of("waits-odd", "pi", holders=True)


def test_owners_that_die():
    """The kernel passes their mutex on: they are no holders that released, and need not be in mutex."""
    def once():
        t = Target("waits-odd", "robust", 4)
        d = waitlib.watched(t)
        truth, block, _ = waitlib.span(t, d)
        d.stop()
        t.kill()
        return {**waitlib.wrong_waits(truth, block.sites), **waitlib.wrong_labels(block, truth)}

    waitlib.again(once)


def test_eventfd_and_pipe():
    truth_of("waits-odd", "queue")


def test_raw_futexes():
    """Woken for nothing, interrupted by signals, several at once: the sum is what counts. Raw futexes
    are no mutex."""
    truth_of("waits-odd", "raw")


def test_cancelled():
    def once():
        t = Target("waits-odd", "cancel", 4)
        d = waitlib.watched(t)
        truth, block = waitlib.span(t, d, names=("block",))
        d.stop()
        t.kill()
        return {**waitlib.what_is_lost(block), **waitlib.wrong_waits(truth, block.sites), **waitlib.wrong_labels(block, truth)}

    waitlib.again(once)


def test_words_of_their_own():
    """A lock whose waiters each have a word: the wake edge alone tells who released, so its wait is the
    one that is charged, where what it waited for is known to be a lock."""
    def once():
        t = Target("waits-odd", "own", 4)
        d = waitlib.watched(t)
        truth, block, mutex = waitlib.span(t, d)
        d.stop()
        t.kill()
        total, w = sum(v[1] for v in mutex.sites.values()), truth["site_own"]
        wrong = {**waitlib.wrong_waits(truth, block.sites), **waitlib.wrong_labels(block, truth)}
        if total and abs(total - w.ns) > 0.1 * w.ns:
            wrong["mutex"] = "%.3f ms charged of %.3f" % (total / 1e6, w.ns / 1e6)
        return wrong

    waitlib.again(once)


# Languages

def test_cxx():
    for kind in ("mutex", "rwlock"):
        truth_of("waits-cxx", kind, holders=True)
    truth_of("waits-cxx", "cond")


def test_cxx_futures_and_atomics():
    for kind in ("future", "atomic"):
        truth_of("waits-cxx", kind)


def test_rust():
    for kind in ("mutex", "rwlock"):
        truth_of("waits-rust", kind, holders=True)


def test_rust_others():
    for kind in ("cond", "channel", "park", "barrier", "join"):
        truth_of("waits-rust", kind)


def test_rust_words_of_their_own():
    """As parking_lot: what is waited for cannot be known from outside, how long can."""
    def once():
        t = Target("waits-rust", "own", 4)
        d = waitlib.watched(t)
        truth, block, _ = waitlib.span(t, d)
        d.stop()
        t.kill()
        return waitlib.wrong_waits(truth, block.sites)

    waitlib.has_target("waits-rust")
    waitlib.again(once)


def test_absl():
    """absl::Mutex: who releases wakes one by a word of its own; the sum over the holders is right, the
    share of each is not known."""
    def once():
        t = Target("waits-absl", "mutex", 4)
        d = waitlib.watched(t)
        truth, block, mutex = waitlib.span(t, d)
        d.stop()
        t.kill()
        wrong = waitlib.wrong_waits(truth, block.sites)
        labels = waitlib.by_label(block, "lock")
        if not all(set(labels[s]) <= {"mutex", "futex"} for s in truth):
            wrong["labels"] = "labels: %s" % labels
        total, waited = sum(v[1] for v in mutex.sites.values()), sum(w.ns for w in truth.values())
        if total and abs(total - waited) > 0.1 * waited:
            wrong["mutex"] = "%.3f ms charged of %.3f" % (total / 1e6, waited / 1e6)
        return wrong

    waitlib.has_target("waits-absl")
    waitlib.again(once)


if __name__ == "__main__":
    lib.run(globals())
