#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""targets.py - processes by description: they come, change and go, and so do the slots of those that are asked for.

Each claim describes processes by a name that nobody else has, so that it may run beside others."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import lib
import pprof
from lib import check, eventually, fail

ROW = re.compile(r'<tr><td data-sort="[^"]*"><a href="pid/(\d+)/">([^<]*)</a>(?: <a class="service" href="t/([^"]*)/">[^<]*</a>)?'
                 r'( \(ended\))?</td><td data-sort="\1">')
_number = [0]


def unique(name):
    """A copy of a target under a name of its own, at most 15 bytes: its path."""
    _number[0] += 1
    path = lib.directory(world=True) / ("q%d.%d" % (os.getpid(), _number[0]))
    shutil.copy(lib.target(name), path)
    return path


def start(path, *arguments, ready="^ready", **options):
    p = lib.Process(path, *arguments, **options)
    if ready:
        p.line(ready)
    return p


def daemon(*arguments):
    return lib.Daemon(arguments=arguments)


def listed(d):
    return {int(pid): (comm, name, bool(ended)) for pid, comm, name, ended in ROW.findall(d.get("/?sort=pid").text())}


def named(path, what="profile", query=""):
    return "/t/%s/debug/pprof/%s%s" % (path if isinstance(path, str) else path.name, what, query)


def profile(d, path):
    a = d.get(path)
    check(a.status == 200, "%s: status %d: %s" % (path, a.status, a.text()[:200]))
    p = pprof.parse(a.body)
    problems = pprof.validate(p)
    check(not problems, "; ".join(problems[:3]))
    return p


def kb_resident(pid):
    return int(lib.status(pid, "VmRSS").split()[0])


def functions(p):
    return {f.name for s in p.samples for f in s.frames}


def test_a_process_comes_and_goes():
    program = unique("rungs")
    d = daemon("--comm", program.name)
    a = d.get(named(program))
    check(a.status == 404 and a.text().count("\n") == 1, "of nobody: %d %r" % (a.status, a.text()))
    check(d.get("/debug/pprof/heap").status == 404, "an answer of nobody")
    check("No processes." in d.get("/").text(), "somebody is listed")
    first = start(program, "600")
    eventually(lambda: first.pid in listed(d), "it is not found")
    check(listed(d) == {first.pid: (program.name, "", False)}, str(listed(d)))
    p = profile(d, named(program, query="?seconds=1"))
    check("rung_leaf" in functions(p), "no function of it: %s" % sorted(functions(p))[:9])
    check(d.get("/debug/pprof/cmdline").body == d.get("/pid/%d/debug/pprof/cmdline" % first.pid).body,
          "the only process is not the one without a number")
    check(d.get("/pid/1/debug/pprof/cmdline").status == 404, "one that is not described")
    first.kill()
    eventually(lambda: listed(d).get(first.pid, ("", "", True))[2], "its end is not seen")
    second = start(program, "600")
    eventually(lambda: d.get(named(program, "cmdline")).status == 200, "the next one is not found")
    p = profile(d, named(program, query="?seconds=1"))
    check(any("process %d " % second.pid in c for c in p.comments), "of another process: %s" % p.comments)
    a = d.get("/pid/%d/debug/pprof/profile?seconds=1" % first.pid)
    check(a.status == 404 and "has ended" in a.text(), "of the ended: %d %s" % (a.status, a.text()))
    d.stop()


def test_exec_makes_it_another():
    before, after = unique("many"), unique("rungs")
    d = daemon("--exe", str(after.parent) + "/*", "--name", "later", "--comm", before.name)
    p = start(before, "become", after, "600", stdin=subprocess.PIPE)
    eventually(lambda: d.get(named(before, "cmdline")).status == 200, "it is not found")
    check(d.get(named("later", "cmdline")).status == 404, "it is known before it is one")
    check(d.get(named(before, "profile?seconds=1")).status == 200, "no profile before")
    p.popen.stdin.write(b"\n")
    p.popen.stdin.flush()
    eventually(lambda: d.get(named("later", "cmdline")).status == 200, "the new program is not seen")
    check("rung_leaf" in functions(profile(d, named("later", query="?seconds=1"))), "no function of it")
    check(d.get(named(before, "cmdline")).status == 404, "the old name still leads there")
    d.stop()


def test_children_are_followed():
    parent, child = unique("many"), unique("many")
    p = start(parent, "child", child, "hold", "2", stdin=subprocess.PIPE)
    q = start(unique("many"), "hold", "1")
    d = lib.Daemon(q, arguments=("--comm", parent.name, "--follow"))
    eventually(lambda: len(listed(d)) == 3, "the child that was there before is not known: %s" % listed(d))
    p.popen.stdin.write(b"\n")
    p.popen.stdin.flush()
    pid = int(p.line(r"^child (\d+)").group(1))
    eventually(lambda: len(listed(d)) == 6, "not all are known: %s" % listed(d))
    rows = listed(d)
    check(rows[pid][:2] == (child.name, parent.name), "the child: %s" % (rows[pid],))
    check(sum(r[1] == parent.name for r in rows.values()) == 4 - (parent.name == rows[p.pid][0]), str(rows))
    check(d.get("/pid/%d/debug/pprof/goroutine?debug=2" % pid).status == 200, "no answer of the child")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in listed(d) or listed(d)[pid][2], "its end is not seen")
    d.stop()


def test_newcomers_are_told_of():
    """Who comes to be called so while a window is open is not in it, and the answer says so, of one process and of two."""
    program = unique("many")
    start(program, "threads", "3", ready="^threads", stdin=subprocess.PIPE)
    d = daemon("--comm", program.name)
    for n in (1, 2):
        eventually(lambda: len([1 for r in listed(d).values() if not r[2]]) == n, "they are not found")
        got = []
        t = threading.Thread(target=lambda: got.append(profile(d, named(program, "profile?seconds=2"))))
        t.start()
        eventually(lambda: 'pprofd_captures_in_progress{profile="profile"} %d\n' % n in d.get("/metrics").text(), "it does not run")
        start(program, "threads", "5", ready="^threads", stdin=subprocess.PIPE)
        t.join()
        check(got and "pprofd: not in it: 1 that came to be called so after it had begun" in got[0].comments,
              "%d: %s" % (n, got and got[0].comments[-3:]))
    p = profile(d, named(program, "profile?seconds=1"))
    check(not any("not in it" in c for c in p.comments), str(p.comments[-3:]))
    d.stop()


def test_several_are_added_up():
    program = unique("many")
    both = [start(program, "threads", n, ready="^threads", stdin=subprocess.PIPE) for n in ("3", "5")]
    d = daemon("--comm", program.name)
    eventually(lambda: len(listed(d)) == 2, "they are not found")
    p = profile(d, named(program, "goroutine"))
    counts = {}
    for s in p.samples:
        counts[s.labels["pid"][0]] = counts.get(s.labels["pid"][0], 0) + s.values[0]
    check(counts == {str(both[0].pid): 4, str(both[1].pid): 6}, "threads: %s" % counts)
    held = [f for s in p.samples for f in s.frames if f.name == "held_by_many"]
    check(len({f.address for f in held}) == 1, "equal code is not one location")
    for what in ("profile?seconds=1", "heap", "block", "offcpu", "threadcreate", "allocs?seconds=1"):
        p = profile(d, named(program, what))
        check(any("2 of 2 processes added up" in c for c in p.comments), "%s: %s" % (what, p.comments[-3:]))
    check({s.labels["pid"][0] for s in profile(d, named(program, "offcpu")).samples} ==
          {str(x.pid) for x in both}, "offcpu is not of both")
    for what in ("heap?debug=1", "trace?seconds=1", "cmdline", "", "symbol?0x1"):
        a = d.get(named(program, what))
        check(a.status == 409 and all("%d %s /pid/%d/" % (x.pid, program.name, x.pid) in a.text() for x in both),
              "%s: %d %s" % (what, a.status, a.text()[:200]))
    a = d.get("/debug/pprof/heap")
    check(a.status == 404 and "several" in a.text(), "of two, without a name: %d %s" % (a.status, a.text()))
    both[0].kill()
    eventually(lambda: d.get(named(program, "cmdline")).status == 200, "the other one is not alone")
    d.stop()


def test_windows_of_many_are_counted():
    """A request for 64 processes takes 64 of the 512 places, and gives them back."""
    program = unique("many")
    for _ in range(64):
        lib.Process(program, "threads", "0", stdin=subprocess.PIPE)
    d = daemon("--comm", program.name)
    eventually(lambda: len(listed(d)) == 64, "they are not found")
    held = []
    for _ in range(8):
        held.append(socket.create_connection((d.host, d.port), timeout=lib.DEADLINE))
        held[-1].sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % named(program, "profile", "?seconds=3600").encode())
    running = 'pprofd_captures_in_progress{profile="profile"} %d\n'
    eventually(lambda: running % 512 in d.get("/metrics").text(), "they do not run")
    for what in ("profile?seconds=1", "heap?seconds=1"):
        a = d.get(named(program, what))
        check(a.status == 503 and a.text() == "512 captures are running already\n" and "Retry-After" in a.headers,
              "%s: %d %s" % (what, a.status, a.text()))
    for s in held:
        s.close()
    eventually(lambda: running % 0 in d.get("/metrics").text(), "they do not end")
    p = profile(d, named(program, "profile?seconds=1"))
    check(any("64 of 64 processes added up" in c for c in p.comments), str(p.comments[-3:]))
    d.stop()


def counted_since(d, path):
    text = d.get(path).text()
    found = re.search(r"counted since (\d+) s", text)
    return int(found.group(1)) if found else fail("no time: %s" % text[:300])


def test_a_slot_that_is_used_again():
    """What one process had is not the next one's: neither counts nor names."""
    old, new = unique("many"), unique("many")
    d = daemon("--comm", old.name, "--comm", new.name, "--lease", "1")
    a = start(old, "threads", "0", ready="^threads", stdin=subprocess.PIPE)
    eventually(lambda: d.get(named(old, "heap")).status == 200, "it is not found")
    d.get(named(old, "offcpu"))
    for _ in range(2):
        a.popen.stdin.write(b"\n")
        a.popen.stdin.flush()
    eventually(lambda: a.read(0.02) or a.lines.count("kept") == 2, "it does nothing")
    p = profile(d, named(old, "heap"))
    was = sum(s.values[3] for s in p.samples if "kept_by_many" in {f.name for f in s.frames})
    check(was > 4 << 20, "%d bytes are seen of 16 MiB: %s" % (was, p.comments))
    check(profile(d, named(old, "threadcreate")).total("threadcreate") == 3, "threads are not counted")
    check(any("held_by_many" in {f.name for f in s.frames} for s in profile(d, named(old, "offcpu")).samples),
          "no wait is seen")
    slot = eventually(lambda: released(d), "the lease does not end")
    b = start(new, "threads", "0", ready="^threads", stdin=subprocess.PIPE)
    eventually(lambda: d.get(named(new, "heap")).status == 200, "the next one is not found")
    for what in ("heap", "allocs", "offcpu", "block", "mutex", "growth", "threadcreate"):
        p = profile(d, named(new, what))
        check("kept_by_many" not in functions(p) and "held_by_many" not in functions(p),
              "%s of the new one has what the old one did" % what)
        check(not any("process %d " % a.pid in c for c in p.comments), "%s: %s" % (what, p.comments))
    check(profile(d, named(new, "threadcreate")).total("threadcreate") == 1, "the old one's threads are counted")
    check(b.pid and slot, "")
    p = profile(d, named(old, "heap"))
    check("kept_by_many" not in functions(p), "the old one's counts are still there")
    d.stop()


def test_names_of_a_slot_that_is_used_again():
    """Nor are its own profiles."""
    old, new = unique("custom-gcc-o3"), unique("custom-gcc-o3")
    d = daemon("--comm", old.name, "--comm", new.name, "--lease", "1")
    a = start(old, stdin=subprocess.PIPE)
    eventually(lambda: d.get(named(old, "things")).status == 200, "it is not found")

    def held(path, what):
        p = profile(d, named(path, what))
        return sum(s.values[0] for s in p.samples)

    def step(line):
        n = a.lines.count("done")
        a.popen.stdin.write(line)
        a.popen.stdin.flush()
        eventually(lambda: a.read(0.02) or a.lines.count("done") > n, "it does nothing")

    def once_more():  # what came before the probes is not seen
        step(b"remove 1 5\n")
        step(b"here 1 5\n")
        step(b"named 1 3 secret\n")
        return held(old, "things") == 5

    eventually(once_more, "its values are not seen", pause=0.2)
    check(held(old, "secret") == 3, "a name that it makes")
    eventually(lambda: released(d), "the lease does not end")
    start(new, stdin=subprocess.PIPE)
    eventually(lambda: d.get(named(new, "things")).status == 200, "the next one is not found")
    check(held(new, "things") == 0, "the old one's values are held by the new one")
    check(d.get(named(new, "secret")).status == 404 and "secret" not in d.get(named(new, "")).text(),
          "the new one has a profile of the old one's")
    d.stop()


def released(d):
    """Whether nothing is attached: serve has let go of its last target's descriptors."""
    serve = d.child("pprofd-serve")
    try:
        return serve and not any(os.readlink("/proc/%d/fd/%s" % (serve, fd)) == "anon_inode:[pidfd]"
                                 for fd in os.listdir("/proc/%d/fd" % serve))
    except OSError:
        return False


def test_more_than_there_are_slots():
    program = unique("many")
    start(program, "hold", "140")
    d = daemon("--comm", program.name)
    pids = eventually(lambda: (lambda rows: rows if len(rows) == 141 else None)(sorted(listed(d))), "not all are found")
    for pid in pids:
        a = d.get("/pid/%d/debug/pprof/goroutine" % pid)
        check(a.status == 200, "process %d: %d %s" % (pid, a.status, a.text()[:200]))
    check(d.get("/pid/%d/debug/pprof/goroutine?debug=1" % pids[0]).status == 200, "the first one again")
    d.stop()


def test_thousands():
    program = unique("many")
    d = daemon("--comm", program.name)
    d.get("/")
    serve = eventually(lambda: d.child("pprofd-serve"), "no serve")
    bomb = start(program, "bomb", "5000", stdin=subprocess.PIPE)
    hold = start(program, "hold", "1000")
    bomb.popen.stdin.write(b"\n")
    bomb.popen.stdin.flush()
    bomb.line("^done")
    eventually(lambda: len(listed(d)) == 1002, "not all are known", pause=0.2)
    check(d.get("/pid/%d/debug/pprof/goroutine?debug=1" % hold.pid).status == 200, "no answer")
    a = d.get(named(program, "goroutine?debug=1"))
    check(a.status == 409 and "and 938 more" in a.text(), "%d: %s" % (a.status, a.text()[-100:]))
    resident = sum(kb_resident(pid) for pid in (d.pid, serve))
    check(resident < 64 << 10, "%d kB resident" % resident)
    hold.kill()
    bomb.kill()
    eventually(lambda: all(r[2] for r in listed(d).values()), "some are known that have ended", pause=0.2)
    d.stop()


def test_all():
    program = unique("many")
    p = start(program, "hold", "1")
    d = daemon("--all")
    rows = eventually(lambda: (lambda r: r if p.pid in r and os.getpid() in r else None)(listed(d)), "they are not found")
    for pid in (2, *d.three()):
        check(pid not in rows, "%d is known" % pid)
    check(rows[p.pid][0] == program.name, str(rows[p.pid]))
    late = start(program, "hold", "1")
    eventually(lambda: late.pid in listed(d), "it is not found")
    check(d.get(named(program, "goroutine")).status == 200, "not by its name")
    resident = sum(kb_resident(pid) for pid in d.three())
    check(resident < 64 << 10, "%d kB resident" % resident)
    d.stop()


def test_serve_dies():
    """What is known is told anew, and slots are free again."""
    program = unique("many")
    p = start(program, "hold", "70")
    d = daemon("--comm", program.name)
    eventually(lambda: len(listed(d)) == 71, "not all are found")
    check(d.get("/pid/%d/debug/pprof/goroutine" % p.pid).status == 200, "no answer")
    os.kill(eventually(lambda: d.child("pprofd-serve"), "no serve"), signal.SIGKILL)
    d.line("is started again")

    def back():
        try:
            return len(listed(d)) == 71
        except lib.Failure:
            return False

    eventually(back, "not all are found again")
    check(d.get("/pid/%d/debug/pprof/goroutine" % p.pid).status == 200, "no answer afterwards")
    d.popen.send_signal(signal.SIGTERM)
    check(d.wait() == 0, "it has not ended well")


def test_a_user():
    number = 600000 + os.getpid() % 5000
    program = unique("many")
    p = start(program, "hold", "0", setup=lambda: os.setresuid(number, number, number))
    start(program, "hold", "0")
    d = daemon("--user", str(number), "--name", "somebody")
    eventually(lambda: d.get(named("somebody", "cmdline")).status == 200, "it is not found")
    check(list(listed(d)) == [p.pid], str(listed(d)))
    d.stop()


def test_a_command():
    program = unique("many")
    d = lib.Daemon(arguments=("--", str(program), "status", "7"), stdout=subprocess.DEVNULL)
    eventually(lambda: d.get("/debug/pprof/cmdline").status == 200, "it is not there")
    check(d.get("/debug/pprof/cmdline").text().startswith(str(program)), d.get("/debug/pprof/cmdline").text())
    pid = eventually(lambda: d.child(program.name), "no child")
    environment = pathlib.Path("/proc/%d/environ" % pid).read_text().split("\0")
    check(any(e.startswith("LD_PRELOAD=") and "libpprofd-alloc.so" in e for e in environment), "no sampler")
    check(len(os.listdir("/proc/%d/fd" % pid)) == 3, "it has inherited descriptors")
    check(lib.status(pid, "NoNewPrivs") == lib.status(os.getpid(), "NoNewPrivs") and
          lib.status(pid, "CapEff") == lib.status(os.getpid(), "CapEff") and
          lib.status(pid, "SigBlk") == lib.status(os.getpid(), "SigBlk"), "it is not as the caller's own")
    d.popen.send_signal(signal.SIGTERM)
    check(d.wait() == 7, "status %d" % d.wait())
    for arguments, status in ((["/bin/sh", "-c", "exit 3"], 3), (["/bin/sh", "-c", "kill -9 $$"], 137),
                              (["/nonexistent"], 127)):
        r = subprocess.run([lib.PPROFD, "--listen", "127.0.0.1:0", "--", *arguments], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=lib.DEADLINE, check=False)
        check(r.returncode == status, "%s: %d %s" % (arguments, r.returncode, r.stderr))


if __name__ == "__main__":
    lib.run(globals())
