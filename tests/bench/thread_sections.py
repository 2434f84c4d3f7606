# SPDX-License-Identifier: Apache-2.0
"""thread_sections - the section of tools/bench on threads: how long a dump of all of them takes, and how long the
target stands still for it, beside gdb and eu-stack."""
import shutil
import signal
import statistics
import subprocess
import time

bench = None  # tools/bench, which sets it

RUNS = 9


class Target:
    """N threads that wait, and one that spins and measures its own longest pause."""

    def __init__(self, build, n):
        self.p = bench.spawn([str(build / "tests" / "targets" / "threads"), "measured", str(n)],
                             stdout=subprocess.PIPE, text=True)
        self.pid = self.p.pid
        while self.p.stdout.readline().strip() != "ready":
            pass

    def longest_ms(self):
        """Since it was last asked."""
        self.p.send_signal(signal.SIGUSR1)
        return int(self.p.stdout.readline().split()[1]) / 1000

    def during(self, f):
        """(ms that f took, the longest pause meanwhile in ms, what f gave)"""
        self.longest_ms()
        began = time.monotonic()
        result = f()
        took = (time.monotonic() - began) * 1000
        return took, self.longest_ms(), result


def run(argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          timeout=300, check=False).stdout.decode(errors="replace")


def of_pprofd(text):
    blocks = [b for b in text.split("\n\n") if b.startswith("goroutine ")]
    return sum("in_cond(...)" in b and "many_thread(...)" in b and "[broken" not in b for b in blocks)


def row(name, results, complete, n):
    took, pauses = [r[0] for r in results], [r[1] for r in results]
    print(f"| {n} | {name} | {statistics.median(took):.1f} ({min(took):.1f} to {max(took):.1f}) | "
          f"{statistics.median(pauses):.1f} ({max(pauses):.1f}) | {complete} |", flush=True)


def control(t, ms):
    return t.during(lambda: time.sleep(ms / 1000))


def busy(t, ms):
    """Another process uses a CPU for as long, as pprofd does while it reads and writes."""
    return t.during(lambda: subprocess.run(["timeout", str(ms / 1000), "sh", "-c", "while :; do :; done"], check=False))


def peer(t, n, name, argv, frame):
    if not shutil.which(argv[0]):
        print(f"| {n} | {name} | not installed | | |")
        return
    try:
        results = [t.during(lambda: run(argv)) for _ in range(3 if n <= 1000 else 1)]
        row(name, results, results[-1][2].count(frame), n)
    except subprocess.TimeoutExpired:
        print(f"| {n} | {name} | more than 300 s | | |", flush=True)


def one(o, n):
    t = Target(o.build, n)
    with bench.Daemon(o.build, t.pid) as d:
        dump = lambda: bench_get(d)  # noqa: E731
        cold = t.during(dump)
        row("pprofd, first dump", [cold], of_pprofd(cold[2]), n)
        warm, still, loaded = [], [], []
        for _ in range(RUNS):  # by turns, so that what else the machine does falls on both
            warm.append(t.during(dump))
            still.append(control(t, warm[-1][0]))
            loaded.append(busy(t, warm[-1][0]))
        row("pprofd, names cached", warm, of_pprofd(warm[-1][2]), n)
        row("control: nothing, for as long", still, "-", n)
        row("control: a busy loop elsewhere, for as long", loaded, "-", n)
    peer(t, n, "gdb -p -batch", ["gdb", "-p", str(t.pid), "-batch", "-ex", "thread apply all bt"], " in_cond ")
    peer(t, n, "eu-stack -p", ["eu-stack", "-p", str(t.pid)], " in_cond")
    bench.end(t.p)


def bench_get(d):
    return d.get("/debug/pprof/goroutine?debug=2").decode(errors="replace")


def section_threads(o):
    print(f"\n## Every thread's stack: time to the last byte, and how long the target stood still\n\n"
          f"Threads blocked in pthread_cond_wait; one more spins and measures its own longest pause. Medians of "
          f"{RUNS} dumps (gdb, eu-stack: 3, of 10,000 threads 1), least and most\n\n"
          f"| threads | | wall, ms | longest pause of the spinning thread, ms (most) | complete stacks |\n"
          f"|---|---|---|---|---|")
    for n in (1000, 10000):
        one(o, n)


SECTIONS = {"threads": section_threads}
