# SPDX-License-Identifier: Apache-2.0
"""trace_sections.py - the table of tools/bench on traces: what events take, whether any is lost, what our programs and the
daemon use, and how soon the file is there."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "live"))

bench = None  # tools/bench itself
lib = waitlib = None
SECONDS = 5
RUNS = 3  # at most; fewer by --runs
MIB = 1 << 20
RING = 16


def prepare(o):
    global lib, waitlib, RUNS
    RUNS = min(RUNS, o.runs)
    os.environ["PPROFD_BUILD"] = str(o.build)
    import lib as l
    import waitlib as w
    lib, waitlib = l, w


class Pair:
    """Two threads that wake each other by semaphores, on one CPU."""

    def __init__(self, kind="pingpong"):
        self.kind = kind

    def __enter__(self):
        self.t = waitlib.Target("waits-load", self.kind, 2)
        self.pid = self.t.pid
        os.sched_setaffinity(self.pid, {0})
        self.t.begin()
        for tid in os.listdir("/proc/%d/task" % self.pid):
            os.sched_setaffinity(int(tid), {0})
        return self

    def __exit__(self, *_):
        self.t.kill()


class Redis:
    def __enter__(self):
        self.w = bench.Workload(lib.BUILD, "redis")
        self.w.__enter__()
        self.pid = self.w.pid
        return self

    def __exit__(self, *_):
        self.w.__exit__()


def switches(pid):
    n = 0
    for tid in os.listdir("/proc/%d/task" % pid):
        text = pathlib.Path("/proc/%d/task/%s/status" % (pid, tid)).read_text()
        n += sum(map(int, re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)$", text, re.M)))
    return n


def most_resident(pid):
    return int(lib.status(pid, "VmHWM").split()[0]) / 1024


def fetch(d, query, seconds):
    """The trace, and how long after its end the last byte came."""
    c = d.connect(seconds + lib.DEADLINE)
    c.request("GET", "/debug/pprof/trace?maxbytes=1000000000&seconds=%s%s" % (seconds, query))
    r = c.getresponse()
    began = time.monotonic()
    body = r.read()
    lib.check(r.status == 200, body[:200])
    c.close()
    return body, time.monotonic() - began - seconds


def in_file(body):
    """How many events of Go's the file has."""
    with tempfile.NamedTemporaryFile() as f:
        f.write(body)
        f.flush()
        text = subprocess.run([str(lib.BUILD / "tests" / "trace-check"), f.name], check=True, capture_output=True).stdout
    return int(re.search(rb", (\d+) events, ", text).group(1))


def one(d, pid, query):
    fetch(d, query, 0.1)  # names and programs are there
    serve = d.child("pprofd-serve")
    pathlib.Path("/proc/%d/clear_refs" % serve).write_text("5")
    programs = waitlib.Programs(d, "^pp_trace")
    before, n, cpu, began = programs.read(), switches(pid), lib.cpu_seconds(pid), time.monotonic()
    used = lib.cpu_seconds(serve)
    body, late = fetch(d, query, SECONDS)
    took = time.monotonic() - began
    cpu = lib.cpu_seconds(pid) - cpu
    spent = sum(v[0] for v in programs.since(before).values())
    programs.close()
    rate = (switches(pid) - n) / took
    events, lost = map(int, re.search(rb"in all: (\d+) events, (\d+) lost", body).groups())
    return {"rate": rate, "events": events, "lost": lost, "size": len(body),
            "in_file": 0 if "perfetto" in query else in_file(body),
            "share": 100 * spent / (cpu * 1e9), "ns": spent / (rate * took), "resident": most_resident(serve), "late": late,
            "serve": 100 * (lib.cpu_seconds(serve) - used) / took}


def rows(name, make, queries):
    for query in queries:
        found = []
        for _ in range(RUNS):
            with make() as t:
                d = lib.Daemon(t.pid, arguments=("--heap=off", "--wait=off"))
                found.append(one(d, t.pid, query))
                d.kill()
        m = {k: bench.median([f[k] for f in found]) for k in found[0]}
        each = f"{m['size'] / m['in_file']:.1f}" if m["in_file"] else "-"
        print(f"| {name} | {query.lstrip('&') or '-'} | {m['rate']:.0f} | {m['events']:.0f} | "
              f"{'/'.join(str(f['lost']) for f in found)} | {m['size'] / MIB:.1f} | {each} | {m['share']:.1f} % | {m['ns']:.0f} | "
              f"{m['serve']:.0f} % | {m['resident']:.0f} | {1000 * m['late']:.0f} |", flush=True)


def section_trace(o):
    prepare(o)
    print(f"\n## Traces of {SECONDS} s\n\nRun time of our programs by the kernel's account against the target's CPU time; serve: of one CPU, "
          f"most resident, {RING} MiB of ring included; late: from the end of the window to the last byte; medians of {RUNS}, lost of "
          "each\n\n"
          "| target | query | switches a second | events seen | lost | MiB | bytes an event of Go's | our programs, of its CPU time | ns a switch | serve's "
          "CPU | resident, MiB | late, ms |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
    rows("pingpong, 2 threads on one CPU", Pair, ("", "&stacks=0", "&syscalls=1", "&format=perfetto"))
    rows("the same with 6 us of work a turn", lambda: Pair("turns"), ("", "&stacks=0"))
    if shutil.which("redis-server"):
        rows("redis under redis-benchmark", Redis, ("", "&syscalls=1"))
    else:
        print("| redis | not installed (package redis) | | | | | | | | | | |")


SECTIONS = {"trace": section_trace}
