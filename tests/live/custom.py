#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""custom.py - profiles that a program makes itself (preload/pprofd.h): every compiler, every name, every value."""

import html
import os
import re
import signal
import subprocess
import urllib.parse

import lib
import pprof
from lib import check, eventually, fail

BUILDS = ["custom-" + n for n in (
    "gcc-o0", "gcc-o3", "gcc-non-pie", "gcc-static", "clang-o0", "clang-o3", "gxx-o0", "gxx-o3", "clangxx-o0",
    "clangxx-o3")]
ODD = "odd \"name\" / with 'quotes' & <b> \u00e9 %d {|}"
ROW = re.compile(r"<tr><td>(\d+)</td><td><a href='([^']*)\?debug=1'>(.*)</a></td></tr>")


class Target:
    def __init__(self, name="custom-gcc-o3"):
        self.p = lib.start(name, stdin=subprocess.PIPE)
        self.pid = self.p.pid

    def step(self, *lines):
        """Each line, done."""
        start = len([x for x in self.p.lines if x == "done"])
        self.p.popen.stdin.write("".join(x + "\n" for x in lines).encode())
        self.p.popen.stdin.flush()
        eventually(lambda: self.p.read(0.02) or len([x for x in self.p.lines if x == "done"]) >= start + len(lines),
                   "%s is not done" % (lines,))


def path(name, query="", pid=None):
    prefix = "/pid/%d" % pid if pid else ""
    quoted = urllib.parse.quote(name, safe="")
    if not name.strip("."):
        quoted = quoted.replace(".", "%2E")
    return "%s/debug/pprof/%s%s" % (prefix, quoted, query)


def answer(daemon, name, query="", pid=None):
    a = daemon.get(path(name, query, pid))
    check(a.status == 200, "%s: status %d: %s" % (name, a.status, a.text()[:200]))
    return a


def profile(daemon, name, query="", pid=None):
    p = pprof.parse(answer(daemon, name, query, pid).body)
    problems = pprof.validate(p)
    check(not problems, "; ".join(problems[:3]))
    return p


def leaves(p):
    """leaf function -> values held"""
    found = {}
    for s in p.samples:
        found[s.frames[0].name] = found.get(s.frames[0].name, 0) + s.values[0]
    return found


def index(daemon, pid=None):
    """name -> count"""
    found = {}
    for count, href, name in ROW.findall(daemon.get(path("", pid=pid)).text()):
        name = html.unescape(name)
        check(urllib.parse.unquote(href) == name, "the link of %r leads to %r" % (name, href))
        found[name] = int(count)
    return found


def ready(daemon, name="things", pid=None):
    """Waits until its values are seen."""
    eventually(lambda: "values added since" in daemon.get(path(name, "?debug=1", pid)).text(),
               "%s is not watched" % name)


def comment(p, pattern):
    found = [re.search(pattern, c) for c in p.comments if re.search(pattern, c)]
    if len(found) != 1:
        fail("%d comments like %r: %s" % (len(found), pattern, p.comments))
    return found[0]


def probes_of(pid):
    """Files that the broker has probes on."""
    found = set()
    for fd in os.listdir("/proc/%d/fdinfo" % pid):
        try:
            with open("/proc/%d/fdinfo/%s" % (pid, fd)) as f:
                found |= set(re.findall(r"^path:\t(\S+)", f.read(), re.M))
        except OSError:
            pass
    return found


def has_breakpoints(pid):
    """Whether the program's text is not what its file has."""
    with open("/proc/%d/maps" % pid) as f:
        line = next(x.split() for x in f if "r-xp" in x and "/custom-" in x)
    start, end = (int(x, 16) for x in line[0].split("-"))
    with open("/proc/%d/mem" % pid, "rb") as memory, open(line[5], "rb") as file:
        memory.seek(start)
        file.seek(int(line[2], 16))
        text = file.read(end - start)
        return memory.read(len(text)) != text


EXACT = ("--max-overhead", "none")


def start(arguments=EXACT):
    t = Target()
    d = lib.Daemon(t.p, arguments=arguments)
    ready(d)
    return t, d


def test_every_compiler():
    """The same in C and C++, static or not, optimised or not: sites, skipped functions (inlined ones too)."""
    names = [n for n in BUILDS if (lib.TARGETS / n).exists()]
    check("custom-gcc-o0" in names and "custom-clang-o3" in names, "built are only %s" % names)
    targets = [Target(n) for n in names]
    d = lib.Daemon(*[t.p for t in targets], arguments=EXACT)

    def check_one(name, t):
        ready(d, pid=t.pid)
        t.step("here 1 5", "inlined 100 3", "called 200 4", "deep 300 2", "remove 1 2", "named 7 3 at run time",
               "unnamed 8 1 at run time")
        p = profile(d, "things", pid=t.pid)
        found = leaves(p)
        root = [s.frames for s in p.samples if len(s.frames) == 1]
        check(len(root) == 1, "%s: %s" % (name, found))
        check(found.pop(root[0][0].name) == 2 and
              found == {"site_here": 3, "site_inlined": 3, "site_called": 4}, "%s: %s" % (name, found))
        check(p.sample_types == [("things", "count")], str(p.sample_types))
        check(leaves(profile(d, "at run time", pid=t.pid)) == {"site_named": 2}, "%s: named at run time" % name)
        counts = index(d, t.pid)
        check(counts["things"] == 12 and counts["at run time"] == 2 and counts["declared"] == 0,
              "%s: the index says %s" % (name, counts))

    lib.together(*[lambda name=name, t=t: check_one(name, t) for name, t in zip(names, targets)])
    d.stop()


def test_names():
    """Declared ones are listed, odd ones can be asked for, pprofd's own are refused, bad ones are counted."""
    t, d = start()
    counts = index(d)
    for name in ("declared", ODD, "threads", "things"):
        check(counts.get(name) == 0, "%r is not listed: %s" % (name, counts))
    check(d.get(path(ODD)).status == 200, "the odd name is not found")
    check(d.get(path("nosuch")).status == 404, "an unknown name is found")
    odd = ["a b", "a/b", "../x", "..", "//", "\u00e9\u20ac", "'\"<>&;?#%41", "a+b", "x:y"]
    for i, name in enumerate(odd):
        t.step("named %d %d %s" % (i, i + 1, name))
    counts = index(d)
    for i, name in enumerate(odd):
        check(counts.get(name) == i + 1, "%r: %s" % (name, counts))
        check(leaves(profile(d, name)) == {"site_named": i + 1}, "%r" % name)
        text = answer(d, name, "?debug=1").text()
        check(text.startswith("%s profile: total %d\n%d @ 0x" % (name, i + 1, i + 1)), text[:80])
    t.step("bad", "reserved")
    check(index(d)["heap"] == 0, "the heap's row is the program's")
    p = profile(d, "declared")
    check(comment(p, r"program error: (\d+) calls had a name").group(1) == "3", str(p.comments))
    comment(p, r"program error: 1 sites add to profiles that have the name of one of pprofd's own")
    check(index(d).get(("0123456789" * 7)[1:64]) == 1, "a name of 63 bytes is not taken: %s" % index(d))
    check("site_reserved" not in d.get("/debug/pprof/heap?debug=1").text(), "the heap shows what the program added")
    d.stop()


def test_values():
    """Twice is an error and changes nothing; what is not there is not removed; deltas; formats."""
    t, d = start()
    t.step("here 1 3", "called 2 1", "remove 77 5", "here 3 1")
    p = profile(d, "things")
    check(leaves(p) == {"site_here": 3}, str(leaves(p)))
    check(comment(p, r"program error: (\d+) times a value").group(1) == "2", str(p.comments))
    comment(p, r"values added since \d+ s: 3, removed: 0, held: 3")
    t.step("remove 1 1", "called 1 1")
    check(leaves(profile(d, "things")) == {"site_here": 2, "site_called": 1}, "a value cannot come again")
    delta = []
    # the window is open when its connection waits: the step comes after the first reading
    lib.together(lambda: delta.append(profile(d, "things", "?seconds=3")),
                 lambda: (lib.time.sleep(1), t.step("remove 2 1", "here 50 4", "here 60 1", "remove 60 1")))
    check(leaves(delta[0]) == {"site_here": 3}, "in the window: %s" % leaves(delta[0]))
    check(d.get(path("things", "?seconds=1&debug=1")).status == 400, "seconds with debug")
    check(d.get(path("things", "?seconds=x")).status == 400, "seconds=x")
    check("site_called" in answer(d, "things", "?format=folded").text(), "folded")
    check(answer(d, "things", "?debug=2").text().startswith("things profile: total 6\n"), "debug=2")
    d.stop()


def test_library_and_late():
    """A library that comes later; one profile of two files; nothing in the program itself."""
    library = str(lib.TARGETS / "libcustom-library.so")
    t, plain = Target(), Target("custom-gcc-plain")
    d = lib.Daemon(t.p, plain.p, arguments=EXACT)
    ready(d, pid=t.pid)
    check("things" not in index(d, plain.pid), "listed before there is such a file")
    t.step("here 1 2", "open " + library)
    plain.step("open " + library)

    def use(x):
        # a sample shows that there is new code
        eventually(lambda: d.get("/pid/%d/debug/pprof/profile?seconds=1" % x.pid) and
                   "of the library" in index(d, x.pid), "the library's profile is not listed")
        ready(d, "of the library", x.pid)
        x.step("library 10 3")

    lib.together(lambda: use(t), lambda: use(plain))
    check(leaves(profile(d, "things", pid=t.pid)) == {"site_here": 2, "site_library": 3}, "of two files")
    check(leaves(profile(d, "things", pid=plain.pid)) == {"site_library": 3}, "of the library alone")
    d.stop()


def test_fork_and_exec():
    """A child's values are not its parent's; a new program begins empty."""
    t, d = start()
    t.step("here 1 3", "fork")
    child = int(t.p.line(r"^child (\d+)").group(1))
    check(leaves(profile(d, "things")) == {"site_here": 3}, "the child's calls count")
    check(has_breakpoints(t.pid), "there are no probes")
    eventually(lambda: not has_breakpoints(child), "the child keeps the probes")
    os.kill(child, signal.SIGKILL)
    t.step("here 10 1")
    check(leaves(profile(d, "things")) == {"site_here": 4}, "after a fork")
    n = len(t.p.lines)
    t.p.popen.stdin.write(b"exec\n")
    t.p.popen.stdin.flush()
    t.p.line("^ready", start=n)
    t.p.lines = []
    t.step("named 1 1 early")  # may be seen or not
    eventually(lambda: d.get("/debug/pprof/profile?seconds=1") and index(d).get("things") == 0,
               "a new program has old values")
    ready(d)
    t.step("here 1 2")
    check(leaves(profile(d, "things")) == {"site_here": 2}, "of the new program")
    d.stop()


def test_many():
    """Threads, floods and names: exact up to the bounds, and counted past them."""
    t, d = start()
    t.step("threads 4 10000")
    p = profile(d, "threads")
    check(leaves(p) == {"site_thread": 4}, str(leaves(p)))
    comment(p, r"values added since \d+ s: 40000, removed: 39996, held: 4")
    t.step("here 1 65536")
    p = profile(d, "things")
    lost = int(comment(p, r"lost: (\d+) values found no room").group(1))
    check(lost == 4 and leaves(p) == {"site_here": 65532}, "%d lost, %s" % (lost, leaves(p)))
    t.step("remove 1 65536", "many 1 200")
    check(leaves(profile(d, "things")) == {}, "not empty")
    counts = index(d)
    many = [n for n in counts if n.startswith("many ")]
    p = profile(d, "things")
    full = comment(p, r"limit: 128 profiles of a process: 0 sites and (\d+) calls")
    check(len(many) + int(full.group(1)) == 200 and len(many) > 100, "%d profiles, %s" % (len(many), full.group(0)))
    d.stop()


def flooded(d, wanted):
    """The account of the last moment that was looked at: sites' values and counters agree, whatever was left out."""
    p = profile(d, "flood")
    found = [re.search(wanted, c) for c in p.comments]
    m = next((x for x in found if x), None)
    if not m:
        return None
    added, removed, held = (int(x) for x in m.groups())
    check(added and added - removed == held and leaves(p) == ({"site_flood": held} if held else {}), "%s: %s" % (p.comments, leaves(p)))
    check(abs(held - added / 100) <= 4, "a part of the calls was left out: %s" % p.comments)
    return p


def test_flood_within_the_limit():
    """Paused and begun anew, never in part: what is shown is true of a moment that is told."""
    t, d = start(("--max-overhead", "1"))
    t.step("here 1 3", "flood")
    paused = r"paused for [\d.]+ s now. Values added in [\d.]+ s before: (\d+), removed: (\d+), held then: (\d+)"
    p = eventually(lambda: flooded(d, paused), "the flood is not paused")
    comment(p, r"limit: what is held now is not known.* not looked at: \d+;")

    def paused_again():
        p = flooded(d, paused)
        return p and any(re.search(r"paused ([2-9]|\d\d+) times", c) for c in p.comments)
    eventually(paused_again, "it never begins anew")
    t.step("calm")
    eventually(lambda: [c for c in profile(d, "things").comments if "values added since" in c], "it does not begin anew")
    check(leaves(profile(d, "things")) == {}, "values of before: %s" % leaves(profile(d, "things")))
    t.step("here 10 5")
    p = profile(d, "things")
    check(leaves(p) == {"site_here": 5}, str(leaves(p)))
    comment(p, r"paused \d+ times by --max-overhead; after each all begins anew")
    d.stop()


def test_flood_without_limit():
    t, d = start()
    t.step("flood")
    lib.time.sleep(1)
    t.step("calm")
    added, removed = (int(x) for x in t.p.line(r"^flooded (\d+) (\d+)").groups())
    p = profile(d, "flood")
    comment(p, r"values added since \d+ s: %d, removed: %d, held: %d" % (added, removed, added - removed))
    check(leaves(p) == {"site_flood": added - removed}, str(leaves(p)))
    d.stop()


def test_record():
    """A profile of one's own on the command line, and what becomes of errors of the writer."""
    t = Target()
    directory = lib.directory()
    read, write = os.pipe()
    os.close(read)
    full = open("/dev/full", "wb")  # noqa: SIM115
    line = [lib.PPROFD, "record", "things", "--pid", str(t.pid), "--seconds", "600"]
    runs = [subprocess.Popen([*line, *more], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                             preexec_fn=lib._in_child)
            for more, out in ((["-o", str(directory / "a")], None), (["-o", str(directory / "b"), "--debug", "1"], None),
                              ([], full), ([], write))]
    full.close()
    os.close(write)
    for p in runs:
        eventually(lambda p=p: any("custom" in x for x in probes_of(p.pid)), "record does not probe")
    t.step("here 1 5", "called 10 2", "remove 1 2")
    for p in runs:
        p.send_signal(signal.SIGINT)
    said = [p.communicate(timeout=lib.DEADLINE)[1].decode() for p in runs]
    check([p.returncode for p in runs] == [0, 0, 1, 1], str(said))
    check(leaves(pprof.parse((directory / "a").read_bytes())) == {"site_here": 3, "site_called": 2}, "record things")
    text = (directory / "b").read_text()
    check(text.startswith("things profile: total 5\n3 @ 0x"), text[:200])
    check("cannot write the profile: No space left" in said[2] and "cannot write the profile: Broken pipe" in said[3],
          str(said))


def test_clients():
    """record --remote: what a running pprofd has, over TCP and a Unix socket; go tool pprof."""
    t = Target()
    directory = lib.directory()
    d = lib.Daemon(t.p, listen=("127.0.0.1:0", "unix:%s/s" % directory))
    ready(d)
    t.step("here 1 5", "named 1 2 a/b c")

    def record(*arguments, **options):
        p = subprocess.run([lib.PPROFD, "record", *arguments], stdin=subprocess.DEVNULL, check=False, timeout=lib.DEADLINE,
                           stderr=subprocess.PIPE, **{"stdout": subprocess.PIPE, **options})
        return p.returncode, p.stdout, p.stderr.decode()

    for url in (d.url(), d.url("/pid/%d/" % t.pid), d.url("/debug/pprof/"), "unix:%s/s" % directory):
        code, out, err = record("things", "--remote", url)
        check(code == 0 and leaves(pprof.parse(out)) == {"site_here": 5}, "%s: %d %s" % (url, code, err))
    code, out, err = record("a/b c", "--remote", d.url(), "--debug", "1", "-o", str(directory / "x"))
    check(code == 0 and (directory / "x").read_text().startswith("a/b c profile: total 2\n"), err)
    code, out, err = record("nosuch", "--remote", d.url(), "-o", str(directory / "y"))
    check(code == 1 and "404: Unknown profile" in err and not (directory / "y").exists(), err)
    code, out, err = record("things", "--remote", "http://127.0.0.1:1")
    check(code == 1 and "refused" in err and err.count("\n") == 1, err)
    code, out, err = record("things", "--remote", "https://127.0.0.1:1")
    check(code == 1 and "http://HOST:PORT" in err, err)
    with open("/dev/full", "wb") as full:
        code, out, err = record("things", "--remote", d.url(), stdout=full)
    check(code == 1 and "No space left" in err, err)

    t.step("called 10 2")
    p = subprocess.run(["go", "tool", "pprof", "-top", d.url(path("things"))], stdin=subprocess.DEVNULL, check=False,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                       env={**os.environ, "PPROF_TMPDIR": str(directory)})
    check(p.returncode == 0, p.stderr.decode()[-300:])
    check(re.search(rb"Type: things\n", p.stdout) and re.search(rb"5 +71.43%.*site_here", p.stdout) and
          re.search(rb"2 +28.57%.*site_called", p.stdout), p.stdout.decode())
    d.stop()


TRACKS = ["--track", "fd", "--track", "mmap", "--track", "thread", "--track", "own things=own_new:ret,own_delete:arg 2"]


def functions(p):
    """function of the target's that leads to it -> values held"""
    found = {}
    for s in p.samples:
        name = next((f.name for f in s.frames if re.match("site_|own", f.name)), "another")
        found[name] = found.get(name, 0) + s.values[0]
    return found


def test_track():
    """Functions of a program that says nothing: results, arguments, what is stored where an argument points."""
    t = Target("track")
    d = lib.Daemon(t.p, arguments=(*TRACKS, *EXACT))
    for name in ("fd", "mmap", "thread", "own things"):
        ready(d, name)
    before = len(os.listdir("/proc/%d/fd" % t.pid))
    t.step("descriptors")
    opened = len(os.listdir("/proc/%d/fd" % t.pid)) - before
    p = profile(d, "fd")
    check(functions(p) == {"site_open": 5, "site_others": opened - 5} and opened == 13,
          "%d descriptors are open: %s %s" % (opened, functions(p), p.comments))
    t.step("mappings", "threads", "own")
    found = functions(profile(d, "mmap"))
    check(found.get("site_map") == 3, str(found))
    found = functions(profile(d, "thread"))
    check(found == {"site_thread": 2}, str(found))
    found = functions(profile(d, "own things"))
    check(found == {"own_new": 4}, str(found))
    t.p.line("^caught own")
    d.stop()


def test_track_spares_cancelled_threads():
    """Hard rule 1: a thread that is cancelled in a function that is watched runs its handlers and destructors."""
    t = Target("track")
    t.step("cancel")
    without = t.p.line(r"^cleaned (\d+ \d)").group(1)
    check(without == "3 1", "without us: %s" % without)
    d = lib.Daemon(t.p, arguments=(*TRACKS, *EXACT))
    ready(d, "fd")
    t.p.lines = []
    for _ in range(5):
        t.step("cancel")
    check([x for x in t.p.lines if x != "done"] == ["cleaned 3 1"] * 5, str(t.p.lines))
    check(functions(profile(d, "fd")) == {"another": 5}, "listening sockets: %s" % functions(profile(d, "fd")))
    d.stop()


def test_track_usage():
    for text in ("nosuch", "a=b", "=b,c", "a=,c", "a=b:x,c", "a=b,c:ret", "a=b:arg 4,c", "a=b,c,d", "a" * 64 + "=b,c"):
        p = subprocess.run([lib.PPROFD, "--pid", "1", "--track", text], stdin=subprocess.DEVNULL, check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        check(p.returncode == 2 and p.stderr.count(b"\n") == 1 and b"--track" in p.stderr, "%s: %d %s" % (
            text, p.returncode, p.stderr))


lib.run(globals())
