# SPDX-License-Identifier: Apache-2.0
"""lib.py - what the live tests share: targets, pprofd on a port of its own, requests, an end to all.

A test file defines functions test_*() and ends with lib.run(globals()). Each function is one claim;
what it started is killed when it returns, with everything that descends from it. fail() says why
a claim does not hold; skip() is for what the machine truly lacks: one line. BPF is no such thing:
a machine that cannot load programs fails these tests. Exit status 77 when all was skipped.
"""

import atexit
import ctypes
import http.client
import math
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import pprof  # noqa: E402

BUILD = pathlib.Path(os.environ.get("PPROFD_BUILD") or ROOT / "build")
PPROFD = str(BUILD / "pprofd")
TARGETS = BUILD / "tests" / "targets"
NOBODY = 65534
DEADLINE = 180  # seconds that anything may take that takes a moment on an idle machine

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_directories = []
_meanwhile = set()  # the pids of claims that are looked at by themselves


class Failure(Exception):
    """The claim does not hold."""


class TooLittle(Failure):
    """The machine gave the target, or us, too little time for the claim to be looked at."""


class Skip(Exception):
    """The machine lacks what the claim is about."""


def fail(text):
    raise Failure(text)


def check(condition, text):
    if not condition:
        raise Failure(text)


def enough(condition, text):
    if not condition:
        raise TooLittle(text)


def skip(text):
    raise Skip(text)


def patiently(attempt, *lengths):
    """attempt(length), with longer and longer ones while a busy machine has too little time for them. What is
    wrong is wrong at once."""
    for n in lengths[:-1]:
        try:
            return attempt(n)
        except TooLittle as e:
            print("     again, with longer times than %s: %s" % (n, e))
            kill_descendants()
    return attempt(lengths[-1])


def too_many(k, n, rate, chance=1e-9):
    """Whether k of n is more than chance allows where each has the probability `rate`: so many or more happen
    less than once in 10^9 (Poisson, whose tail is above the binomial one)."""
    mean = n * rate
    term = math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean else 0
    tail, i = 0.0, k
    while k > mean and term > tail * 1e-12:
        tail += term
        i += 1
        term *= mean / i
    return k > mean and tail < chance


def libc(name, *arguments):
    """A function of the C library that gives -1 and errno: its result, or OSError."""
    r = getattr(_libc, name)(*arguments)
    if r < 0:
        error = ctypes.get_errno()
        raise OSError(error, "%s: %s" % (name, os.strerror(error)))
    return r


def syscall(number, *arguments):
    """A raw system call: its result, or OSError."""
    return libc("syscall", ctypes.c_long(number), *arguments)


def target(name):
    """The path of a target that tests/targets/meson.build builds."""
    path = TARGETS / name
    if not path.exists():
        fail("%s is not built" % path)
    return str(path)


def directory(world=False):
    """A fresh directory that goes with the test; `world`: other users may look into it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="pprofd-live-"))
    if world:
        path.chmod(0o755)
    _directories.append(path)
    return path


def eventually(condition, text, timeout=DEADLINE, pause=0.02):
    """Waits until condition() is true, and returns what it was."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            fail("after %d s: %s" % (timeout, text))
        time.sleep(pause)


# Processes


def stat_field(pid, n):
    """Field n of /proc/PID/stat, counted as proc(5) does from 1; comm may hold anything."""
    text = pathlib.Path("/proc/%d/stat" % pid).read_text(errors="replace")
    return text[text.rindex(")") + 2:].split()[n - 3]


def status(pid, key, task=None):
    """A line of /proc/PID/status."""
    path = "/proc/%d/status" % pid if task is None else "/proc/%d/task/%d/status" % (pid, task)
    for line in pathlib.Path(path).read_text(errors="replace").splitlines():
        if line.startswith(key + ":"):
            return line.split(":", 1)[1].strip()
    fail("%s has no line %s" % (path, key))
    return None


def cpu_seconds(pid):
    """What the process has used, by its own clock."""
    clock = ~pid << 3 | 2  # CPUCLOCK_SCHED of the whole process
    return time.clock_gettime_ns(clock) / 1e9


def armed(pid):
    """The broker's perf events: one a CPU while anybody samples."""
    n = 0
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            n += "perf_event" in os.readlink("/proc/%d/fd/%s" % (pid, fd))
        except OSError:
            pass
    return n


def let_work(pid, seconds, timeout=300):
    """Waits until the process has used so much more CPU time."""
    until = cpu_seconds(pid) + seconds
    eventually(lambda: cpu_seconds(pid) >= until, "no %.1f s of CPU time for %d" % (seconds, pid), timeout)


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(stat_field(int(entry), 4)) == pid:
                found.append(int(entry))
        except (OSError, ValueError):
            pass
    return found


def alive(pid):
    try:
        return stat_field(pid, 3) not in "ZX"
    except (OSError, ValueError):
        return False


spared = set()  # pids of children that outlive a claim


def kill_descendants():
    """Everything that was started goes, however deep, but for what is spared: we are the reaper of orphans."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = [pid for pid in children(os.getpid()) if pid not in _meanwhile and pid not in spared]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
            except OSError:
                pass
        time.sleep(0.01)
    print("some process does not end: %s" % found)


def _in_child():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)



class Process:
    """A program that ends with us; its output can be waited for line by line. `setup` runs in the child
    before the program. Start it from the main thread: the kernel ends it with the thread that
    started it."""

    def __init__(self, *arguments, output="stdout", setup=lambda: None, **options):
        self.arguments = [str(a) for a in arguments]
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault(output, subprocess.PIPE)
        self.popen = subprocess.Popen(self.arguments, preexec_fn=lambda: (_in_child(), setup()),
                                      **options)
        self.pid = self.popen.pid
        self.pipe = getattr(self.popen, output)
        os.set_blocking(self.pipe.fileno(), False)
        self.lines, self.rest, self.at_end = [], b"", False

    def read(self, timeout=0):
        """Takes what there is into self.lines."""
        if self.at_end or not select.select([self.pipe], [], [], timeout)[0]:
            return
        data = self.pipe.read()
        if not data:
            self.at_end = data == b""
            return
        *whole, self.rest = (self.rest + data).split(b"\n")
        self.lines += [line.decode(errors="replace") for line in whole]

    def line(self, pattern, timeout=DEADLINE, start=0):
        """The match of the first line at or after `start` that has the pattern."""
        end = time.monotonic() + timeout
        while True:
            for text in self.lines[start:]:
                found = re.search(pattern, text)
                if found:
                    return found
            if self.at_end or time.monotonic() > end:
                fail("%s does not say %r: %s" % (self.arguments[0], pattern,
                                                 " | ".join(self.lines[-5:]) or "nothing"))
            self.read(max(0, min(0.5, end - time.monotonic())))

    def wait(self, timeout=DEADLINE):
        """Its exit status."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return fail("%s is still running after %d s" % (self.arguments[0], timeout))

    def kill(self, how=signal.SIGKILL):
        self.popen.send_signal(how)
        return self.wait()


def start(name, *arguments, ready="^ready", **options):
    """A target, once it says that it is ready."""
    p = Process(target(name), *arguments, **options)
    if ready:
        p.line(ready)
    return p


# pprofd


class Answer:
    def __init__(self, status_code, headers, body):
        self.status, self.headers, self.body = status_code, headers, body

    def text(self):
        return self.body.decode(errors="replace")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon(Process):
    """pprofd on a port of its own. `before`: what runs it (unshare ...), `program`: another
    one, `pid`: the broker's."""

    def __init__(self, *targets, listen=("127.0.0.1:0",), arguments=(), before=(), program=None, **options):
        pids = [t.pid if isinstance(t, Process) else t for t in targets]
        line = [*before, program or PPROFD]
        for pid in pids:
            line += ["--pid", pid]
        for address in listen:
            line += ["--listen", address]
        super().__init__(*line, *arguments, output="stderr", **options)
        self.target = pids[0] if len(pids) == 1 else None
        self.addresses = []
        for i in range(len(listen)):
            self.line(r"^pprofd: serving \S+")
            eventually(lambda n=i: self._serving(n), "no line for %s" % listen[i])
        self.host, self.port = "127.0.0.1", None
        for address in self.addresses:
            found = re.match(r"http://(\[?[^/]*\]?):(\d+)/", address)
            if found and self.port is None:
                self.host, self.port = found.group(1), int(found.group(2))

    def _serving(self, n):
        self.read(0.05)
        self.addresses = [line.split()[2] for line in self.lines
                          if line.startswith("pprofd: serving ")]
        return len(self.addresses) > n

    def url(self, path=""):
        return "http://%s:%d%s" % (self.host, self.port, path)

    def connect(self, timeout=DEADLINE):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def get(self, path, timeout=DEADLINE, method="GET", headers=None, connection=None):
        c = connection or self.connect(timeout)
        try:
            c.request(method, path, headers=headers or {})
            r = c.getresponse()
            return Answer(r.status, r.headers, r.read())
        except (OSError, http.client.HTTPException) as e:
            self.read(1)  # what it has to say may come a moment later
            return fail("GET %s: %r; pprofd says: %s" % (path, e, " | ".join(self.lines[-3:])))
        finally:
            if not connection:
                c.close()

    def window(self, seconds=1, query="", pid=None):
        """The answer of one window."""
        prefix = "/pid/%d" % pid if pid else ""
        path = "%s/debug/pprof/profile?seconds=%d%s" % (prefix, seconds, query)
        return self.get(path, timeout=seconds + DEADLINE)

    def profile(self, seconds=1, query="", pid=None, at_least=0):
        """A valid profile of one window; of a longer one, where a busy machine gives the target too
        little time for so many samples."""
        for factor in (1, 3, 10, 30):
            a = self.window(seconds * factor, query, pid)
            check(a.status == 200, "status %d: %s" % (a.status, a.text().strip()[:200]))
            p = profile_of(a.body)
            if p.total("samples") >= at_least:
                break
        return p

    def child(self, name):
        """The broker's child that is called so, or None. Names are cut at 15 bytes."""
        for pid in children(self.pid):
            try:
                comm = pathlib.Path("/proc/%d/comm" % pid).read_text().strip()
                if comm == name[:15] and alive(pid):
                    return pid
            except OSError:
                pass
        return None

    def three(self):
        """The pids of broker, serve and symbolizer, once there are three."""
        return [self.pid] + [eventually(lambda n=n: self.child(n), "no %s" % n)
                             for n in ("pprofd-serve", "pprofd-symbolizer")]

    def said(self, pattern):
        """The lines on its stderr that have the pattern."""
        self.read()
        return [line for line in self.lines if re.search(pattern, line)]

    def stop(self):
        """Ends it as a user would; it must go, with status 0, and have had no accident."""
        self.popen.send_signal(signal.SIGTERM)
        code = self.wait()
        check(code == 0, "pprofd ended with %d: %s" % (code, " | ".join(self.lines[-3:])))
        bad = self.said(r"has died|symbolizer failed|cannot|AddressSanitizer|runtime error")
        check(not bad, "pprofd said: %s" % " | ".join(bad))


def record(*arguments, timeout=60, **options):
    """Runs `pprofd record profile ARGUMENTS` to its end: (exit status, output, errors)."""
    p = subprocess.run([PPROFD, "record", "profile", *[str(a) for a in arguments]],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=timeout, preexec_fn=_in_child, check=False, **options)
    return p.returncode, p.stdout, p.stderr.decode(errors="replace")


# Profiles

ACCOUNT = re.compile(r"process (\d+) \(.*\): (\d+) samples, (\d+) with complete stacks, "
                     r"(\d+) truncated at \d+ frames, (\d+) broken$", re.S)


class Account:
    """What the profile says of itself."""

    def __init__(self, profile):
        found = [m for m in map(ACCOUNT.search, profile.comments) if m]
        check(len(found) == 1, "comments: %s" % profile.comments)
        self.pid, self.samples, self.complete, self.truncated, self.broken = map(
            int, found[0].groups())


def profile_of(body):
    """Decodes and validates; the figures must agree with each other."""
    try:
        p = pprof.parse(body)
    except pprof.Malformed as e:
        fail("not a profile: %s" % e)
    problems = pprof.validate(p)
    check(not problems, "; ".join(problems[:3]))
    a = Account(p)
    check(p.total("samples") == a.samples,
          "%d samples, the comment says %d" % (p.total("samples"), a.samples))
    check(p.total("cpu") == a.samples * p.period, "cpu is not samples times the period")
    roots = [s for s in p.samples if s.frames and s.frames[-1].name.startswith(
        ("[broken", "[truncated"))]
    check(sum(s.values[0] for s in roots) == a.truncated + a.broken,
          "the comment's count of incomplete stacks is not the stacks' own")
    return p


def comments(profile, pattern):
    return [c for c in profile.comments if re.search(pattern, c)]


def samples(profile, function, thread=None):
    """How many samples have the function on their stack; by a pattern that fits its whole name."""
    return sum(s.values[0] for s in profile.samples
               if (thread is None or s.labels.get("thread") == [thread]) and
               any(re.fullmatch(function, f.name) for f in s.frames))


def check_complete(profile, at_least=20, share=0.999):
    """Enough samples, and (nearly) all of them with whole stacks."""
    a = Account(profile)
    check(a.samples >= at_least, "only %d samples: %s" % (a.samples, profile.comments))
    bad = [[(f.name, hex(f.address)) for f in s.frames] for s in profile.samples
           if s.frames and s.frames[-1].name.startswith(("[broken", "[truncated"))]
    check(a.complete >= share * a.samples, "%d of %d stacks complete: %s, such as %s" % (
        a.complete, a.samples, [c for c in profile.comments if "broken" in c], bad[:2]))
    return a


def check_nothing_lost(profile):
    line = comments(profile, "^lost: ")
    check(len(line) == 1, "comments: %s" % profile.comments)
    check(not any(int(n) for n in re.findall(r"\d+", line[0])), line[0])


# The end


def _clean():
    kill_descendants()
    while _directories:
        shutil.rmtree(_directories.pop(), ignore_errors=True)


def _run_one(name, function):
    began = time.monotonic()
    try:
        function()
        result = "ok"
    except Skip as e:
        result = "skip %s" % e
    except Failure as e:
        result = "FAIL %s" % e
    except Exception:  # a mistake of the test's is a failure too
        result = "FAIL \n" + traceback.format_exc().rstrip()
    finally:
        _clean()
    word, _, why = result.partition(" ")
    print("%-4s %s (%.1f s)%s" % (word, name, time.monotonic() - began, why and ": " + why),
          flush=True)
    return word.split()[0]


def meanwhile(function):
    """A claim that does nothing but wait: it is looked at while the others of the file are."""
    function.meanwhile = True
    return function


def _begin(name):
    p = subprocess.Popen([sys.executable, sys.argv[0], name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         preexec_fn=_in_child)
    _meanwhile.add(p.pid)
    return p


def _end(p):
    *said, _ = p.communicate()[0].decode(errors="replace").splitlines() or [""]
    print("\n".join(said), flush=True)
    return {0: "ok", 77: "skip"}.get(p.returncode, "FAIL")


def run(namespace):
    """Runs the claims of a file, or those whose names hold a word of the command line."""
    os.umask(0o022)
    if os.geteuid() != 0:
        print("the live tests load BPF programs: run them as root")
        sys.exit(1)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    atexit.register(_clean)
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda *_: sys.exit(1))
    words = sys.argv[1:]
    tests = {name: f for name, f in namespace.items() if name.startswith("test_") and callable(f) and
             (not words or any(w in name for w in words))}
    begun = {name: _begin(name) for name, f in tests.items() if hasattr(f, "meanwhile") and len(tests) > 1}
    results = {name: _run_one(name, f) for name, f in tests.items() if name not in begun}
    results.update((name, _end(p)) for name, p in begun.items())
    # A claim that fails once and holds when it is tried again is not a pass: it is counted by its
    # own name, with what it said, and summary.py lets few of them be. Three a file are tried again.
    failed = [name for name, r in results.items() if r == "FAIL"]
    for name in failed if len(failed) <= 3 and not words else ():
        if _run_one(name, tests[name]) == "ok":
            results[name] = "unstable"
            print("unstable %s: failed above, held when tried again" % name)
    counts = {r: list(results.values()).count(r) for r in ("ok", "FAIL", "unstable", "skip")}
    print("%(ok)d ok, %(FAIL)d failed, %(unstable)d unstable, %(skip)d skipped" % counts)
    if counts["FAIL"] or not results:
        sys.exit(1)
    sys.exit(0 if counts["ok"] or counts["unstable"] else 77)


def together(*functions):
    """Runs them at once, each in a thread; their results, or the first exception."""
    results = [None] * len(functions)

    def one(i):
        try:
            results[i] = functions[i]()
        except Exception as e:
            results[i] = e

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(len(functions))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(600)
        check(not t.is_alive(), "no answer after ten minutes")
    for r in results:
        if isinstance(r, Exception):
            raise r
    return results
