# SPDX-License-Identifier: Apache-2.0
"""custom_sections.py - the section of tools/bench about custom profiles: a nop where nobody listens, a pair of Add and
Remove where somebody does."""
import os
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


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
    d = subprocess.Popen([os.path.join(o.build, "pprofd"), "--pid", str(pid), "--listen", "127.0.0.1:0"],
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
    return d


def section_custom(o):
    with tempfile.TemporaryDirectory() as directory:
        t = Pair(directory)
        print("\n### custom: what preload/pprofd.h costs a program\n")
        print("| | CPU time a turn, ns |\n|---|---|")
        for kind, what in (("empty", "an empty loop, 1 G turns"), ("pair", "a pair in it, nobody listens"),
                           ("named", "names told at run time, nobody listens")):
            print("| %s | %.3f |" % (what, median(lambda k=kind: t.ns(k, 1000 * 1000 * 1000), o.runs)))
        d = watch(o, t.p.pid)
        try:
            for kind, what in (("idle", "two Removes of what is not held, seen: no walk"), ("pair", "a pair, seen"), ("named", "names told at run time, seen")):
                for depth in (0, 10, 30):
                    print("| %s, %d functions deeper | %.0f |" % (
                        what, depth, median(lambda k=kind, n=depth: t.ns(k, 200000, n), o.runs)))
        finally:
            d.terminate()
            d.wait()
            t.p.kill()
            t.p.wait()


SECTIONS = {"custom": section_custom}
