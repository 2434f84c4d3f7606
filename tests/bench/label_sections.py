# SPDX-License-Identifier: Apache-2.0
"""label_sections - the section of tools/bench on labels: what it costs to set one, and to read them with a sample."""
import json
import pathlib
import statistics
import subprocess
import time

bench = None  # tools/bench, which sets it

STATS = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")
RUNS = 5


def loaded():
    progs = json.loads(subprocess.run(["bpftool", "-j", "prog", "show"], stdout=subprocess.PIPE, check=True).stdout)
    return {p["id"]: p.get("run_time_ns", 0) for p in progs if p.get("name") == "pp_on_tick"}


def ran(others):
    """ns of the program of ticks that has been loaded since, over all CPUs."""
    return sum(ns for number, ns in loaded().items() if number not in others)


def ns_of_a_sample(o, n):
    """Of one that is kept: what the others take is nearly nothing, and the same."""
    target = bench.spawn([str(o.build / "tests" / "labels-bench"), "spin", str(n)], stdout=subprocess.PIPE, text=True)
    target.stdout.readline()
    others = loaded()
    with bench.Daemon(o.build, target.pid) as d:
        d.profile(1)
        before = ran(others)
        p = d.profile(o.seconds)
        after = ran(others)
    bench.end(target)
    samples = sum(s.values[0] for s in p.samples)
    return (after - before) / samples if samples else float("nan")


def section_labels(o):
    print("\n## labels\n\n| setting one | ns |\n|---|---|")
    out = subprocess.run([str(o.build / "tests" / "labels-bench"), "set", "/users"], stdout=subprocess.PIPE, text=True, check=True)
    values = dict(line.split() for line in out.stdout.splitlines())
    for name, what in (("literal", "of a literal"), ("text", "of a text"), ("pair", "and clearing it")):
        print("| %s | %.1f |" % (what, float(values[name]) - float(values["nothing"])))
    was = STATS.read_text()
    STATS.write_text("1")
    try:
        print("\n| labels of the thread | ns a sample, median of %d |\n|---|---|" % RUNS)
        runs = {n: [] for n in (0, 1, 2, 8)}
        for _ in range(RUNS):  # in turns: the machine drifts
            for n in runs:
                runs[n].append(ns_of_a_sample(o, n))
                time.sleep(0.1)
        for n, of in runs.items():
            print("| %d | %.0f |" % (n, statistics.median(of)))
    finally:
        STATS.write_text(was)


SECTIONS = {"labels": section_labels}
