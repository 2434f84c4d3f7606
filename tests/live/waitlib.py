# SPDX-License-Identifier: Apache-2.0
"""waitlib.py - what the live tests of waiting share: targets that keep account of their waits, answers
read, and what may lie between the two."""

import collections
import ctypes
import os
import pathlib
import re
import struct
import time

import heaplib
import lib
from lib import check

SECONDS = 1.5
TYPES = {"block": [("contentions", "count"), ("delay", "nanoseconds")],
         "mutex": [("contentions", "count"), ("delay", "nanoseconds")],
         "offcpu": [("off_cpu", "nanoseconds")],
         "wall": [("samples", "count"), ("time", "nanoseconds")]}
TYPES["fgprof"] = TYPES["wall"]
OTHER_PROCESS = "[another process]"

# What a wait at a site may be called, where it is not "mutex". Where a program makes its lock of futexes
# by itself, or through a condition variable, either name is right.
LOCKS = {"site_cond": "cond", "site_sem": "sem", "site_reader": "rwlock", "site_writer": "rwlock",
         "site_barrier": "barrier cond", "site_join": "join", "site_once": "once",
         "site_timed_sem": "sem", "site_timed_cond": "cond", "site_eventfd": "queue",
         "site_pipe_read": "queue", "site_pipe_write": "queue", "site_spurious": "futex",
         "site_waitv": "futex", "site_futex": "futex", "site_cancelled": "cond",
         "site_own": "futex mutex", "site_future": "futex cond once join", "site_latch": "futex barrier cond",
         "site_semaphore": "futex sem", "site_atomic": "futex", "site_recv": "futex cond queue",
         "site_send": "futex cond queue", "site_park": "futex cond"}

Rate = collections.namedtuple("Rate", "operations switches ns cpu_ns voluntary squares")
Wait = collections.namedtuple("Wait", "ns calls waits low high")


class Target(heaplib.Told):
    """A target as tests/targets/waits.h has them."""

    def begin(self):
        self.do("begin")

    def stop(self):
        """{site: Wait} since begin()."""
        self.read()
        n = len(self.lines)
        self.do("stop")
        found = [line.split() for line in self.lines[n:] if line.startswith("truth site_")]
        return {w[1]: Wait(*map(int, w[2:])) for w in found}

    def rate(self):
        """What the last stop() of waits-load said."""
        line = [line for line in self.lines if line.startswith("rate ")][-1]
        return Rate(*map(int, line.split()[2:]))


def path(name, query="", pid=None):
    place = "/debug/fgprof" if name == "fgprof" else "/debug/pprof/" + name
    return "%s%s%s" % ("/pid/%d" % pid if pid else "", place, query)


def decode(body, name):
    """A valid profile of the kind."""
    try:
        p = lib.pprof.parse(body)
    except lib.pprof.Malformed as e:
        lib.fail("%s is not a profile: %s" % (name, e))
    problems = lib.pprof.validate(p)
    check(not problems, "%s: %s" % (name, "; ".join(problems[:3])))
    check(p.sample_types == TYPES[name], "%s: sample types %s" % (name, p.sample_types))
    if name in ("block", "mutex"):
        check(p.period == 1 and p.period_type == ("contentions", "count"),
              "%s: period %s of %s" % (name, p.period, p.period_type))
    bad = [s.values for s in p.samples if any(v < 0 for v in s.values)]
    check(not bad, "%s: negative values %s" % (name, bad[:3]))
    return p


def get(d, name="block", query="", pid=None, timeout=lib.DEADLINE):
    a = d.get(path(name, query, pid), timeout=timeout)
    check(a.status == 200, "%s%s: status %d: %s" % (name, query, a.status, a.text().strip()[:200]))
    return decode(a.body, name)


def watched(*targets, arguments=(), limit=heaplib.EVERYTHING):
    """pprofd on targets, once it looks at how they wait: at every wait, unless `limit` is none of ours."""
    d = lib.Daemon(*targets, arguments=("--heap=off", *limit, *arguments))
    for t in targets:
        lib.eventually(lambda t=t: not lib.comments(get(d, pid=t.pid), "nothing is counted"),
                       "waits are not looked at")
    return d


def started(*arguments, options=()):
    """A target at work, and pprofd on it."""
    t = Target(*arguments)
    d = watched(t, arguments=options)
    t.begin()
    return t, d


def site_of(sample):
    """The innermost site."""
    return heaplib.site_of(sample)


def by_site(profile):
    """{site, or None: [values]}"""
    found = {}
    for s in profile.samples:
        row = found.setdefault(site_of(s), [0] * len(s.values))
        for i, v in enumerate(s.values):
            row[i] += v
    return found


def by_label(profile, key, column=-1):
    """{site: {label: value}}"""
    found = {}
    for s in profile.samples:
        row = found.setdefault(site_of(s), collections.Counter())
        row[" ".join(s.labels.get(key, ["none"]))] += s.values[column]
    return found


def less(after, before):
    """What came between two results of by_site()."""
    return {k: [a - b for a, b in zip(v, before.get(k, [0] * len(v)))] for k, v in after.items()}


# What may be

def wrong_waits(truth, seen, column=1):
    """{site: text} of what is more than 3 % and 4 us a wait off the target's own account."""
    wrong = {}
    for site, w in truth.items():
        got = seen.get(site, [0] * (column + 1))[column]
        # a barrier's threads are all let go at once and spin for each other on the way out: work, not waiting
        besides = 15000 if site == "site_barrier" else 4000
        # libstdc++ gives its CPU up a few times before it waits: with others at work that is long, and not waiting
        yields = 0.25 * w.ns if site in ("site_latch", "site_atomic", "site_semaphore") else 0
        margin = 0.03 * w.ns + besides * w.waits
        if not -margin - yields <= got - w.ns <= margin:
            wrong[site] = "%s waited %.3f ms, %.3f are true (%+.1f %%, %+.1f us a wait)" % (
                site, got / 1e6, w.ns / 1e6, 100 * (got / max(w.ns, 1) - 1),
                (got - w.ns) / 1e3 / max(w.waits, 1))
    return wrong


def wrong_counts(truth, seen):
    """The same for how often: the kernel's count of the switches is exact."""
    return {site: "%s: %d contentions, %d switches" % (site, seen.get(site, [0])[0], w.waits)
            for site, w in truth.items()
            if abs(seen.get(site, [0])[0] - w.waits) > 0.02 * w.waits + 3}


def wrong_holders(truth, seen):
    """The same for the holders, 10 %. The time from a release to when the next one has the lock belongs
    to one or the other."""
    wrong = {}
    for site, w in truth.items():
        got, n = seen.get(site, [0, 0])[1], sum(v.waits for v in truth.values())
        if not 0.9 * w.low - 4000 * n <= got <= 1.1 * w.high + 4000 * n:
            wrong[site] = "%s made wait %.3f ms, %.3f to %.3f are true" % (
                site, got / 1e6, w.low / 1e6, w.high / 1e6)
    return wrong


def wrong_labels(profile, truth):
    """Where more than 1 % of the time of a site, and of its waits, has another label."""
    wrong = {}
    for site, row in by_label(profile, "lock").items():
        if site not in truth:
            continue
        right = LOCKS.get(site, "mutex").split()
        bad = {k: v for k, v in row.items() if k not in right}
        if sum(bad.values()) > 0.01 * sum(row.values()) + 100000:
            wrong[site] = "%s is called %s, not %s" % (site, dict(row), " or ".join(right))
    return wrong


def again(measure):
    """A measurement may be off by chance, as when the machine stood still in its midst: it is rejected
    when the same is wrong three times in a row. measure() gives {key: text}."""
    always = measure()
    for _ in range(2):
        if not always:
            return
        again_wrong = measure()
        always = {key: "%s; before: %s" % (again_wrong[key], text) for key, text in always.items()
                  if key in again_wrong}
    check(not always, "; ".join(always.values()))


def span(t, d, seconds=SECONDS, names=("block", "mutex")):
    """Runs the target for a while: its account, and the last profiles; values since before are in
    their `.sites`."""
    before = {name: by_site(get(d, name, pid=t.pid)) for name in names}
    t.begin()
    time.sleep(seconds)
    truth = t.stop()
    profiles = []
    for name in names:
        p = get(d, name, pid=t.pid)
        p.sites = less(by_site(p), before[name])
        profiles.append(p)
    return (truth, *profiles)


def what_is_lost(*profiles):
    """{place: text}: nothing is lost, and every wait was looked at. Of releases one in a hundred may be:
    they ask for a lock that another CPU may hold, and a host may stop that CPU in its midst."""
    wrong = {}
    n = max(sum(s.values[0] for s in p.samples) for p in profiles)
    for p in profiles:
        line = comment(p, "^lost: ")
        busy = re.search(r"(\d+) \(lock busy\)", line)
        rest = line.replace(busy.group(0), "") if busy else line
        if any(int(n) for n in re.findall(r"\d+", rest)):
            wrong["lost"] = line
        if busy and int(busy.group(1)) > 0.01 * n + 3:
            wrong["lost", "busy"] = "%s; %d contentions" % (line, n)
        looked = re.search(r"(\d+) of (\d+) looked at", comment(p, "^waits: "))
        if looked and looked.group(1) != looked.group(2):
            wrong["lost", "not looked at"] = looked.group(0)
    return wrong


def check_lost(*profiles):
    wrong = what_is_lost(*profiles)
    check(not wrong, "; ".join(wrong.values()))


def comment(profile, pattern):
    found = lib.comments(profile, pattern)
    check(len(found) == 1, "no comment %r: %s" % (pattern, profile.comments))
    return found[0]


def has_target(name):
    """Skips where the build could not make it."""
    if not (lib.TARGETS / name).exists():
        lib.skip("%s is not built here" % name)


TEXT = re.compile(r"(\d+) (\d+) @((?: 0x[1-9a-f][0-9a-f]*)*)")
FRAME = re.compile(r"#\t0x[0-9a-f]+\t+[^\t]+\+0x[0-9a-f]+\t+[^\t]+:\d+|#\t0x[0-9a-f]+")


def contention_text(text, name):
    """The rows [(cycles, count, pcs)] of debug=1, each line of which must be Go's."""
    lines = text.split("\n")
    head = ["--- contention:", "cycles/second=1000000000"]
    if name == "mutex":
        head = ["--- mutex:", "cycles/second=1000000000", "sampling period=1"]
    check(lines[:len(head)] == head, "%s begins with %s" % (name, lines[:3]))
    check(lines[-1] == "", "no newline in the end")
    rows, last = [], None
    for line in lines[len(head):-1]:
        m = TEXT.fullmatch(line)
        check(m or not line or FRAME.fullmatch(line) or line.startswith("# pprofd: "),
              "%s, line %r" % (name, line))
        if not m:
            continue
        cycles, count = int(m.group(1)), int(m.group(2))
        check(last is None or cycles <= last, "%s is not sorted at %r" % (name, line))
        last = cycles
        rows.append((cycles, count, m.group(3).split()))
    return rows


# What our programs cost, by the kernel's account

BPF, BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_ENABLE_STATS = 321, 13, 15, 32


def bpf(command, attributes):
    a = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    return lib.syscall(BPF, ctypes.c_long(command), a, ctypes.c_long(128))


class Programs:
    """The BPF programs of a pprofd whose names have the pattern; while this is open, the kernel keeps
    account of what programs take."""

    def __init__(self, d, pattern=""):
        self.d, self.pattern = d, pattern
        self.stats = bpf(BPF_ENABLE_STATS, struct.pack("<I", 0))

    def ids(self):
        found = set()
        for pid in self.d.three():
            for entry in pathlib.Path("/proc/%d/fdinfo" % pid).iterdir():
                try:
                    m = re.search(r"^prog_id:\s+(\d+)$", entry.read_text(), re.M)
                except OSError:
                    continue
                if m:
                    found.add(int(m.group(1)))
        return found

    def read(self):
        """{name: (ns, runs)}"""
        found = {}
        for number in self.ids():
            fd = bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("<I", number))
            info = ctypes.create_string_buffer(232)
            bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", fd, len(info), ctypes.addressof(info)))
            os.close(fd)
            name = info.raw[64:80].split(b"\0")[0].decode()
            ns, runs = struct.unpack_from("<QQ", info.raw, 192)
            if re.search(self.pattern, name):
                old = found.get(name, (0, 0))
                found[name] = (old[0] + ns, old[1] + runs)
        return found

    def since(self, before):
        return {name: (v[0] - before.get(name, (0, 0))[0], v[1] - before.get(name, (0, 0))[1])
                for name, v in self.read().items()}

    def close(self):
        os.close(self.stats)


def machine_switches():
    """Context switches of all CPUs since boot."""
    text = pathlib.Path("/proc/stat").read_text()
    return int(re.search(r"^ctxt (\d+)$", text, re.M).group(1))
