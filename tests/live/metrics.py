#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""metrics.py - what a machine asks that looks after pprofd: /metrics, /sd, /-/healthy, /-/ready."""

import json
import math
import re
import shutil
import threading

import lib
from lib import check, eventually

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(r"(%s)(?:\{((?:%s)(?:,%s)*)\})? (\S+)" % (NAME, LABEL, LABEL))
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def value_of(text):
    check(re.fullmatch(r"[+-]?(\d+(\.\d*)?([eE][+-]?\d+)?|Inf)|NaN", text), "no number: %r" % text)
    return float(text)


def parse(text, openmetrics=False):
    """{(name, ((label, value), ...)): number}; strict: families stand together, once, with help and type before."""
    check(text.endswith("\n"), "the last line has no end")
    found, types, family = {}, {}, None
    lines = text.split("\n")[:-1]
    if openmetrics:
        check(lines.pop() == "# EOF", "OpenMetrics without its end")
    helped = None
    for line in lines:
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            check(helped not in types, "%s comes twice" % helped)
            continue
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            check(family == helped and kind in SUFFIXES, line)
            types[family] = kind
            continue
        m = SAMPLE.fullmatch(line)
        check(m, "no sample: %r" % line)
        kind = types.get(family)
        suffixes = ("_total",) if kind == "counter" and openmetrics else SUFFIXES[kind]
        check(m.group(1) in [family + s for s in suffixes], "%r is not of %s" % (line, family))
        check(kind != "counter" or m.group(1).endswith("_total"), "a counter without _total: %s" % line)
        labels = tuple(sorted((k, v.replace('\\"', '"').replace("\\\\", "\\"))
                              for k, v in re.findall(LABEL, m.group(2) or "")))
        check(len(dict(labels)) == len(labels), "a label twice: %s" % line)
        check((m.group(1), labels) not in found, "a series twice: %s" % line)
        found[m.group(1), labels] = value_of(m.groups()[-1])
    check_histograms(found, types)
    return found


def check_histograms(found, types):
    for family in [f for f, kind in types.items() if kind == "histogram"]:
        rows = {}
        for (name, labels), v in found.items():
            if name == family + "_bucket":
                rest = tuple(x for x in labels if x[0] != "le")
                rows.setdefault(rest, []).append((float(dict(labels)["le"]), v))
        for rest, buckets in rows.items():
            check(buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets) and
                  buckets[-1] == (math.inf, found[family + "_count", rest]), "%s %s: %s" % (family, rest, buckets))


class Metrics:
    def __init__(self, daemon):
        a = daemon.get("/metrics")
        check(a.status == 200 and a.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8",
              "status %d, %s" % (a.status, a.headers["Content-Type"]))
        self.all = parse(a.body.decode("utf-8"))

    def get(self, name, **labels):
        key = (name, tuple(sorted(labels.items())))
        check(key in self.all, "no series %s %s" % key)
        return self.all[key]

    def sum(self, name, **labels):
        return sum(v for (n, l), v in self.all.items() if n == name and set(labels.items()) <= set(l))


def ready(d):
    eventually(lambda: d.get("/-/ready").status == 200, "it never becomes ready")


def test_health():
    d = lib.Daemon(lib.start("life", "sleep"))
    a = d.get("/-/healthy")
    check(a.status == 200 and a.text().count("\n") == 1, "%d %r" % (a.status, a.text()))
    a = d.get("/-/ready")  # whichever it is by now
    check(a.status in (200, 503) and a.text().count("\n") == 1, "%d %r" % (a.status, a.text()))
    ready(d)
    for path in "/-/healthy", "/-/ready", "/sd", "/metrics":
        a = d.get(path, method="HEAD")
        check(a.status == 200 and not a.body, "HEAD %s: %d" % (path, a.status))
        check(d.get(path, method="POST").status == 405, "POST %s" % path)
    d.stop()


def test_counters_move_as_they_should():
    p = lib.start("rungs", "3600")
    d = lib.Daemon(p)
    ready(d)
    before = Metrics(d)
    first = d.profile(1, at_least=3)
    check(d.get("/debug/pprof/no-such").status == 404, "a profile that is not there")
    after = Metrics(d)
    taken = after.sum("pprofd_samples_total", collector="cpu") - before.sum("pprofd_samples_total", collector="cpu")
    check(taken >= first.total("samples"), "%d samples in the profile, %d counted" % (first.total("samples"), taken))
    complete = (after.get("pprofd_samples_total", collector="cpu", outcome="complete") -
                before.get("pprofd_samples_total", collector="cpu", outcome="complete"))
    check(complete >= lib.Account(first).complete, "%d complete stacks counted" % complete)
    check(after.sum("pprofd_lost_total", what="sample") == 0, "samples were lost")
    labels = {"pid": str(p.pid), "comm": "rungs"}
    check(after.get("pprofd_target_up", **labels) == 1, "it is not up")
    check(after.get("pprofd_target_cpu_seconds_total", **labels) > before.get("pprofd_target_cpu_seconds_total", **labels),
          "its CPU time stands still")
    check(after.get("pprofd_target_overhead_seconds_total", source="samples", **labels) > 0, "sampling costs nothing")
    check(0 < after.get("pprofd_target_overhead_ratio", **labels) < 1, "an overhead of all and more")
    # each exact: nobody else asks; an answer may have been one of several windows
    n = after.get("pprofd_capture_seconds_count", profile="profile")
    check(n >= 1 and before.get("pprofd_capture_seconds_count", profile="profile") == 0, "%d captures" % n)
    check(after.get("pprofd_capture_seconds_sum", profile="profile") < first.duration_nanos / 1e9 * n + lib.DEADLINE,
          "windows are in the time that captures take")
    check(after.get("pprofd_http_requests_total", code="404") == 1, "not one 404")
    check(after.get("pprofd_http_requests_total", code="200") == before.get("pprofd_http_requests_total", code="200") + n + 1,
          "answers that were good")
    misses = after.get("pprofd_symbol_cache_misses_total")
    check(misses > 0 and after.get("pprofd_symbol_cache_bytes") > 0 and after.get("pprofd_symbol_cache_addresses") > 0,
          "no name was looked for")
    d.profile(1, at_least=1)
    again = Metrics(d)
    check(again.get("pprofd_symbol_cache_hits_total") > after.get("pprofd_symbol_cache_hits_total"), "no name was known")
    for table in "window_counts", "kept_counts", "files", "cursors", "history", "names", "functions", "symbolizer":
        check(0 <= again.get("pprofd_table_fill_ratio", table=table) <= 1 and again.get("pprofd_table_bytes", table=table) >= 0, table)
    for table in "kept_counts", "files", "names", "functions", "symbolizer":
        check(again.get("pprofd_table_bytes", table=table) > 0, "%s is empty" % table)
    for name in "process_resident_memory_bytes", "process_open_fds", "process_max_fds", \
            "process_start_time_seconds", "process_virtual_memory_bytes", "pprofd_uptime_seconds":
        check(again.get(name) > 0, name)
    # in steps of 10 ms: it may have worked for less
    lib.eventually(lambda: Metrics(d).get("process_cpu_seconds_total") > 0, "its CPU time stands still", timeout=60)
    for which in "broker", "serve", "symbolizer":
        check(again.get("pprofd_process_resident_memory_bytes", process=which) > 1 << 20, which)
    check(again.get("pprofd_bpf_memory_bytes", kind="maps") > 1 << 20, "no memory of maps")
    check(again.sum("pprofd_build_info") == 1 and again.get("pprofd_ready") == 1, "who is this?")
    d.stop()


def test_a_capture_that_is_under_way():
    d = lib.Daemon(lib.start("life", "sleep"))
    ready(d)
    client = d.connect()
    client.request("GET", "/debug/pprof/profile?seconds=3600")
    eventually(lambda: Metrics(d).get("pprofd_captures_in_progress", profile="profile") == 1, "it is not in progress")
    eventually(lambda: Metrics(d).get("pprofd_collector_attached", collector="cpu") == 1, "nothing is attached")
    client.close()
    eventually(lambda: Metrics(d).get("pprofd_captures_in_progress", profile="profile") == 0, "it is in progress for ever")
    eventually(lambda: Metrics(d).get("pprofd_http_requests_total", code="gone") == 1, "nobody hung up")
    eventually(lambda: Metrics(d).get("pprofd_collector_attached", collector="cpu") == 0, "still attached")
    d.stop()


def test_every_profile_has_its_series():
    d = lib.Daemon(lib.start("life", "sleep"))
    names = re.findall(r"<a href='([a-z]+)\?debug=1'>", d.get("/debug/pprof/").text())
    check(len(names) >= 13, "the index has %s" % names)
    m = Metrics(d)
    for name in names:
        m.get("pprofd_capture_seconds_count", profile=name)
        m.get("pprofd_captures_in_progress", profile=name)
    d.stop()


def test_openmetrics():
    d = lib.Daemon(lib.start("life", "sleep"))
    accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
    a = d.get("/metrics", headers={"Accept": accept})
    check(a.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8",
          a.headers["Content-Type"])
    found = parse(a.body.decode("utf-8"), openmetrics=True)
    check({name for name, _ in found} == {name for name, _ in Metrics(d).all}, "other series than in the plain text")
    d.stop()


def test_targets_for_prometheus():
    """One entry a process, where we were asked; what they say leads to its profiles. A name is anything."""
    name = 'q"\\\n} 1{'
    path = lib.directory() / name
    shutil.copy(lib.target("life"), path)
    odd = lib.Process(path, "sleep")
    odd.line("^ready")
    even = lib.start("life", "sleep")
    d = lib.Daemon(odd, even)
    a = d.get("/sd", headers={"Host": "localhost:%d" % d.port})
    check(a.status == 200 and a.headers["Content-Type"] == "application/json", "%d %s" % (a.status, a.headers["Content-Type"]))
    found = json.loads(a.body.decode("utf-8"))
    check(all(set(e) == {"targets", "labels"} and e["targets"] == ["localhost:%d" % d.port] for e in found), str(found))
    check(all(isinstance(v, str) and re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", k) for e in found for k, v in e["labels"].items()),
          str(found))
    by_pid = {int(e["labels"]["__meta_pprofd_pid"]): e["labels"] for e in found}
    check(set(by_pid) == {odd.pid, even.pid}, str(found))
    check(by_pid[even.pid]["__meta_pprofd_comm"] == "life", str(found))
    check(by_pid[odd.pid]["__meta_pprofd_comm"] == name.replace("\n", "?"), str(found))
    check(len({e["labels"]["instance"] for e in found}) == 2 and all(e["labels"]["service_name"] for e in found), str(found))
    for pid, labels in by_pid.items():
        a = d.get(labels["__profile_path_prefix__"] + "/debug/pprof/cmdline")
        check(a.status == 200 and a.body.endswith(b"sleep"), "%d: %r" % (pid, a.body))
    check(Metrics(d).get("pprofd_target_up", pid=str(odd.pid), comm=name.replace("\n", "?")) == 1, "no such target")
    odd.kill()
    eventually(lambda: len(json.loads(d.get("/sd").body)) == 1, "what has ended is a target still")
    d.stop()


def test_many_ask_at_once():
    d = lib.Daemon(lib.start("life", "sleep"))
    ready(d)
    said = []

    def ask():
        try:
            for _ in range(5):
                Metrics(d)
        except lib.Failure as e:
            said.append(str(e))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not said, "; ".join(said[:2]))
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
