#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""names.py - where names come from when they are not in the file that is mapped, and how they are spelled."""

import atexit
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess

import containers
import heaplib
import lib
from lib import check

SOURCE = lib.ROOT / "tests" / "targets" / "named.cc"
LOOP, CALL = [i + 1 for mark in ("LINE OF THE LOOP", "LINE OF THE CALL")
              for i, line in enumerate(SOURCE.read_text().splitlines()) if mark in line]
LIBRARY = "/usr/lib/debug"


def objcopy(*arguments):
    subprocess.run(["objcopy", *[str(a) for a in arguments]], check=True)


def build_id(path):
    text = subprocess.run(["readelf", "-n", str(path)], stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.search(r"Build ID: ([0-9a-f]+)", text).group(1)


def stripped(where, *more):
    """A directory with `prog`, which has lost all names, and `prog.debug`, which has them."""
    whole = lib.target("named")
    objcopy("--only-keep-debug", whole, where / "prog.debug")
    objcopy("--strip-all", *more, whole, where / "prog")
    return where


def linked(where):
    """Without a build-id, so that the link alone leads to the names."""
    stripped(where, "--remove-section=.note.gnu.build-id")
    objcopy("--add-gnu-debuglink=%s" % (where / "prog.debug"), where / "prog")
    return where


def with_mounts(where, script, *arguments):
    """Runs where/prog in a mount namespace whose /usr/lib/debug is its own: `script` fills it."""
    if not os.path.isdir(LIBRARY):  # something to mount on
        os.mkdir(LIBRARY)
        atexit.register(os.rmdir, LIBRARY)
    return containers.in_shell('mount -t tmpfs none %s; cd "$1"; %s; exec ./prog' % (LIBRARY, script), where, *arguments,
                               before=("unshare", "-m"))


def check_named(p, what):
    """The inlined call with its line, within the function with its."""
    inner = [(s, i) for s in p.samples for i, f in enumerate(s.frames)
             if f.name == "shop::inlined" and f.line in (LOOP - 1, LOOP)]
    check(inner, "%s: no names: %s" % (what, sorted({f.name for s in p.samples for f in s.frames})[:12]))
    for s, i in inner:
        outer = s.frames[i + 1]
        check(outer.name == "shop::box::fill" and outer.line == CALL and
              outer.system_name.startswith("_ZN4shop3boxIjE4fill"), "%s: called by %s:%d" % (what, outer.name, outer.line))
        check(outer.file.endswith("named.cc"), outer.file)


def check_nameless(p, what):
    found = [f.name for s in p.samples for f in s.frames if f.name.startswith("shop::")]
    check(p.samples and not found, "%s: %s" % (what, found[:3]))


def profiles(d, pids):
    """One of each target, all at once: (what it is, its profile)."""
    with concurrent.futures.ThreadPoolExecutor(len(pids)) as pool:
        return list(zip(pids, pool.map(lambda pid: d.profile(pid=pid, at_least=3), pids.values())))


def test_debug_files():
    """In each place where one can be, of the target's own mounts and of ours; and files that belong to others."""
    other = lib.directory() / "other.debug"
    objcopy("--only-keep-debug", lib.target("jit"), other)
    cache = lib.directory()
    known = build_id(lib.target("named"))
    by_id = "%s/.build-id/%s" % (LIBRARY, known[:2])
    put = "mkdir -p %s; mv prog.debug %s/%s.debug" % (by_id, by_id, known[2:])
    where = stripped(lib.directory())
    cached = stripped(lib.directory(), "--set-section-flags=.comment=alloc")  # another file, with the same build-id
    (cache / known).mkdir()
    shutil.move(cached / "prog.debug", cache / known / "debuginfo")
    below = linked(lib.directory())
    (below / ".debug").mkdir()
    shutil.move(below / "prog.debug", below / ".debug" / "prog.debug")
    changed = linked(lib.directory())
    with open(changed / "prog.debug", "ab") as f:
        f.write(b"\0")
    targets = {
        "by build-id": with_mounts(where, put),
        "in .debug": with_mounts(below, "true"),
        "by directory": with_mounts(linked(lib.directory()), 'mkdir -p "%s$1"; mv prog.debug "%s$1"' % (LIBRARY, LIBRARY)),
        "with another CRC": with_mounts(changed, "true"),
        "of another": with_mounts(stripped(lib.directory(), "--set-section-flags=.comment=alloc,readonly"),
                                  "mkdir -p %s; cp %s %s/%s.debug" % (by_id, other, by_id, known[2:])),
        "in the cache": with_mounts(cached, "true"),
    }
    d = lib.Daemon(*targets.values(), env=dict(os.environ, DEBUGINFOD_CACHE_PATH=str(cache)))
    for what, p in profiles(d, {what: t.pid for what, t in targets.items()}):
        if what == "with another CRC":
            check_nameless(p, what)
        else:  # what is another's is passed over for the next one
            check_named(p, what)
    p = d.profile(pid=targets["of another"].pid, at_least=3)  # all have been looked at by now
    check(lib.comments(p, "debug files: [0-9]+ were found, [0-9]+ more belong to other files"), "%s" % p.comments)
    check(len(d.said("prog: .* belong to others")) == 2, "what was refused is not said: %s" % d.lines[-5:])
    check(not os.path.exists("%s/%s.debug" % (by_id, known[2:])), "we see it, too")
    d.stop()


def test_dwz():
    """What two debug files have in common is in a third one."""
    if not shutil.which("dwz"):
        lib.skip("dwz is not installed")
    where = lib.directory()
    for name in ("one", "two"):
        shutil.copy(lib.target("named"), where / name)
    common = "%s/.dwz/common.debug" % LIBRARY
    p = subprocess.run(["dwz", "-m", "common", "-M", common, "one", "two"], cwd=where, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=False)
    if p.returncode or not (where / "common").exists():
        lib.skip("dwz: %s" % p.stdout.strip())
    objcopy("--strip-all", where / "one", where / "prog")
    objcopy("--only-keep-debug", where / "one", where / "prog.debug")
    objcopy("--add-gnu-debuglink=%s" % (where / "prog.debug"), where / "prog")
    t = with_mounts(where, "mkdir %s/.dwz; mv common %s" % (LIBRARY, common))
    d = lib.Daemon(t)
    check_named(d.profile(at_least=3), "dwz")
    d.stop()


def test_dwp():
    """Split DWARF, in one package beside the program."""
    for tool in ("g++", "llvm-dwp"):
        if not shutil.which(tool):
            lib.skip("%s is not installed" % tool)
    where = lib.directory()
    subprocess.run(["g++", "-O2", "-g", "-gsplit-dwarf", "-o", "prog", str(SOURCE)], cwd=where, check=True)
    subprocess.run(["llvm-dwp", "-e", "prog", "-o", "prog.dwp"], cwd=where, check=True)
    for dwo in where.glob("*.dwo"):
        dwo.unlink()
    p = lib.Process(where / "prog")
    p.line("^ready")
    d = lib.Daemon(p)
    check_named(d.profile(at_least=3), "dwp")
    d.stop()


def split_off(compiler, directory=""):
    """A directory with `prog` and its .dwo, which is at `directory`, as the compiler says."""
    where = lib.directory(world=True)
    maps = ["-fdebug-prefix-map=%s=%s" % (where, directory)] if directory else []
    subprocess.run([compiler, "-O2", "-g", "-gsplit-dwarf", *maps, "-o", "prog", str(SOURCE)], cwd=where, check=True)
    return where


def inflated(where, section, size):
    """A program whose section says that it is so large, once it is inflated."""
    objcopy("--compress-debug-sections=zlib", lib.target("named"), where / "prog")
    text = subprocess.run(["readelf", "-SW", str(where / "prog")], stdout=subprocess.PIPE, text=True, check=True).stdout
    at = int(re.search(r"\] %s\s+PROGBITS\s+\w+ (\w+)" % re.escape(section), text).group(1), 16)
    with open(where / "prog", "r+b") as f:
        f.seek(at + 8)
        f.write(size.to_bytes(8, "little"))
    return where


def test_loose_dwo():
    """Split DWARF without a package: where the compiler says, in the target's own mounts, and beside the program; only what
    belongs to it, and only what the target could read. What is past a bound is told."""
    for tool in ("g++", "clang++"):
        if not shutil.which(tool):
            lib.skip("%s is not installed" % tool)
    foreign, other, hidden, beside = (split_off(c) for c in ("g++", "clang++", "g++", "clang++"))
    inside, elsewhere = split_off("g++", LIBRARY), split_off("clang++", "/nowhere")
    dwo = {where: next(where.glob("*.dwo")) for where in (foreign, other, hidden, beside, inside, elsewhere)}
    shutil.copy(dwo[other], dwo[foreign])
    dwo[hidden].chmod(0o600)
    low = ("setpriv", "--reuid", str(lib.NOBODY), "--regid", str(lib.NOBODY), "--clear-groups")
    targets = {
        "as told": lib.Process(beside / "prog"),
        "in its own mounts": with_mounts(inside, "mv *.dwo %s" % LIBRARY),
        "beside it": lib.Process(elsewhere / "prog"),
        "of another": lib.Process(foreign / "prog"),
        "unreadable": lib.Process(*low, hidden / "prog"),
        "too large": lib.Process(inflated(lib.directory(), ".debug_info", 1 << 28) / "prog"),
    }
    for t in targets.values():
        if t is not targets["in its own mounts"]:
            t.line("^ready")
    d = lib.Daemon(*targets.values())
    for what, p in profiles(d, {what: t.pid for what, t in targets.items()}):
        if what in ("of another", "unreadable", "too large"):
            names = {f.name for s in p.samples for f in s.frames}
            check("shop::box::fill" in names and "shop::inlined" not in names, "%s: %s" % (what, names))
        else:
            check_named(p, what)
    p = d.profile(pid=targets["as told"].pid, at_least=3)  # all have been looked at by now
    check(lib.comments(p, "names: debug information of 1 files is past a bound: 1 sections or units"), "%s" % p.comments)
    check(lib.comments(p, "split DWARF: 1 .dwo files are not there, 1 more belong to other files"), "%s" % p.comments)
    d.stop()


def jit(where, how, **options):
    return lib.start("jit", where, how, **options)


def test_code_without_a_file():
    """As the target tells of it; not as others do, and not through links."""
    where = lib.directory(world=True)
    apart = containers.in_shell('exec 9<"$1"; mount -t tmpfs none /tmp; exec /proc/self/fd/9 /tmp map', lib.target("jit"),
                                before=("unshare", "-m", "-p", "--fork", "--mount-proc"))
    targets = {"map of another namespace": containers.inner(apart), "dump": jit(where, "dump").pid}
    mine = [jit("/tmp", how) for how in ("map", "link", "foreign")]
    targets.update(zip(("map", "link", "foreign"), (p.pid for p in mine)))
    try:
        d = lib.Daemon(*targets.values())
        for what, p in profiles(d, targets):
            pid = targets[what]
            n = {name: lib.samples(p, re.escape(name)) for name in
                 ("jit_one", "jit_two", "was_here_before", "[anonymous code]")}
            told = what not in ("link", "foreign")
            check(bool(lib.comments(p, "code without a file: 1 lines")) == (told and "map" in what), "%s" % p.comments)
            check(bool(n["jit_one"] or n["jit_two"]) == told and bool(n["[anonymous code]"]) != told and
                  not n["was_here_before"], "%s: %s" % (what, n))
            lines = {(f.file, f.line) for s in p.samples for f in s.frames if f.name.startswith("jit_")}
            allowed = {("/made/one.js", 7), ("/made/one.js", 9), ("", 0)} if what == "dump" else {("", 0)}
            check(not told or (lines <= allowed and (what != "dump" or ("/made/one.js", 9) in lines)), "%s: %s" % (what, lines))
            if told:
                shown = [f.address for s in p.samples for f in s.frames if f.name.startswith("jit_")][0]
                answer = d.get("/pid/%d/debug/pprof/symbol?0x%x+0x10" % (pid, shown)).text()
                check(re.fullmatch("num_symbols: 1\n0x%x jit_(one|two)\n" % shown, answer), answer)
        d.stop()
    finally:
        for p in mine:
            for name in ("perf-%d.map", "perf-%d.map.real"):
                pathlib.Path("/tmp", name % p.pid).unlink(missing_ok=True)


def test_node():
    """Of a JIT compiler of others."""
    if not shutil.which("node"):
        lib.skip("node is not installed")
    script = lib.directory() / "work.js"
    script.write_text("function hotLoop(n) { let s = 0; for (let i = 0; i < n; i++) s = (s + i * 7) % 1000003; return s; }\n"
                      "let t = 0; for (let i = 0; i < 300; i++) t += hotLoop(100000);\n"
                      "console.log('ready');\nfor (;;) t += hotLoop(100000);\n")
    t = lib.Process("node", "--perf-basic-prof", "--no-use-osr", script, cwd=script.parent)  # it leaves a log there
    try:
        t.line("^ready")
        d = lib.Daemon(t)
        p = d.profile(at_least=5)
        check(lib.samples(p, r".*hotLoop .*work\.js.*"), "%s" % sorted({f.name for s in p.samples for f in s.frames}))
        d.stop()
    finally:
        pathlib.Path("/tmp/perf-%d.map" % t.pid).unlink(missing_ok=True)


def test_demangle():
    """One function, spelled in three ways; in each answer the same."""
    d = lib.Daemon(lib.start("named"))
    linkage = "_ZN4shop3boxIjE4fillEjPKc"
    spelled = {"": "shop::box::fill", "&demangle=simple": "shop::box::fill", "&demangle=none": linkage,
               "&demangle=full": "shop::box<unsigned int>::fill(unsigned int, char const*)"}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda query: d.profile(query=query, at_least=3), spelled))
        folded = list(pool.map(lambda query: d.window(query=query + "&format=folded").text(), spelled))
    for query, p, text in zip(spelled, seen, folded):
        found = {f.name for s in p.samples for f in s.frames if f.system_name == linkage}
        check(found == {spelled[query]} and spelled[query] in text, "%s: %s" % (query, found))
    a = d.get("/debug/pprof/profile?seconds=1&demangle=most")
    check(a.status == 400 and "none, simple and full" in a.text(), "%d %s" % (a.status, a.text()))
    d.stop()


def go(*arguments):
    p = subprocess.run(["go", "tool", "pprof", *arguments], stdin=subprocess.DEVNULL, check=False,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                       env=dict(os.environ, PPROF_TMPDIR=str(lib.directory()), GOTOOLCHAIN="local"))
    check(p.returncode == 0, "go tool pprof %s: %s" % (" ".join(arguments), p.stderr.decode()[-300:]))
    return p.stdout.decode()


def test_names_without_linkage():
    """What GCC gives no linkage name is shown with what it is in, and keeps its own name."""
    if not shutil.which("g++"):
        lib.skip("g++ is not installed")
    where = lib.directory()
    (where / "prog.cc").write_text("""#include <cstdio>
static volatile unsigned long sink;
namespace shelf {
static void fill(unsigned n)
{
	auto each = [](unsigned k) __attribute__((always_inline)) { for (unsigned i = 0; i < k; i++) sink = sink + i; };
	each(n);
}
}
int main()
{
	volatile unsigned n = 1000000;
	std::puts("ready");
	std::fflush(stdout);
	for (;;)
		shelf::fill(n);
}
""")
    subprocess.run(["g++", "-O2", "-g", "-o", "prog", "prog.cc"], cwd=where, check=True)
    t = lib.Process(where / "prog")
    t.line("^ready")
    d = lib.Daemon(t)
    name = "shelf::fill::{lambda}::operator()"

    def named():
        body = d.window().body
        p = lib.profile_of(body)
        return body if (name, "operator()", 6) in {(f.name, f.system_name, f.line) for s in p.samples for f in s.frames} else None

    body = lib.eventually(named, "no %s" % name)
    if shutil.which("go"):
        (where / "profile").write_bytes(body)
        top = go("-top", str(where / "profile"))
        check(name in top, top)
    d.stop()


def test_remote_symbols():
    """`go tool pprof` asks for the names of a text profile; so can others, by any method."""
    t = heaplib.Told("heap-steps")
    d = heaplib.watched(t)
    t.do("one 60000 1000")
    if shutil.which("go"):
        top = go("-top", "-symbolize=remote", d.url("/debug/pprof/heap?debug=1"))
        check(re.search(r" site_one$", top, re.M), top)
    p = heaplib.get(d)
    shown, name = [(f.address, f.name) for s in p.samples for f in s.frames if f.name == "site_one"][0]
    want = "num_symbols: 1\n0x%x %s\n" % (shown, name)
    check(d.get("/debug/pprof/symbol?0x%x" % shown).text() == want, "GET")
    head = d.get("/debug/pprof/symbol", method="HEAD")
    check(head.status == 200 and not head.body, "HEAD")
    c = d.connect()
    c.request("POST", "/debug/pprof/symbol", body="0x%016x+0x1" % shown,
              headers={"Content-Type": "application/x-www-form-urlencoded"})
    check(c.getresponse().read().decode() == want, "POST")
    c.close()
    d.stop()


if __name__ == "__main__":
    lib.run(globals())
