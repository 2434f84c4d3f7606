# SPDX-License-Identifier: Apache-2.0
"""heap_peers.py - the tables of tools/bench that set the heap beside others, and beside nothing.

    heap-peers      a loop of malloc and free under us, heaptrack, memleak, gperftools, jemalloc, massif
    heap-preload    what libpprofd-alloc.so adds to a pair: idle, and with pprofd attached
    heap-redis      what it adds to a request of redis

Every figure is CPU time of the target. Rounds take each in turn; a ratio or difference is that of one
round, and the median of the rounds is shown with the smallest and the largest."""

import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")

bench = lib = heaplib = None  # tools/bench itself, the live tests' library


class Absent(Exception):
    """What is missing, and where Debian has it."""


def needs(program, package):
    found = shutil.which(program)
    if not found:
        raise Absent(f"{program} is not installed (package {package})")
    return found


def library(name, package):
    if not (LIBRARIES / name).exists():
        raise Absent(f"{name} is not installed (package {package})")
    return str(LIBRARIES / name)


def preloaded(*libraries, **variables):
    return dict(os.environ, LD_PRELOAD=" ".join(map(str, libraries)), **variables)


def ours():
    if not (lib.BUILD / "libpprofd-alloc.so").exists():
        raise Absent("libpprofd-alloc.so is not built")
    return lib.BUILD / "libpprofd-alloc.so"


# ---- one run of the loop

own_libc = {}  # LD_LIBRARY_PATH of a copy that nobody else probes: each who does taxes every hit


class Run:
    """heap-loop, ready but not yet told to go."""

    def __init__(self, seconds=1.0, work="pairs", environment=None, command=()):
        self.process = lib.Process(*command, lib.target("heap-loop"), work, seconds,
                                   stdin=subprocess.PIPE, env={**(environment or os.environ), **own_libc},
                                   stderr=subprocess.STDOUT)
        self.process.line("^ready")
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.popen.stdin.close()
        self.process.pipe.close()

    def go(self):
        """ns a pair: all of it, and the best slice."""
        self.process.popen.stdin.write(b"\n")
        self.process.popen.stdin.flush()
        n, ns = map(int, self.process.line(r"^pairs (\d+) (\d+)", timeout=120).groups())
        return ns / n, float(self.process.line(r"^best ([\d.]+)").group(1))


def plain(environment=None, command=(), **options):
    with Run(environment=environment, command=command, **options) as r:
        return r.go()


def under_us(*arguments, environment=None, source="uprobes", **options):
    with Run(environment=environment, **options) as r:
        d = lib.Daemon(r.pid, arguments=arguments)
        try:
            what = heaplib.attached(d)
            if source not in what:
                raise Absent("source: " + what)
            return r.go()
        finally:
            d.kill()
            d.pipe.close()


def under_jemalloc():
    """Its own sampling, where it was built with it."""
    p = subprocess.run(["/bin/true"], stderr=subprocess.PIPE, text=True, check=False,
                       env=preloaded(library("libjemalloc.so.2", "libjemalloc2"), MALLOC_CONF="prof:true"))
    if "Invalid conf" in p.stderr:
        raise Absent("this libjemalloc is built without --enable-prof")
    return plain(preloaded(LIBRARIES / "libjemalloc.so.2",
                           MALLOC_CONF="prof:true,prof_active:true,lg_prof_sample:19"))


def under_heapprofile():
    with tempfile.TemporaryDirectory() as tmp:
        return plain(preloaded(tcmalloc(), HEAPPROFILE=tmp + "/heap"))


def tcmalloc():
    return library("libtcmalloc.so.4", "libgoogle-perftools4")


def under_heaptrack():
    with tempfile.TemporaryDirectory() as tmp:
        return plain(command=[needs("heaptrack", "heaptrack"), "-o", tmp + "/trace"])


def under_massif():
    return plain(command=[needs("valgrind", "valgrind"), "-q", "--tool=massif", "--massif-out-file=/dev/null"])


def under_memleak():
    """It compiles against a kernel's headers, any version's: memleak looks into no kernel structure."""
    script = needs("memleak-bpfcc", "bpfcc-tools")
    places = (os.environ.get("BCC_KERNEL_SOURCE", "/nowhere"), f"/lib/modules/{os.uname().release}/build",
              "/sys/kernel/kheaders.tar.xz")
    if not any(map(os.path.exists, places)):
        raise Absent("memleak-bpfcc needs kernel headers (packages linux-headers-*-common and, copied over it, "
                     "linux-headers-*-amd64; BCC_KERNEL_SOURCE names the directory)")
    with Run() as r:
        tool = lib.Process("/usr/bin/python3", "-u", HERE / "memleak.py", script, "-p", r.pid, "5",
                           stderr=subprocess.STDOUT)
        try:
            tool.line("outstanding allocations", timeout=90)
            return r.go()
        except lib.Failure:
            raise Absent("memleak-bpfcc does not start here: " + " | ".join(tool.lines[-2:])[-150:]) from None
        finally:
            tool.kill()
            tool.pipe.close()


# ---- rounds

class Table:
    """Figures by name, a round at a time."""

    def __init__(self):
        self.rounds, self.absent = [], {}

    def round(self, rows):
        seen = {}
        for name, measure in rows:
            if name in self.absent:
                continue
            try:
                seen[name] = measure()
            except Absent as e:
                self.absent[name] = str(e)
        self.rounds.append(seen)

    def over(self, name, f):
        """The median, smallest and largest of f(round)."""
        v = sorted(f(r) for r in self.rounds if name in r)
        return bench.median(v), v[0], v[-1]


def say(v, form):
    return f"{v[0]:{form}} ({v[1]:{form}} to {v[2]:{form}})"


def prepare(o):
    global lib, heaplib
    os.environ["PPROFD_BUILD"] = str(o.build)
    import heaplib as h
    import lib as l
    lib, heaplib = l, h


UNLIMITED = "glibc, pprofd, uprobes, --max-overhead none"
MEMLEAK = "glibc, memleak-bpfcc"


def section_peers(o):
    prepare(o)
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy("/lib/x86_64-linux-gnu/libc.so.6", directory)
        own_libc["LD_LIBRARY_PATH"] = directory
        loops(min(o.runs, 5))
        own_libc.clear()


def loops(rounds):
    print(f"\n## Heap: a loop of malloc and free of 64 bytes, ns of CPU time a pair\n\nmedians of {rounds} interleaved "
          f"rounds of 1 s (smallest to largest), on a copy of glibc that nobody else probes; times: that allocator alone in "
          f"the same round\n")
    print("| under | ns a pair | times the allocator alone |\n|---|---|---|")
    rows = [("glibc", plain),
            (UNLIMITED, lambda: under_us(*heaplib.EVERYTHING)),
            ("glibc, pprofd, uprobes, --heap=allocs, no limit",
             lambda: under_us(*heaplib.EVERYTHING, "--heap=allocs")),
            ("glibc, pprofd, uprobes, default limit", under_us),
            ("glibc, libpprofd-alloc.so, nobody attached", lambda: plain(preloaded(ours()))),
            ("glibc, libpprofd-alloc.so, pprofd attached",
             lambda: under_us(environment=preloaded(ours()), source="otel_memory")),
            (MEMLEAK, under_memleak),
            ("glibc, heaptrack", under_heaptrack),
            ("glibc, valgrind --tool=massif", under_massif),
            ("jemalloc", lambda: plain(preloaded(library("libjemalloc.so.2", "libjemalloc2")))),
            ("jemalloc, its own sampling (512 KiB)", under_jemalloc),
            ("tcmalloc", lambda: plain(preloaded(tcmalloc()))),
            ("tcmalloc, its own sampling (512 KiB)",
             lambda: plain(preloaded(tcmalloc(), TCMALLOC_SAMPLE_PARAMETER="524288"))),
            ("tcmalloc, HEAPPROFILE", under_heapprofile)]
    t = Table()
    for _ in range(rounds):
        t.round(rows)
    for name, _ in rows:
        if name in t.absent:
            print(f"| {name} | {t.absent[name]} | |")
            continue
        alone = name.split(",")[0]
        ratio = say(t.over(name, lambda r, n=name, a=alone: r[n][0] / r[a][0]), ".2f")
        print(f"| {name} | {say(t.over(name, lambda r, n=name: r[n][0]), '.1f')} | {ratio} |", flush=True)
    if MEMLEAK not in t.absent:
        print(f"\nmemleak-bpfcc over pprofd without a limit, in the same round: "
              f"{say(t.over(MEMLEAK, lambda r: r[MEMLEAK][0] / r[UNLIMITED][0]), '.1f')} times")


# ---- the preloaded library

def section_preload(o):
    prepare(o)
    rounds = min(o.runs, 7)
    print(f"\n## Heap: what libpprofd-alloc.so adds to a malloc and its free of 64 bytes\n\nns of the thread's CPU time a "
          f"pair, best of slices of 5 ms in 1 s; medians of {rounds} interleaved rounds (smallest to largest); loop: frees at "
          f"once; churn: replaces one of 8192 at random; sampling: pprofd is attached, 512 KiB\n")
    print("| allocator | work | bare | idle adds | sampling adds | idle, times | sampling, times |\n"
          "|---|---|---|---|---|---|---|")
    for allocator, name in heaplib.LIBRARIES.items():
        try:
            behind = [library(name, "see tools/install-packages")] if name else []
        except Absent as e:
            print(f"| {allocator} | {e} | | | | | |")
            continue
        for work in ("pairs", "churn"):
            with_us = preloaded(ours(), *behind)
            t = Table()
            for _ in range(rounds):
                t.round([("bare", lambda: plain(preloaded(*behind), work=work)),
                         ("idle", lambda: plain(with_us, work=work)),
                         ("sampling", lambda: under_us(environment=with_us, work=work, source="otel_memory"))])
            cells = [say(t.over("bare", lambda r: r["bare"][1]), ".1f")]
            cells += [say(t.over(k, lambda r, k=k: r[k][1] - r["bare"][1]), "+.1f") for k in ("idle", "sampling")]
            cells += [f"{t.over(k, lambda r, k=k: r[k][1] / r['bare'][1])[0]:.2f}" for k in ("idle", "sampling")]
            print(f"| {allocator} | {'loop' if work == 'pairs' else work} | {' | '.join(cells)} |", flush=True)


# ---- redis

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """redis-server, and pprofd if it is to be attached."""

    def __init__(self, environment=None, attach=False):
        self.port, self.d = free_port(), None
        self.process = lib.Process(needs("redis-server", "redis-server"), "--port", self.port, "--save", "",
                                   env=environment)
        self.process.line("Ready to accept", timeout=30)
        if attach:
            self.d = lib.Daemon(self.process.pid)
            what = heaplib.attached(self.d)
            if "otel_memory" not in what:
                raise Absent("source: " + what)

    def turn(self, pipeline):
        """us of its CPU a request."""
        before = lib.cpu_seconds(self.process.pid)
        each = REQUESTS[pipeline]
        subprocess.run([needs("redis-benchmark", "redis-tools"), "-p", str(self.port), "-q", "-P", str(pipeline),
                        "-c", "20", "-d", "200", "-r", "10000", "-n", str(each), "-t", TESTS], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return (lib.cpu_seconds(self.process.pid) - before) / each / len(TESTS.split(",")) * 1e6

    def close(self):
        for p in (self.d, self.process):
            if p:
                p.kill()
                p.pipe.close()


TESTS = "set,get,lpush,lpop,hset"
REQUESTS = {16: 5000, 1: 1500}  # by depth of the pipeline: of each test, in one turn
TURNS = 40


def redis_round(pipeline):
    """New servers, which take short turns in random order. Of each pass over them: us of CPU a request."""
    made = {"bare": Server, "bare again": Server, "idle": lambda: Server(preloaded(ours())),
            "sampling": lambda: Server(preloaded(ours()), True)}
    servers = {}
    try:
        for name in random.sample(list(made), len(made)):
            servers[name] = made[name]()
            servers[name].turn(pipeline)
        before = objects(servers["sampling"].d)
        passes = [{name: servers[name].turn(pipeline) for name in random.sample(list(servers), len(servers))}
                  for _ in range(TURNS)]
        n = TURNS * REQUESTS[pipeline] * len(TESTS.split(","))
        passes[0]["allocations"] = (objects(servers["sampling"].d) - before) / n
        return passes
    finally:
        for s in servers.values():
            s.close()


def interval(v):
    """The median, and where it may be: 95 %, by ranks, whatever the distribution."""
    v, reach = sorted(v), len(v) ** 0.5
    low, high = int(len(v) / 2 - reach), int(len(v) / 2 + reach)
    return bench.median(v), v[max(low, 0)], v[min(high, len(v) - 1)]


def objects(d):
    """Allocated since it was attached."""
    return sum(s.values[0] for s in heaplib.get(d).samples)


def section_redis(o):
    prepare(o)
    rounds = max(5, min(o.runs, 7))
    print(f"\n## Heap: redis-server under redis-benchmark (-t {TESTS} -d 200 -c 20), CPU a request\n\n{rounds} rounds with new "
          f"servers, {TURNS} passes in each in random order; against the bare server of the same pass: median of all passes (95 % "
          f"interval of the median); bare again: a second one, which is the noise; sampling: pprofd is attached, 512 "
          f"KiB, growth besides\n")
    print("| pipeline | bare, us | bare again | preloaded, idle | preloaded, sampling | allocations a request |\n"
          "|---|---|---|---|---|---|")
    for pipeline in REQUESTS:
        try:
            passes = [p for _ in range(rounds) for p in redis_round(pipeline)]
        except Absent as e:
            print(f"| {pipeline} | {e} | | | | |")
            continue
        cells = [say(interval([100 * (p[k] / p["bare"] - 1) for p in passes]), "+.1f") + " %"
                 for k in ("bare again", "idle", "sampling")]
        found = bench.median([p["allocations"] for p in passes if "allocations" in p])
        print(f"| {pipeline} | {say(interval([p['bare'] for p in passes]), '.2f')} | {' | '.join(cells)} | {found:.1f} |",
              flush=True)


SECTIONS = {"heap-peers": section_peers, "heap-preload": section_preload, "heap-redis": section_redis}
