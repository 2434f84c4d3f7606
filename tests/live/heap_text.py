#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""heap_text.py - the heap's answers as clients read them: `go tool pprof`, and debug=1 line by line."""

import os
import re
import shutil
import subprocess
import time

import heaplib
import lib
from heaplib import Told
from lib import check

MEMSTATS = ("Alloc TotalAlloc Sys Lookups Mallocs Frees HeapAlloc HeapSys HeapIdle HeapInuse HeapReleased "
            "HeapObjects Stack MSpan MCache BuckHashSys GCSys OtherSys NextGC LastGC PauseNs PauseEnd NumGC "
            "NumForcedGC GCCPUFraction DebugGC MaxRSS").split()


def go(*arguments):
    """What `go tool pprof` prints."""
    if not shutil.which("go"):
        lib.skip("go is not installed")
    p = subprocess.run(["go", "tool", "pprof", *arguments], stdin=subprocess.DEVNULL, check=False,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                       env=dict(os.environ, PPROF_TMPDIR=str(lib.directory()), GOTOOLCHAIN="local"))
    check(p.returncode == 0, "go tool pprof %s: %s" % (" ".join(arguments), p.stderr.decode()[-300:]))
    return p.stdout.decode()


def total(text):
    """The total of -top -unit=B."""
    found = re.search(r"of (-?[\d.]+)B total", text)
    check(found, text[:400])
    return float(found.group(1))


def busy():
    """A target that has allocated, of sizes small and large, and freed half of it, and pprofd on it."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 60000 1000")
    t.do("free")
    t.do("two 40000 1500")
    t.do("two 50 2000000")
    t.do("churn 20000 3000")
    return t, d


def test_go_tool_pprof():
    """The proto and the text are one heap to the client; each kind has its default."""
    t, d = busy()
    url = d.url("/debug/pprof/")
    heap = go("-top", "-symbolize=none", url + "heap")
    check(re.search("^Type: inuse_space$", heap, re.M) and "site_two" in heap, heap[:400])
    check("File: heap-steps" in heap, heap[:400])
    allocs = go("-top", "-symbolize=none", url + "allocs")
    check(re.search("^Type: alloc_space$", allocs, re.M) and "site_churn" in allocs, allocs[:400])
    profile = heaplib.get(d)
    for kind, column in (("alloc_space", 1), ("inuse_space", 3)):
        ours = sum(s.values[column] for s in profile.samples)
        for name in ("heap", "heap?debug=1"):
            text = go("-top", "-unit=B", "-sample_index=" + kind, url + name)
            check(abs(total(text) - ours) <= 0.01 * ours + 2000,
                  "%s of %s: %s, the profile has %d" % (kind, name, total(text), ours))
    text = go("-top", "-sample_index=inuse_space", url + "heap?debug=1")
    check("site_two" in text, "the text's addresses are not named: %s" % text[:500])
    raw = go("-raw", "-symbolize=none", url + "heap")
    for pattern in ("^PeriodType: space bytes$", "^Period: 524288$", r"bytes:\[1500\]",
                    r"^alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes",
                    "site_two .*/heap_steps.c:"):
        check(re.search(pattern, raw, re.M), "-raw has no %s: %s" % (pattern, raw[:800]))
    d.stop()


def test_labels():
    """The label bytes is the size of the object where the class has one size only."""
    _, d = busy()
    for s in heaplib.get(d).samples:
        site, sizes = heaplib.site_of(s), s.numbers.get("bytes")
        wanted = {"site_one": [1000], "site_two": [1500, 2000000], "site_churn": [3000]}.get(site)
        check(not wanted or (len(sizes) == 1 and sizes[0] in wanted), "%s: %s" % (site, s.numbers))
    d.stop()


def test_samples_stay_themselves():
    """Who subtracts one answer from the next (Alloy, pprof -base) knows a sample by its stack and labels: objects of other sizes
    of the same class change neither."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 40 2000000")
    before = [heaplib.identity(s) for s in heaplib.get(d).samples if heaplib.site_of(s) == "site_one"]
    t.do("one 40 2020000")
    after = [heaplib.identity(s) for s in heaplib.get(d).samples if heaplib.site_of(s) == "site_one"]
    check(before == after and before[0][2] == (("bytes", (2000000,)),), "%s, and then %s" % (before, after))
    d.stop()


def test_delta():
    """What came and what went between the two readings: freed is negative."""
    lib.patiently(delta, 2, 8, 30)


def delta(seconds):
    t = Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 100 1000000")
    t.do("churn 100 1000000")
    before = heaplib.by_site(heaplib.get(d))
    path = lib.directory() / "delta"

    def change():
        time.sleep(0.35 * seconds)
        at = time.time()
        t.do("free")
        t.do("two 80 1000000")
        return at, time.monotonic()

    began = time.monotonic()
    a, (changing, changed) = lib.together(
        lambda: d.get(heaplib.path("heap", "?seconds=%d" % seconds)), change)
    check(a.status == 200 and time.monotonic() - began >= seconds, "status %d" % a.status)
    check(a.headers["Content-Disposition"] == 'attachment; filename="heap-delta"', str(a.headers))
    path.write_bytes(a.body)
    p = lib.pprof.parse(a.body)
    check(not lib.pprof.validate(p), str(lib.pprof.validate(p)))
    check(seconds * 1e9 <= p.duration_nanos < 100e9, "duration %d" % p.duration_nanos)
    # both readings have missed the change, by as much as one of them may take
    lib.enough(changed < began + seconds, "the change has come late")
    lib.enough((p.time_nanos - p.duration_nanos) / 1e9 < changing - 0.1 * seconds, "the first reading has come late")
    rows = heaplib.by_site(p)
    one, two = rows["site_one"], rows["site_two"]
    check(one[:2] == [0, 0] and one[3] == -before["site_one"][3], "freed: %s of %s" % (one, before))
    check(two[1] == two[3] and 4.5e7 < two[3] < 1.3e8, "new: %s" % two)
    check("site_churn" not in rows, "what did not change is there: %s" % rows)
    text = go("-top", "-unit=B", "-symbolize=none", str(path))
    check(re.search(r"^\s*-\d+B .*site_one", text, re.M), text)
    d.stop()


def test_delta_of_allocs_keeps_its_type():
    t = Told("heap-steps")
    d = heaplib.watched(t)
    a = d.get(heaplib.path("allocs", "?seconds=1"))
    p = lib.pprof.parse(a.body)
    check(a.status == 200 and p.default_sample_type == "alloc_space" and not p.samples,
          "%d, %r" % (a.status, p.default_sample_type))
    check(a.headers["Content-Disposition"] == 'attachment; filename="allocs-delta"', str(a.headers))
    t.kill()


def memstats(lines):
    """{name: text} of the lines of runtime.MemStats; their order and shape are Go's."""
    at = lines.index("# runtime.MemStats")
    check(lines[at - 1] == "", "no empty line before MemStats")
    rows = [re.fullmatch(r"# (\w+) = (.*)", line) for line in lines[at + 1:at + 1 + len(MEMSTATS)]]
    check(all(rows), "rows: %s" % lines[at + 1:at + 5])
    check([m.group(1) for m in rows] == MEMSTATS, "order: %s" % [m.group(1) for m in rows])
    for line in lines[at + 1 + len(MEMSTATS):]:
        check(not line, "after MaxRSS: %r" % line)
    return {m.group(1): m.group(2) for m in rows}


def check_memstats(s, t):
    pair = re.compile(r"\d+ / \d+")
    check(all(pair.fullmatch(s[k]) for k in ("Stack", "MSpan", "MCache")), "%s" % s)
    for name in ("PauseNs", "PauseEnd"):
        check(s[name] == "[" + " ".join(["0"] * 256) + "]", "%s = %s" % (name, s[name][:40]))
    check(s["DebugGC"] == "false" and s["GCCPUFraction"] == "0", "%s" % s)
    n = {k: int(v) for k, v in s.items() if v.isdigit()}
    check(n["Mallocs"] >= 120050 and n["Mallocs"] - n["Frees"] == n["HeapObjects"], "%s" % n)
    check(n["Alloc"] == n["HeapAlloc"] and n["TotalAlloc"] >= n["Alloc"], "%s" % n)
    check(n["HeapSys"] == n["HeapIdle"] + n["HeapInuse"] and n["HeapReleased"] == n["HeapIdle"], "%s" % n)
    check(n["MaxRSS"] == 1024 * int(lib.status(t.pid, "VmHWM").split()[0]), "MaxRSS %d" % n["MaxRSS"])
    data = 1024 * int(lib.status(t.pid, "VmData").split()[0])
    check(n["HeapSys"] == data and n["Sys"] >= data, "HeapSys %d, VmData %d" % (n["HeapSys"], data))


HEAD = re.compile(r"heap profile: (\d+): (\d+) \[(\d+): (\d+)\] @ heap/1048576")
SAMPLE = re.compile(r"(\d+): (\d+) \[(\d+): (\d+)\] @( 0x[1-9a-f][0-9a-f]*)+")
FRAME = re.compile(r"#\t0x[0-9a-f]+\t+[^\t]+\+0x[0-9a-f]+\t+[^\t]+:\d+")


def check_shape(lines):
    head = HEAD.fullmatch(lines[0])
    check(head, "head: %r" % lines[0])
    end = lines.index("# runtime.MemStats")
    sums, last, n_frames = [0] * 4, -1, 0
    for line in lines[1:end - 1]:
        m = SAMPLE.fullmatch(line)
        frame = FRAME.fullmatch(line)
        check(m or not line or frame or line.startswith("# pprofd: "), "line: %r" % line)
        n_frames += bool(frame)
        if not m:
            continue
        v = [int(m.group(i)) for i in range(1, 5)]
        check(not (v[0] == 0 and v[1]) and not (v[2] == 0 and v[3]), "bytes without objects: %r" % line)
        check(v[1] >= last, "not sorted by bytes in use: %r" % line)
        last = v[1]
        sums = [a + b for a, b in zip(sums, v)]
    wanted = [int(head.group(i)) for i in range(1, 5)]
    wanted[3] -= wanted[1] == wanted[3] - 1 and sums[1] == sums[3]
    check(sums == wanted, "sums %s, head %s" % (sums, lines[0]))
    check(n_frames >= 4, "%d frames" % n_frames)


def test_text():
    """Every line of it, and that no parameter but a wrong one matters."""
    t, d = busy()
    a = d.get(heaplib.path("heap", "?debug=1&gc=1"))
    check(a.status == 200, "status %d: %s" % (a.status, a.text()[:100]))
    lines = a.text().split("\n")
    check(lines[-1] == "", "no newline in the end")
    check_shape(lines)
    check_memstats(memstats(lines[:-1]), t)
    for query in ("?debug=2", "?debug=1&gc=x", "?debug=1&unseen=0"):
        check(d.get(heaplib.path("heap", query)).text().startswith("heap profile: "), query)
    check(d.get(heaplib.path("allocs", "?debug=1")).text().split("\n")[0] == lines[0],
          "allocs has another head")
    d.stop()


def test_text_of_nothing():
    """A process that allocates nothing: heads and MemStats all the same."""
    d = lib.Daemon(lib.start("rungs-static", "60"), arguments=heaplib.EVERYTHING)
    heaplib.attached(d)
    lines = d.get(heaplib.path("heap", "?debug=1")).text().split("\n")
    check(HEAD.fullmatch(lines[0]), lines[0])
    memstats(lines[:-1])
    d.stop()


def test_errors():
    """Go's own words."""
    t = Told("heap-steps")
    d = heaplib.watched(t)
    number = 'invalid value for "seconds" - must be a positive integer\n'
    for query, text in (("?seconds=x", number), ("?seconds=0", number), ("?seconds=-3", number),
                        ("?seconds=1.5", number), ("?seconds=99999999999999999999", number),
                        ("?seconds=1&debug=1", "seconds and debug params are incompatible\n"),
                        ("?seconds=x&debug=1", number)):
        for name in ("heap", "allocs", "growth"):
            a = d.get(heaplib.path(name, query))
            check(a.status == 400 and a.text() == text and a.headers["X-Go-Pprof"] == "1",
                  "%s%s: %d, %r" % (name, query, a.status, a.text()))
    d.stop()


def test_other_formats():
    _, d = busy()
    folded = d.get(heaplib.path("heap", "?format=folded")).text()
    check(re.search(r"^.*site_two \d+$", folded, re.M), folded[:300])
    top = d.get(heaplib.path("heap", "?format=top")).text()
    check("site_two" in top and "flat%" in top, top[:300])
    check(d.get(heaplib.path("heap", "?format=x")).status == 400, "format=x")
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
