#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""waits_forms.py - the forms in which waits are given, their labels, their errors, and programs that come and go."""

import re
import shutil
import socket
import subprocess
import time

import heap_text
import lib
import waitlib
from lib import check
from waitlib import Target, started


def test_an_idle_loop_is_not_in_block():
    t = Target("waits", "mutex")
    d = waitlib.watched(t)
    waitlib.span(t, d, 0.5)
    time.sleep(0.5)
    for name, wanted in (("block", False), ("mutex", False), ("offcpu", True)):
        p = waitlib.get(d, name)
        found = [s for s in p.samples if any(f.name.startswith("read_step") for f in s.frames)]
        check(bool(found) == wanted, "%s has it: %s" % (name, found[:1]))
    d.stop()


def test_labels():
    """Strings; `thread` is not among them where it would split what belongs together."""
    t = Target("waits", "mutex")
    d = waitlib.watched(t)
    _, block, mutex, offcpu = waitlib.span(t, d, 0.5, names=("block", "mutex", "offcpu"))
    for p, key in ((block, "lock"), (mutex, "lock"), (offcpu, "reason")):
        check(p.samples, "nothing in it")
        for s in p.samples:
            check(len(s.labels.get(key, [])) == 1, "labels: %s" % s.labels)
            check(not s.numbers, "numbers: %s" % s.numbers)
    for p in (block, mutex):
        check(all(set(s.labels) == {"lock"} for s in p.samples), "labels of block, mutex")
        check({s.labels["lock"][0] for s in p.samples} <= {"mutex", "join"}, "locks")
    leaves = {s.frames[0].name for s in block.samples if waitlib.site_of(s)}
    check(not any(n.startswith("site_") for n in leaves), "the lock's own frames are gone: %s" % leaves)
    leaves = {s.frames[0].name for s in mutex.samples if waitlib.site_of(s)}
    check(not any(n.startswith("site_") for n in leaves), "the unlock's own frames are gone: %s" % leaves)
    d.stop()


def test_objects():
    """?objects=1: the mutexes are global variables and have names; without it there is none."""
    t = Target("waits", "mutex")
    d = waitlib.watched(t)
    waitlib.span(t, d, 0.7)
    for name in ("block", "mutex"):
        rows = waitlib.by_label(waitlib.get(d, name, "?objects=1"), "object", 1)
        plain = waitlib.get(d, name)
        check(not any("object" in s.labels for s in plain.samples), "object without being asked")
        for site, wanted in (("site_long", "mutex_a"), ("site_short", "mutex_a"), ("site_b", "mutex_b")):
            check(set(rows[site]) == {wanted}, "%s, %s: %s" % (name, site, rows[site]))
        for site, row in rows.items():
            total = waitlib.by_site(plain)[site][1]
            check(sum(row.values()) == total, "%s: %s, without objects %d" % (site, row, total))
    d.stop()


def test_text():
    """debug=1 is what the proto is, in Go's words."""
    t = Target("waits", "mutex")
    d = waitlib.watched(t)
    waitlib.span(t, d, 0.7)
    for name in ("block", "mutex"):
        a = d.get(waitlib.path(name, "?debug=1"))
        check(a.status == 200 and a.headers["Content-Type"] == "text/plain; charset=utf-8",
              "%d, %s" % (a.status, a.headers))
        rows = waitlib.contention_text(a.text(), name)
        p = waitlib.get(d, name)
        sums = [sum(r[0] for r in rows), sum(r[1] for r in rows)]
        check(sums == [p.total("delay"), p.total("contentions")],
              "%s: text %s, proto %s" % (name, sums, [p.total("delay"), p.total("contentions")]))
        check(all(r[2] for r in rows), "a row without addresses")
        check("site_long" in a.text() and "/waits.c:" in a.text(), a.text()[:300])
        check(d.get(waitlib.path(name, "?debug=2")).text().startswith("--- "), "debug=2")
    d.stop()


def test_text_of_nothing():
    t = Target("waits", "mutex")
    d = waitlib.watched(t)
    for name in ("block", "mutex"):
        check(not waitlib.contention_text(d.get(waitlib.path(name, "?debug=1")).text(), name), "rows")
        check(not waitlib.get(d, name).samples, "samples")
    d.stop()


def test_errors():
    t = Target("waits", "mutex")
    d = waitlib.watched(t)
    number = 'invalid value for "seconds" - must be a positive integer\n'
    for name in ("block", "mutex", "offcpu"):
        for query, text in (("?seconds=x", number), ("?seconds=0", number),
                            ("?seconds=1&debug=1", "seconds and debug params are incompatible\n")):
            a = d.get(waitlib.path(name, query))
            check(a.status == 400 and a.text() == text, "%s%s: %d, %r" % (name, query, a.status, a.text()))
    d.stop()


def test_go_tool_pprof():
    """Reads each; the text is the proto's sum to it."""
    t = Target("waits", "mutex")
    d = waitlib.watched(t)
    waitlib.span(t, d, 0.7)
    for name in ("block", "mutex"):
        ours = waitlib.get(d, name).total("delay") / 1e9
        for query in ("", "?debug=1"):
            text = heap_text.go("-top", "-unit=s", d.url(waitlib.path(name, query)))
            check(re.search("^Type: delay$", text, re.M) and "site_long" in text, text[:400])
            found = re.search(r"of (-?[\d.]+)s total", text)
            check(found and abs(float(found.group(1)) - ours) < 0.01 * ours + 0.01,
                  "%s%s: %s, the profile has %f s" % (name, query, text[:300], ours))
        raw = heap_text.go("-raw", d.url(waitlib.path(name)))
        for pattern in ("^PeriodType: contentions count$", "^Period: 1$", r"lock:\[mutex\]",
                        "^contentions/count delay/nanoseconds"):
            check(re.search(pattern, raw, re.M), "-raw has no %s: %s" % (pattern, raw[:500]))
    text = heap_text.go("-top", d.url(waitlib.path("offcpu")))
    check(re.search("^Type: off_cpu$", text, re.M) and "read_step" in text, text[:400])
    tags = heap_text.go("-tags", d.url(waitlib.path("offcpu")))
    check(re.search(r"^ *reason:", tags, re.M) and "futex" in tags, tags[:300])
    t.begin()
    text = heap_text.go("-top", "-seconds=1", d.url("/debug/fgprof"))
    check(re.search("^Type: time$", text, re.M) and "site_long" in text, text[:400])
    text = heap_text.go("-top", "-seconds=1", d.url(waitlib.path("block")))
    check(re.search("^Type: delay$", text, re.M) and "site_long" in text, text[:400])
    d.stop()


def test_record():
    """pprofd record, for each."""
    t = Target("waits", "mutex", 8)
    t.begin()
    for name in ("block", "mutex", "offcpu", "wall"):
        p = subprocess.run([lib.PPROFD, "record", name, "--pid", str(t.pid), "--seconds", "1"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=120, check=False)
        check(p.returncode == 0, "%s: %d, %s" % (name, p.returncode, p.stderr.decode()[-200:]))
        found = waitlib.by_site(waitlib.decode(p.stdout, name))
        check({"site_long", "site_short"} <= set(found), "%s: %s" % (name, found))
    t.kill()


def test_end_in_the_middle():
    """It ends during a window."""
    for name in ("block", "wall"):
        t, d = started("waits", "stuck", 4)

        def end(t=t):
            time.sleep(0.5)
            t.say("quit")

        began = time.monotonic()
        a, _ = lib.together(lambda: d.get(waitlib.path(name, "?seconds=60")), end)
        check(time.monotonic() - began < 45, "the answer has waited for the window")
        check(a.status in (200, 404), "status %d" % a.status)
        if a.status == 200:
            waitlib.decode(a.body, name)
        d.stop()


def test_exec():
    """The program becomes another while threads of it wait."""
    t, d = started("waits", "stuck", 8)
    time.sleep(0.3)
    check(waitlib.by_site(waitlib.get(d))["site_long"][0] == 8, "they do not wait")
    n = len(t.lines)
    t.say("exec")
    t.line("^ready", start=n)

    def seen():
        t.begin()
        time.sleep(0.2)
        found = waitlib.by_site(waitlib.get(d)).get("site_long", [0, 0])
        t.stop()
        return found[1] > 4e8

    lib.eventually(seen, "the second program's waits are not seen", timeout=20)
    before = waitlib.by_site(waitlib.get(d))["site_long"]
    time.sleep(0.7)
    after = waitlib.by_site(waitlib.get(d))["site_long"]
    check(after == before, "the first program's threads still wait: %s, %s" % (before, after))
    d.stop()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_redis_with_threads():
    """Its input and output threads spin for the main thread, which parks them on a mutex each: who waits
    is IOThreadMain, for a mutex; the main loop's epoll is in offcpu alone."""
    if not shutil.which("redis-server") or not shutil.which("redis-benchmark"):
        lib.skip("redis is not installed")
    port = free_port()
    r = lib.Process("redis-server", "--port", port, "--save", "", "--io-threads", 3,
                    "--io-threads-do-reads", "yes", "--bind", "127.0.0.1")
    r.line("Ready to accept connections")
    d = waitlib.watched(r)
    try:
        subprocess.run(["redis-benchmark", "-p", str(port), "-c", "40", "-n", "60000", "-P", "8", "-q", "-t",
                        "set,get"], stdout=subprocess.DEVNULL, check=True, timeout=20)
    except subprocess.TimeoutExpired:
        pass  # threads that spin take a busy machine from each other: there were requests enough

    def parked():  # a moment after the last request
        return [s for s in waitlib.get(d).samples if any("IOThreadMain" in f.name for f in s.frames)]

    io = lib.eventually(parked, "io threads are not in block")
    block, offcpu = waitlib.get(d), waitlib.get(d, "offcpu")
    check({s.labels["lock"][0] for s in io} == {"mutex"},
          "io threads in block: %s" % [(s.values, s.labels) for s in io])
    bad = [s for s in block.samples if any("epoll" in f.name or "aeApiPoll" in f.name for f in s.frames)]
    check(not bad, "its main loop is in block: %s" % bad[:1])
    epoll = [s for s in offcpu.samples if any("aeMain" in f.name or "epoll_wait" in f.name
                                              for f in s.frames)]
    check(epoll and all(s.labels["reason"][0] in ("poll", "preempted", "network", "other", "kernel", "pagefault",
                                                     "futex")  # a lock of its own that it found held
                        for s in epoll), "reasons: %s" % {s.labels["reason"][0] for s in epoll})
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
