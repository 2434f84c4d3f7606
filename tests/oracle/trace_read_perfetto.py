#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""trace_read_perfetto.py - the recorded input as a Perfetto trace, decoded with the schema of the perfetto package: every
field is known there, and each thread ran as long as the recording says. (The package's trace processor is a download of its
own and is not used.)"""
import collections
import os
import pathlib
import subprocess
import sys
import tempfile

import recorded
from recorded import IN, OUT, WAKING, NEW, EXIT, NAME, ENTER, LEAVE, SAMPLE

VERSION = "0.59.1"
BUILD = pathlib.Path(os.environ["PPROFD_BUILD"])


def skip(why):
    print("skipped: the perfetto package is not to be had: %s" % why)
    sys.exit(77)


def with_package():
    """Goes on in a Python that has it: ours, or one in the user's cache."""
    try:
        import perfetto  # noqa: F401
        return
    except ImportError:
        pass
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    home = pathlib.Path(cache, "pprofd", "perfetto-" + VERSION)
    python = home / "bin" / "python3"
    if sys.executable == str(python):
        skip("it was installed and cannot be imported")
    if not (home / "complete").exists():
        for command in ([sys.executable, "-m", "venv", "--clear", str(home)],
                        [str(python), "-m", "pip", "install", "-q", "--retries", "1", "--timeout", "20",
                         "--disable-pip-version-check", "perfetto==" + VERSION]):
            try:
                p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
            except (OSError, subprocess.TimeoutExpired) as e:
                skip(e)
            if p.returncode:
                text = (p.stderr or p.stdout).decode(errors="replace").strip().splitlines()
                skip(text[-1] if text else "pip failed")
        (home / "complete").touch()
    os.execv(str(python), [str(python), os.path.abspath(__file__)])


def unknown(message, path="Trace"):
    """Paths of fields that the schema does not have."""
    from google.protobuf.unknown_fields import UnknownFieldSet
    found = [path + ".%d" % f.field_number for f in UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for one in value if not hasattr(value, "ListFields") else [value]:
                found += unknown(one, path + "." + field.name)
    return found


def check(condition, text):
    if not condition:
        print(text)
        sys.exit(1)


def check_events(trace, events):
    """Every event is there once; a thread is on a CPU from when it comes until it leaves."""
    counts, ran, since = collections.Counter(), collections.Counter(), {}
    for e in sorted((e for p in trace.packet for e in p.ftrace_events.event), key=lambda e: e.timestamp):
        kind = e.WhichOneof("event")
        counts[kind] += 1
        if kind == "sched_switch":
            s = e.sched_switch
            ran[s.prev_pid] += e.timestamp - since.pop(s.prev_pid, e.timestamp)
            since[s.next_pid] = e.timestamp
    truth, true_since, n = collections.Counter(), {}, collections.Counter()
    for e in events:
        n[e.kind] += 1
        if e.kind == IN:
            true_since[e.tid] = e.time
        elif e.kind == OUT:
            truth[e.tid] += e.time - true_since.pop(e.tid, e.time)
    for kind, name in ((WAKING, "sched_waking"), (NEW, "task_newtask"), (EXIT, "sched_process_exit"),
                       (NAME, "task_rename"), (ENTER, "sys_enter"), (LEAVE, "sys_exit")):
        check(counts[name] == n[kind], "%s: %d, recorded %d" % (name, counts[name], n[kind]))
    check(counts["sched_switch"] > 0 and all(ran[tid] == truth[tid] for tid in truth),
          "threads ran %s, recorded %s" % (dict(ran), dict(truth)))
    samples = [p.perf_sample for p in trace.packet if p.HasField("perf_sample")]
    check(len(samples) == n[SAMPLE] and all(s.tid for s in samples), "%d samples" % len(samples))


def check_stacks(trace):
    """Numbers hold until the state is cleared."""
    names, frames, stacks, n = {}, {}, {}, 0
    for p in trace.packet:
        if p.sequence_flags & 1:
            names, frames, stacks = {}, {}, {}
        names.update({s.iid: s.str.decode() for s in p.interned_data.function_names})
        frames.update({f.iid: f for f in p.interned_data.frames})
        stacks.update({s.iid: s.frame_ids for s in p.interned_data.callstacks})
        if p.perf_sample.callstack_iid:
            n += 1
            for f in (frames[i] for i in stacks[p.perf_sample.callstack_iid]):
                check(names[f.function_name_id] == "f%x" % f.rel_pc, "frame %s" % f)
    check(n, "no sample has a stack")


def main():
    with_package()
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "t.pftrace")
        subprocess.run([str(BUILD / "tests" / "trace-make"), "perfetto", str(file), "calls=1"], check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        trace = perfetto_trace_pb2.Trace.FromString(file.read_bytes())
        size = file.stat().st_size
    bad = set(unknown(trace))
    check(not bad, "unknown fields: %s" % sorted(bad))
    threads, events = recorded.read()
    check_events(trace, events)
    said = {t.tid: t.name for p in trace.packet for t in p.process_tree.threads}
    check(all(said.get(tid) == name for tid, name in threads.items()), "threads %s" % said)
    check_stacks(trace)
    print("%d packets, %d events, %.1f bytes each" % (len(trace.packet), len(events), size / len(events)))


main()
