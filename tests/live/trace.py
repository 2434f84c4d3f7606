#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""trace.py - /debug/pprof/trace: what threads did, as the real `go tool trace` reads it, against a target whose every
block has a known reason and a known end."""
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import lib
from lib import check, fail

OUTSIDE = 4194304
LEFT = "the trace ends early: "


def go_trace(*arguments):
    if not shutil.which("go"):
        lib.skip("no go")
    return subprocess.run(["go", "tool", "trace", *arguments], stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=lib.DEADLINE,
                          env=dict(os.environ, GOTOOLCHAIN="local", GOFLAGS="-mod=mod"))


def saved(body):
    path = lib.directory() / "trace"
    path.write_bytes(body)
    return str(path)


class Step:
    """A state transition of a goroutine: who did it (m, g: -1 nobody), of whom, and the functions of its stacks: of the
    one it happens to, of the one who does it."""

    def __init__(self, m):
        self.m, self.g, self.time, self.of = (int(m.group(i)) for i in (1, 2, 3, 4))
        self.old, self.new, self.reason = m.group(5), m.group(6), m.group(7)
        self.own, self.doer = [], []


STEP = re.compile(r"^M=(-?\d+) P=-?\d+ G=(-?\d+) StateTransition Time=(\d+) GoID=(\d+) (\w+)->(\w+) Reason=\"(.*)\"$")
SAMPLE = re.compile(r"^M=(-?\d+) P=-?\d+ G=(-?\d+) StackSample Time=(\d+)$")
LOG = re.compile(r"^M=.* Log Time=.* Category=\"pprofd\" Message=\"(.*)\"$")


class Trace:
    """What `go tool trace -d=parsed` says; it must take the file as it is."""

    def __init__(self, body):
        p = go_trace("-d=parsed", saved(body))
        check(p.returncode == 0, "go tool trace: %s" % p.stderr.decode()[-300:])
        self.steps, self.samples, self.logs = [], [], []
        now, to = None, None
        for line in p.stdout.decode(errors="replace").splitlines():
            step, sample, log = STEP.match(line), SAMPLE.match(line), LOG.match(line)
            if step:
                now = Step(step)
                self.steps.append(now)
            elif sample:
                now, to = None, []
                self.samples.append((int(sample.group(2)), to))
            elif log:
                self.logs.append(log.group(1))
                now = None
            elif line.startswith("M="):
                now, to = None, None
            elif line == "TransitionStack=":
                to = now.own if now else []
            elif line == "Stack=":
                to = now.doer if now else to
            elif line.startswith("\t") and not line.startswith("\t\t") and to is not None:
                to.append(line.strip().rsplit(" @ ", 1)[0])

    def of(self, tid, old, new, reason=None):
        return [s for s in self.steps if s.of == tid and s.old == old and s.new == new and reason in (None, s.reason)]

    def threads(self):
        return {s.of for s in self.steps} - {OUTSIDE}

    def said(self, pattern):
        return [x for x in self.logs if re.search(pattern, x)]


def ask(d, query="", pid=None):
    a = d.get("%s/debug/pprof/trace?%s" % ("/pid/%d" % pid if pid else "", query))
    check(a.status == 200, "status %d: %s" % (a.status, a.text()[:200]))
    return a


def tids(t):
    t.read()
    return {m.group(1): int(m.group(2)) for m in (re.match(r"thread (\S+) (\d+)$", x) for x in t.lines) if m}


def worker(what="work", *more):
    t = lib.start("traced", what, str(lib.directory()), *more, stdin=subprocess.PIPE)
    n = {"work": 11, "exec": 12}[what]
    lib.eventually(lambda: len(tids(t)) == n, "threads: %s" % tids(t))
    return t, tids(t)


def mostly(n, all_of, text):
    """The kernel does not tell of each switch, and what was not seen has no author."""
    check(all_of >= 3 and n * 2 > all_of, "%s: %d of %d" % (text, n, all_of))


def check_blocks(t, tid, reason, function, text):
    found = t.of(tid, "Running", "Waiting", reason)
    check(len(found) >= 3, "%s blocks for %r only %d times" % (text, reason, len(found)))
    mostly(sum(function in s.own for s in found), len(found), "%s has %s on its stack" % (text, function))


def check_woken(t, tid, by, text):
    """Each wake-up that was seen comes from one of these threads. Another one of theirs may be a signal or a clock."""
    found = [s for s in t.of(tid, "Waiting", "Runnable") if s.g in by.values()]
    check(len(found) >= 3, "%s was woken only %d times by a thread" % (text, len(found)))
    return found


# What threads did


def test_blocks_and_wakeups_are_what_the_target_truly_did():
    def look(seconds):
        target, tid = worker()
        d = lib.Daemon(target)
        t = Trace(ask(d, "seconds=%s" % seconds).body)
        lib.enough(len(t.of(tid["receiver"], "Running", "Waiting")) > 10, "too few waits")
        for name in ("lock-a", "lock-b"):
            other = "lock-b" if name == "lock-a" else "lock-a"
            check_blocks(t, tid[name], "sync (futex)", "site_lock", name)
            found = check_woken(t, tid[name], tid, name)
            check(all(s.g == tid[other] for s in found), "%s was woken by another" % name)
            mostly(sum("site_lock" in s.doer for s in found), len(found), "the stack of who wakes %s" % name)
        for name, reason, site in (("receiver", "network", "site_receive"), ("piper", "chan (pipe)", "site_pipe")):
            check_blocks(t, tid[name], reason, site, name)
            found = check_woken(t, tid[name], tid, name)
            check(all(s.g == tid["sender"] for s in found), "%s was woken by another than the sender" % name)
            mostly(sum("site_send" in s.doer for s in found), len(found), "the stack of who wakes %s" % name)
        turns = [next((f for f in s.own if f in ("site_sleep", "site_doze")), None)
                 for s in t.of(tid["sleeper"], "Running", "Waiting", "sleep")]
        mostly(len([x for x in turns if x]), len(turns), "the sleeper has one of its sites on its stack")
        check(abs(turns.count("site_sleep") - turns.count("site_doze")) <= 2 + turns.count(None),
              "the sleeper takes turns, and is seen in %d and %d" % (turns.count("site_sleep"), turns.count("site_doze")))
        check(not [s for s in t.of(tid["sleeper"], "Waiting", "Runnable") if s.g in tid.values()],
              "somebody is said to have woken the sleeper")
        found = [s for s in t.of(tid["sleeper"], "Waiting", "Runnable") if s.doer]
        mostly(sum(s.doer[0].startswith("[interrupt") for s in found), len(found), "the sleeper's wake-ups are the clock's")
        others = {s.doer[0] for s in found if s.doer[0].startswith("[woken by")}
        check(not others, "the sleeper was %s" % others)
        calls = t.of(tid["flock-a"], "Running", "Syscall")
        check(len(calls) >= 3, "flock-a is in a system call %d times" % len(calls))
        mostly(sum("site_flock" in s.own for s in calls), len(calls), "flock-a has site_flock on its stack")
        born = [s for s in t.steps if s.old == "NotExist" and s.g == tid["creator"]]
        check(len(born) >= 3, "creator made %d threads" % len(born))
        check(all("site_create" in s.doer for s in born), "who creates: %s" % [s.doer for s in born][:2])
        dead = {s.of for s in t.steps if s.new == "NotExist"}
        check(len([s for s in born if s.of in dead]) >= len(born) - 2, "threads that were made do not end")
        check(not t.said("in all: .* [1-9][0-9]* lost"), "lost: %s" % t.logs)
        d.stop()

    lib.patiently(look, 1, 3, 10)


def test_a_thread_that_shares_its_cpu_is_preempted_and_sampled():
    def look(seconds):
        target = lib.start("traced", "spin")
        lib.eventually(lambda: len(tids(target)) == 3, "threads: %s" % tids(target))
        tid = tids(target)
        d = lib.Daemon(target)
        t = Trace(ask(d, "seconds=%s" % seconds).body)
        for name in ("spin-a", "spin-b"):
            found = t.of(tid[name], "Running", "Runnable", "preempted")
            samples = [s for g, s in t.samples if g == tid[name]]
            lib.enough(len(found) >= 3 and len(samples) >= 3, "%s ran too little" % name)
            check(not t.of(tid[name], "Running", "Waiting"), "%s is said to block" % name)
            mostly(sum("site_spin" in s for s in samples), len(samples), "samples of %s" % name)
        d.stop()

    lib.patiently(look, 0.5, 2, 8)


# What go tool trace shows


def pages(body, *paths):
    """What `go tool trace -http` answers."""
    if not shutil.which("go"):
        lib.skip("no go")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    web = lib.Process("go", "tool", "trace", "-http=127.0.0.1:%d" % port, saved(body), output="stderr",
                      env=dict(os.environ, BROWSER="true", GOTOOLCHAIN="local"))
    web.line("listening on")
    found = {}
    for path in paths:
        connection = lib.http.client.HTTPConnection("127.0.0.1", port, timeout=lib.DEADLINE)
        connection.request("GET", path)
        r = connection.getresponse()
        found[path] = r.read()
        check(r.status == 200, "%s: %d %s" % (path, r.status, found[path][:200]))
        connection.close()
    web.popen.send_signal(signal.SIGINT)
    return found


def functions(body):
    return {f.name for s in lib.pprof.parse(body).samples for f in s.frames}


def test_pages_of_go_tool_trace():
    def look(seconds):
        target, tid = worker()
        d = lib.Daemon(target)
        body = ask(d, "seconds=%s&syscalls=1" % seconds).body
        t = Trace(body)
        lib.enough(len(t.of(tid["receiver"], "Running", "Waiting")) > 10, "too few waits")
        check(any("site_fsync" in s.own for s in t.of(tid["syncer"], "Running", "Syscall")), "syncer never calls fsync")
        found = pages(body, "/", "/trace?view=proc", "/trace?view=thread", "/jsontrace", "/goroutines", "/io?raw=1",
                      "/block?raw=1", "/syscall?raw=1", "/sched?raw=1")
        for name in ("lock-a", "receiver", "sleeper"):
            check(name.encode() in found["/goroutines"], "/goroutines has no %s" % name)
            check(name.encode() in found["/jsontrace"], "the viewer has no %s" % name)
        block, io, calls, sched = (functions(found[p]) for p in ("/block?raw=1", "/io?raw=1", "/syscall?raw=1",
                                                                 "/sched?raw=1"))
        check("site_lock" in block and "site_pipe" in block, "block: %s" % block)
        check("site_receive" not in block and "site_fsync" not in block, "block: %s" % block)
        check("site_receive" in io and "site_lock" not in io and "site_pipe" not in io, "io: %s" % io)
        check("site_flock" in calls and "site_fsync" in calls, "syscall: %s" % calls)
        check("site_send" in sched and "site_lock" in sched, "sched: %s" % sched)
        d.stop()

    lib.patiently(look, 1, 3, 10)


def test_versions_overlapping_windows_and_several_targets():
    (one, tid), (two, other) = worker(), worker()
    d = lib.Daemon(one, two)
    ask(d, "seconds=0.01", one.pid)
    jobs = [(one, tid, v, s) for v, s in ((22, 0.4), (23, 0.7), (25, 0.5), (26, 0.6))] + [(two, other, 23, 0.5)]
    bodies = {}

    def get(i):
        time.sleep(i * 0.05)
        bodies[i] = d.get("/pid/%d/debug/pprof/trace?seconds=%s&goversion=%d" % (jobs[i][0].pid, jobs[i][3], jobs[i][2]))

    threads = [threading.Thread(target=get, args=(i,)) for i in range(len(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i, (target, tids_of, version, _) in enumerate(jobs):
        check(bodies[i].status == 200, bodies[i].text()[:200])
        check(bodies[i].body.startswith(b"go 1.%d trace\0\0\0" % version), "header: %r" % bodies[i].body[:16])
        t = Trace(bodies[i].body)
        strangers = set((other if target is one else tid).values())
        check(set(tids_of.values()) <= t.threads(), "threads are missing: %s" % (set(tids_of.values()) - t.threads()))
        check(not strangers & t.threads(), "threads of another process: %s" % (strangers & t.threads()))
        check(t.of(tids_of["receiver"], "Running", "Waiting", "network"), "the receiver never waits")
    check(lib.armed(d.pid) == 0, "the clock still ticks")
    d.stop()


def test_perfetto_and_stacks_0():
    target, tid = worker()
    d = lib.Daemon(target)
    a = ask(d, "seconds=0.5&format=perfetto")
    check(a.body[:1] == b"\x0a" and b"receiver" in a.body and b"site_receive" not in a.body[:100], "no packets")
    check(b"site_lock" in a.body or b"site_fsync" in a.body or len(a.body) > 1000, "nearly nothing")
    t = Trace(ask(d, "seconds=0.5&stacks=0").body)
    check(t.of(tid["receiver"], "Running", "Waiting", "network"), "the receiver never waits")
    check(not [s for s in t.steps if any(f.startswith("site_") for f in s.own + s.doer)], "there are stacks")
    d.stop()


# Ends


def test_a_client_that_hangs_up_ends_it():
    target, _ = worker()
    d = lib.Daemon(target)
    with socket.create_connection((d.host, d.port)) as s:
        s.sendall(b"GET /debug/pprof/trace?seconds=600 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        check(s.recv(12) == b"HTTP/1.1 200", "no answer")
        lib.eventually(lambda: lib.armed(d.pid), "no clock ticks")
    lib.eventually(lambda: not lib.armed(d.pid), "the clock still ticks after the client has gone")
    check(Trace(ask(d, "seconds=0.1").body).threads(), "nothing")
    d.stop()


def test_a_client_that_does_not_read_blocks_nobody():
    target, tid = worker()
    d = lib.Daemon(target)
    with socket.create_connection((d.host, d.port)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(b"GET /debug/pprof/trace?seconds=600&syscalls=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        lib.eventually(lambda: lib.armed(d.pid), "no clock ticks")
        t = Trace(ask(d, "seconds=0.5").body)
        check(t.of(tid["receiver"], "Running", "Waiting", "network"), "the receiver never waits")
    d.stop()


def test_maxbytes_cuts_and_says_so():
    target, _ = worker()
    d = lib.Daemon(target)
    a = ask(d, "seconds=600&maxbytes=20000")
    t = Trace(a.body)
    check(t.said(LEFT + ".*20000 bytes"), "it says: %s" % t.logs)
    check(len(a.body) < 100000, "%d bytes" % len(a.body))
    d.stop()


def test_five_hundred_threads():
    target = lib.start("traced", "many", "500")
    d = lib.Daemon(target)
    lib.eventually(lambda: len(os.listdir("/proc/%d/task" % target.pid)) == 501, "threads")
    all_of = {int(x) for x in os.listdir("/proc/%d/task" % target.pid)}
    t = Trace(ask(d, "seconds=0.5").body)
    check(t.threads() == all_of, "threads: %d of %d" % (len(t.threads() & all_of), len(all_of)))
    d.stop()


def get_later(d, query, found):
    def run():
        found.append(ask(d, query))

    t = threading.Thread(target=run)
    t.start()
    lib.eventually(lambda: lib.armed(d.pid), "no clock ticks")
    return t


def test_exec_in_the_middle():
    target, _ = worker("exec")
    d = lib.Daemon(target)
    found = []
    request = get_later(d, "seconds=600", found)
    before = len(target.lines)
    target.popen.stdin.write(b"go\n")
    target.popen.stdin.flush()
    lib.eventually(lambda: target.read() or len([x for x in target.lines[before:] if x.startswith("thread ")]) == 11,
                   "the new program does not come")
    new = {x.split()[1]: int(x.split()[2]) for x in target.lines[before:] if x.startswith("thread ")}
    lib.let_work(target.pid, 0.05)
    target.kill()
    request.join()
    t = Trace(found[0].body)
    check(set(new.values()) <= t.threads(), "threads of the new program are missing")
    check(t.of(new["receiver"], "Running", "Waiting", "network"), "the new receiver never waits")
    check(t.said(LEFT + "process %d has ended" % target.pid), "it says: %s" % t.logs)
    check(d.get("/debug/pprof/trace?seconds=1").status == 404, "it has ended")
    d.stop()


# What the program says


SAID = re.compile(r"^M=-?\d+ P=-?\d+ G=(\d+) (TaskBegin|TaskEnd|RegionBegin|RegionEnd|Log) Time=(\d+) (.*)$")


def said(body):
    """thread -> [(event, what, ns)], pprofd's own words left out"""
    p = go_trace("-d=parsed", saved(body))
    check(p.returncode == 0, "go tool trace: %s" % p.stderr.decode()[-300:])
    found = {}
    for m in filter(None, map(SAID.match, p.stdout.decode(errors="replace").splitlines())):
        if int(m.group(1)) != OUTSIDE:
            found.setdefault(int(m.group(1)), []).append(
                (m.group(2), re.sub(" Parent=\\d+", "", m.group(4)), int(m.group(3))))
    return found


def turn(n):
    """What a thread of said.c says about task n, in this order."""
    return [("TaskBegin", 'ID=%d Type="request"' % n), ("RegionBegin", 'Task=%d Type="outer"' % n),
            ("RegionBegin", 'Task=0 Type="at run time"'), ("Log", 'Task=%d Category="category" Message="message %d"' % (n, n)),
            ("RegionEnd", 'Task=0 Type="at run time"'), ("RegionEnd", 'Task=%d Type="outer"' % n),
            ("TaskEnd", 'ID=%d Type="request"' % n)]


def check_turns(found):
    """Turn after turn, but for the first and the last one. How many."""
    first = next((i for i, (event, _, _) in enumerate(found) if event == "TaskBegin"), None)
    lib.enough(first is not None and len(found) > first + 70, "a thread says only %d things" % len(found))
    n = int(re.match(r"ID=(\d+)", found[first][1]).group(1))
    rest = found[first:]
    turns = [rest[k * 7:k * 7 + 7] for k in range(len(rest) // 7)]
    for k, one in enumerate(turns):
        check([x[:2] for x in one] == turn(n + k), "turn %d: %s" % (k, one))
    short = sum(one[5][2] - one[1][2] < 1000000 for one in turns)  # it sleeps for a millisecond in there
    check(short * 10 < len(turns), "%d of %d regions are too short" % (short, len(turns)))


def text_is_changed(pid, name):
    """Whether the program's code is not what its file has: probes stand in it."""
    with open("/proc/%d/maps" % pid) as f:
        line = next(x.split() for x in f if "r-xp" in x and x.rstrip().endswith("/" + name))
    start, end = (int(x, 16) for x in line[0].split("-"))
    with open("/proc/%d/mem" % pid, "rb") as memory, open(line[5], "rb") as file:
        memory.seek(start)
        file.seek(int(line[2], 16))
        text = file.read(end - start)
        return memory.read(len(text)) != text


def test_what_the_program_says():
    def look(seconds):
        targets = [(lib.start(n, stdin=subprocess.PIPE), n) for n in ("said", "said-cxx")]
        d = lib.Daemon(*[t for t, _ in targets])
        for target, name in targets:
            lib.eventually(lambda t=target: t.read() or len([x for x in t.lines if x.startswith("thread ")]) == 2, "no threads")
            threads = {int(x.split()[1]) for x in target.lines if x.startswith("thread ")}
            check(not text_is_changed(target.pid, name), "it is probed while nobody traces")
            found = said(ask(d, "seconds=%s" % seconds, target.pid).body)
            check(set(found) <= threads, "%s says something, not %s" % (set(found), threads))
            for tid in threads:
                check_turns(found.get(tid, []))
            lib.eventually(lambda p=target.pid, n=name: not text_is_changed(p, n), "it is probed though nobody traces")
        a = ask(d, "seconds=%s&format=perfetto" % seconds, targets[0][0].pid)
        for word in (b"request", b"outer", b"at run time", b"message ", b"category"):
            check(word in a.body, "perfetto: no %r" % word)
        d.stop()

    lib.patiently(look, 0.5, 3, 10)


def test_what_the_next_program_in_its_slot_says():
    """While the recording goes on for somebody else."""
    names = []
    for i in range(2):
        names.append(lib.directory(world=True) / ("said%d.%d" % (os.getpid(), i)))
        shutil.copy(lib.target("said"), names[i])
    other = lib.start("life", "sleep")
    d = lib.Daemon(arguments=("--lease", "1", "--comm", "life", "--comm", names[0].name, "--comm", names[1].name))
    serve = d.child("pprofd-serve")

    def is_alone():
        """Whether pprofd has one target: its pidfd, and the watcher's."""
        try:
            links = [os.readlink("/proc/%d/fd/%s" % (serve, fd)) for fd in os.listdir("/proc/%d/fd" % serve)]
        except OSError:
            return False
        return links.count("anon_inode:[pidfd]") == 2

    def body(p):
        a = d.get("/pid/%d/debug/pprof/trace?seconds=0.5&format=perfetto" % p.pid)
        return a.body if a.status == 200 else b""

    lib.eventually(lambda: body(other), "it is not found")
    goes_on = d.connect()
    goes_on.request("GET", "/pid/%d/debug/pprof/trace?seconds=60" % other.pid)
    check(goes_on.getresponse().status == 200, "no trace")
    for name in names:
        p = lib.Process(name, stdin=subprocess.PIPE)
        p.line("^thread ")
        lib.eventually(lambda p=p: body(p), "it is not found")
        check(b"request" in body(p), "%s says nothing" % name)
        lib.eventually(is_alone, "the lease does not end")
    goes_on.close()
    d.stop()


# Around it


def test_parameters_and_headers():
    target = lib.start("traced", "quiet")
    d = lib.Daemon(target)
    for query in ("goversion=24", "goversion=x", "format=json", "syscalls=2", "stacks=yes", "maxbytes=0", "maxbytes=x"):
        a = d.get("/debug/pprof/trace?" + query)
        check(a.status == 400 and a.text().count("\n") == 1 and a.headers["X-Go-Pprof"] == "1", "%s: %d %s" % (
            query, a.status, a.text()))
    for seconds in ("0.05", "5e-2", "0x1p-5", "%2B0.05"):
        a = ask(d, "seconds=" + seconds)
        check(a.headers["Content-Type"] == "application/octet-stream" and
              a.headers["Content-Disposition"] == 'attachment; filename="trace"' and
              a.headers["X-Content-Type-Options"] == "nosniff", "headers: %s" % a.headers)
        check(a.body.startswith(b"go 1.23 trace\0\0\0"), "header: %r" % a.body[:16])
    a = d.get("/debug/pprof/trace?seconds=0.05", method="HEAD")
    check(a.status == 200 and not a.body, "HEAD: %d" % a.status)
    check("<a href='trace?debug=1'>trace</a>" in d.get("/debug/pprof/").text(), "the index has no trace")
    d.stop()


def test_record_writes_one():
    target, tid = worker()
    path = str(lib.directory() / "file")
    for more, begin in (((), b"go 1.23 trace"), (("--format", "perfetto"), b"\x0a")):
        p = subprocess.run([lib.PPROFD, "record", "trace", "--pid", str(target.pid), "--seconds", "1", "-o", path, *more],
                           stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=lib.DEADLINE, check=False)
        check(p.returncode == 0, p.stderr.decode())
        with open(path, "rb") as f:
            body = f.read()
        check(body.startswith(begin), "begins with %r" % body[:16])
        if not more:
            check(Trace(body).of(tid["receiver"], "Running", "Waiting", "network"), "the receiver never waits")


lib.run(globals())
