# SPDX-License-Identifier: Apache-2.0
"""abuse_sections - the sections of tools/bench on what a machine may do to a service: thousands of targets and threads, floods of
processes, no room on a disk, no memory. A row is what was asked and answered, what pprofd said, and what it holds before and after."""
import collections
import contextlib
import http.client
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from scrape_sections import Served, scrape_all

bench = None  # tools/bench, which sets it

ALL = ["profile?seconds=1", "heap", "allocs", "growth", "goroutine", "threadcreate", "block", "mutex", "offcpu?seconds=1", "wall?seconds=1"]
FORKER = """import os, time
n, began = 0, time.monotonic()
while time.monotonic() < began + %d:
    if n >= (time.monotonic() - began) * %d:
        time.sleep(0.001)
        continue
    n += 1
    try:
        if os.fork() == 0:
            %s
    except OSError:
        time.sleep(0.01)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except OSError:
        pass
print(n)
"""


class Watched(Served):
    """And what it says and holds."""

    def __init__(self, build, *args):
        super().__init__(build, *args)
        self.said = b""
        self.three = self.pids()

    def holds(self):
        self.now = self.pids()
        fds = 0
        for pid in self.now:
            with contextlib.suppress(OSError):
                fds += len(os.listdir("/proc/%d/fd" % pid))
        return "%.1f MiB, %d fds" % (self.resident(), fds)

    def lines(self):
        data = self.p.stderr.buffer.read() if hasattr(self.p.stderr, "buffer") else self.p.stderr.read()
        self.said += data or b""
        return self.said.decode(errors="replace").splitlines()

    def ask(self, paths):
        """{status: how often}, and the longest time."""
        found, longest = collections.Counter(), 0
        for path in paths:
            began = time.monotonic()
            try:
                found[self.get(path)[0]] += 1
            except (OSError, http.client.HTTPException) as e:
                found[type(e).__name__] += 1
            longest = max(longest, time.monotonic() - began)
        return ", ".join("%d x %s" % (n, s) for s, n in found.items()) + "; %.1f s at most" % longest


@contextlib.contextmanager
def row(name, served):
    time.sleep(1)
    before, out = served.holds(), []
    yield out.append
    print("| %s | %s | %s; %s |" % (name, "; ".join(out), before, served.holds()))
    same = served.three == served.now
    lines = [re.sub(r"^pprofd(-serve)?: ", "", line) for line in served.lines()]
    kinds = collections.Counter(re.sub(r"\d+", "N", line) for line in lines if not line.startswith("serving"))
    for line, n in kinds.most_common(8):
        print("    said %d x: %s" % (n, line[:200]))
    if not same:
        print("    the processes are others: %s, %s" % (served.three, served.now))
        served.three = served.now
    sys.stdout.flush()


def many_targets(build):
    """1,000 processes under --all: each is scraped, ten at once."""
    targets = [bench.spawn(["sleep", "1000"]) for _ in range(1000)]
    with Watched(build, "--all") as d:
        with row("1,000 targets, `cmdline`, heap and goroutine of each", d) as say:
            said = d.ask("/pid/%d/debug/pprof/cmdline" % t.pid for t in targets)
            say(said)
            paths = ["/pid/%d/debug/pprof/%s" % (t.pid, k) for t in targets for k in ("goroutine", "heap")]
            good = bad = 0
            worst, statuses = 0, collections.Counter()
            for i in range(0, len(paths), 20):
                done = scrape_all(d.port, paths[i:i + 20])
                done = done if isinstance(done, list) else []
                good += sum(s.good() for s in done)
                bad += sum(not s.good() for s in done)
                statuses.update(s.data[9:12].decode() for s in done)
                worst = max([worst] + [s.took for s in done])
            say("%d good, %d not, %s; %.2f s at most" % (good, bad, dict(statuses), worst))
            say(d.ask(["/metrics", "/sd", "/"]))
        for t in targets:
            bench.end(t)
        with row("they have ended", d) as say:
            time.sleep(3)
            say(d.ask(["/metrics", "/sd", "/"]))


def many_threads(build):
    """10,000 threads of one process among all."""
    t = bench.spawn([str(build / "tests/targets/threads"), "many", "10000"], stdout=subprocess.PIPE, text=True)
    for line in t.stdout:
        if line.startswith("ready"):
            break
    with Watched(build, "--all") as d:
        for k in ALL:
            with row("10,000 threads: %s" % k, d) as say:
                say(d.ask(["/pid/%d/debug/pprof/%s" % (t.pid, k)] * 2))
    bench.end(t)


def floods(build):
    """Processes that come and go: forks (in a cgroup of at most 500), and execs."""
    group = pathlib.Path("/sys/fs/cgroup/pids/pprofd-bench")
    t = bench.spawn([str(build / "tests/targets/shapes"), "qsort", "600"])
    with Watched(build, "--all") as d:
        for name, what, rate in (("200 forks/s, 20 s", "os._exit(0)", 200), ("a fork bomb below 500 processes, 20 s", "time.sleep(3); os._exit(0)", 400),
                                 ("100 exec/s, 20 s", "os.execv('/bin/true', ['true'])", 100)):
            with row(name, d) as say:
                p = bench.spawn([sys.executable, "-c", FORKER % (20, rate, what)], stdout=subprocess.PIPE, text=True)
                with contextlib.suppress(OSError):
                    group.mkdir(exist_ok=True)
                    (group / "pids.max").write_text("500")
                    (group / "cgroup.procs").write_text(str(p.pid))
                meanwhile = collections.Counter()
                while p.poll() is None:
                    meanwhile[d.get("/pid/%d/debug/pprof/profile?seconds=1" % t.pid)[0]] += 1
                    d.get("/sd")
                say("%s in all; captures meanwhile: %s; %s" % (p.stdout.read().strip(), dict(meanwhile), d.ask(["/metrics", "/sd", "/"])))
        with contextlib.suppress(OSError):
            time.sleep(1)
            group.rmdir()
    bench.end(t)


def no_disk(build):
    """State directory on a file system without room, then with room again."""
    t = bench.spawn([str(build / "tests/targets/heap"), "600", "2", "50"])
    with tempfile.TemporaryDirectory() as where:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", where], check=True)
        try:
            pathlib.Path(where, "fill").write_bytes(b"x" * 12288)
            with Watched(build, "--pid", str(t.pid), "--state-dir", where) as d:
                d.settle()
                with row("no room for the counts", d) as say:
                    say(d.ask(["/debug/pprof/allocs", "/debug/pprof/growth", "/debug/pprof/allocs"]))
        finally:
            subprocess.run(["umount", where], check=True)
    bench.end(t)


def no_memory(build):
    """Limits of address space from the start on, for all three; and a cgroup, where the kernel chooses who goes."""
    t = bench.spawn([str(build / "tests/targets/shapes"), "qsort", "600"])
    for mib in (40, 80, 120, 140, 150, 160, 180, 220, 300):
        p = subprocess.Popen(["prlimit", "--as=%d" % (mib << 20), str(build / "pprofd"), "--pid", str(t.pid), "--listen", "127.0.0.1:0",
                              "--audit", "off"], stderr=subprocess.PIPE, text=True)
        found, line = collections.Counter(), p.stderr.readline()
        port = re.search(r":(\d+)/", line)
        for k in ALL * 2 if port else ():
            try:
                with urllib.request.urlopen("http://127.0.0.1:%s/debug/pprof/%s" % (port.group(1), k), timeout=60) as r:
                    found[r.status] += 1
            except urllib.error.HTTPError as e:
                found[e.code] += 1
            except OSError as e:
                found[type(getattr(e, "reason", e)).__name__] += 1
        p.terminate()
        said = line + p.communicate(timeout=60)[1]
        print("| %d MiB of address space | %s; status %d | |" % (mib, dict(found), p.returncode))
        for text, n in collections.Counter(re.sub(r"\d+", "N", x) for x in said.splitlines() if "serving" not in x).most_common(6):
            print("    said %d x: %s" % (n, text[:200]))
        sys.stdout.flush()
    group = pathlib.Path("/sys/fs/cgroup/memory/pprofd-bench")
    if group.parent.is_dir():
        group.mkdir(exist_ok=True)
        with Watched(build, "--pid", str(t.pid)) as d:
            for pid in [d.p.pid] + subprocess.run(["pgrep", "-P", str(d.p.pid)], capture_output=True, text=True).stdout.split():
                (group / "cgroup.procs").write_text(str(pid))
            for mib in (48, 36, 28):
                with row("a cgroup of %d MiB" % mib, d) as say:
                    try:
                        (group / "memory.limit_in_bytes").write_text(str(mib << 20))
                    except OSError as e:
                        say("the kernel says %s" % e.strerror)
                    say(d.ask("/debug/pprof/" + k for k in ALL))
            (group / "memory.limit_in_bytes").write_text("-1")
            time.sleep(2)
            with row("no limit again", d) as say:
                say(d.ask("/debug/pprof/" + k for k in ALL))
        time.sleep(0.5)
        with contextlib.suppress(OSError):
            group.rmdir()
    bench.end(t)


def section(what):
    def run(o):
        print("\n| | asked and answered | held before; after |\n|---|---|---|")
        what(o.build)

    return run


SECTIONS = {"abuse-" + name: section(what) for name, what in
            (("targets", many_targets), ("threads", many_threads), ("floods", floods), ("disk", no_disk), ("memory", no_memory))}
