# SPDX-License-Identifier: Apache-2.0
"""custom_sections.py - the section of tools/bench about custom profiles: a nop where nobody listens, a pair of Add and
Remove where somebody does."""
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
import heap_sections  # noqa: E402


class Pair:
    def __init__(self, directory):
        program = directory + "/custom-pair"
        subprocess.run(["cc", "-O2", "-g", "-I" + str(ROOT), "-o", program, str(ROOT / "tests/bench/custom-pair.c")],
                       check=True)
        self.p = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.p.stdout.readline()

    def ns(self, kind, n, depth=0):
        self.p.stdin.write("%s %d %d\n" % (kind, n, depth))
        self.p.stdin.flush()
        return float(self.p.stdout.readline())


def median(f, runs):
    v = sorted(f() for _ in range(runs))
    return v[len(v) // 2]


def watch(o, pid):
    d = subprocess.Popen([os.path.join(o.build, "pprofd"), "--pid", str(pid), "--listen", "127.0.0.1:0", "--max-overhead", "none", "--heap=off"],
                         stderr=subprocess.PIPE, text=True)
    url = re.search(r"http://\S+", d.stderr.readline()).group(0)
    for name in ("pairs", "at%20run%20time"):
        for _ in range(500):
            try:
                if b"values added since" in urllib.request.urlopen(url + name + "?debug=1").read():
                    break
            except OSError:
                if name != "pairs":
                    break
            time.sleep(0.02)
    time.sleep(1)
    return d, url


BURST = 2000  # what the ring holds, many times


def in_a_trace(url, t, runs):
    """ns of a region and of a log message while they are recorded, and those that were lost; in bursts."""
    found, answers = {"region": [], "log": []}, []
    thread = threading.Thread(target=lambda: answers.append(urllib.request.urlopen(url + "trace?maxbytes=1000000000&seconds=%d" % (
        4 + runs // 5)).read()))
    urllib.request.urlopen(url + "trace?seconds=0.1").read()  # programs are loaded with the first
    thread.start()
    for _ in range(300):
        if t.ns("region", 100) > 100:
            break
        time.sleep(0.02)
    for _ in range(runs):  # each burst is over before the window is
        for kind, of in found.items():
            of.append(t.ns(kind, BURST))
            time.sleep(0.05)
    thread.join()
    lost = re.search(rb"in all: (\d+) events, (\d+) lost", answers[0])
    return found, lost and [int(x) for x in lost.groups()]


def sites_of(path, function):
    """Offsets in the file of the probes in a function."""
    def out(*line):
        return subprocess.run([*line, path], stdout=subprocess.PIPE, text=True, check=True).stdout
    start, size = (int(x, 16) for x in re.search(r"^(\w+) (\w+) t %s$" % function, out("nm", "-S"), re.M).groups())
    loads = [[int(x, 16) for x in m] for m in re.findall(r"^\s+LOAD\s+(0x\w+) (0x\w+) 0x\w+ (0x\w+)", out("readelf", "-lW"), re.M)]
    found = [int(x, 16) for x in re.findall(r"Location: (0x\w+)", out("readelf", "-n"))]
    return [a - v + at for a in found if start <= a < start + size for at, v, n in loads if v <= a < v + n]


def empty(directory, t):
    """Programs of no work on the two sites of `idle`, in a program of which nobody else probes the file."""
    path = directory + "/custom-pair"
    sites = sites_of(path, "idle")
    assert len(sites) == 2, sites
    return [heap_sections.empty_uprobe(path, site, t.p.pid) for site in sites]


def section_custom(o):
    heap_sections.prepare(o)
    with tempfile.TemporaryDirectory() as directory:
        t = Pair(directory)
        print("\n### custom: what preload/pprofd.h costs a program\n")
        print("| | CPU time a turn, ns |\n|---|---|")
        for kind, what in (("empty", "an empty loop, 1 G turns"), ("pair", "a pair in it, nobody listens"),
                           ("named", "names told at run time, nobody listens")):
            print("| %s | %.3f |" % (what, median(lambda k=kind: t.ns(k, 1000 * 1000 * 1000), o.runs)))
        os.mkdir(directory + "/other")
        other = Pair(directory + "/other")
        links = empty(directory + "/other", other)
        d, url = watch(o, t.p.pid)
        try:
            turns = [(other.ns("idle", 100000), t.ns("idle", 100000)) for _ in range(2 * o.runs)]  # the machine drifts
            for of, what in ((lambda x: x[0], "two empty programs on the same two sites, by turns with the next"),
                             (lambda x: x[1], "two Removes of what is not held, seen"),
                             (lambda x: x[1] - x[0], "what is ours of that")):
                v = sorted(map(of, turns))
                print("| %s | %.0f (a tenth is below %.0f) |" % (what, v[len(v) // 2], v[len(v) // 10]))
            for kind, what in (("idle", "two Removes of what is not held, seen: no walk"), ("pair", "a pair, seen"), ("named", "names told at run time, seen")):
                for depth in (0, 10, 30):
                    print("| %s, %d functions deeper | %.0f |" % (
                        what, depth, median(lambda k=kind, n=depth: t.ns(k, 200000, n), o.runs)))
            for kind, what in (("region", "a region (begin and end), nobody records"), ("log", "a log message, nobody records")):
                print("| %s | %.2f |" % (what, median(lambda k=kind: t.ns(k, 10000000), o.runs)))
            found, lost = in_a_trace(url, t, o.runs)
            for kind, what in (("region", "a region, recorded"), ("log", "a log message, recorded")):
                v = sorted(found[kind])
                print("| %s | %.0f (a tenth is below %.0f) |" % (what, v[len(v) // 2], v[len(v) // 10]))
            print("\nevents of that trace, lost: %s" % ("%d, %d" % tuple(lost) if lost else "not told"))
        finally:
            d.terminate()
            d.wait()
            for fd in links:
                os.close(fd)
            for p in (t.p, other.p):
                p.kill()
                p.wait()


SECTIONS = {"custom": section_custom}
