# SPDX-License-Identifier: Apache-2.0
"""wait_sections.py - the tables of tools/bench on waiting.

    waits       per site, what was measured and what the target says of itself; the same by peers
    waits-cost  what our programs take: of who waits much, of who waits for nothing, of bystanders
"""

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
RUNS = 3  # at most; fewer by --runs


def prepare(o):
    """The live tests' library, on this build."""
    global lib, waitlib, RUNS
    RUNS = min(RUNS, o.runs)
    os.environ["PPROFD_BUILD"] = str(o.build)
    import lib as l
    import waitlib as w
    lib, waitlib = l, w


# ---- truth

TRUTH = [("waits", "mutex", 2), ("waits", "mutex", 4), ("waits", "mutex", 16), ("waits", "mutex", 64),
         ("waits", "short", 4), ("waits", "cond", 4), ("waits", "sem", 4), ("waits", "rwlock", 4),
         ("waits", "rwlock", 16), ("waits", "barrier", 4), ("waits", "join", 4), ("waits", "once", 4),
         ("waits", "timed", 6), ("waits-odd", "pi", 4), ("waits-odd", "robust", 4),
         ("waits-odd", "queue", 4), ("waits-odd", "raw", 4), ("waits-odd", "cancel", 4),
         ("waits-odd", "own", 4), ("waits-cxx", "mutex", 4), ("waits-cxx", "rwlock", 4),
         ("waits-cxx", "cond", 4), ("waits-cxx", "future", 4), ("waits-cxx", "atomic", 4),
         ("waits-rust", "mutex", 4), ("waits-rust", "rwlock", 4), ("waits-rust", "cond", 4),
         ("waits-rust", "channel", 2), ("waits-rust", "park", 2), ("waits-rust", "barrier", 4),
         ("waits-rust", "own", 4), ("waits-absl", "mutex", 4), ("waits-musl", "mutex", 4),
         ("waits-musl", "cond", 4)]


def one_run(program, kind, n):
    """[(site, Wait, block row, mutex row, lock)]"""
    t = waitlib.Target(program, kind, n)
    d = waitlib.watched(t)
    truth, block, mutex = waitlib.span(t, d, 2)
    labels = waitlib.by_label(block, "lock")
    d.kill()
    t.kill()
    return [(site, w, block.sites.get(site, [0, 0]), mutex.sites.get(site, [0, 0]),
             " ".join(labels.get(site, {}))) for site, w in truth.items()]


def percent(got, true):
    return 100 * (got / true - 1) if true else 0


def section_waits(o):
    prepare(o)
    print(f"\n## Waits by site: block and mutex against the target's own account\n\n{RUNS} runs of 2 s; errors: of the "
          "sum over the runs (worst run). `made wait`: what others waited for this holder; from the release to "
          "when the next has the lock, the wait belongs to either (range)\n")
    print("| target, threads | site | lock | waits | waited, ms | measured | error | us a wait | made wait, ms | mutex "
          "has | outside of the range by |\n|---|---|---|---|---|---|---|---|---|---|---|")
    for program, kind, n in TRUTH:
        if not (lib.TARGETS / program).exists():
            print(f"| {program} {kind} | not built here | | | | | | | | | |")
            continue
        rows = {}
        for _ in range(RUNS):
            for site, *row in one_run(program, kind, n):
                rows.setdefault(site, []).append(row)
        for site, runs in rows.items():
            print(truth_row(f"{program} {kind}, {n}", site, runs), flush=True)
    peers_on_truth(o)


def truth_row(name, site, runs):
    ns, got = sum(w.ns for w, *_ in runs), sum(b[1] for _, b, *_ in runs)
    waits = sum(w.waits for w, *_ in runs)
    low, high = sum(w.low for w, *_ in runs), sum(w.high for w, *_ in runs)
    held = sum(m[1] for _, _, m, _ in runs)
    worst = max((percent(b[1], w.ns) for w, b, *_ in runs), key=abs)
    out = percent(held, low) if held < low else percent(held, high) if held > high else 0
    holders = f"{low / 1e6:.0f} to {high / 1e6:.0f} | {held / 1e6:.0f} | {out:+.1f} %" if high else " | | "
    return (f"| {name} | {site} | {runs[-1][3]} | {waits} | {ns / 1e6:.1f} | {got / 1e6:.1f} | "
            f"{percent(got, ns):+.2f} % ({worst:+.2f} %) | {(got - ns) / 1e3 / max(waits, 1):+.1f} | {holders} |")


# ---- peers

def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:110] if lines else "no output"


def under(command, seconds=2):
    """The account of waits mutex 4 while a command looks on, and what the command said."""
    t = waitlib.Target("waits", "mutex", 4)
    p = subprocess.Popen([c.replace("PID", str(t.pid)) for c in command], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, errors="replace")
    time.sleep(1.5)
    t.begin()
    time.sleep(seconds)
    truth = t.stop()
    try:
        output = p.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:
        p.kill()
        output = p.communicate()[0]
    t.kill()
    return truth, output


def perf_sched():
    """Waits by site as `perf sched timehist` has them."""
    with tempfile.TemporaryDirectory() as tmp:
        data = tmp + "/perf.data"
        truth, output = under(["perf", "sched", "record", "-q", "-g", "-o", data, "--", "sleep", "5"])
        if not os.path.exists(data):
            return truth, None, last_line(output)
        text = subprocess.run(["perf", "sched", "timehist", "-i", data, "--max-stack", "12"],
                              capture_output=True, text=True, errors="replace", check=False).stdout
        size = os.path.getsize(data)
    seen = {}
    for line in text.splitlines():
        if "waits[" not in line or "futex" not in line:
            continue
        m = re.match(r"\s*[\d.]+ +\[\d+\] +\S.*?\[\d+(?:/\d+)?\] +([\d.]+) ", line)
        site = re.search(r"site_\w+", line)
        if m:
            seen.setdefault(site.group(0) if site else "no site", 0)
            seen[site.group(0) if site else "no site"] += float(m.group(1)) * 1e6
    return truth, seen, f"{size >> 10} KiB written; by frame pointers, and the stack is that of the switch after"


def peers_on_truth(o):
    print("\n### The same by peers: `waits mutex`, 4 threads, 2 s\n")
    print("| tool | of the time that was waited, with the site on its stack | with another stack | note |\n|---|---|---|---|")
    if shutil.which("perf"):
        truth, seen, note = perf_sched()
        peer_row("perf sched record -g, timehist", truth, seen, note)
        _, output = under(["perf", "lock", "contention", "-b", "-a", "--", "sleep", "1"])
        note = ("kernel locks only: no lock of the program" if "contended" in output else
                "does not run here: " + last_line(output))
        print(f"| perf lock contention -b | - | - | {note} |")
    else:
        print("| perf | - | - | not installed |")
    for tool, command in (("offcputime-bpfcc", ["offcputime-bpfcc", "-f", "-p", "PID", "4"]),
                          ("bpftrace offcputime", None)):
        if not command or not shutil.which(command[0]):
            print(f"| {tool} | - | - | not installed |")
            continue
        truth, output = under(command)
        seen = {}
        for line in output.splitlines():
            m = re.fullmatch(r"(\S.*;.*) (\d+)", line)
            if m and "futex" in m.group(1):
                site = re.search(r"site_\w+", m.group(1))
                key = site.group(0) if site else "no site"
                seen[key] = seen.get(key, 0) + int(m.group(2)) * 1000
        peer_row(tool, truth, seen or None, "" if seen else "does not start here: " + last_line(output))
    go_row()


def peer_row(tool, truth, seen, note):
    if not seen:
        print(f"| {tool} | - | - | {note} |", flush=True)
        return
    true = sum(w.ns for w in truth.values())
    at = sum(v for k, v in seen.items() if k in truth)
    print(f"| {tool} | {100 * at / true:.1f} % | {100 * (sum(seen.values()) - at) / true:.1f} % | {note} |", flush=True)


def go_row():
    """Go's own profiles of a Go program that does the same."""
    if not shutil.which("go"):
        print("| Go's own block and mutex | - | - | go is not installed |")
        return
    with tempfile.TemporaryDirectory() as tmp:
        shutil.copy(ROOT / "tests" / "bench" / "waits.go", tmp)
        environment = dict(os.environ, GOFLAGS="-mod=mod", GOTOOLCHAIN="local", GO111MODULE="off",
                           GOCACHE=tmp + "/cache")
        p = subprocess.run(["go", "run", "waits.go", tmp], cwd=tmp, env=environment, capture_output=True, text=True,
                           check=False)
        if p.returncode:
            print(f"| Go's own block and mutex | - | - | does not run: {last_line(p.stderr)} |")
            return
        truth = {w[1]: tuple(map(int, w[2:])) for w in map(str.split, p.stdout.splitlines())}
        for kind, column in (("block", 0), ("mutex", 1)):
            profile = bench.pprof.parse(pathlib.Path(tmp, kind).read_bytes())
            seen = {}
            for s in profile.samples:
                for f in s.frames:
                    name = f.name.rsplit(".", 1)[-1]
                    if name in truth:
                        seen[name] = seen.get(name, 0) + s.values[1]
            print(f"| Go's own {kind} profile of a Go program | " + ", ".join(
                f"{k} {percent(seen.get(k, 0), v[column]):+.1f} %" for k, v in truth.items()) +
                " | - | error by site, rate 1 |", flush=True)


# ---- cost

def rate_of(t, seconds, d=None):
    """One span of waits-load: its rate(), and what our programs took meanwhile."""
    programs = waitlib.Programs(d) if d else None
    t.begin()
    time.sleep(0.5)
    before = programs.read() if d else {}
    switches, cpu, start = waitlib.machine_switches(), lib.cpu_seconds(t.pid), time.monotonic()
    time.sleep(seconds)
    spent = programs.since(before) if d else {}
    switches, cpu = waitlib.machine_switches() - switches, lib.cpu_seconds(t.pid) - cpu
    took = time.monotonic() - start
    t.stop()
    if d:
        programs.close()
    return t.rate(), sum(v[0] for v in spent.values()), sum(v[1] for v in spent.values()), switches, cpu, took


def section_cost(o):
    prepare(o)
    cost_of_waiting(o)
    cost_of_others(o)


def cost_of_waiting(o):
    print(f"\n## Waits: what they cost who waits\n\n3 s each; run time of our programs by the kernel's account (all of them, "
          "for the machine's switches in that time), against the target's CPU time; operations a second alone and "
          f"with us, interleaved, median of {RUNS}\n")
    print("| target, threads | switches a second | operations a second alone | with pprofd | with --wait=strict | our "
          "programs, of its CPU time | ns a switch | looked at | longest run |\n|---|---|---|---|---|---|---|---|---|")
    for kind, n in (("pingpong", 2), ("pingpong", 4), ("pingpong", 64), ("handover", 4), ("uncontended", 2)):
        alone, ours, strict, shares, per = [], [], [], [], []
        rate, note, longest = 0, "", ""
        for _ in range(RUNS):
            for how, into in ((None, alone), ("--wait=on", ours), ("--wait=strict", strict)):
                t = waitlib.Target("waits-load", kind, n)
                d = waitlib.watched(t, arguments=(how,)) if how else None
                (operations, switches, ns, *_), took, _, all_switches, cpu, _ = rate_of(t, 3, d)
                into.append(operations / (ns / 1e9))
                if how == "--wait=on":
                    shares.append(100 * took / (cpu * 1e9))
                    per.append(took / all_switches)
                    rate = switches / (ns / 1e9)
                    text = waitlib.comment(waitlib.get(d), "^waits: ")
                    note = re.search(r"(\d+ of \d+) looked at", text)
                    note = note.group(1) if note else text
                    longest = re.search(r"at most ([\d.]+ us)", text)
                    longest = longest.group(1) if longest else "-"
                if d:
                    d.kill()
                t.kill()
        m = bench.median
        print(f"| {kind}, {n} | {rate:.0f} | {m(alone):.0f} | {m(ours):.0f} | {m(strict):.0f} | {m(shares):.1f} % | "
              f"{m(per):.0f} | {note} | {longest} |", flush=True)


def cost_of_others(o):
    print(f"\n## Waits: what they cost a bystander\n\nwho passes a byte to and fro by pipes and calls getppid(); 2 s each, "
          f"interleaved, median of {RUNS + 2}; `runs`: of our programs for one switch of the machine\n")
    print("| pprofd looks at another process with | bystander, ns of wall time an operation | ns of our programs a "
          "switch (smallest) | runs |\n|---|---|---|---|")
    ways = [None, "--wait=on", "--wait=strict", "--wait=off"]
    found = {w: [] for w in ways}
    for _ in range(RUNS + 2):
        for way in ways:
            quiet, t = waitlib.Target("waits-load", "nothing"), waitlib.Target("waits-load", "bystander")
            d = lib.Daemon(quiet, arguments=("--heap=off", way)) if way else None
            if d:
                time.sleep(1)
            (operations, _, ns, *_), took, runs, switches, *_ = rate_of(t, 2, d)
            found[way].append((ns / operations, took / switches, runs / switches))
            if d:
                d.kill()
            for p in (quiet, t):
                p.kill()
    names = {None: "nothing"}
    for way, rows in found.items():
        print(f"| {names.get(way, way)} | {bench.median([r[0] for r in rows]):.0f} | "
              f"{bench.median([r[1] for r in rows]):.0f} ({min(r[1] for r in rows):.0f}) | "
              f"{bench.median([r[2] for r in rows]):.2f} |", flush=True)
    if shutil.which("perf"):
        rows = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as tmp:
                p = subprocess.Popen(["perf", "sched", "record", "-q", "-o", tmp + "/data", "--", "sleep", "6"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(1)
                t = waitlib.Target("waits-load", "bystander")
                (operations, _, ns, *_), *_ = rate_of(t, 2)
                rows.append(ns / operations)
                t.kill()
                p.terminate()
                p.wait()
        print(f"| perf sched record (of the whole machine, without stacks) | {bench.median(rows):.0f} | - | - |", flush=True)


SECTIONS = {"waits": section_waits, "waits-cost": section_cost}
