#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clients.py - what old and new clients make of our answers: the perl pprof of gperftools, `go tool pprof` with what people
use of it, and scrapers that ask for what is new since they asked last."""

import functools
import os
import re
import shutil
import subprocess

import heaplib
import lib
import waitlib
from heaplib import Told
from lib import check

ENDPOINTS = ("/debug/pprof/profile", "/debug/pprof/heap", "/debug/pprof/allocs", "/debug/pprof/block", "/debug/pprof/mutex",
             "/debug/pprof/goroutine", "/debug/pprof/threadcreate", "/debug/pprof/growth", "/debug/pprof/offcpu",
             "/debug/pprof/wall", "/debug/fgprof", "/pprof/profile", "/pprof/heap", "/pprof/growth", "/pprof/contention")


def run(program, *arguments):
    """What it prints, and what it says besides."""
    home = str(lib.directory())
    p = subprocess.run([program, *map(str, arguments)], stdin=subprocess.DEVNULL, check=False, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=300,
                       env=dict(os.environ, PPROF_TMPDIR=home, GOTOOLCHAIN="local"))
    said = p.stderr.decode(errors="replace")
    check(p.returncode == 0, "%s %s: %s" % (program, " ".join(map(str, arguments)), said[-300:]))
    return p.stdout, said


def perl(*arguments):
    if not shutil.which("google-pprof"):
        lib.skip("google-pprof is not installed")
    return run("google-pprof", *arguments)[0]


@functools.lru_cache
def go_pprof():
    """Where `go tool pprof` is: newer versions of Go look for long whether it is to be built anew."""
    path = run("go", "tool", "-n", "pprof")[0].decode().strip()
    return (path,) if os.access(path, os.X_OK) else ("go", "tool", "pprof")


def go(*arguments):
    if not shutil.which("go"):
        lib.skip("go is not installed")
    return run(*go_pprof(), *arguments)[0]


def go_proto(*arguments):
    return lib.pprof.parse(go("-proto", "-output=/dev/stdout", *arguments))


def saved(body):
    path = lib.directory() / "p"
    path.write_bytes(body)
    return path


def table(text):
    """{function: (flat %, cum %)} of the perl pprof's --text."""
    rows = re.findall(r"^\s*\S+\s+([\d.]+)%\s+[\d.]+%\s+\S+\s+([\d.]+)% (.+)$", text, re.M)
    return {name: (float(flat), float(cum)) for flat, cum, name in rows}


# gperftools


def test_perl_cpu():
    """Names, the kernel's too, by /pprof/symbol; every caller stays."""
    d = lib.Daemon(lib.start("rungs", "600"), arguments=("--hz", "1000"))
    url = d.url("/pid/%d/pprof/profile" % d.target)
    raw, text = lib.together(lambda: perl("--raw", "--seconds=2", url), lambda: perl("--text", "--seconds=2", url))
    rows = table(text.decode())
    for name in ("rung_leaf", "rung_3", "rung_2", "rung_1", "main"):
        check(rows.get(name, (0, 0))[1] > 80, "%s: %s" % (name, text.decode()[:600]))
        check(re.search(rb"^0x[0-9a-f]{16} %s$" % name.encode(), raw, re.M), "--raw has no %s" % name)
    bad = [name for name in rows if re.fullmatch("[0-9a-f]{16}|0x[0-9a-f]+", name)]
    check(not bad, "no names: %s" % bad[:5])
    check(re.match(rb"--- symbol\nbinary=\S+/rungs\n", raw) and b"\n--- profile\n" in raw, "%r" % raw[:200])
    d.stop()


def test_go_cpu_legacy():
    """`go tool pprof` leaves the callers in this format too, though all samples have the same."""
    d = lib.Daemon(lib.start("rungs", "600"), arguments=("--hz", "1000"))
    p = go_proto("-symbolize=remote", d.url("/pprof/profile?seconds=2"))
    n = p.total("samples")
    for name in ("rung_leaf", "rung_3", "rung_2", "rung_1", "main"):
        check(n >= 20 and lib.samples(p, name) > 0.8 * n, "%s: %d of %d" % (name, lib.samples(p, name), n))
    check(p.period == 1000000, "period %d" % p.period)
    d.stop()


def test_heap_of_gperftools():
    """Both clients find the sites, and scale the samples to what our own profile says."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 1000 200000")
    t.do("two 100 200000")
    own = heaplib.by_site(heaplib.get(d))
    rows = table(perl("--text", "--inuse_space", d.url("/pprof/heap")).decode())
    theirs = heaplib.by_site(go_proto("-symbolize=remote", d.url("/pprof/heap")))
    share = 100 * own["site_one"][3] / sum(v[3] for v in own.values())
    check(abs(rows["site_one"][0] - share) < 2, "%s, of ours %.1f %%" % (rows, share))
    for site in ("site_one", "site_two"):  # clients scale by the average; all are of one size here
        for i in range(4):
            check(abs(theirs[site][i] - own[site][i]) <= 0.01 * own[site][i] + 1, "%s %s" % (theirs, own))
    growth = perl("--text", d.url("/pprof/growth")).decode()
    check(re.match(r"Total: [\d.]+ MB", growth), growth[:200])
    t.do("one 10 200000")
    delta = lib.pprof.parse(go("-proto", "-output=/dev/stdout", "-seconds", "1", "-symbolize=remote",
                               d.url("/pprof/heap")))
    check([k for k, _ in delta.sample_types] == [k for k, _ in heaplib.TYPES] or not delta.samples,
          "%s" % delta.sample_types)
    d.stop()


def test_contention_of_gperftools():
    """Who released: as mutex says."""
    t = waitlib.Target("waits", "mutex")
    d = waitlib.watched(t)
    t.begin()
    lib.eventually(lambda: waitlib.by_site(waitlib.get(d, "mutex")).get("site_long"), "nobody is charged")
    rows = table(perl("--text", d.url("/pprof/contention")).decode())
    check(rows.get("site_long", (0, 0))[1] > 0, "%s" % rows)
    p = go_proto("-symbolize=remote", d.url("/pprof/contention"))
    check(waitlib.by_site(p).get("site_long"), "%s" % waitlib.by_site(p))
    check(p.sample_types == waitlib.TYPES["mutex"], "%s" % p.sample_types)
    d.stop()


# Deltas


def delta(d, name="heap", query="", agent="alloy", method="GET"):
    a = d.get("/debug/pprof/delta_%s%s" % (name, query), headers={"User-Agent": agent}, method=method)
    check(a.status == 200, "status %d: %s" % (a.status, a.text()[:100]))
    return None if method == "HEAD" else lib.pprof.parse(a.body)


def test_deltas_of_a_client():
    """Allocated: what came since the client asked last, and all of it in the end. In use: as it is."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    total = 0
    for i, step in enumerate(("one 500 200000", "two 500 200000", None)):
        if step:
            t.do(step)
        delta(d, method="HEAD")  # sees, and takes nothing
        p = delta(d)
        now = heaplib.by_site(p)
        total += p.total("alloc_space")
        check(bool(p.duration_nanos) == (i > 0), "duration %d" % p.duration_nanos)
        for site, when in (("site_one", 0), ("site_two", 1)):
            row = now.get(site, [0] * 4)
            check((row[1] > 50e6) == (i == when) and (row[1] == 0) == (i != when), "%d: %s" % (i, now))
            check((row[3] > 50e6) == (i >= when), "%d in use: %s" % (i, now))
    own = heaplib.get(d).total("alloc_space")
    check(total == own, "%d in all, not %d" % (total, own))
    for other in ({"agent": "another"}, {"query": "?cursor=mine"}):
        p = delta(d, **other)
        check(p.total("alloc_space") == own and lib.comments(p, "first request of this client"), "%s" % other)
        check(delta(d, **other).total("alloc_space") == 0, "%s is told twice" % other)
    d.stop()


def test_deltas_of_waits():
    """The sum of the differences is what all have waited; more clients than there is room for are told nothing twice."""
    t = waitlib.Target("waits", "mutex")
    d = waitlib.watched(t)
    t.begin()
    lib.eventually(lambda: waitlib.get(d, "mutex").total("delay"), "nobody is charged")
    sums = {"block": 0, "mutex": 0}
    for _ in range(3):
        for name in sums:
            p = delta(d, name)
            check(p.sample_types == waitlib.TYPES[name] and not lib.pprof.validate(p), "%s" % p.sample_types)
            check(all(v >= 0 for s in p.samples for v in s.values), "less than nothing")
            sums[name] += p.total("delay")
    for name, total in sums.items():
        check(0 < total <= waitlib.get(d, name).total("delay"), "%s: %d" % (name, total))
    for i in range(70):  # CURSORS_MAX and some
        p = delta(d, "mutex", "?cursor=%d" % i)
    check(not p.samples and lib.comments(p, "not known: it begins now; [1-9]"), "%s" % p.comments)
    d.stop()


# go tool pprof


def test_go_base_and_tags():
    """Differences of two of ours, labels, and profiles of two processes of one program as one."""
    t, u = Told("heap-steps"), Told("heap-steps")
    d = lib.Daemon(t, u, arguments=heaplib.EVERYTHING)
    for p in (t, u):
        lib.eventually(lambda p=p: lib.comments(heaplib.get(d, pid=p.pid), "source: uprobes"), "no probes")
    t.do("one 500 200000")
    u.do("two 500 100000")
    before = saved(d.get(heaplib.path("heap", pid=t.pid)).body)
    t.do("two 500 200000")
    after = saved(d.get(heaplib.path("heap", pid=t.pid)).body)
    other = saved(d.get(heaplib.path("heap", pid=u.pid)).body)
    one, two, three = (heaplib.by_site(lib.pprof.load(f)) for f in (before, after, other))
    for flag in ("-base", "-diff_base"):
        less = heaplib.by_site(go_proto("-symbolize=none", flag, before, after))
        check(set(less) == {"site_two"} or not any(less.get("site_one", [0])), "%s: %s" % (flag, less))
        check(less["site_two"] == two["site_two"], "%s: %s, not %s" % (flag, less, two))
    merged = go_proto("-symbolize=none", after, other)
    both = heaplib.by_site(merged)
    check(both["site_one"] == one["site_one"], "%s" % both)
    check(both["site_two"] == [a + b for a, b in zip(two["site_two"], three["site_two"])], "%s" % both)
    files = [m.file for m in merged.mappings if m.file.endswith("/heap-steps")]
    check(len(files) == 1, "the program is there %d times" % len(files))
    top = go("-top", "-symbolize=none", "-tagfocus=bytes=150kb:250kb", "-sample_index=inuse_space", after, other).decode()
    check(re.search(r" site_two$", top, re.M) and "Active filters:\n   tagfocus=bytes=150kb:250kb" in top, top)
    only = go_proto("-symbolize=none", "-tagfocus=bytes=90kb:110kb", after, other)
    check(heaplib.by_site(only) == {"site_two": three["site_two"]}, "%s" % heaplib.by_site(only))
    d.stop()


def test_go_list_and_seconds():
    """Lines of the source, which is at hand; and -seconds on all that is a profile."""
    t = lib.start("rungs", "600")
    d = lib.Daemon(t, arguments=("--hz", "1000"))
    body = d.window(2).body
    path = saved(body)
    text = go("-list=^rung_3$", "-symbolize=none", path).decode()
    row = re.search(r"^\s+(\S+)\s+([\d.]+)(m?s)\s+(\d+):.*call of rung_leaf", text, re.M)
    check(row and float(row.group(2)) > 0, text[:600])
    text = go("-top", "-symbolize=none", "-tagfocus=thread=rungs", path).decode()
    check(re.search(r" rung_leaf$", text, re.M), text[:600])
    text = go("-top", "-symbolize=none", "-tagignore=thread=rungs", path).decode()
    check(not re.search(r" rung_leaf$", text, re.M), text[:600])

    def ask(endpoint):
        p = lib.pprof.parse(go("-proto", "-output=/dev/stdout", "-symbolize=none", "-seconds", "1", d.url(endpoint)))
        check(p.sample_types and (p.duration_nanos >= 1e9 or endpoint.startswith("/pprof")),
              "%s: %s for %d ns" % (endpoint, p.sample_types, p.duration_nanos))

    for at in range(0, len(ENDPOINTS), 5):
        lib.together(*(lambda e=e: ask(e) for e in ENDPOINTS[at:at + 5]))
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
