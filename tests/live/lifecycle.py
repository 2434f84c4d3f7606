#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lifecycle.py - processes, threads, programs and libraries that come and go while a window is open."""

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time

import lib
from lib import check

FAST = ("--hz", "1000")


def life(*arguments, **options):
    return lib.start("life", *arguments, **options)


def go(p):
    """Lets a target on that waits for a line of input."""
    p.popen.stdin.write(b"go\n")
    p.popen.stdin.flush()


def once_armed(pid, function):
    """Does it when pprofd (by its broker's number) samples: a window is open then, or within a moment."""
    def wait():
        lib.eventually(lambda: lib.armed(pid), "not armed")
        time.sleep(0.3)
        function()

    t = threading.Thread(target=wait, daemon=True)
    t.start()
    return t


def test_dlopen_before_the_window():
    """Loaded after pprofd started, before it was asked."""
    p = lib.start("shapes", "dlopen", "60", env={"LIB1": lib.target("libone.so"),
                                               "LIB2": lib.target("libone.so")})
    profile = lib.Daemon(p, arguments=FAST).profile(2, at_least=200)
    check(lib.samples(profile, "work_one") >= 0.5 * profile.total("samples"), "%s" %
          profile.comments)


def test_exec_between_windows():
    p = life("exec", "10", lib.target("rungs"), "600", stdin=subprocess.PIPE)
    d = lib.Daemon(p, arguments=FAST)
    d.profile()
    go(p)
    p.line("^ready", start=1)
    profile = d.profile(1, at_least=50)
    lib.check_complete(profile)
    check(lib.samples(profile, "rung_leaf") and not lib.samples(profile, "before_exec"), "names")
    check(os.path.basename(profile.mappings[0].file) == "rungs", profile.mappings[0].file)
    d.stop()


MAPS_CODE = """
import mmap, time
print("ready", flush=True)
kept = []
while True:
    kept.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC))
    if len(kept) > 100:
        kept.clear()
    bytearray(3000000)
    time.sleep(0.001)
"""


def test_idle_after_the_end():
    """Their mappings were to be read again when they ended: that is not done for ever."""
    several = [lib.Process(sys.executable, "-c", MAPS_CODE) for _ in range(4)]
    for p in several:
        p.line("^ready")
    more = [word for p in several[1:] for word in ("--pid", p.pid)]
    d = lib.Daemon(several[0], arguments=("--max-overhead", "none", *more))
    changing = r'^pprofd_target_lost_total\{.*what="mapping",reason="changing"\} [1-9]\d\d'
    lib.eventually(lambda: len(re.findall(changing, d.get("/metrics").text(), re.M)) == len(several), "mappings do not change")
    for p in several:
        p.popen.kill()
        p.wait()
    time.sleep(5.5)  # the longest that it waits before it looks again

    def idle():
        before = sum(lib.cpu_seconds(pid) for pid in d.three())
        time.sleep(1)
        return sum(lib.cpu_seconds(pid) for pid in d.three()) - before < 0.1

    lib.eventually(idle, "it is busy with processes that have ended", timeout=20)
    d.stop()


def test_exit_during_the_window():
    """What was seen until then, and why there is no more; then the process is gone."""
    p = life("end", "1500", "3", stdin=subprocess.PIPE)
    d = lib.Daemon(p, arguments=FAST)
    once_armed(d.pid, lambda: go(p))
    began = time.monotonic()
    a = d.window(600)
    check(a.status == 200, "status %d: %s" % (a.status, a.text()[:200]))
    check(time.monotonic() - began < 300, "the whole window was waited for")
    profile = lib.profile_of(a.body)
    check(lib.comments(profile, "the process ended"), "%s" % profile.comments)
    n = profile.total("samples")
    check(lib.samples(profile, "last_work") >= 0.8 * n > 100, "%d samples: %s" %
          (n, profile.comments))
    check(profile.duration_nanos < 300e9, "duration %d" % profile.duration_nanos)
    p.wait()
    check_gone(d, p.pid)


def check_gone(d, pid):
    for path in ("/debug/pprof/profile?seconds=1", "/debug/pprof/cmdline",
                 "/pid/%d/debug/pprof/profile?seconds=1" % pid):
        a = d.get(path)
        check(a.status == 404, "%s: status %d: %s" % (path, a.status, a.text()[:200]))
        check("has ended" in a.text() and str(pid) in a.text(), "%s: %r" % (path, a.text()))
        check(a.headers.get("X-Go-Pprof"), "%s: clients do not show the reason" % path)
    check("(ended)" in d.get("/").text(), "the list does not say so")
    check(d.get("/debug/pprof/").status == 200, "the index page is gone")


def test_exit_before_the_window():
    p = life("end", "1", "0", stdin=subprocess.PIPE)
    d = lib.Daemon(p)
    go(p)
    p.wait()
    check_gone(d, p.pid)
    check(lib.alive(d.pid), "pprofd ended with it")
    d.stop()


def test_a_zombie_is_gone():
    """Ended, and its parent does not care."""
    p = life("end", "1", "0", stdin=subprocess.PIPE)
    d = lib.Daemon(p)
    go(p)
    lib.eventually(lambda: lib.stat_field(p.pid, 3) == "Z", "no zombie")
    check_gone(d, p.pid)
    d.stop()


def test_the_list_knows_at_once():
    """Whoever has seen a process end does not find it among those that run."""
    several = [lib.Process("sleep", "600") for _ in range(40)]
    d = lib.Daemon(*several)
    d.get("/")
    connection = d.connect()
    for n, p in enumerate(several, 1):
        ended = os.pidfd_open(p.pid)
        p.popen.send_signal(signal.SIGKILL)
        select.select([ended], [], [])  # its parent has not asked: its number is there still
        os.close(ended)
        rows = re.findall(r"<tr><td.*</tr>", d.get("/", connection=connection).text())
        check(len(rows) == len(several) and sum("(ended)" in r for r in rows) == n, "of %d that have ended: %s" % (n, rows))
    d.stop()


def test_fork():
    """The child is another process: what it does is not counted."""
    p = life("fork")
    child = lib.eventually(lambda: lib.children(p.pid), "no child")[0]
    d = lib.Daemon(p, arguments=FAST)
    profile = d.profile(2, at_least=100)
    lib.check_complete(profile)
    check(lib.samples(profile, "parent_work") > 0, "no parent")
    check(not lib.samples(profile, "child_work"), "the child is counted")
    d.stop()
    d = lib.Daemon(child, arguments=FAST)
    profile = d.profile(1, at_least=50)
    check(lib.samples(profile, "child_work") and not lib.samples(profile, "parent_work"),
          "the parent is counted")
    d.stop()


def test_threads_that_come_and_go():
    """200 threads, four at a time, each gone after 20 ms of work: every one is there, none is lost."""
    p = life("storm", "200", "20", stdin=subprocess.PIPE)
    d = lib.Daemon(p, arguments=FAST)
    result = []
    windows = threading.Thread(target=lambda: result.append(d.window(3600)))
    windows.start()
    once_armed(d.pid, lambda: go(p)).join()
    truth = int(p.line(r"^truth (\d+)", timeout=600).group(1)) / 1e9
    p.kill()  # which ends the window
    windows.join()
    check(result, "no answer")
    profile = lib.profile_of(result[0].body)
    lib.check_complete(profile, at_least=500, share=0.995)  # one that is taken down has no stack any more
    lib.check_nothing_lost(profile)
    labels = {s.labels["thread"][0] for s in profile.samples if "thread" in s.labels}
    missing = {"w%03d" % i for i in range(200)} - labels
    # each has 20 samples; that one has none at all happens once in 400 million
    check(not missing, "no samples of %s" % sorted(missing)[:10])
    n = lib.samples(profile, "storm_work")
    # the coin: five standard deviations, and what the threads do before they are called so
    check(abs(n - truth * 1000) <= 5 * (truth * 1000) ** 0.5 + 0.02 * truth * 1000,
          "%d samples of %.3f s" % (n, truth))
    d.stop()


def test_the_first_thread_ends():
    """The leader is a zombie and the rest goes on: there are no maps under its number any more."""
    p = life("leader")
    lib.eventually(lambda: lib.stat_field(p.pid, 3) == "Z", "the leader lives")
    d = lib.Daemon(p, arguments=FAST)
    profile = d.profile(1, at_least=100)
    lib.check_complete(profile)
    check(lib.samples(profile, "after_leader") >= 0.9 * profile.total("samples"), "names")
    check(b"leader" in d.get("/debug/pprof/cmdline").body, "no command line")
    d.stop()


def test_the_first_thread_ends_during_the_window():
    p = life("leader")
    d = lib.Daemon(p, arguments=FAST)
    profile = d.profile(2, at_least=100)
    lib.check_complete(profile)
    check(not lib.comments(profile, "ended"), "taken for ended: %s" % profile.comments)
    d.stop()


def test_thread_names():
    """The label `thread`, whatever the bytes: valid UTF-8 without control characters, and none where there
    is no name. The profile's own text for what a comment may not begin with is left alone."""
    p = life("names")
    lib.eventually(lambda: len(os.listdir("/proc/%d/task" % p.pid)) == 7, "threads")
    profile = lib.Daemon(p, arguments=FAST).profile(3, at_least=600)
    lib.check_complete(profile)
    seen = {}
    for s in profile.samples:
        if any(f.name == "named_work" for f in s.frames):
            key = s.labels.get("thread", [None])[0]
            seen[key] = seen.get(key, 0) + s.values[0]
    expected = {"new?line", "q\"uo\\te'", "??!", "\u00e9t\u00e9", "executableInfo=", None}
    check(set(seen) - {"life"} == expected, "labels %s" % sorted(map(repr, seen)))


def test_ended_and_alive():
    """Of two targets one ends; the other is as before."""
    p, q = life("end", "300", "0", stdin=subprocess.PIPE), lib.start("rungs", "600")
    d = lib.Daemon(p, q, arguments=FAST)
    go(p)
    p.wait()
    a = d.window(1, pid=p.pid)
    check(a.status == 404 and "has ended" in a.text(), "status %d: %s" % (a.status, a.text()))
    profile = d.profile(1, pid=q.pid, at_least=50)
    lib.check_complete(profile)
    check(lib.samples(profile, "rung_leaf") > 0, "names")
    listing = d.get("/").text()
    rows = re.findall(r"<tr><td.*</tr>", listing)
    check(len(rows) == 2 and sum("(ended)" in r for r in rows) == 1, listing)
    d.stop()


def test_stopped():
    """A process under SIGSTOP does nothing: an empty profile, no error, and it is left stopped."""
    p = lib.start("rungs", "600")
    p.popen.send_signal(signal.SIGSTOP)
    lib.eventually(lambda: lib.stat_field(p.pid, 3) == "T", "not stopped")
    d = lib.Daemon(p)
    profile = d.profile()
    check(profile.total("samples") == 0, "%d samples" % profile.total("samples"))
    check(lib.stat_field(p.pid, 3) == "T", "it runs again")
    p.popen.send_signal(signal.SIGCONT)
    lib.check_complete(d.profile(1, at_least=20))
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
