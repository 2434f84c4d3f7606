#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""labels.py - labels that a target gives its threads are on the samples that were taken while they were set, on those
and on no others."""
import re

import lib

# what a function of labels.c runs under
MOMENTS = {
    "under_one": {"role": ["one"]},
    "under_two": {"role": ["two, which is longer"], "more": ["yes"]},
    "under_replaced": {"role": ["3"]},
    "under_nothing": {},
    "under_nothing_in_a_new_thread": {},
    "under_eight": {"k%d" % i: ["v%d" % i] for i in range(8)},
    "under_cut": {"large": ["x" * 57]},
}
OURS = ("thread", "bytes", "reason", "lock", "state", "tid")


def labels(sample):
    return {key: value for key, value in sample.labels.items() if key not in OURS}


def has(sample, function):
    return any(f.name == function for f in sample.frames)


def check_moments(profile, moments):
    """Each sample in one of the functions has its labels, and no others. The functions that were not seen."""
    left = set(moments)
    for s in profile.samples:
        for function, expected in moments.items():
            if has(s, function):
                left.discard(function)
                lib.check(labels(s) == expected, "%s has %s" % (function, labels(s)))
    return left


def check_seen(daemon, pid, moments):
    """The same of windows, until each function has been seen."""
    left = set(moments)
    for seconds in (1, 2, 4, 8, 16, 32):
        left &= check_moments(daemon.profile(seconds, pid=pid), moments)
        if not left:
            return
    raise lib.TooLittle("no samples in %s" % sorted(left))


def exists(name):
    return (lib.TARGETS / name).exists()


OTEL = {
    "under_record": {"trace_id": ["1234" + "0" * 28], "span_id": ["abcd" + "0" * 12],
                     "http.route": ["/users"], "method": ["POST"]},
    "under_set": {"city": ["Paris"], "k": ["abc"]},
    "under_invalid": {},
    "under_nothing": {},
}


def check_stripped(daemon, pid):
    """No names of functions, but labels."""
    left = {"one", "3"}
    for seconds in (1, 2, 4, 8, 16, 32):
        roles = {r for s in daemon.profile(seconds, pid=pid).samples for r in s.labels.get("role", [])}
        lib.check(roles <= {"one", "3", "two, which is longer", "allocating", "waiting", "of a thread that has ended", "waiting long"},
                  "roles: %s" % roles)
        left -= roles
        if not left:
            return
    raise lib.TooLittle("no samples under %s" % sorted(left))


def test_each_sample_has_the_labels_of_its_moment():
    """Ours by every compiler, and in a static program without symbols; OpenTelemetry's and custom labels."""
    targets = [lib.start(n) for n in ("labels", "labels-O0", "labels-cxx", "labels-clang", "labels-musl",
                                      "labels-musl-static") if exists(n)]
    static, otel = lib.start("labels-static"), lib.start("labels-otel")
    d = lib.Daemon(static, otel, *targets)
    lib.together(lambda: check_stripped(d, static.pid), lambda: check_seen(d, otel.pid, OTEL),
                 *[lambda t=t: check_seen(d, t.pid, MOMENTS) for t in targets])
    d.stop()


def test_libraries():
    """Linked and opened, by both dialects; alone, and beside the program's own."""
    targets = [(lib.start("labels-linked-%s%s" % (d, own)), own) for d in ("gnu", "gnu2") for own in ("", "-own")]
    targets += [(lib.start("labels-opened" + own, lib.TARGETS / ("liblabels-%s.so" % d)), own)
                for d in ("gnu", "gnu2") for own in ("", "-own")]
    daemon = lib.Daemon(*[t for t, _ in targets])
    lib.together(*[lambda t=t, own=own: check_seen(daemon, t.pid, {
        "under_library": {"role": ["library"]},
        "under_program": {"role": ["program"]} if own else {}}) for t, own in targets])
    daemon.stop()


def values_of(body):
    p = lib.pprof.parse(body)
    problems = lib.pprof.validate(p)
    lib.check(not problems, "; ".join(problems[:3]))
    return p


def waited(daemon, name):
    a = daemon.get("/debug/pprof/%s?seconds=1" % name)
    lib.check(a.status == 200, "%s: status %d: %s" % (name, a.status, a.text()[:200]))
    return values_of(a.body)


def test_waits_and_allocations():
    daemon = lib.Daemon(lib.start("labels"), arguments=("--max-overhead", "none"))
    lib.eventually(lambda: any(labels(s) == {"role": ["waiting"]} for s in waited(daemon, "offcpu").samples),
                   "no wait has a label")

    def check_waits(name):  # what waited before pprofd came has come back by now
        def some():
            found = [s for s in waited(daemon, name).samples if has(s, "waits")]
            for s in found:
                lib.check(labels(s) == {"role": ["waiting"]}, "%s: waits() has %s" % (name, labels(s)))
            return found
        lib.eventually(some, "nothing in " + name)

    def allocated():
        found = [s for s in values_of(daemon.get("/debug/pprof/heap").body).samples if has(s, "allocates")]
        for s in found:
            lib.check(labels(s) == {"role": ["allocating"]}, "allocates() has %s" % labels(s))
        return found
    lib.together(lambda: lib.eventually(allocated, "nothing has been allocated"),
                 *[lambda name=name: check_waits(name) for name in ("offcpu", "block", "mutex")])
    daemon.stop()


def test_fork():
    """A child has its parent's labels of the moment, and from then on its own."""
    t = lib.start("labels", "fork")
    child = int(t.line(r"^child (\d+)").group(1))
    d = lib.Daemon(t, child)
    lib.together(lambda: check_seen(d, t.pid, {"under_parent": {"role": ["parent"]}}),
                 lambda: check_seen(d, child, {"under_inherited": {"role": ["before the fork"]},
                                               "under_child": {"role": ["child"]}}))
    d.stop()


def test_waits_over_epochs():
    """Each window throws the tables away; a wait that began before has its labels still."""
    d = lib.Daemon(lib.start("labels"))
    seen = 0

    def window():
        nonlocal seen
        found = []
        lib.together(lambda: found.extend(s for s in waited(d, "offcpu").samples if has(s, "waits_long")),
                     lambda: (lib.time.sleep(0.5), d.profile(1)))
        for s in found:  # before the first: those of a wait that began before pprofd came
            lib.check(labels(s) == {"role": ["waiting long"]} or (not seen and not labels(s)), "waits_long() has %s" % labels(s))
            seen += bool(labels(s))
        return seen >= 3
    lib.eventually(window, "no long wait has a label")
    d.stop()


def test_threads_that_sleep():
    """They set their labels before pprofd came, and have not run since."""
    d = lib.Daemon(lib.start("labels"))

    def sleeping():
        found = [s for s in values_of(d.get("/debug/pprof/goroutine").body).samples if has(s, "sleeps")]
        lib.check(len(found) == 1, "%d samples of sleeps()" % len(found))
        lib.check(labels(found[0]) in ({}, {"role": ["sleeping"]}), "sleeps() has %s" % labels(found[0]))
        return labels(found[0])
    lib.eventually(sleeping, "a thread that sleeps has no label")  # it may just have been about to
    lib.eventually(lambda: re.search(r'^# labels: {"role":"sleeping", "thread":"labels"}$',
                                     d.get("/debug/pprof/goroutine?debug=1").text(), re.M), "no labels in the text")
    d.stop()


def test_flood():
    """A target that makes up labels costs itself its labels, and nobody else anything."""
    flood, other = lib.start("labels", "flood"), lib.start("labels")
    d = lib.Daemon(flood, other)
    offcpu = "/pid/%d/debug/pprof/offcpu" % flood.pid

    def full():
        p = values_of(d.get(offcpu).body)
        without = any(not labels(s) for s in p.samples)
        return p if lib.comments(p, r"^labels: too many different ones: [1-9]") and without else None
    p = lib.eventually(full, "no room runs out")
    found = {v for s in p.samples for v in s.labels.get("request", [])}
    lib.check(0 < len(found) <= 4096, "%d different labels" % len(found))
    check_seen(d, other.pid, {f: MOMENTS[f] for f in ("under_one", "under_nothing")})
    p = d.profile(2, pid=flood.pid, at_least=20)
    lib.check_nothing_lost(p)
    d.stop()


lib.run(globals())
