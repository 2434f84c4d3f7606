# SPDX-License-Identifier: Apache-2.0
"""heaplib.py - what the heap's live tests share: targets with an account of their own, and answers read."""

import math
import os
import pathlib
import re
import signal
import subprocess

import lib
from lib import check

RATE = 512 << 10
EVERYTHING = ("--max-overhead", "none")
LIBRARIES = {"glibc": None, "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4",
             "mimalloc": "libmimalloc.so.2"}
TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"),
         ("inuse_space", "bytes")]
SITE = re.compile(r"(?:\w+::)*(site_\w+)$")
UNSEEN = "[allocated before pprofd attached]"


def preload(allocator):
    """The environment in which a program uses it; skips where it is not installed."""
    name = LIBRARIES[allocator]
    if not name:
        return dict(os.environ)
    for place in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"):
        if pathlib.Path(place, name).exists():
            return dict(os.environ, LD_PRELOAD="%s/%s" % (place, name))
    return lib.skip("%s is not installed" % name)


class Told(lib.Process):
    """A target that waits for a line on its input."""

    def __init__(self, name, *arguments, allocator="glibc", environment=None, **options):
        super().__init__(lib.target(name), *arguments, stdin=subprocess.PIPE,
                         env=environment or preload(allocator), **options)
        self.line("^ready")

    def say(self, text=""):
        self.popen.stdin.write((text + "\n").encode())
        self.popen.stdin.flush()

    def do(self, text):
        """A step, and the rest of the line that answers it."""
        self.read()
        n = len(self.lines)
        self.say(text)
        return self.line(r"^(?:done|ready) ?(.*)", start=n).group(1)


class Accountant(Told):
    """A target that keeps account by site; heap-rust is asked on its input, others by signals."""

    def __init__(self, name, *arguments, **options):
        super().__init__(name, *arguments, **options)
        self.by_lines = name == "heap-rust"

    def account(self):
        """{site: (allocs, bytes, live, live bytes)}; it stands still then."""
        self.read()
        n = len(self.lines)
        if self.by_lines:
            self.say()
        else:
            self.popen.send_signal(signal.SIGUSR1)
        self.line(r"^truth total", start=n)
        found = [line.split() for line in self.lines[n:] if line.startswith("truth site_")]
        return {w[1]: tuple(map(int, w[2:])) for w in found}

    def go_on(self):
        if self.by_lines:
            self.say()
        else:
            self.popen.send_signal(signal.SIGUSR2)


def path(name, query="", pid=None):
    return "%s/debug/pprof/%s%s" % ("/pid/%d" % pid if pid else "", name, query)


def get(d, name="heap", query="", pid=None):
    """A valid profile."""
    a = d.get(path(name, query, pid), timeout=lib.DEADLINE)
    check(a.status == 200, "%s: status %d: %s" % (name, a.status, a.text().strip()[:200]))
    try:
        p = lib.pprof.parse(a.body)
    except lib.pprof.Malformed as e:
        lib.fail("not a profile: %s" % e)
    problems = lib.pprof.validate(p)
    check(not problems, "; ".join(problems[:3]))
    if name != "growth":
        check(p.sample_types == TYPES, "sample types %s" % p.sample_types)
    return p


def source(profile):
    found = [c for c in profile.comments if "source: " in c]
    check(len(found) == 1, "comments: %s" % profile.comments)
    return found[0].split("source: ", 1)[1]


def attached(d, pid=None):
    """Waits until the target has been looked at; what the source is."""
    return lib.eventually(
        lambda: (lambda s: None if s.startswith("nothing yet") else s)(source(get(d, pid=pid))),
        "the allocator is not looked for")


def watched(target, *arguments, limit=EVERYTHING):
    """pprofd on a target, once its allocator is probed."""
    d = lib.Daemon(target, arguments=(*limit, *arguments))
    what = attached(d)
    check(what.startswith("uprobes"), "source: %s" % what)
    return d


def site_of(sample):
    for f in sample.frames:
        found = SITE.match(f.name)
        if found:
            return found.group(1)
    return None


def identity(sample):
    """What tells a sample from others, in one answer and the next."""
    return (tuple(f.address for f in sample.frames), tuple(sorted((k, tuple(v)) for k, v in sample.labels.items())),
            tuple(sorted((k, tuple(v)) for k, v in sample.numbers.items())))


def by_site(profile):
    """{site: [alloc objects, alloc bytes, objects in use, bytes in use]}"""
    found = {}
    for s in profile.samples:
        row = found.setdefault(site_of(s), [0] * 4)
        for i, v in enumerate(s.values):
            row[i] += v
    return found


def deviation(n, n_bytes):
    """Of the estimate of what n objects take in all: each is seen with p = 1 - exp(-size / rate) and
    stands for 1/p of itself, so its variance is size^2 (1 - p)/p. By the average size, which is
    never below the sum over the sizes (the function is concave there)."""
    if not n:
        return 0
    size = n_bytes / n
    return math.sqrt(n * size ** 2 / math.expm1(size / RATE))


def weight(size):
    """What one sample of an object stands for, bytes."""
    return size / -math.expm1(-size / RATE)


def errors(profile, truth, unknown=()):
    """{(site, type): text} of what is more than 3.5 deviations (and a sample) off. Nothing may be in use
    at the `unknown`, whose pointers cannot be had."""
    seen, wrong = by_site(profile), {}
    for site, (n, n_bytes, live, live_bytes) in truth.items():
        row = seen.get(site, [0] * 4)
        if site in unknown:
            live = live_bytes = 0
        for kind, got, objects, wanted in (("alloc", row[1], n, n_bytes),
                                           ("inuse", row[3], live, live_bytes)):
            sigma = deviation(objects, wanted)
            slack = 3.5 * sigma + (weight(wanted / objects) if objects else 0)
            if abs(got - wanted) > slack:
                wrong[site, kind] = "%s %s: %d bytes, %d are true, deviation %d" % (
                    site, kind, got, wanted, sigma)
    return wrong


def check_truth(once):
    """once() is what errors() says of a new target. One estimate in 2,000 is off by chance, and a run of the
    tests has some 200: the same one must be off three times in a row, which is one run in 10^7."""
    wrong = once()
    for _ in range(2):
        if wrong:
            again = once()
            wrong = {key: "%s; %s" % (text, again[key]) for key, text in wrong.items() if key in again}
    check(not wrong, " | ".join(wrong.values()))


def no_negatives(profile):
    bad = [s.values for s in profile.samples if any(v < 0 for v in s.values)]
    check(not bad, "negative values: %s" % bad[:3])


def no_breakpoints(pid, library):
    """Whether the code of the mapped library is what stands in its file."""
    for line in pathlib.Path("/proc/%d/maps" % pid).read_text().splitlines():
        found = re.match(r"(\w+)-(\w+) r-xp (\w+) \S+ \d+\s+(\S*%s\S*)$" % re.escape(library), line)
        if not found:
            continue
        start, end, offset = (int(found.group(i), 16) for i in (1, 2, 3))
        with open("/proc/%d/mem" % pid, "rb") as f:
            f.seek(start)
            memory = f.read(end - start)
        with open(found.group(4), "rb") as f:
            f.seek(offset)
            return f.read(end - start).ljust(end - start, b"\0") == memory
    return lib.fail("%s is not mapped" % library)
