#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""threads.py - goroutine and threadcreate: every thread's stack, what it waits for, who made it; against a target
whose functions say where they stand, and the parsers that people feed Go's dumps to."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import heaplib
import lib
from lib import check, fail

HERE = pathlib.Path(__file__).resolve().parent
HEADER = re.compile(r"^goroutine (\d+) \[([^\],]+?)(?: labels:\{\"thread\": \"(.*)\"\})?(?:, (\d+) minutes)?\]:$")


class Thread:
    def __init__(self, match):
        self.tid, self.state = int(match.group(1)), match.group(2)
        self.name, self.minutes = match.group(3), int(match.group(4) or 0)
        self.functions, self.places, self.created_by, self.creator, self.unavailable = [], [], None, None, False


def parse(text):
    """The threads of a dump; every line must be one that Go could have written, or a comment."""
    found, now = [], None
    for line in text.splitlines():
        match = HEADER.match(line)
        created = re.match(r"^created by (.+?)(?: in goroutine (\d+))?$", line)
        if match:
            now = Thread(match)
            found.append(now)
        elif not line or line.startswith("# pprofd: "):
            now = None
        elif line == "\tgoroutine running on other thread; stack unavailable":
            now.unavailable = True
        elif created:
            now.created_by, now.creator = created.group(1), int(created.group(2) or 0)
        elif line.startswith("\t"):
            place = re.match(r"^\t(.+):(\d+)( \+0x[0-9a-f]+)?$", line)
            check(place, "no place: %r" % line)
            now.places.append((place.group(1), int(place.group(2)), place.group(3)))
        else:
            check(line.endswith("(...)"), "no call: %r" % line)
            now.functions.append(line[:-5])
    return found


def dump(d, query=""):
    a = d.get("/debug/pprof/goroutine?debug=2" + query)
    check(a.status == 200, a.text())
    return a.text()


def tids(t):
    return {m.group(1): int(m.group(2)) for m in (re.match(r"thread (.*) (\d+)$", x) for x in t.lines) if m}


def profile(d, path):
    a = d.get("/debug/pprof/" + path)
    check(a.status == 200, a.text())
    p = lib.pprof.parse(a.body)
    problems = lib.pprof.validate(p)
    check(not problems, "; ".join(problems[:3]))
    return p


STATES = {
    "mutex": "sync.Mutex.Lock (held by goroutine LEADER)", "cond": "sync.Cond.Wait", "sem": "semacquire",
    "rdlock": "sync.RWMutex.RLock", "wrlock": "sync.RWMutex.Lock", "barrier": "semacquire: barrier",
    "sleep": "sleep", "poll": "IO wait", "pipe": "IO wait", "socket": "IO wait", "pause": "syscall: pause",
    "join": "semacquire: join (of goroutine JOINED)", "deep": "sleep", "handler": "sleep", "altstack": "sleep",
    "vfork": "syscall: vfork", "waitid": "syscall: waitid", "wide": "sleep",
}


def test_each_state():
    """State, stack and place of each kind of wait; of what runs no stack is made up."""
    t = lib.start("threads", "states")
    found = {x.name: x for x in parse(dump(lib.Daemon(t)))}
    numbers = tids(t)
    for name, state in STATES.items():
        x = found.get(name) or fail("no thread %s: %s" % (name, sorted(map(str, found))))
        state = state.replace("LEADER", str(t.pid)).replace("JOINED", str(numbers["joined"]))
        check(x.state == state, "%s: [%s], not [%s]" % (name, x.state, state))
        check(x.tid == numbers[name], "%s has the number %d" % (name, x.tid))
        check("in_" + name in x.functions and "at_place" in x.functions, "%s: %s" % (name, x.functions))
        check(not any(f.startswith("[") for f in x.functions), "%s: %s" % (name, x.functions))
        at = x.places[x.functions.index("in_" + name)]
        check(at[0].endswith("threads.c") and at[1] and at[2], "%s: %s" % (name, at))
    check("on_signal" in found["handler"].functions and "in_handler" in found["handler"].functions, "no handler")
    check("on_signal" in found["altstack"].functions, "no handler on its own stack")
    check(found["deep"].functions.count("in_depth") == 61, "%d calls" % found["deep"].functions.count("in_depth"))
    check(found["wide"].functions.count("in_width") == 151, "%d calls" % found["wide"].functions.count("in_width"))
    for name in ("spin", "vdso"):
        x = found[name]
        check(x.state in ("running", "runnable"), "%s: [%s]" % (name, x.state))
        check(x.unavailable == (x.state == "running"), "%s: [%s] with %s" % (name, x.state, x.functions))
        check(x.unavailable or "at_place" in x.functions, "%s: %s" % (name, x.functions))
    leader = [x for x in found.values() if x.tid == t.pid][0]
    check(leader.name is None and "in_pause" in leader.functions, "the leader: %s" % leader.functions)


def test_running_threads_have_no_made_up_stack():
    """Of 200 looks at threads that run all the time, each has either no stack or the right one."""
    t = lib.start("threads", "states", "vdso")
    d = lib.Daemon(t)
    n = {"running": 0, "runnable": 0}
    for _ in range(200):
        x = [x for x in parse(dump(d)) if x.name == "vdso"][0]
        n[x.state] += 1
        good = x.functions[-4:-2] == ["in_clock", "at_place"]
        check(x.unavailable or good, "%s" % x.functions)
    check(n["running"], "never seen running: %s" % n)


def test_stacks_go_with_their_registers():
    """Threads that move all the time: what is shown of one is of one moment."""
    n = 20
    t = lib.start("threads", "turns", str(n))
    d = lib.Daemon(t)
    seen = {"left": 0, "right": 0, "running": 0}
    for _ in range(40):
        found = [x for x in parse(dump(d)) if x.tid != t.pid]
        check(len(found) == n, "%d threads" % len(found))
        for x in found:
            if x.unavailable:
                seen["running"] += 1
                continue
            side = [s for s in ("left", "right") if "goes_" + s in x.functions]
            own = [f for f in x.functions if f in ("sleeps_left", "sleeps_right", "goes_left", "goes_right")]
            check("turns_thread" in x.functions and not any(f.startswith("[") for f in x.functions),
                  "%s" % x.functions)
            check(not own or own in (["goes_" + s for s in side], ["sleeps_" + s for s in side] +
                                     ["goes_" + s for s in side]), "%s" % x.functions)
            for s in side:
                seen[s] += 1
    check(seen["left"] and seen["right"], "%s" % seen)


def test_deep_stacks():
    """250 frames whole; more are cut, and say so."""
    for depth, last in ((200, None), (600, "[truncated")):
        t = lib.start("threads", "deep", str(depth))
        x = [x for x in parse(dump(lib.Daemon(t))) if x.name == "deep"][0]
        if last:
            check(x.functions[-1].startswith(last), "ends with %s" % x.functions[-1])
        else:
            check(x.functions.count("in_depth") == depth + 1 and "at_place" in x.functions,
                  "%d calls" % x.functions.count("in_depth"))
        lib.kill_descendants()


def test_odd_names():
    """Names with newlines, quotes, brackets, bytes that are no text, and none."""
    t = lib.start("threads", "names")
    d = lib.Daemon(t)
    found = sorted(str(x.name) for x in parse(dump(d)))
    check(found == ["??", "None", "None", "a_ b_ _c", "new?line", 'quo\\"te\\\\'], "names: %s" % found)
    p = profile(d, "goroutine")
    found = sorted(s.labels.get("thread", [""])[0] for s in p.samples)
    check(found == ["", "??", "a, b] [c", "new?line", 'quo"te\\', "threads"], "labels: %s" % found)
    text = d.get("/debug/pprof/goroutine?debug=1").text()
    check('# labels: {"thread":"quo\\"te\\\\"}\n' in text and '# labels: {"thread":"a, b] [c"}\n' in text, text)


def unanswered(n):
    t = lib.start("threads", "unanswered", str(n))
    if any(x.startswith("no userfaultfd") for x in t.lines):
        lib.skip(t.lines[0])
    return t


def unreadable(x):
    return x.functions[-1].startswith("[broken: UNREADABLE_STACK")


def is_stuck(pid):
    try:
        return lib.stat_field(pid, 3) == "D"
    except OSError:
        return False


def check_unanswered(d, n):
    """Of one dump: who can be read is whole, who cannot says so."""
    text = dump(d)
    found = parse(text)
    calm = [x for x in found if x.name == "calm"]
    check(len(calm) == 2 and all("in_pause" in x.functions and "tells" in x.functions and
                                 not any(f.startswith("[") for f in x.functions) for x in calm), text)
    lost = [x for x in found if x.name == "lost"]
    check(len(lost) == n and all(x.state == "syscall: pause" and unreadable(x)
                                 for x in lost), text)
    word = [x for x in found if x.name == "word"]
    check(len(word) == 1 and word[0].state.startswith("semacquire") and "in_word" in word[0].functions and
          "tells" in word[0].functions, text)
    check("memory of the process did not answer %d readings" % (n + 1) in text, text)
    check(len(found) == n + 4, text)


def test_memory_that_does_not_answer():
    """Stacks and a futex in memory whose reader waits for ever: the others' stacks are whole; meanwhile probes of
    another process come and go; and nothing of ours is left waiting."""
    t = unanswered(1)
    d = lib.Daemon(t)
    u = lib.start("heap-loop", "pairs", "1000", stdin=subprocess.PIPE)
    over = threading.Event()

    def dumps():
        n = 0
        while not over.is_set() or n < 2:
            check_unanswered(d, 1)
            n += 1

    def probes():
        try:
            for _ in range(2):
                e = lib.Daemon(u)
                what = heaplib.attached(e, pid=u.pid)
                check(what.startswith("uprobes"), "source: %s" % what)
                e.stop()
        finally:
            over.set()

    lib.together(dumps, probes)
    own = {d.child(n) for n in ("pprofd-starter", "pprofd-serve", "pprofd-symbolizer")}
    lib.eventually(lambda: set(lib.children(d.pid)) <= own, "a reader is left: %s" % lib.children(d.pid))
    check(lib.alive(t.pid), "the target has ended")
    d.stop()


def test_memory_that_never_answers():
    """More such threads than are waited for: it is given up, and the answer comes."""
    t = unanswered(10)
    d = lib.Daemon(t)
    found = parse(dump(d))
    check(len(found) == 14, "%d threads" % len(found))
    check(all(unreadable(x) for x in found if x.name == "lost"), "%s" % found)
    check([x.functions for x in found if x.name == "calm"][0][-1] != "[broken: UNREADABLE_STACK]", "before them")
    check(len(found) == len(set(x.tid for x in found)), "one is there twice")

    def cut_short():
        try:
            dump(d)
        except lib.Failure:
            pass

    def kill():
        readers = lib.eventually(lambda: [p for p in lib.children(d.pid) if is_stuck(p)], "nobody reads")
        os.kill(d.pid, signal.SIGKILL)
        lib.eventually(lambda: not any(map(lib.alive, readers)), "the reader goes on without us")

    lib.together(cut_short, kill)


def test_zombie_leader():
    """The leader has ended, its threads have not."""
    t = lib.start("threads", "zombie")
    lib.eventually(lambda: lib.stat_field(t.pid, 3) == "Z", "the leader lives")
    found = parse(dump(lib.Daemon(t)))
    check(sorted(f for x in found for f in x.functions if f in ("sleeper", "holds_long")) == ["holds_long", "sleeper"],
          "threads: %s" % [x.functions for x in found])


def test_stopped():
    """SIGSTOP: the stacks are there all the same, and it stays stopped."""
    t = lib.start("threads", "states", "mutex")
    d = lib.Daemon(t)
    os.kill(t.pid, signal.SIGSTOP)
    lib.eventually(lambda: lib.stat_field(t.pid, 3) == "T", "it does not stop")
    found = parse(dump(d))
    check(found and all(x.state == "waiting: stopped" for x in found), "states: %s" % [x.state for x in found])
    check(any("in_mutex" in x.functions for x in found), "no stack of the one in mutex")
    check(lib.stat_field(t.pid, 3) == "T", "it runs again")
    os.kill(t.pid, signal.SIGCONT)


def test_traced_by_another():
    """Somebody else's ptrace is not in the way."""
    t = lib.start("threads", "states", "cond")
    d = lib.Daemon(t)
    seize, interrupt = 0x4206, 0x4207
    lib.libc("ptrace", seize, t.pid, None, None)
    lib.libc("ptrace", interrupt, t.pid, None, None)
    lib.eventually(lambda: lib.stat_field(t.pid, 3) == "t", "it is not traced")
    found = {x.tid: x for x in parse(dump(d))}
    check(found[t.pid].state == "waiting: traced", "[%s]" % found[t.pid].state)
    check("in_pause" in found[t.pid].functions, "%s" % found[t.pid].functions)
    check([x for x in found.values() if x.name == "cond"][0].state == "sync.Cond.Wait", "the other one is in the way")


def test_threads_that_come_and_go():
    """100 dumps while 50 threads are created and end every second: each is whole."""
    t = lib.start("threads", "churn", "50")
    d = lib.Daemon(t)
    lib.eventually(lambda: profile(d, "threadcreate").total("threadcreate") > 20, "creation is not watched")
    n = broken = 0
    for _ in range(100):
        for x in parse(dump(d)):
            n += 1
            broken += any(f.startswith("[broken") for f in x.functions)
            if "come_and_go" in x.functions and not x.unavailable:
                check(x.created_by == "create" and x.creator == t.pid, "by %s in %s" % (x.created_by, x.creator))
        time.sleep(0.02)
    check(n >= 100 and broken <= n / 50, "%d of %d stacks are broken" % (broken, n))
    check(lib.alive(t.pid), "the target has ended")
    d.stop()


def test_deadlocks():
    """Of two threads, of three; and none where a holder sleeps."""
    for n in (2, 3):
        t = lib.start("threads", "deadlock", str(n))
        text = dump(lib.Daemon(t))
        numbers = [tids(t)["locker%d" % i] for i in range(n)]
        found = {x.tid: x for x in parse(text)}
        for i in range(n):
            check(found[numbers[i]].state == "sync.Mutex.Lock (held by goroutine %d)" % numbers[(i + 1) % n],
                  "[%s]" % found[numbers[i]].state)
        first = text.splitlines()[0]
        check(first.startswith("# pprofd: deadlock: ") and
              all(first.count("goroutine %d" % k) in (1, 2) for k in numbers), "on top stands %r" % first)
        check(text.count("deadlock") - text.count("deadlock(...)") == 1, "named more than once")
        lib.kill_descendants()
    t = lib.start("threads", "states")
    check("# pprofd: deadlock" not in dump(lib.Daemon(t)), "a deadlock where there is none")


def test_holder_of_a_mutex_with_priority_inheritance():
    t = lib.start("threads", "deadlock", "2", "inherit")
    text = dump(lib.Daemon(t))
    numbers = tids(t)
    # the kernel refuses to close the circle: the last one is told so, and sleeps for ever
    held = [x.state for x in parse(text) if "held by" in x.state]
    check(len(held) == 1 and int(re.search(r"goroutine (\d+)", held[0]).group(1)) in numbers.values(), "%s" % held)


def test_text_groups():
    """debug=1: equal stacks and labels are one group; the largest first."""
    t = lib.start("threads", "many", "20")
    d = lib.Daemon(t)
    text = d.get("/debug/pprof/goroutine?debug=1").text()
    groups = [int(x) for x in re.findall(r"^(\d+) @ 0x", text, re.M)]
    check(text.startswith("goroutine profile: total 21\n") and groups == [20, 1], text[:2000])
    check('# labels: {"thread":"threads"}\n' in text and "in_cond+0x" in text, text[:2000])
    p = profile(d, "goroutine")
    check(p.total("goroutine") == 21 and len(p.samples) == 2, "%d" % p.total("goroutine"))
    p = profile(d, "goroutine?tid=1")
    check({int(s.labels["tid"][0]) for s in p.samples} == set(map(int, os.listdir("/proc/%d/task" % t.pid))), "tids")
    page = d.get("/debug/pprof/").text()
    check("<tr><td>21</td><td><a href='goroutine?debug=1'>" in page, page)
    check('<a href="goroutine?debug=2">full goroutine stack dump</a>' in page, page)
    p = profile(d, "goroutine?seconds=1")
    check(not p.samples and p.duration_nanos >= 1e9, "a delta of nothing: %s" % [s.values for s in p.samples])


def created_target(n):
    t = lib.start("threads", "create", str(n), ready="^thread parent", stdin=subprocess.PIPE)
    d = lib.Daemon(t)
    lib.eventually(lambda: "0 @" not in d.get("/debug/pprof/threadcreate?debug=1").text() and
                   comments_of(profile(d, "threadcreate"), "counted since"), "creation is not watched")
    return t, d


def comments_of(p, pattern):
    return [c for c in p.comments if re.search(pattern, c)]


def test_threadcreate():
    """Who created whom, of threads that live; those from before in a group of their own; differences."""
    t, d = created_target(7)
    before = profile(d, "threadcreate")
    check([[f.name for f in s.frames] for s in before.samples] == [["[created before pprofd attached]"]],
          "%s" % [[f.name for f in s.frames] for s in before.samples])
    check(before.total("threadcreate") == 1, "%d before" % before.total("threadcreate"))
    delta = []
    t.popen.stdin.write(b"\n")
    lib.together(lambda: delta.append(profile(d, "threadcreate?seconds=2")),
                 lambda: (time.sleep(0.5), t.popen.stdin.flush()))
    t.line("^ready")
    after = profile(d, "threadcreate")
    mine = [s for s in after.samples if any(f.name == "parent_site" for f in s.frames)]
    check(after.total("threadcreate") == 8 and len(mine) == 1 and mine[0].values[0] == 7,
          "%s" % [(s.values, [f.name for f in s.frames]) for s in after.samples])
    names = [f.name for f in mine[0].frames]
    check(names.index("create") < names.index("parent_site") < names.index("parent_thread"), "%s" % names)
    check(delta[0].total("threadcreate") == 7 and len(delta[0].samples) == 1, "%s" % [s.values for s in delta[0].samples])
    text = d.get("/debug/pprof/threadcreate?debug=1").text()
    check(text.startswith("threadcreate profile: total 8\n") and "#\tstarts sleeper (7 live)\n" in text, text)
    found = [x for x in parse(dump(d)) if "sleeper" in x.functions]
    check(len(found) == 7 and all(x.created_by == "create" and x.creator == t.pid for x in found),
          "%s" % [(x.created_by, x.creator) for x in found])
    check("<tr><td>8</td><td><a href='threadcreate?debug=1'>" in d.get("/debug/pprof/").text(), "the index")


def test_threads_that_have_ended_stay_counted():
    t = lib.start("threads", "churn", "100")
    d = lib.Daemon(t)
    lib.eventually(lambda: profile(d, "threadcreate").total("threadcreate") > 100, "too few")
    p = profile(d, "threadcreate")
    check(len(p.samples) == 2, "%s" % [[f.name for f in s.frames] for s in p.samples])
    least = p.total("threadcreate")
    time.sleep(1)
    check(least < profile(d, "threadcreate").total("threadcreate") < least + 1000, "it does not go up")


def parsers():
    if not shutil.which("go"):
        lib.skip("go is not installed")
    to = lib.directory() / "dumps"
    p = subprocess.run(["go", "build", "-o", str(to), "."], cwd=str(HERE / "dumps"), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=lib.DEADLINE, check=False)
    if p.returncode and b"dial tcp" in p.stdout:
        lib.skip("no Go module proxy")
    check(p.returncode == 0, p.stdout.decode(errors="replace"))
    return str(to)


def parsed(program, text):
    p = subprocess.run([program], input=text.encode(), stdout=subprocess.PIPE, timeout=60, check=True)
    return json.loads(p.stdout)


def test_parsers_of_go_dumps():
    """panicparse and gostackparse read ours: numbers, states, minutes, calls, places."""
    program = parsers()
    t = lib.start("threads", "states")
    d = lib.Daemon(t)
    for query in ("", "&labels=0", "&format=panicparse"):
        text = dump(d, query)
        mine = parse(text)
        seen = parsed(program, text)
        running = [x for x in mine if x.unavailable]
        # it takes headers for no files, and the C library's debug file, where there is one, names some
        read = "panicparse" in query or all(p[0].endswith((".c", ".s", "??")) for x in mine for p in x.places)
        names = ("panicparse", "gostackparse") if read else ("gostackparse",)
        check(not read or not seen["panicparse_errors"], "panicparse: %s" % seen["panicparse_errors"])
        # gostackparse does not know Go's own line for threads that run
        check(len(seen["gostackparse_errors"] or []) == len(running), "gostackparse: %s" % seen["gostackparse_errors"])
        for name in names:
            check({g["ID"] for g in seen[name]} >= {x.tid for x in mine if not x.unavailable}, "%s misses some" % name)
            for g in seen[name]:
                x = [x for x in mine if x.tid == g["ID"]][0]
                check(g["State"].startswith(x.state) and g["Minutes"] == x.minutes, "%s: %s" % (name, g))
                check(x.unavailable or len(g["Functions"]) == len(x.functions), "%s: %s" % (name, g))
                check(x.unavailable or g["Lines"] == [p[1] for p in x.places], "%s: %s" % (name, g))
    check(all(g["State"] in (x.state for x in mine) for g in seen["panicparse"]), "panicparse's states are not bare")
    t = lib.start("threads", "deadlock", "3")
    seen = parsed(program, dump(lib.Daemon(t), "&format=panicparse"))
    for name in ("panicparse", "gostackparse"):
        check(len(seen[name]) == 4 and sum("held by goroutine" in g["State"] for g in seen[name]) == 3, "%s" % seen)


def test_parsers_read_cxx():
    """Names with operators and namespaces, files that do not end in .c."""
    program = parsers()
    t, d = cxx()
    text = dump(d, "&format=panicparse")
    seen = parsed(program, text)
    check(not seen["panicparse_errors"] and not seen["gostackparse_errors"], "%s" % seen)
    for name in ("panicparse", "gostackparse"):
        check(len(seen[name]) == 5, "%s: %d" % (name, len(seen[name])))
        check(all(len(g["Functions"]) == len(x.functions) for g, x in zip(seen[name], parse(text))), "calls")
        check(sum(g["CreatedBy"].split(" in ")[0] == "start_all" for g in seen[name]) == 4, "%s" % [g["CreatedBy"] for g in seen[name]])


def cxx():
    t = lib.start("threads-cxx", ready="^waiting", stdin=subprocess.PIPE)
    d = lib.Daemon(t)
    lib.eventually(lambda: comments_of(profile(d, "threadcreate"), "counted since"), "creation is not watched")
    t.popen.stdin.write(b"\n")
    t.popen.stdin.flush()
    t.line("^ready")
    return t, d


def test_cxx():
    """The user's function created it, and it begins in the user's function, whatever libstdc++ puts between."""
    t, d = cxx()
    found = [x for x in parse(dump(d)) if x.created_by]
    check(len(found) == 4 and all(x.created_by == "start_all" and x.creator == t.pid for x in found),
          "%s" % [x.created_by for x in found])
    states = sorted(x.state for x in found)
    check(states == ["sleep", "sync.Cond.Wait", "sync.Mutex.Lock (held by goroutine %d)" % t.pid,
                     "sync.RWMutex.RLock"], "%s" % states)
    text = d.get("/debug/pprof/threadcreate?debug=1").text()
    for name in ("waits_for_mutex", "waits_for_condition", "reads"):
        check("starts " + name + " (" in text, text)


@lib.meanwhile
def test_minutes():
    """A wait of more than a minute says so; one that pprofd has seen the beginning of."""
    t = lib.start("threads", "churn", "1")
    d = lib.Daemon(t)
    u = lib.start("threads", "states", "cond")
    e = lib.Daemon(u)
    dump(e)
    time.sleep(60)
    # it is told from when waits are looked at, which may be a moment after the first dump
    minutes = lib.eventually(lambda: [x.minutes for x in parse(dump(e)) if x.name == "cond"][0], "no minute", pause=0.5)
    check(minutes == 1, "%d minutes" % minutes)
    check(not any(x.minutes for x in parse(dump(d))), "minutes of a thread that wakes up all the time")


def test_record():
    """`pprofd record goroutine` and threadcreate."""
    t = lib.start("threads", "many", "5")

    def record(*arguments):
        p = subprocess.run([lib.PPROFD, "record", *arguments, "--pid", str(t.pid), "--output", "/dev/stdout"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                           check=False)
        check(p.returncode == 0, p.stderr.decode())
        return p.stdout

    began = time.monotonic()
    check(lib.pprof.parse(record("goroutine")).total("goroutine") == 6, "not six threads")
    found = parse(record("goroutine", "--format", "dump").decode())
    check(len(found) == 6 and time.monotonic() - began < 9, "%d threads; it waits" % len(found))
    check(not lib.pprof.parse(record("goroutine", "--seconds", "1")).samples, "a difference")
    t.kill()
    t = lib.start("threads", "churn", "50")
    n = lib.pprof.parse(record("threadcreate", "--seconds", "2")).total("threadcreate")
    check(50 < n < 130, "%d threads in two seconds" % n)


if __name__ == "__main__":
    lib.run(globals())
