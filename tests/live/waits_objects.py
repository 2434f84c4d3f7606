#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""waits_objects.py - the names of locks: block?objects=1 and mutex?objects=1."""

import time

import lib
from lib import check

# waits_objects.cc: the site that waits, and what its lock is called; None: nothing.
OBJECTS = {"site_global": {"global"}, "site_hidden": {"(anonymous namespace)::hidden"},
           "site_object": {"object+0x28"}, "site_static": {"local()::inner"},
           "site_heap": {None}, "site_library": {"library_mutex"}, "site_inside": {"library_private+0x18"},
           "site_both": {"both_a", "both_b"}, "site_member": {"Registry::lock"}}


def started(name, *arguments, wait="on"):
    t = lib.start(name, lib.target("libwaits-objects-library.so"), *arguments)
    return lib.Daemon(t, arguments=("--wait=" + wait,))


def profile(d, kind, query=""):
    a = d.get("/debug/pprof/%s%s" % (kind, query))
    check(a.status == 200, "status %d: %s" % (a.status, a.text()[:200]))
    p = lib.pprof.parse(a.body)
    problems = lib.pprof.validate(p)
    check(not problems, "; ".join(problems[:3]))
    return p


def site_of(sample):
    found = [f.name for f in sample.frames if f.name.startswith("site_")]
    return found[0] if found else None


def objects(p):
    """{site: {object, or None: ns}}"""
    found = {}
    for s in p.samples:
        label = s.labels.get("object", [None])
        check(len(label) == 1, "labels %s" % s.labels)
        of = found.setdefault(site_of(s), {})
        of[label[0]] = of.get(label[0], 0) + s.values[1]
    return found


def check_objects(d, kind, wanted, may_be_late=()):
    """Once every site has waited. The sites may have waited before pprofd knew of their file."""
    p, end = None, time.monotonic() + lib.DEADLINE
    while p is None or (not all(wanted[s] <= set(found.get(s, {})) for s in wanted) and time.monotonic() < end):
        time.sleep(0.5)
        p = profile(d, kind, "?objects=1")
        found = objects(p)
    for site, names in wanted.items():
        late = {None} if site in may_be_late else set()
        check(names <= set(found.get(site, {})) <= names | late, "%s: %s waits for %s" % (kind, site, found.get(site)))
    line = lib.comments(p, r"^objects: locks in the data of [1-9]\d* files are told apart; of 0 not")
    check(len(line) == 1, "comments: %s" % p.comments)
    return p


def check_plain(d, kind, split):
    """Without the question there are no names, and rows of one stack are one sample; nothing is lost by it."""
    p = profile(d, kind)
    check(not any("object" in s.labels for s in p.samples), "%s: an object that nobody asked for" % kind)
    check(not lib.comments(p, "^objects"), "comments: %s" % p.comments)
    keys = [(tuple(f.address for f in s.frames), str(sorted(s.labels.items()))) for s in p.samples]
    check(len(set(keys)) == len(keys), "%s: %d samples, %d different" % (kind, len(keys), len(set(keys))))
    for site in OBJECTS:
        before = sum(sum(s.values[1:]) for s in split.samples if site_of(s) == site)
        now = sum(sum(s.values[1:]) for s in p.samples if site_of(s) == site)
        check(now >= before, "%s: %s has %d ns, and had %d" % (kind, site, now, before))


def check_program(name):
    d = started(name)
    for kind in ("block", "mutex"):
        check_plain(d, kind, check_objects(d, kind, OBJECTS))
    d.stop()


def test_locks_of_a_program_and_its_libraries():
    check_program("waits-objects")


def test_locks_of_a_program_at_a_fixed_address():
    check_program("waits-objects-non-pie")


def test_library_that_is_loaded_later():
    d = started("waits-objects", 2)
    for kind in ("block", "mutex"):
        check_objects(d, kind, OBJECTS, ("site_library", "site_inside"))
    d.stop()


def test_events_of_the_target_alone():
    d = started("waits-objects", wait="strict")
    check_objects(d, "block", OBJECTS)
    d.stop()


def test_wait_that_began_before_pprofd():
    d = started("waits-objects")
    found = lib.eventually(lambda: objects(profile(d, "block", "?objects=1")).get("site_held"), "no site_held")
    check(set(found) == {"held"}, "site_held waits for %s" % found)
    d.stop()


def test_window():
    d = started("waits-objects")
    check_objects(d, "block", OBJECTS)
    found = objects(profile(d, "block", "?objects=1&seconds=2"))
    check(set(found["site_both"]) == {"both_a", "both_b"}, "site_both: %s" % found["site_both"])
    d.stop()


def test_stripped_program_has_names_of_its_library():
    d = started("waits-objects-stripped")
    p = None

    def waited():
        nonlocal p
        p = profile(d, "block", "?objects=1")
        return {"library_mutex", "library_private+0x18"} <= {o for of in objects(p).values() for o in of}

    lib.eventually(waited, "no lock of the library", 60)
    named = {o for of in objects(p).values() for o in of if o}
    check(named == {"library_mutex", "library_private+0x18"}, "named: %s" % named)
    d.stop()


lib.run(globals())
