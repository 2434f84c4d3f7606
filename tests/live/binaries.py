#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""binaries.py - one program linked in every way, and files that are gone or changed: whole stacks and
right names with lines."""

import os
import re
import shutil
import subprocess

import lib
from lib import check

LADDER = ["rung_leaf", "rung_3", "rung_2", "rung_1", "main"]
SOURCE = lib.ROOT / "tests" / "targets" / "rungs.c"


def marked(mark):
    """The line of rungs.c that bears the mark."""
    found = [n for n, line in enumerate(SOURCE.read_text().splitlines(), 1)
             if "/* %s */" % mark in line]
    check(len(found) == 1, "rungs.c: %r is there %d times" % (mark, len(found)))
    return found[0]


def line_of(profile, name):
    """The lines on which a function was seen calling."""
    return {f.line for s in profile.samples for f in s.frames[1:]
            if f.name == name and not s.frames[0] is f}


def check_ladder(profile):
    """main, rung_1, rung_2, rung_3, rung_leaf, in this order, each calling where the source does."""
    lib.check_complete(profile)
    whole = 0
    for s in profile.samples:
        names = [f.name for f in s.frames if f.name in LADDER]
        check(names == LADDER[len(LADDER) - len(names):], "not the ladder: %s" %
              [f.name for f in s.frames])
        if names == LADDER:
            whole += s.values[0]
    check(whole >= 0.9 * profile.total("samples"), "%d of %d samples under all rungs" %
          (whole, profile.total("samples")))
    for caller, callee in zip(LADDER[1:], LADDER):
        lines = line_of(profile, caller)
        check(marked("call of " + callee) in lines and len(lines) <= 2,
              "%s calls at lines %s, not %d" % (caller, lines, marked("call of " + callee)))
    leaf = {f.line for s in profile.samples for f in s.frames if f.name == "rung_leaf"}
    check(any(abs(line - marked("work of rung_leaf")) <= 1 for line in leaf), "lines %s" % leaf)
    files = {f.file for s in profile.samples for f in s.frames if f.name in LADDER}
    check(len(files) == 1 and files.pop().endswith("tests/targets/rungs.c"), "files %s" % files)


def daemon(*targets):
    """At a rate that gives a busy machine its samples, too."""
    return lib.Daemon(*targets, arguments=("--hz", "500"))


def check_program(path):
    d = daemon(started(path))
    profile = d.profile(at_least=50)
    check_ladder(profile)
    check(os.path.basename(profile.mappings[0].file) == os.path.basename(path),
          "the first mapping is %s" % profile.mappings[0].file)
    d.stop()


def started(path):
    p = lib.Process(path, "600")
    p.line("^ready")
    return p


def test_pie():
    check_program(lib.target("rungs"))


def test_frame_pointers():
    check_program(lib.target("rungs-fp"))


def test_non_pie():
    check_program(lib.target("rungs-non-pie"))


def test_static():
    check_program(lib.target("rungs-static"))


def test_static_pie():
    check_program(lib.target("rungs-static-pie"))


def symbols(path):
    """{address: name} of the functions, by nm."""
    text = subprocess.run(["nm", "--defined-only", path], stdout=subprocess.PIPE, check=True,
                          timeout=60).stdout.decode()
    return {int(a, 16): n for a, t, n in (line.split() for line in text.splitlines())
            if t in "tT"}


def stripped(path):
    """A stripped copy, and the symbols that it had."""
    copy = str(lib.directory() / "prog")
    had = symbols(path)
    subprocess.run(["strip", "-o", copy, path], check=True, timeout=60)
    return copy, had


def stubs(path):
    """Where the linker's stubs begin: they have unwind tables, and no symbols."""
    text = subprocess.run(["readelf", "-SW", path], stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode()
    return {int(a, 16) for a in re.findall(r"\.plt\S*\s+PROGBITS\s+([0-9a-f]+)", text)}


def check_stripped(path):
    """All code of one function under one name: prog+0x and the address where it starts."""
    copy, had = stripped(path)
    d = daemon(started(copy))
    profile = d.profile(at_least=50)
    lib.check_complete(profile)
    seen = {}
    for s in profile.samples:
        for f in s.frames:
            if not f.mapping or not f.mapping.file.endswith("/prog"):
                continue
            found = re.fullmatch(r"prog\+0x([0-9a-f]+)", f.name)
            check(found or f.name == "_start", "a frame is called %r" % f.name)
            if found:
                seen[int(found.group(1), 16)] = seen.get(int(found.group(1), 16), 0) + s.values[0]
    n = profile.total("samples")
    for address, name in had.items():
        if name in LADDER:
            check(seen.get(address, 0) >= 0.9 * n, "%s (%#x) is in %d of %d samples: %s" %
                  (name, address, seen.get(address, 0), n, [hex(a) for a in seen]))
    strays = [a for a in seen if a not in had and a not in stubs(copy)]
    check(not strays, "no function starts at %s" % [hex(a) for a in strays])
    d.stop()


def test_stripped():
    if not shutil.which("strip"):
        lib.skip("no strip")
    check_stripped(lib.target("rungs"))


def test_stripped_non_pie():
    if not shutil.which("strip"):
        lib.skip("no strip")
    check_stripped(lib.target("rungs-non-pie"))


def test_linked_without_symbols():
    """As the linker makes it with -s: the frames have no names, and the stacks are whole."""
    d = daemon(started(lib.target("rungs-stripped")))
    profile = d.profile(at_least=50)
    lib.check_complete(profile)
    check(not [f for f in profile.functions if f.name in LADDER], "names from nowhere")
    check([f for f in profile.functions if f.name.startswith("rungs-stripped+0x")], "no stubs")
    d.stop()


def copied(name="prog"):
    path = lib.directory() / name
    shutil.copy(lib.target("rungs"), path)
    return path


def test_deleted_while_it_runs():
    path = copied()
    p = started(path)
    path.unlink()
    d = daemon(p)
    profile = d.profile(at_least=50)
    check_ladder(profile)
    check(profile.mappings[0].file == str(path), "shown as %s" % profile.mappings[0].file)
    check(profile.mappings[0].build_id, "no build-id")
    d.stop()


def test_renamed_while_it_runs():
    path = copied()
    p = started(path)
    path.rename(path.parent / "moved")
    d = daemon(p)
    check_ladder(d.profile(at_least=50))
    d.stop()


def test_replaced_on_disk():
    """An upgrade: another program has the path now. What runs is the old one."""
    path = copied()
    p = started(path)
    other = path.parent / "other"
    shutil.copy(lib.target("life"), other)
    other.rename(path)
    d = daemon(p)
    check_ladder(d.profile(at_least=50))
    d.stop()


def test_replaced_between_two_windows():
    path = copied()
    p = started(path)
    d = daemon(p)
    check_ladder(d.profile(at_least=50))
    other = path.parent / "other"
    shutil.copy(lib.target("life"), other)
    other.rename(path)
    check_ladder(d.profile(at_least=50))
    # and a process of the new file beside the old one: the same path, two programs
    q = lib.Process(path, "fork")
    q.line("^ready")
    d.stop()
    d = daemon(p, q)
    check_ladder(d.profile(pid=p.pid, at_least=50))
    second = d.profile(pid=q.pid, at_least=50)
    lib.check_complete(second)
    check(lib.samples(second, "parent_work") and not lib.samples(second, "rung_leaf"),
          "the new program has the old one's names")
    d.stop()


def test_a_copy_in_anonymous_memory():
    """memfd: a file without any path."""
    fd = os.memfd_create("ghost")
    with open(lib.target("rungs"), "rb") as f:
        os.write(fd, f.read())
    p = lib.Process("/proc/self/fd/%d" % fd, "600", pass_fds=(fd,))
    p.line("^ready")
    d = daemon(p)
    check_ladder(d.profile(at_least=50))
    d.stop()


def test_names_with_odd_bytes():
    """A path that holds a newline, a quote and bytes that are no UTF-8."""
    where = os.fsencode(lib.directory()) + b"/new\nline \"q\" \xff"
    shutil.copy(lib.target("rungs"), where)
    p = lib.Process("/bin/sh", "-c", "exec ./*q* 600", cwd=os.path.dirname(where))
    p.line("^ready")
    d = daemon(p)
    profile = d.profile(at_least=50)
    check_ladder(profile)
    check("\n" not in profile.mappings[0].file, "a newline in %r" % profile.mappings[0].file)
    a = d.get("/debug/pprof/cmdline")
    check(a.body.split(b"\0")[-1] == b"600" and b"new\nline" in a.body, "cmdline %r" % a.body)
    d.stop()


SITES = ["site_malloc", "site_print", "site_sort", "site_lock", "site_cond", "site_sleep",
         "site_text", "site_pipe"]


def in_libc(name, copy=lambda path: path):
    """A C library without .eh_frame: threads that work and wait in it have whole stacks."""
    if not (lib.TARGETS / name).exists():
        lib.skip("there was no musl-gcc when the build was configured")
    return daemon(started(copy(str(lib.target(name)))))


def check_sites(windows, sites, function):
    """Each of these is seen, in this window or one of the next: a busy machine may not have let its thread
    come so far; and under the function that its thread runs."""
    profiles = []
    for site in sites:
        while not (found := [s for p in profiles for s in p.samples if any(f.name == site for f in s.frames)]):
            check(len(profiles) < 5, "%s was not seen" % site)
            profiles.append(windows())
        for s in found:
            names = [f.name for f in s.frames]
            if names[-1].startswith("[broken"):
                continue
            check(names.index(function) > names.index(site), "%s" % names)


def check_in_libc(name):
    """A new thread before its first instruction is on its own stack already, and the last instruction of
    a signal's return is one beyond the function: rarer than one stack in a hundred."""
    d = in_libc(name)

    def window():
        profile = d.profile(seconds=3, at_least=500)
        lib.check_complete(profile, share=0.99)
        return profile

    check_sites(window, [s for s in SITES if s not in ("site_cond", "site_sleep", "site_lock")], "run")
    d.stop()


def test_musl():
    check_in_libc("libc-work-musl")


def test_musl_static():
    check_in_libc("libc-work-musl-static")


def test_musl_static_stripped():
    """No symbols at all: what calls lead to, and pointers."""
    d = in_libc("libc-work-musl-static", lambda path: stripped(path)[0])
    lib.check_complete(d.profile(seconds=3, at_least=500), share=0.98)
    d.stop()


def check_waits_in_libc(name):
    """Every thread that waits says for what, and below what: futexes through the assembler of musl's
    cancellation points."""
    d = in_libc(name)

    def window():
        answer = d.get("/debug/pprof/block?seconds=3", timeout=60)
        check(answer.status == 200, answer.text)
        profile = lib.pprof.parse(answer.body)
        value = [sum(s.values) for s in profile.samples]
        broken = sum(v for v, s in zip(value, profile.samples)
                     if s.frames and s.frames[-1].name.startswith("[broken"))
        check(broken <= 0.01 * sum(value), "%d of %d" % (broken, sum(value)))
        return profile

    check_sites(window, ["site_lock", "site_cond"], "run")
    d.stop()


def test_musl_waits():
    check_waits_in_libc("libc-work-musl")


def test_musl_static_waits():
    check_waits_in_libc("libc-work-musl-static")


if __name__ == "__main__":
    lib.run(globals())
