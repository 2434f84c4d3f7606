#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py TEST [ALLOCATOR] - the tests of libpprofd-alloc.so; see the functions, each is one.

PPROFD_BUILD names the build directory. What a machine lacks is skipped (77) with the reason."""
import math
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import reader  # noqa: E402

BUILD = pathlib.Path(os.environ["PPROFD_BUILD"]).resolve()
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = BUILD / "tests/preload"
LIBRARY = BUILD / "libpprofd-alloc.so"
ALLOCATORS = {"glibc": None, "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4",
              "mimalloc": "libmimalloc.so.2"}
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")


def skip(why):
    print(why)
    sys.exit(77)


def preload(allocator, ours=True):
    library = ALLOCATORS[allocator]
    if library:
        if not any(pathlib.Path(folder, library).exists() for folder in LIBRARIES):
            skip(f"no {library} here")
    return " ".join(str(x) for x in (LIBRARY if ours else None, library) if x)


def environment(allocator, sampling, rate=4096, ours=True, **more):
    env = dict(os.environ, LD_PRELOAD=preload(allocator, ours), PPROFD_HEAP_RATE=str(rate),
               PPROFD_TEST_SAMPLING="1" if sampling else "0", **more)
    env.pop("MALLOC_PERTURB_", None)  # meson's; it would touch every page
    if allocator == "mimalloc":
        env["PPROFD_TEST_MIMALLOC"] = "1"  # its operator new aborts where others throw
    return env


def run(argv, env, timeout=600):
    done = subprocess.run([str(a) for a in argv], env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{argv} {env['LD_PRELOAD']}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def stats(text):
    line = [x for x in text.splitlines() if x.startswith("rate ")][-1].split()
    return {line[i]: int(line[i + 1]) for i in range(0, len(line), 2)}


def balanced(s, least, runtimes=0):
    """All is freed, but for what the language's runtime keeps."""
    assert s["sampled"] >= least and 0 <= s["sampled"] - s["freed"] <= runtimes, s
    assert s["dropped"] == 0 and s["stale"] == 0, s


def entries(allocator):
    """Every C entry point under one allocator: without us, idle, sampling."""
    program = [HERE / "entries"]
    run(program, environment(allocator, False, ours=False))
    s = stats(run(program, environment(allocator, False)))
    assert s["sampled"] == 0 and s["rate"] == 4096, s
    balanced(stats(run(program, environment(allocator, True))), 5000)
    # A sample in each object: nothing but pages.
    balanced(stats(run(program, environment(allocator, True, rate=1))), 100000)
    if allocator in ("glibc", "jemalloc"):
        run(program, environment(allocator, True, PPROFD_TEST_SPARSE="1"))
    if allocator == "glibc":
        run(program, environment(allocator, True, PPROFD_TEST_SPARSE_REALLOC="1"))


def stress(allocator):
    """C++ with threads, exceptions, cancelled threads and forks under one allocator."""
    program = [HERE / "stress"]
    run(program, environment(allocator, False, ours=False))
    assert stats(run(program, environment(allocator, False)))["sampled"] == 0
    balanced(stats(run(program, environment(allocator, True))), 20000, 50)
    balanced(stats(run(program, environment(allocator, True, rate=64))), 200000, 50)


def plugin(allocator):
    """A C program that loads C++; with a C++ library of its own, and with one inside the plugin."""
    for name in ("libplugin.so", "libplugin-static.so"):
        s = stats(run([HERE / "plugin-host", HERE / name], environment(allocator, True)))
        assert s["sampled"] > 5000 and s["sampled"] - s["freed"] < 200, s
    if allocator == "glibc":
        s = stats(run([HERE / "plugin-host", HERE / "libplugin.so", "deep"], environment(allocator, True)))
        assert s["stale"] > 100 and s["freed"] - s["stale"] < 20, s


def settings():
    """PPROFD_HEAP_RATE that is no rate is the default's, without a word."""
    for text in ("", "0", "-5", "12k", "99999999999999999999"):
        env = environment("glibc", False, rate=text)
        done = subprocess.run([HERE / "plugin-host", HERE / "libplugin.so"], env=env, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done
        assert stats(done.stdout)["rate"] == 512 << 10, done.stdout


def shape():
    """The file: notes, sites, what it needs, what it must not have."""
    found = reader.notes(str(LIBRARY))
    assert found["alloc"][2] == ["8@%rdi", "8@%rsi", "8@%rdx"] and found["free"][2] == ["8@%rdi"], found
    data = LIBRARY.read_bytes()
    for name, (site, semaphore, _) in found.items():
        offset = reader.file_offset(str(LIBRARY), site)
        assert site % 64 == 0 and data[offset:offset + 6] == bytes.fromhex("0f1f440000c3"), (name, hex(site))
        offset = reader.file_offset(str(LIBRARY), semaphore)
        assert data[offset:offset + 2] == b"\0\0" and semaphore % 2 == 0
    out = subprocess.run(["readelf", "-SWd", LIBRARY], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", out) == ["libc.so.6"], out
    assert ".probes" in out and ".stapsdt.base" in out and "TEXTREL" not in out, out
    frames = subprocess.run(["readelf", "--debug-dump=frames", LIBRARY], capture_output=True, text=True,
                            check=True).stdout
    starts = {int(x, 16) for x in re.findall(r"FDE.*pc=(\w+)\.\.", frames)}
    assert {site for site, _, _ in found.values()} <= starts
    symbols = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True,
                             check=True).stdout
    ours = [s for s in re.findall(r" [A-Z] (\w+)", symbols) if "pprofd" in s]
    assert sorted(ours) == ["pprofd_alloc_semaphore", "pprofd_alloc_stats", "pprofd_free_semaphore"], ours


def unwinding():
    """From a site the debugger finds the program's frames."""
    if subprocess.run(["sh", "-c", "command -v gdb"], capture_output=True).returncode:
        skip("no gdb here")
    for site, above in (("pprofd_alloc_site", "alloc_sample"), ("pprofd_free_site", "free")):
        out = subprocess.run(["gdb", "-nx", "-batch", "-ex", "set breakpoint pending on",
                              "-ex", f"set exec-wrapper env 'LD_PRELOAD={LIBRARY}'", "-ex", f"break {site}",
                              "-ex", "run", "-ex", "bt", HERE / "entries"], capture_output=True, text=True,
                             env=dict(os.environ, PPROFD_HEAP_RATE="64", PPROFD_TEST_SAMPLING="1")).stdout
        if "Couldn't get" in out or "ptrace" in out:
            skip("gdb may not trace here")
        stack = re.findall(r"^#\d+ .*$", out, re.M)
        assert re.search(site, stack[0]) and any(re.search(above, f) for f in stack[1:4]), out
        assert any(" main " in f for f in stack), out


def account(allocator):
    """What another reader of the probes sees is the truth, within 6 sigma: bytes and objects, all and live. (40
    of them in a run of all allocators: one run in 10^7 is off by chance.)"""
    if os.geteuid() or not os.path.exists(reader.UPROBE):
        skip("perf uprobes need root")
    rate = 16384
    env = environment(allocator, False, rate=rate)
    p = subprocess.Popen([HERE / "account"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(0.3)
        probes = reader.notes(str(LIBRARY))
        events = {name: reader.Event(p.pid, str(LIBRARY), probes[name]) for name in ("alloc", "free")}
        p.stdin.write("\n")
        p.stdin.flush()
        truth = {}
        for line in iter(p.stdout.readline, "done\n"):
            size, n, kept = map(int, line.split())
            truth[size] = (n, kept)
        (allocs, lost_allocs), (frees, lost_frees) = events["alloc"].read(), events["free"].read()
    finally:
        p.kill()
        p.wait()
    assert allocs and not lost_allocs and not lost_frees, (len(allocs), lost_allocs, lost_frees)
    seen, live = {}, {}
    for _, kind, args in sorted([(t, 0, a) for t, a in allocs] + [(t, 1, a) for t, a in frees]):
        if kind == 0:
            address, size, weight = args
            assert address % 4096 in (0, 16) and weight >= max(size, rate), args
            assert address not in live, "two objects at one address"
            live[address] = (size, weight)
            seen.setdefault(size, []).append(weight)
        else:
            live.pop(args[0])
    for size, (n, kept) in truth.items():
        chance = -math.expm1(-size / rate)
        for what, count, weights in (("allocated", n, seen.get(size, [])),
                                     ("live", kept, [w for s, w in live.values() if s == size])):
            sigma = math.sqrt(count * (1 - chance) / chance) * size
            off = sum(weights) - count * size
            print(f"{allocator} {what} {size}: {sum(weights)} of {count * size} bytes, {len(weights)} samples, "
                  f"{sum(weights) / size:.0f} of {count} objects, {off / max(sigma, 1):+.1f} sigma")
            assert abs(off) <= 6 * sigma + len(weights), (size, what)


def attaching():
    """The semaphore: idle, sampling, idle and sampling again in one process, as readers come and go."""
    if os.geteuid() or not os.path.exists(reader.UPROBE):
        skip("perf uprobes need root")
    code = ("import sys\nfor line in sys.stdin:\n x = [bytearray(700) for i in range(40000)]\n"
            " y = [bytearray(1 << 20) for i in range(20)]\n print('done', flush=True)\n")
    p = subprocess.Popen([sys.executable, "-c", code], env=environment("glibc", False), stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    probes = reader.notes(str(LIBRARY))

    def round_of_work():
        p.stdin.write("\n")
        p.stdin.flush()
        assert p.stdout.readline() == "done\n"

    round_of_work()
    for _ in range(3):
        event = reader.Event(p.pid, str(LIBRARY), probes["alloc"])
        round_of_work()
        assert len(event.read()[0]) > 1000
        event.close()
        round_of_work()
    free = reader.Event(p.pid, str(LIBRARY), probes["free"])
    round_of_work()
    round_of_work()
    assert len(free.read()[0]) < 1000  # samples from before; and nothing new is made
    p.stdin.close()
    assert p.wait() == 0


def redis(allocator):
    """redis-server answers as ever."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/redis"
        try:
            server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir",
                                       folder], env=environment(allocator, True, LD_BIND_NOW="1"),
                                      stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            skip("no redis-server here")
        try:
            for _ in range(1200):
                if os.path.exists(socket):
                    break
                time.sleep(0.05)
            if os.geteuid() == 0 and os.path.exists(reader.UPROBE):
                event = reader.Event(server.pid, str(LIBRARY), reader.notes(str(LIBRARY))["alloc"])
            else:
                event = None
            plain = dict(os.environ)
            subprocess.run(["redis-benchmark", "-s", socket, "-q", "-n", "20000", "-P", "16", "-d", "200", "-t",
                            "set,get,lpush,lrange_100,hset"], env=plain, check=True, stdout=subprocess.DEVNULL)

            def cli(*args):
                return subprocess.run(["redis-cli", "-s", socket, *args], env=plain, check=True, capture_output=True,
                                      text=True).stdout.strip()

            for i in range(200):
                cli("set", f"k{i}", "v" * (i * 17))
            for i in range(200):
                assert cli("get", f"k{i}") == "v" * (i * 17)
            cli("flushall")
            assert cli("dbsize") == "0"
            assert event is None or len(event.read()[0]) > 1000
            cli("shutdown", "nosave")
            assert server.wait(60) == 0
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()


def python(allocator):
    """python3, with every object from malloc, threads, processes and a C++ extension where there is one."""
    code = """
import hashlib, json, subprocess, sys, threading, zlib
def work(k):
    words = {f'w{i}': [i] * (i % 40) for i in range(4000)}
    assert json.loads(json.dumps(words)) == words
    data = b''.join(hashlib.sha256(bytes([i & 255])).digest() for i in range(20000))
    assert zlib.decompress(zlib.compress(data)) == data
    out[k] = hashlib.md5(data).hexdigest()
out = {}
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(set(out.values())) == 1 and len(out) == 4
assert subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True).stdout == b'42\\n'
sys.path.insert(0, sys.argv[1])
from shim_stats import show
show()
"""
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "shim_stats.py").write_text("""
import ctypes
def show():
    s = (ctypes.c_uint64 * 6).in_dll(ctypes.CDLL(None), 'pprofd_alloc_stats')
    print(' '.join(f'{n} {v}' for n, v in zip('rate sampled freed stale dropped lost'.split(), s)))
""")
        start = "import ctypes; ctypes.c_uint16.in_dll(ctypes.CDLL(None), 'pprofd_alloc_semaphore').value = 1\n"
        out = run([sys.executable, "-c", start + code, folder], environment(allocator, True, PYTHONMALLOC="malloc"))
    s = stats(out)
    assert s["sampled"] > 1000 and s["freed"] <= s["sampled"] and s["dropped"] == 0, s


def order():
    """Behind another allocator it gives way: nothing of it is used but what is harmless."""
    for allocator in ("jemalloc", "tcmalloc", "mimalloc"):
        env = environment(allocator, True)
        env["LD_PRELOAD"] = " ".join(reversed(env["LD_PRELOAD"].split()))
        for program in ("entries", "stress"):
            s = stats(run([HERE / program], env))
            assert s["sampled"] == 0, (allocator, s)


def musl():
    """Built by musl-gcc, under musl."""
    if subprocess.run(["sh", "-c", "command -v musl-gcc"], capture_output=True).returncode:
        skip("no musl-gcc here")
    with tempfile.TemporaryDirectory() as folder:
        compiler = ["musl-gcc", "-O2", "-I", ROOT, "-D_GNU_SOURCE"]
        sources = sorted((ROOT / "preload").glob("*.c")) + sorted((ROOT / "preload").glob("*_%s.S" % platform.machine()))
        flags = "-shared -fPIC -fvisibility=hidden -ftls-model=initial-exec -fexceptions".split()
        flags += [f"-fno-builtin-{f}" for f in ("malloc", "calloc", "realloc", "free")]
        subprocess.run(compiler + flags + sources + ["-o", f"{folder}/shim.so"], check=True)
        subprocess.run(compiler + [ROOT / "tests/preload/entries.c", "-o", f"{folder}/entries"], check=True)
        for rate in (4096, 1):
            env = environment("glibc", True, rate=rate)
            env["LD_PRELOAD"] = f"{folder}/shim.so"
            balanced(stats(run([f"{folder}/entries"], env)), 5000)


globals()[sys.argv[1]](*sys.argv[2:])
