#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""server.py - the server as clients meet it: the contract, several targets, many windows at once, clients
that hang up, and the real `go tool pprof`."""

import http.client
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import idle
import lib
import truth
from lib import check

HERE = lib.ROOT / "tests" / "live"
FAST = ("--hz", "1000")
MOST_CAPTURES = 512  # daemon/serve/answer.h
MOST_OF_AN_ADDRESS = 640  # daemon/serve/http_guard.c


def rungs():
    return lib.start("rungs", "600")


def enough_descriptors(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, n + 200)), hard))


def armed(d):
    return lib.armed(d.pid)


def test_contract():
    """Every probe of contract.sh, which holds a stock Go server to the same."""
    if not shutil.which("curl"):
        lib.skip("curl is not installed")
    d = lib.Daemon(rungs())

    def ask(probes):
        p = subprocess.run(["bash", str(HERE / "contract.sh"), d.url()], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900, check=False,
                           env=dict(os.environ, PROBES=probes))
        lines = p.stdout.decode(errors="replace").splitlines()
        bad = [line for line in lines if not line.startswith(("ok ", "total: "))]
        check(p.returncode == 0 and not bad, "; ".join(bad[:5]) or "status %d" % p.returncode)
        found = re.fullmatch(r"total: (\d+) ok, 0 failed", lines[-1])
        check(found, lines[-1])
        return int(found.group(1))

    lanes = ["profile cmdline gperftools deltas", "allocs block heap growth offcpu wall",
             "index redirects methods errors wire guards goroutine threadcreate mutex symbol trace"]
    script = (HERE / "contract.sh").read_text()
    known = " ".join(re.findall(r'(?:ROWS|GROUPS_FIRST)="(?:\$\w+ )?([a-z ]+)"', script)).split()
    check(sorted(known) == sorted(" ".join(lanes).split()), "contract.sh has %s" % known)
    n = lib.together(*[lambda probes=probes: ask(probes) for probes in lanes])
    print("     %d probes" % sum(n))
    check(sum(n) > 300, "only %d probes" % sum(n))
    d.stop()


def test_one_target():
    p = rungs()
    d = lib.Daemon(p)
    for path in ("/debug/pprof/cmdline", "/pid/%d/debug/pprof/cmdline" % p.pid):
        a = d.get(path)
        check(a.status == 200 and a.body.endswith(b"rungs\x00600"), "%s: %d %r" %
              (path, a.status, a.body))
    for path in ("/", "/pid/%d/" % p.pid):
        check('data-pid="%d" data-name="rungs"' % p.pid in d.get(path).text(), d.get(path).text())
    d.stop()


def test_several_targets():
    p, q = rungs(), lib.start("life", "fork")
    d = lib.Daemon(p, q, p, arguments=FAST)
    rows = re.findall(r'<a href="pid/(\d+)/">(\w+)</a></td>', d.get("/?sort=pid").text())
    check(sorted(rows) == sorted([(str(p.pid), "rungs"), (str(q.pid), "life")]), "the list is %s" % rows)
    for pid in (p.pid, q.pid):
        a = d.get("/pid/%d/debug/pprof/" % pid)
        check(a.status == 200 and "href='profile?debug=1'" in a.text(), "index of %d" % pid)
        check(d.get("/pid/%d/debug/pprof" % pid).status == 307, "no redirect")
    a = d.get("/debug/pprof/profile?seconds=1")
    check(a.status == 404 and "several processes" in a.text(), "%d %s" % (a.status, a.text()))
    for path in ("/pid/1/debug/pprof/", "/pid/x/debug/pprof/", "/pid/%d/x" % p.pid, "/pid/1/",
                 "/pid/%d9/debug/pprof/" % p.pid, "/pid/-%d/debug/pprof/" % p.pid):
        check(d.get(path).status == 404, "%s: %d" % (path, d.get(path).status))
    both = lib.together(lambda: d.profile(2, pid=p.pid), lambda: d.profile(2, pid=q.pid))
    for profile, own, others in zip(both, ("rung_leaf", "parent_work"),
                                    ("parent_work", "rung_leaf")):
        lib.check_complete(profile)
        check(lib.samples(profile, own) >= 0.9 * profile.total("samples"), "names")
        check(not lib.samples(profile, others), "the other's samples")
    d.stop()


def test_windows_that_overlap():
    """Eight at once, each with its own length; those of one length saw (nearly) the same."""
    lib.patiently(overlapping, 1, 4, 15)


def overlapping(unit):
    d = lib.Daemon(rungs(), arguments=FAST)
    d.profile()
    lengths = [2 * unit] * 6 + [unit, 3 * unit]
    profiles = lib.together(*(lambda n=n: lib.profile_of(d.window(n).body) for n in lengths))
    lib.enough(all(p.total("samples") >= 20 for p in profiles), "few samples")
    for n, p in zip(lengths, profiles):
        lib.check_complete(p)
        check(n <= p.duration_nanos / 1e9 < n + 20, "%.3f s, not %d" % (p.duration_nanos / 1e9, n))
    same = [p for n, p in zip(lengths, profiles) if n == 2 * unit]
    begins = [p.time_nanos / 1e9 for p in same]
    ends = [(p.time_nanos + p.duration_nanos) / 1e9 for p in same]
    spread = max(begins) - min(begins) + max(ends) - min(ends)
    counts = [p.total("samples") for p in same]
    # a busy machine may hold one up between reading the clock and reading the counts
    lib.enough(max(counts) - min(counts) <= 1.2 * 1000 * (spread + 0.05), "%s within %.3f s" %
               (counts, spread))
    lib.enough(profiles[-1].total("samples") > profiles[-2].total("samples"), "three have less than one")
    lib.eventually(lambda: not armed(d), "still armed")
    d.stop()


def test_a_window_inside_another():
    """The inner one takes nothing from the outer one."""
    lib.patiently(one_inside_another, 4, 12, 40)


def one_inside_another(seconds):
    t = rungs()
    d = lib.Daemon(t, arguments=FAST)
    d.profile()
    watch = truth.Watch(t.pid)
    outer, inner = lib.together(
        lambda: lib.profile_of(d.window(seconds).body),
        lambda: [time.sleep(0.7), [lib.profile_of(d.window(1).body) for _ in range(2)]][1])
    watch.stop()
    begin, end = outer.time_nanos, outer.time_nanos + outer.duration_nanos
    used = watch.at(end / 1e9) - watch.at(begin / 1e9)
    lib.enough(all(begin < p.time_nanos and p.time_nanos + p.duration_nanos < end for p in inner),
               "not inside")
    n = outer.total("samples")
    lib.enough(n >= 500, "%d samples" % n)
    check(n > sum(p.total("samples") for p in inner), "the outer is smaller")
    check(0.75 * 1000 * used <= n <= 1.25 * 1000 * used, "%d samples of %.2f s" % (n, used))
    d.stop()


def test_a_client_that_hangs_up():
    """Its capture ends at once, and the last one's end takes the sampler off."""
    d = lib.Daemon(rungs())
    d.three()
    check(not armed(d), "armed before anybody asks")
    serve = d.child("pprofd-serve")
    d.profile()  # it has come up then; and the thread of that connection goes a moment later

    def rest():
        before = len(os.listdir("/proc/%d/task" % serve))
        time.sleep(1)
        return before == len(os.listdir("/proc/%d/task" % serve)) and before

    threads = lib.eventually(rest, "threads come and go")
    clients = [d.connect() for _ in range(3)]
    for c in clients:
        c.request("GET", "/debug/pprof/profile?seconds=3600")
    # one that answers, and one that asks for names meanwhile
    lib.eventually(lambda: len(os.listdir("/proc/%d/task" % serve)) == threads + 3 * 2, "no threads")
    lib.eventually(lambda: armed(d), "not armed")
    check(armed(d) <= os.cpu_count(), "%d clocks on %d CPUs" % (armed(d), os.cpu_count()))
    clients[0].close()
    clients[1].close()
    lib.eventually(lambda: len(os.listdir("/proc/%d/task" % serve)) == threads + 2,
                   "their threads are still there")
    check(armed(d), "disarmed although one waits")
    clients[2].close()
    lib.eventually(lambda: not armed(d), "still armed")
    lib.eventually(lambda: len(os.listdir("/proc/%d/task" % serve)) == threads, "a thread is left")
    lib.check_complete(d.profile(1, at_least=20))
    d.stop()


def test_a_client_that_shuts_half():
    """One that will not send any more may still want its answer; it gets one or a clean end, soon."""
    d = lib.Daemon(rungs())
    s = socket.create_connection((d.host, d.port), timeout=lib.DEADLINE)
    s.sendall(b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n\r\n")
    s.shutdown(socket.SHUT_WR)
    data = b""
    while part := s.recv(65536):
        data += part
    check(b"200 OK" in data and b"rungs" in data, "%r" % data[:100])
    d.stop()


def test_the_kernels_frames():
    """Above the user's by default, gone with kernel=0; the samples stay."""
    p = lib.start("shapes", "plt", "600")
    d = lib.Daemon(p, arguments=FAST)
    profile = d.profile(1, at_least=100)

    def kernel(profile):
        return sum(s.values[0] for s in profile.samples
                   if any(f.mapping and f.mapping.file == "[kernel.kallsyms]" for f in s.frames))

    check(kernel(profile) > 0, "no kernel frames in a program full of system calls")
    named = [f.name for s in profile.samples for f in s.frames
             if f.mapping and f.mapping.file == "[kernel.kallsyms]"]
    check(any("syscall" in n or "getpid" in n for n in named), "%s" % sorted(set(named))[:20])
    for s in profile.samples:  # above the user's: nearer to the leaf
        where = [bool(f.mapping and f.mapping.file == "[kernel.kallsyms]") for f in s.frames]
        check(where == sorted(where, reverse=True), "%s" % [f.name for f in s.frames])
    without = d.profile(1, query="&kernel=0", at_least=100)
    check(kernel(without) == 0, "%d samples with kernel frames" % kernel(without))
    lib.check_complete(without)
    d.stop()


def test_text_formats():
    d = lib.Daemon(rungs(), arguments=FAST)
    d.profile(at_least=100)  # so that the machine gives it time, now
    a = d.window(3, "&format=top")
    check(a.status == 200 and a.headers["Content-Type"] == "text/plain; charset=utf-8",
          "%d %s" % (a.status, a.headers["Content-Type"]))
    check(not a.headers["Content-Disposition"], "offered as a file")
    row = re.search(r"^\s*(\S+)\s+\S+%\s+\S+%\s+(\S+)\s+([\d.]+)%\s+main\b.*$", a.text(), re.M)
    check(row and float(row.group(3)) > 90, "main: %s" % (row and row.group(0)))
    check(re.search(r"rung_leaf\s+\S*rungs\.c:\d+", a.text()), "no line: %s" % a.text()[:400])
    a = d.window(3, "&format=folded")
    check(a.status == 200, "status %d" % a.status)
    rows = [re.fullmatch(r"(.+) (\d+)", line) for line in a.text().splitlines()]
    check(rows and all(rows), "a line that is none: %s" % a.text()[:200])
    check(all(r.group(1).startswith("rungs;_start;") for r in rows), "%s" % rows[0].group(1))
    total = sum(int(r.group(2)) for r in rows)
    leaf = sum(int(r.group(2)) for r in rows if "main;rung_1;rung_2;rung_3;rung_leaf" in r.group(1))
    check(leaf >= 0.9 * total > 0, "%d of %d" % (leaf, total))
    a = d.window(1, "&format=png")
    check(a.status == 400 and "unknown format" in a.text(), "%d %s" % (a.status, a.text()))
    d.stop()


def as_user(uid, function):
    """Runs it in a child under that user; what it returns, as text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            text = str(function())
        except BaseException as e:  # the child must not return into the test
            text = repr(e)
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        text = f.read()
    os.waitpid(child, 0)
    return text


def test_unix_socket():
    """Root, who started it, and the one whose process it is may ask; nobody else."""
    where = lib.directory(world=True)
    path = str(where / "socket")
    owner, other = 12345, 23456
    shutil.copy(lib.target("rungs"), where / "rungs")
    t = lib.Process("setpriv", "--reuid", owner, "--regid", owner, "--clear-groups",
                    where / "rungs", "600")
    t.line("^ready")
    d = lib.Daemon(t, listen=("unix:" + path, "127.0.0.1:0"))

    def ask():
        a = d.get("/debug/pprof/cmdline", connection=lib.UnixConnection(path, lib.DEADLINE))
        return "%d %s" % (a.status, a.text())

    check(ask().startswith("200 "), "root: " + ask())
    check(as_user(owner, ask).startswith("200 "), "the owner: " + as_user(owner, ask))
    refusal = as_user(other, ask)
    check(refusal.startswith("403 ") and str(other) in refusal, "another: " + refusal)
    check("rungs" not in refusal, "it is told what runs: " + refusal)
    d.stop()
    # of several processes, owners see more than their own: root only
    d = lib.Daemon(t, rungs(), listen=("unix:" + path, "127.0.0.1:0"))
    refusal = as_user(owner, ask)
    check(refusal.startswith("403 "), "one of the owners: " + refusal)
    d.stop()


def test_names_of_the_server():
    """DNS rebinding: a name that leads here is no right to ask. Names that are given are, and numbers,
    which nobody can bind to something else."""
    d = lib.Daemon(rungs())
    for host in ("evil.example", "evil.example:%d" % d.port, "localhost.evil.example", "127.0.0.1.evil"):
        a = d.get("/debug/pprof/cmdline", headers={"Host": host})
        check(a.status == 403 and b"rungs" not in a.body, "%s: %d %r" % (host, a.status, a.body))
    for host in ("localhost", "127.0.0.1:%d" % d.port, "[::1]:1", "10.0.0.1", "LOCALHOST"):
        a = d.get("/debug/pprof/cmdline", headers={"Host": host})
        check(a.status == 200, "%s: %d %r" % (host, a.status, a.body))
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        a = d.get("/debug/pprof/cmdline", headers={"Sec-Fetch-Site": site})
        check(a.status == status, "%s: %d %r" % (site, a.status, a.body))
    d.stop()
    d = lib.Daemon(rungs(), arguments=("--allow-host", "prof.example"))
    for host, status in (("prof.example", 200), ("prof.example:80", 200), ("x.prof.example", 403),
                         ("prof.example.evil", 403), ("localhost", 200)):
        a = d.get("/debug/pprof/cmdline", headers={"Host": host})
        check(a.status == status, "%s: %d %r" % (host, a.status, a.body))
    d.stop()


def test_several_addresses():
    """IPv4, IPv6 and a Unix socket at once: one server, one target."""
    listen = ["127.0.0.1:0", "unix:%s/socket" % lib.directory()]
    if os.path.exists("/proc/net/if_inet6") and "lo" in open("/proc/net/if_inet6").read():
        listen.append("[::1]:0")
    d = lib.Daemon(rungs(), listen=listen)
    for address in d.addresses:
        found = re.match(r"http://\[?([^/]*?)\]?:(\d+)/", address)
        if found:
            c = http.client.HTTPConnection(found.group(1), int(found.group(2)), lib.DEADLINE)
        else:
            c = lib.UnixConnection(listen[1][5:], lib.DEADLINE)
        a = d.get("/debug/pprof/cmdline", connection=c)
        check(a.status == 200 and b"rungs" in a.body, "%s: %d %r" % (address, a.status, a.body))
        c.close()
    d.stop()


def test_the_address_that_is_said_answers():
    """Of one process its index; of several their list."""
    for n, path in ((1, "/debug/pprof/"), (2, "/")):
        d = lib.Daemon(*[rungs() for _ in range(n)])
        check(d.addresses[0] == d.url(path), "%d: %s" % (n, d.addresses[0]))
        check(d.get(path).status == 200, "%d: %s" % (n, path))
        d.stop()


def test_seconds_above_the_limit():
    """An hour at most: seen from the comment of a window that the target's end cuts short."""
    p = lib.start("life", "end", "100", "0", stdin=subprocess.PIPE)
    d = lib.Daemon(p)

    def end():
        lib.eventually(lambda: armed(d), "not armed")
        p.popen.stdin.write(b"go\n")
        p.popen.stdin.flush()

    profile, _ = lib.together(lambda: d.profile(999999999), end)
    check(lib.comments(profile, "into the window of 3600 s"), "%s" % profile.comments)
    d.stop()


def test_more_captures_than_allowed():
    """More than are allowed: those are told so at once, and none hangs; the others end together."""
    path = str(lib.directory() / "socket")
    p, q = rungs(), rungs()
    d = lib.Daemon(p, q, listen=("unix:" + path,))
    d.three()
    many = MOST_CAPTURES + 12
    enough_descriptors(many)
    release = threading.Barrier(many)
    refused = threading.Semaphore(0)

    def ask():
        c = lib.UnixConnection(path, 600)
        c.connect()
        release.wait(lib.DEADLINE)
        a = d.get("/pid/%d/debug/pprof/profile?seconds=3600" % p.pid, connection=c)
        if a.status == 200:
            lib.profile_of(a.body)
        else:
            refused.release()
        c.close()
        return a

    def end():
        for _ in range(many - MOST_CAPTURES):
            check(refused.acquire(timeout=lib.DEADLINE), "too few are refused")
        idle.settle([d.child("pprofd-serve")])  # all the others wait for the end of their windows
        p.popen.kill()

    *answers, _ = lib.together(*(ask for _ in range(many)), end)
    status = [a.status for a in answers]
    check(set(status) == {200, 503}, "%s" % sorted(set(status)))
    check(status.count(200) == MOST_CAPTURES, "%d of %d" % (status.count(200), many))
    busy = [a for a in answers if a.status == 503][0]
    check("captures are running" in busy.text() and busy.headers["X-Go-Pprof"] and int(busy.headers["Retry-After"]) > 0,
          busy.text())
    lib.eventually(lambda: not armed(d), "still armed")
    a = d.get("/pid/%d/debug/pprof/profile?seconds=1" % q.pid,
              connection=lib.UnixConnection(path, lib.DEADLINE))
    check(a.status == 200, "afterwards: %d" % a.status)
    d.stop()


def test_many_connections_of_one_address():
    """The first ones are served, the others are let go at once, and then there is room again."""
    d = lib.Daemon(rungs())
    enough_descriptors(MOST_OF_AN_ADDRESS)
    served = closed = 0
    held = []
    for _ in range(MOST_OF_AN_ADDRESS + 10):
        s = socket.create_connection((d.host, d.port), timeout=lib.DEADLINE)
        held.append(s)
        try:
            s.sendall(b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n\r\n")
            data = s.recv(65536)
        except ConnectionError:
            data = b""
        served += data.startswith(b"HTTP/1.1 200")
        closed += not data
    check(served == MOST_OF_AN_ADDRESS and closed == 10, "%d served, %d closed" % (served, closed))
    for s in held:
        s.close()
    lib.eventually(lambda: _answers(d), "no room again")
    d.stop()


def _answers(d):
    try:
        s = socket.create_connection((d.host, d.port), timeout=5)
        s.sendall(b"GET /debug/pprof/cmdline HTTP/1.0\r\n\r\n")
        return s.recv(100).startswith(b"HTTP/1.0 200")
    except OSError:
        return False


def test_it_ends_under_open_windows():
    """SIGTERM: whoever waits is told, and pprofd goes with status 0."""
    d = lib.Daemon(rungs())
    d.three()

    def stop():
        lib.eventually(lambda: armed(d), "not armed")
        os.kill(d.pid, signal.SIGTERM)

    def ask():
        try:
            r = urllib.request.urlopen(d.url("/debug/pprof/profile?seconds=3600"),
                                       timeout=lib.DEADLINE)
            return r.status
        except OSError as e:
            return getattr(e, "code", 0)

    status, _ = lib.together(ask, stop)
    check(status in (0, 503), "status %d" % status)
    check(d.wait() == 0, "status %s" % d.popen.returncode)


# The client that is the specification


def go(*arguments, timeout=300):
    if not shutil.which("go"):
        lib.skip("go is not installed")
    home = lib.directory()
    environment = dict(os.environ, PPROF_TMPDIR=str(home), GOTOOLCHAIN="local",
                       GOFLAGS="-mod=mod")
    p = subprocess.run(["go", "tool", "pprof", *arguments], stdin=subprocess.DEVNULL, check=False,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
                       timeout=timeout)
    check(p.returncode == 0, "go tool pprof %s: %s" % (" ".join(arguments),
                                                       p.stderr.decode()[-300:]))
    return p.stdout


def test_go_tool_pprof():
    """Each way of reading an answer."""
    d = lib.Daemon(rungs(), arguments=FAST)
    url = d.url("/debug/pprof/profile?seconds=1")
    top = go("-top", "-symbolize=none", url).decode()
    check(re.search(r"^File: rungs$", top, re.M) and re.search(r"^Type: cpu$", top, re.M), top)
    row = re.search(r"(\S+)%\s+main$", top, re.M)
    check(row and float(row.group(1)) > 90, "main: %s" % top)
    raw = go("-raw", "-symbolize=none", url).decode()
    for pattern in (r"^PeriodType: cpu nanoseconds$", r"^Period: 1000000$", r"^Duration: [\d.]+",
                    r"^samples/count cpu/nanoseconds", r"rung_leaf \S+/rungs\.c:\d+",
                    r"^\d+: 0x\w+/0x\w+/0x\w+ \S+/rungs [0-9a-f]{40} \[FN\]\[FL\]\[LN\]",
                    r"^Comment:|process \d+ \(rungs\)", r'thread:\[rungs\]'):
        check(re.search(pattern, raw, re.M), "-raw has no %s: %s" % (pattern, raw[:1500]))
    traces = go("-traces", "-symbolize=none", url).decode()
    names = re.findall(r"^\s+(?:[\d.]+m?s\s+)?(\S+)$", traces, re.M)
    check("rung_leaf" in names and "_start" in names, traces[:400])
    proto = lib.pprof.parse(go("-proto", "-output=/dev/stdout", "-symbolize=none", url))
    check(lib.samples(proto, "rung_leaf") > 20, "-proto has lost the names")
    d.stop()


def test_go_tool_pprof_shows_the_reason():
    p = lib.start("life", "end", "1", "0", stdin=subprocess.PIPE)
    d = lib.Daemon(p)
    p.popen.stdin.write(b"go\n")
    p.popen.stdin.flush()
    p.wait()
    try:
        go("-top", d.url("/debug/pprof/profile?seconds=1"))
    except lib.Failure as e:
        check("has ended" in str(e), "the client says: %s" % e)
    else:
        lib.fail("the client shows a profile of what has ended")
    d.stop()


def test_go_tool_pprof_adds_profiles():
    """Two windows are one profile to the client: stacks merge, mappings too."""
    d = lib.Daemon(rungs(), arguments=FAST)
    files = []
    for _ in range(2):
        path = lib.directory() / "p"
        path.write_bytes(d.window(3).body)
        files.append(path)
    both = lib.pprof.parse(go("-proto", "-output=/dev/stdout", "-symbolize=none", *map(str, files)))
    each = [lib.pprof.load(f) for f in files]
    check(both.total("samples") == sum(p.total("samples") for p in each), "samples are lost")
    check(len(both.mappings) <= max(len(p.mappings) for p in each) + 1, "mappings do not merge")
    check(len(both.samples) < sum(len(p.samples) for p in each), "stacks do not merge")
    d.stop()


def _page(url):
    try:
        return urllib.request.urlopen(url, timeout=lib.DEADLINE).read().decode()
    except OSError:
        return None


def test_go_tool_pprof_web():
    """Its web page draws our profile."""
    if not shutil.which("go"):
        lib.skip("go is not installed")
    d = lib.Daemon(rungs(), arguments=FAST)
    path = lib.directory() / "p"
    path.write_bytes(d.window(3).body)
    for _ in range(5):  # somebody else may take the port in between
        with socket.create_server(("127.0.0.1", 0)) as s:
            url = "127.0.0.1:%d" % s.getsockname()[1]
        web = lib.Process("go", "tool", "pprof", "-http=" + url, "-no_browser", "-symbolize=none",
                          path, output="stderr",
                          env=dict(os.environ, PPROF_TMPDIR=str(path.parent), GOTOOLCHAIN="local"))
        if "use" not in web.line(r"http://" + url + "|address already in use").group():
            break
    for page in ("/ui/top", "/ui/flamegraph"):
        text = lib.eventually(lambda p=page: _page("http://" + url + p), "no page")
        check("rung_leaf" in text, "%s does not show it" % page)
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
