#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""claims.py - processes in containers of each runtime that is there, profiled from the machine they run on. Run by run.sh."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import engines
from engines import ENGINES, Container, V2, do, lib

import binaries  # noqa: E402 (of tests/live)
import heaplib  # noqa: E402
import threads  # noqa: E402
import waitlib  # noqa: E402
from lib import check, eventually  # noqa: E402

CRI = "0123456789abcdef" * 4
UID = "01234567-89ab-cdef-0123-456789abcdef"
BY = {}  # name of a claim: (function, engines)


def of(*names):
    """A claim for each of these engines."""
    def add(function):
        for e in ENGINES:
            if e.name in names:
                BY["test_%s_%s" % (e.name, function.__name__)] = (function, e)
        return function
    return add


every = of("podman", "docker", "containerd")
all_four = of("podman", "docker", "containerd", "lxc")
docker_like = of("podman", "docker")


class Teller(Container):
    """A target that is told steps, and keeps account."""

    say, do = heaplib.Told.say, heaplib.Told.do
    begin, stop = waitlib.Target.begin, waitlib.Target.stop

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, stdin=subprocess.PIPE, **options)

    def account(self):
        self.read()
        n = len(self.lines)
        os.kill(self.pid, signal.SIGUSR1)
        self.line(r"^truth total", start=n)
        found = [line.split() for line in self.lines[n:] if line.startswith("truth site_")]
        return {w[1]: tuple(map(int, w[2:])) for w in found}

    def go_on(self):
        os.kill(self.pid, signal.SIGUSR2)


def described(c):
    """The options that mean the container."""
    if engines.ID.fullmatch(c.id):
        return ("--container", c.id)
    return ("--cgroup", ("/lxc.payload." if c.engine.name == "lxc" else "/pprofd-test/") + c.id)


def daemon(*arguments):
    return lib.Daemon(arguments=("--hz", "500", *arguments))


def profile(d, place, at_least=50, query=""):
    for seconds in (1, 3, 10, 30):
        a = d.get("%s/debug/pprof/profile?seconds=%d%s" % (place, seconds, query), timeout=seconds + lib.DEADLINE)
        check(a.status == 200, "%s: status %d: %s" % (place, a.status, a.text()[:200]))
        p = lib.profile_of(a.body)
        if p.total("samples") >= at_least:
            break
    return p


def labels(d, pid):
    """What /sd says of a process."""
    found = [t["labels"] for t in json.loads(d.get("/sd").text()) if t["labels"]["__meta_pprofd_pid"] == str(pid)]
    check(len(found) == 1, "/sd has process %d %d times" % (pid, len(found)))
    return found[0]


def complete(p, program):
    """Whole stacks, by name, of the program."""
    lib.check_complete(p)
    check(os.path.basename(p.mappings[0].file) == program, "the first mapping is %s" % p.mappings[0].file)


@every
def is_found(engine):
    """By its whole id, by its first digits, as a cgroup; at its name, and at the id."""
    c = engine.run("/rungs", "600")
    if engine.name == "containerd":
        d = daemon("--cgroup", "/pprofd-test/" + c.id, "--name", "full", "--cgroup", "/pprofd-test/", "--name", "short", "--all")
        places = ["/t/full", "/t/short"]
    else:
        d = daemon("--container", c.id, "--name", "full", "--container", c.id[:12], "--container", "docker://" + c.id, "--name", "uri",
                   "--all")
        places = ["/t/full", "/t/" + c.id[:12], "/t/" + c.id, "/t/uri"]
    for place in [*places, "/pid/%d" % c.pid]:
        p = profile(d, place)
        binaries.check_ladder(p)
        check(lib.Account(p).pid == c.pid and p.mappings[0].file == "/rungs", "%s: %s" % (place, p.mappings[0].file))
    found = labels(d, c.pid)
    check(found["service_name"] == "full" and found["__meta_pprofd_exe"] == "/rungs" and found["__meta_pprofd_comm"] == "rungs", str(found))
    if engine.name != "containerd":
        check(found["__meta_pprofd_container"] == c.id and c.id in found["__meta_pprofd_cgroup"], str(found))
    check("__meta_pprofd_unit" not in found, str(found))
    check(found["__meta_pprofd_cgroup"] in open("/proc/%d/cgroup" % c.pid).read(), str(found))
    where = found["__meta_pprofd_cgroup"]
    d.stop()
    mounts = ["/sys/fs/cgroup"] if V2 else ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd"]
    d = daemon(*[x for i, m in enumerate(mounts) for x in ("--cgroup", m + where, "--name", "m%d" % i)])
    for i in range(len(mounts)):
        binaries.check_ladder(profile(d, "/t/m%d" % i))
    d.stop()


@docker_like
def only_that_one(engine):
    """Another container of the same image, and what watches over it, are not meant."""
    a, b = engine.run("/rungs", "600"), engine.run("/rungs", "600")
    d = daemon("--container", a.id[:12], "--name", "a")
    eventually(lambda: json.loads(d.get("/sd").text()), "nobody")
    check([t["labels"]["__meta_pprofd_pid"] for t in json.loads(d.get("/sd").text())] == [str(a.pid)], d.get("/sd").text())
    d.stop()
    d = daemon("--all")
    check(labels(d, a.pid)["service_name"] == a.id[:12] and labels(d, b.pid)["service_name"] == b.id[:12], "services")
    d.stop()


@docker_like
def name_is_no_id(engine):
    c = engine.run("/rungs", "600")
    p = subprocess.run([lib.PPROFD, "--container", c.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
    text = p.stderr.decode()
    check(p.returncode == 2 and "inspect -f '{{.Id}}'" in text and text.count("\n") == 1, "%d: %s" % (p.returncode, text))
    check(do(*engine.globals, "inspect", "-f", "{{.Id}}", c.name) == c.id, "that is not how")


def restarted(d, c):
    """Its address goes on, and so do the numbers of who is in the container now."""
    before = profile(d, "/t/it")
    old = c.pid
    c.again()
    check(c.pid != old, "the same process")
    eventually(lambda: lib.Account(profile(d, "/t/it", 1)).pid == c.pid, "still the old one", 60)
    p = profile(d, "/t/it")
    binaries.check_ladder(p)
    check([(m.file, m.build_id) for m in p.mappings[:1]] == [(m.file, m.build_id) for m in before.mappings[:1]], "other files")
    a = d.get("/pid/%d/debug/pprof/profile?seconds=1" % old)
    check(a.status == 404, "the old number: %d" % a.status)


@docker_like
def restart(engine):
    c = engine.run("/rungs", "600")
    d = daemon("--container", c.id[:12], "--name", "it")
    restarted(d, c)
    d.stop()


@docker_like
def second_process(engine):
    """What is executed in it later is of the container, and is added up."""
    c = engine.run("/rungs", "600")
    other = engine.exec(c.name, "/rungs-static", "600")
    other.line("^ready")
    d = daemon("--container", c.id[:12], "--name", "it")
    eventually(lambda: len(json.loads(d.get("/sd").text())) == 2, "not both are known")
    a = d.get("/t/it/debug/pprof/profile?seconds=3")
    check(a.status == 200, "%d" % a.status)
    p = lib.pprof.parse(a.body)
    pids = {x for s in p.samples for x in (s.labels.get("pid") or s.num_labels.get("pid") if hasattr(s, "num_labels") else s.labels.get("pid")) or []}
    check(len(pids) == 2, "samples of %s" % pids)
    check({os.path.basename(m.file) for m in p.mappings} >= {"rungs", "rungs-static"}, "mappings")
    d.stop()


@docker_like
def confined(engine):
    """As little as there is: no rights, another user, nothing to write, 64 MiB, the runtime's own filter."""
    c = engine.run("/rungs", "600", options=("--read-only", "--cap-drop", "ALL", "--user", "65534:65534", "--security-opt",
                                              "no-new-privileges", *(() if V2 else ("--memory", "64m"))))
    check(lib.status(c.pid, "Seccomp") == "2" and lib.status(c.pid, "CapBnd") == "0" * 16, "not confined")
    d = daemon("--container", c.id[:12], "--name", "it")
    binaries.check_ladder(profile(d, "/t/it"))
    for what in ("heap", "block", "mutex", "growth", "threadcreate", "offcpu", "goroutine?debug=2", "allocs", "cmdline", "trace?seconds=1"):
        a = d.get("/t/it/debug/pprof/" + what)
        check(a.status == 200, "%s: %d %s" % (what, a.status, a.text()[:200]))
    d.stop()


@of("podman")
def user_namespace(engine):
    """Root in there is nobody out here."""
    c = engine.run("/rungs", "600", options=("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"))
    check(os.readlink("/proc/%d/ns/user" % c.pid) != os.readlink("/proc/self/ns/user"), "no namespace of users")
    check(lib.status(c.pid, "Uid").split()[0] == "100000", "not mapped")
    d = daemon("--container", c.id[:12], "--name", "it", "--user", "100000", "--name", "user")
    for place in ("/t/it", "/t/user"):
        binaries.check_ladder(profile(d, place))
    d.stop()


@docker_like
def its_own_file_is_gone(engine):
    """The program is replaced below the process, in the layer above the image: it is named as what it is."""
    c = engine.run("/busybox", "sh", "-c", "cp /rungs /prog; exec /prog 600")
    engine.call("exec", c.name, "/busybox", "sh", "-c", "rm /prog; cp /heap-c /prog")
    check(os.readlink("/proc/%d/exe" % c.pid).endswith("(deleted)"), "not deleted")
    d = daemon("--container", c.id[:12], "--name", "it")
    p = profile(d, "/t/it")
    binaries.check_ladder(p)
    check(p.mappings[0].file == "/prog", p.mappings[0].file)
    d.stop()


@docker_like
def debug_file_inside(engine):
    """Names and lines come from the container's own /usr/lib/debug."""
    c = engine.run("/rungs-split", "600")
    d = daemon("--container", c.id[:12], "--name", "it")
    binaries.check_ladder(profile(d, "/t/it"))
    d.stop()


@docker_like
def perf_map_inside(engine):
    """/tmp/perf-1.map: its own /tmp, its own number."""
    c = engine.run("/jit", "/tmp", "map")
    check(lib.status(c.pid, "NSpid").split()[-1] == "1", "number %s" % lib.status(c.pid, "NSpid"))
    d = daemon("--container", c.id[:12], "--name", "it")
    p = profile(d, "/t/it")
    check(lib.samples(p, "jit_(one|two).*") >= 0.9 * p.total("samples"), "%s" % [f.name for f in p.functions][:20])
    d.stop()


@every
def static_and_musl(engine):
    c, m = engine.run("/rungs-static", "600"), engine.run("/heap-musl-static", "600", kind=Teller)
    m.say()
    d = daemon(*described(c), "--name", "glibc", *described(m), "--name", "musl")
    binaries.check_ladder(profile(d, "/t/glibc"))
    p = profile(d, "/t/musl")
    lib.check_complete(p, share=0.95)
    check(lib.samples(p, "site_.*") >= 0.5 * p.total("samples"), "%s" % [f.name for f in p.functions][:20])
    d.stop()


@every
def redis(engine):
    check(os.path.exists(engines.image() / "redis-server"), "redis is not installed")
    c = engine.run("/redis-server", "--save", "", "--unixsocket", "/tmp/%s.sock" % engine.name, "--port", "0", ready="Ready to accept|ready to accept")
    sock = "/proc/%d/root/tmp/%s.sock" % (c.pid, engine.name)
    load = lib.Process("redis-benchmark", "-s", sock, "-t", "get,set", "-l", "-q", "-n", "1000000")
    d = daemon(*described(c), "--name", "it")
    complete(profile(d, "/t/it"), "redis-server")
    a = d.get("/t/it/debug/pprof/heap")
    check(a.status == 200, a.text()[:200])
    load.kill()
    d.stop()


@docker_like
def python(engine):
    c = engine.run("/python3", "-c", "print('ready', flush=True)\nwhile True: sum(i * i for i in range(1000))")
    d = daemon("--container", c.id[:12], "--name", "it")
    p = profile(d, "/t/it")
    complete(p, "python3")
    check(lib.samples(p, "_PyEval_EvalFrameDefault") >= 0.9 * p.total("samples"), "%s" % [f.name for f in p.functions][:20])
    d.stop()


@all_four
def heap_is_true(engine):
    def once():
        t = engine.run("/heap-c", "600", kind=Teller)
        d = lib.Daemon(arguments=(*described(t), "--name", "it", *heaplib.EVERYTHING))
        eventually(lambda: not heaplib.source(heaplib.get(d, pid=t.pid)).startswith("nothing yet"), "no source")
        check(heaplib.source(heaplib.get(d, pid=t.pid)).startswith("uprobes"), heaplib.source(heaplib.get(d, pid=t.pid)))
        t.say()
        time.sleep(2)
        truth = t.account()
        p = heaplib.get(d, pid=t.pid)
        heaplib.no_negatives(p)
        wrong = heaplib.errors(p, truth)
        check(sum(x[0] for x in truth.values()) > 1000, "it hardly ran: %s" % truth)
        t.go_on()
        d.stop()
        return wrong

    heaplib.check_truth(once)


@all_four
def waits_are_true(engine):
    def once():
        t = engine.run("/waits", "mutex", "4", kind=Teller)
        d = lib.Daemon(arguments=(*described(t), "--name", "it", "--heap=off", *heaplib.EVERYTHING))
        eventually(lambda: not lib.comments(waitlib.get(d, pid=t.pid), "nothing is counted"), "waits are not looked at")
        truth, block, mutex = waitlib.span(t, d)
        wrong = waitlib.what_is_lost(block, mutex)
        wrong.update({("block", k): v for k, v in waitlib.wrong_waits(truth, block.sites).items()})
        wrong.update({("mutex", k): v for k, v in waitlib.wrong_holders(truth, mutex.sites).items()})
        d.stop()
        return wrong

    waitlib.again(once)


@all_four
def threads_and_trace(engine):
    """A dump of threads by the numbers that they have out here, and a trace."""
    c = engine.run("/threads", "states")
    d = daemon(*described(c), "--name", "it")
    a = d.get("/pid/%d/debug/pprof/goroutine?debug=2" % c.pid)
    check(a.status == 200, a.text()[:200])
    found = threads.parse(a.text())
    here = {int(t) for t in os.listdir("/proc/%d/task" % c.pid)}
    check(found and {t.tid for t in found} == here, "threads %s, there are %s" % ([t.tid for t in found], here))
    check(any(t.state.startswith("sync.Mutex.Lock") for t in found), str([t.state for t in found]))
    check(not any(f.startswith(("[broken", "lib")) for t in found for f in t.functions), str([t.functions for t in found]))
    a = d.get("/pid/%d/debug/pprof/trace?seconds=1" % c.pid)
    check(a.status == 200 and a.body.startswith(b"go 1."), "%d %r" % (a.status, a.body[:20]))
    d.stop()


KUBERNETES = {
    "cgroupfs": "/kubepods/burstable/pod%s/%s" % (UID, CRI),
    "systemd": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%s.slice/cri-containerd-%s.scope" % (UID.replace("-", "_"), CRI),
    "crio": "/kubepods.slice/kubepods-pod%s.slice/crio-%s.scope" % (UID.replace("-", "_"), CRI),
    "mismatch": "/system.slice/containerd.service/kubepods-besteffort-pod%s.slice:cri-containerd:%s" % (UID.replace("-", "_"), CRI),
    "nested": "/docker/%s/kubelet/kubepods/pod%s/%s" % (CRI[::-1], UID, CRI),
}


@of("containerd")
def cgroups_of_kubernetes(engine):
    """The paths that kubelet's drivers, CRI-O and a cluster in containers give."""
    found = {k: engine.run("/rungs", "600", options=("--cgroup", "/pprofd-test" + path)) for k, path in KUBERNETES.items()}
    d = daemon("--container", CRI[:12], "--name", "them", "--container", CRI[::-1], "--name", "outer", "--cgroup",
               "/pprofd-test/kubepods", "--name", "cgroup")
    eventually(lambda: len(json.loads(d.get("/sd").text())) == len(KUBERNETES), "not all are known")
    for k, c in found.items():
        it = labels(d, c.pid)
        check(it["__meta_pprofd_container"] == CRI and it["__meta_pprofd_pod"] == UID, "%s: %s" % (k, it))
        check("__meta_pprofd_unit" not in it, "%s: %s" % (k, it))
    p = profile(d, "/t/outer")
    check(lib.Account(p).pid == found["nested"].pid, "not the nested one")
    binaries.check_ladder(profile(d, "/t/cgroup"))
    d.stop()


def one(function, engine):
    if not engine.there():
        lib.skip("%s is not installed" % engine.name)
    try:
        function(engine)
    finally:
        lib.kill_descendants()
        engine.clean()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    tests = {name: (lambda f=f, e=e: one(f, e)) for name, (f, e) in BY.items()}
    import rest
    tests.update(rest.CLAIMS)
    lib.run(tests)
