#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""faults.py - files that are cut, gone or hostile, kernels that hide things, limits: a profile all the same,
what it lacks is said, and nothing dies."""

import os
import pathlib
import random
import shutil
import signal
import struct
import sys

import containers
import fuse
import lib
from lib import check

FAST = ("--hz", "500")


def loaded(prepare=lambda path: None, library="libone.so"):
    """A target that spins in a library of its own copy."""
    path = lib.directory(world=True) / "lib.so"
    shutil.copy(lib.target(library), path)
    prepare(path)
    return lib.start("life", "load", path), path


def sections(data):
    """{name: (offset, size)} of an ELF file, and where its section headers are."""
    offset, = struct.unpack_from("<Q", data, 0x28)
    size, n, names = struct.unpack_from("<HHH", data, 0x3a)
    rows = [struct.unpack_from("<IIQQQQ", data, offset + i * size) for i in range(n)]
    text = rows[names][4]
    found = {}
    for row in rows:
        end = data.index(b"\0", text + row[0])
        found[data[text + row[0]:end].decode()] = (row[4], row[5])
    return found, (offset, n * size)


def check_alive(d, before):
    """The same three processes as before, and nothing was said of an accident."""
    check(d.three() == before, "%s are %s now: %s" % (before, d.three(), d.lines[-3:]))


def check_honest(profile, at_least=50):
    """Nothing pretends: a stack leads to main, or says that it is broken."""
    check(profile.total("samples") >= at_least, "%s" % profile.comments)
    for s in profile.samples:
        names = [f.name for f in s.frames]
        check("main" in names or names[-1].startswith("[broken") or "_start" in names or
              not any(f.mapping and f.mapping.file.endswith("/lib.so") for f in s.frames),
              "a whole stack without main: %s" % names)


def text_end(path):
    """Where the executable segment ends, and the unwind tables and symbols begin."""
    data = path.read_bytes()
    at, = struct.unpack_from("<Q", data, 0x20)
    size, n = struct.unpack_from("<HH", data, 0x36)
    for i in range(n):
        kind, flags, offset, _, _, filesz = struct.unpack_from("<IIQQQQ", data, at + i * size)
        if kind == 1 and flags & 1:
            return (offset + filesz + 4095) & ~4095
    return lib.fail("%s has no text" % path)


def cut(path):
    with open(path, "r+b") as f:
        f.truncate(text_end(path))


def test_truncated_before_we_look():
    """The code is there and runs, its tables and symbols are not."""
    p, path = loaded()
    cut(path)
    d = lib.Daemon(p, arguments=FAST)
    before = d.three()
    for _ in range(2):
        profile = d.profile(1, at_least=50)
        check_honest(profile)
        check(lib.samples(profile, r"lib\.so\+0x[0-9a-f]+") >= 0.9 * profile.total("samples"),
              "names %s" % [f.name for f in profile.functions])
    check(lib.alive(p.pid), "the target has died")
    check_alive(d, before)
    d.stop()


def test_truncated_while_we_look():
    """The tables were read in time; the names were not."""
    p, path = loaded()
    d = lib.Daemon(p, arguments=FAST)
    before = d.three()
    lib.check_complete(d.profile(1, query="&format=pprof", at_least=50))
    cut(path)
    profile = d.profile(1, at_least=50)
    lib.check_complete(profile)
    check(lib.alive(p.pid), "the target has died")
    check_alive(d, before)
    d.stop()


def test_vanished_before_we_look():
    """Gone from its directory, and mapped: read by the mapping."""
    p, path = loaded()
    path.unlink()
    d = lib.Daemon(p, arguments=FAST)
    profile = d.profile(1, at_least=50)
    lib.check_complete(profile)
    check(lib.samples(profile, "work_one") >= 0.9 * profile.total("samples"), "names")
    d.stop()


def test_vanished_and_out_of_reach():
    """... and without the right to go by the mapping: the stack ends there, by name."""
    p, path = loaded()
    path.unlink()
    d = lib.Daemon(p, before=containers.BY_PATH, arguments=FAST)
    profile = d.profile(1, at_least=50)
    check_honest(profile)
    check(lib.comments(profile, r"NO_TABLE: \d+ samples in lib\.so"), "%s" % profile.comments)
    check(lib.samples(profile, r"\[broken: NO_TABLE lib\.so\]"), "no root says so")
    d.stop()


def test_replaced():
    """Another library has its name now."""
    p, path = loaded()
    other = path.parent / "new"
    shutil.copy(lib.target("libtwo.so"), other)
    other.rename(path)
    d = lib.Daemon(p, arguments=FAST)
    profile = d.profile(1, at_least=50)
    lib.check_complete(profile)
    check(lib.samples(profile, "work_one") and not lib.samples(profile, "work_two"), "names")
    d.stop()


MAPPED = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
os.close(fd)
print("ready", flush=True)
while True:
    pass
"""


def test_file_system_is_silent():
    """Whoever opens the file waits, and no signal ends that: the broker goes on, and others' profiles come."""
    try:
        files = fuse.Files(pathlib.Path("/bin/true").read_bytes())
    except OSError as e:
        lib.skip("no FUSE: %s" % e)
    p, other = lib.Process(sys.executable, "-c", MAPPED, files.name), loaded()[0]
    try:
        p.line("^ready")
        files.silent = (fuse.OPEN,)
        d = lib.Daemon(p, other, arguments=FAST)
        before = d.three()
        check(d.profile(1, pid=p.pid, at_least=50).total("samples"), "nothing of the process itself")
        lib.eventually(lambda: files.unanswered, "nobody has asked for the file")
        lib.check_complete(d.profile(1, pid=other.pid, at_least=50))
        check_alive(d, before)
        d.stop()
    finally:
        files.end()


def test_file_system_is_silent_for_a_moment():
    """What could not be opened then is opened later, without a word of the target's."""
    try:
        files = fuse.Files(pathlib.Path(lib.target("libone.so")).read_bytes())
    except OSError as e:
        lib.skip("no FUSE: %s" % e)
    try:
        p = lib.start("life", "load", files.name)
        files.silent = (fuse.OPEN,)
        d = lib.Daemon(p, arguments=FAST)
        check(lib.comments(d.profile(1, at_least=20), r"NO_TABLE: \d+ samples in file"), "it was opened all the same")
        files.silent = ()

        def whole():
            profile = d.profile(1, at_least=20)
            return lib.samples(profile, "work_one") >= 0.9 * profile.total("samples")

        lib.eventually(whole, "it is not tried again", 60)
        d.stop()
    finally:
        files.end()


def test_proc_has_processes_only():
    """A /proc as containers have it (subset=pid): no modules, no kallsyms, no sysctls. The user's part of
    the stacks is whole; the kernel's has no names, and one line says so."""
    p = lib.start("shapes", "plt", "600")
    cover = 'mount -t proc -o subset=pid proc /proc; ! [ -e /proc/modules ]; exec "$@"'
    d = lib.Daemon(p, before=("unshare", "-m", "sh", "-ec", cover, "sh"), arguments=FAST)
    profile = d.profile(1, at_least=100)
    lib.check_complete(profile)
    check(lib.samples(profile, "main") >= 0.9 * profile.total("samples"), "names")
    check(lib.samples(profile, r"\[kernel\]") > 0, "no kernel frames")
    check(len(d.said("kernel frames go without names")) == 1, "%s" % d.lines)
    d.popen.send_signal(signal.SIGTERM)
    check(d.wait() == 0, "status %s" % d.popen.returncode)


def test_a_target_under_limits():
    """None of its limits is ours."""
    p = lib.Process("prlimit", "--nofile=4:4", "--nproc=1:1", "--as=64000000", "--stack=65536",
                    "--data=8000000", "--memlock=0", "--core=0", lib.target("rungs"), "600")
    p.line("^ready")
    d = lib.Daemon(p, arguments=FAST)
    lib.check_complete(d.profile(1, at_least=50))
    d.stop()


def test_pprofd_under_limits():
    """No locked memory, and no right to raise the limit: maps are accounted to the cgroup."""
    p = lib.start("rungs", "600")
    d = lib.Daemon(p, arguments=FAST, before=(
        "prlimit", "--memlock=0:0", "--core=0:0", "--nofile=%d" % (256 + 4 * os.cpu_count()),
        "setpriv", "--bounding-set=-sys_resource,-ipc_lock", "--inh-caps=-all"))
    lib.check_complete(d.profile(1, at_least=50))
    d.stop()


def mapped(n):
    file = lib.directory() / "code"
    shutil.copy(lib.target("deep"), file)
    return lib.start("life", "map", n, file)


def test_three_thousand_mappings():
    """Anonymous ones and pieces of one file: all of them are followed."""
    p = mapped(3000)
    d = lib.Daemon(p, arguments=FAST)
    before = d.three()
    profile = d.profile(1, at_least=50)
    lib.check_complete(profile)
    check(lib.samples(profile, "among_mappings") >= 0.9 * profile.total("samples"), "names")
    check(not lib.comments(profile, "beyond the limit"), "%s" % profile.comments)
    check_alive(d, before)
    d.stop()


def test_more_mappings_than_we_follow():
    """The rest is counted, and said."""
    p = mapped(12000)
    d = lib.Daemon(p, arguments=FAST)
    before = d.three()
    for _ in range(2):
        profile = d.profile(1, at_least=50)
        check_honest(profile)
        check(lib.samples(profile, "among_mappings") >= 0.9 * profile.total("samples"), "names")
        said = lib.comments(profile, r"mappings: \d+ beyond the limit")
        check(said and int(said[0].split()[1]) > 5000, "%s" % profile.comments)
    check_alive(d, before)
    d.stop()


def spoil(*names, seed):
    """Random bytes over these sections of the file; "headers": over the section headers."""
    def change(path):
        data = bytearray(path.read_bytes())
        found, headers = sections(data)
        rng = random.Random(seed)
        for name in names:
            at, n = headers if name == "headers" else found.get(name, (0, 0))
            check(n or name == ".gnu_debugdata", "no section %s" % name)
            data[at:at + n] = rng.randbytes(n)
        path.write_bytes(data)
    return change


def check_each(changes, check_profile, windows):
    """One pprofd, one target for each way to change its library, all looked at together."""
    targets = [loaded(change)[0] for change in changes]
    d = lib.Daemon(*targets, arguments=FAST)
    before = d.three()
    for _ in range(windows):
        profiles = lib.together(*(lambda t=t: d.profile(2, pid=t.pid, at_least=50) for t in targets))
        for profile in profiles:
            check_profile(profile)
    for t in targets:
        check(lib.alive(t.pid), "a target has died")
    check_alive(d, before)
    d.stop()


def check_hostile(*names, seeds=3, complete=False):
    def check_profile(profile):
        check_honest(profile)
        if complete:
            lib.check_complete(profile)
    # the second window asks again for what failed in the first
    check_each([spoil(*names, seed=seed) for seed in range(seeds)], check_profile, 2)


def test_hostile_unwind_tables():
    check_hostile(".eh_frame")
    check_hostile(".eh_frame", ".eh_frame_hdr", seeds=2)


def test_hostile_section_headers():
    """Programs run without them: the stacks are whole, too."""
    check_hostile("headers", complete=True)


def test_hostile_symbols():
    check_hostile(".symtab", ".strtab", seeds=2, complete=True)


def test_hostile_debug_information():
    check_hostile(".debug_info", ".debug_abbrev", ".debug_line", seeds=2, complete=True)


def lie(seed):
    """Changes a few bytes of the unwind tables."""
    def change(path):
        rng = random.Random(seed)
        data = bytearray(path.read_bytes())
        at, n = sections(data)[0][".eh_frame"]
        for _ in range(4):
            data[at + rng.randrange(n)] = rng.randrange(256)
        path.write_bytes(data)
    return change


def test_wrong_unwind_tables():
    """Well-formed tables that lie. Nobody can see that, and a stack may be wrong; nothing dies, and not
    one sample is dropped."""
    check_each([lie(seed) for seed in range(8)],
               lambda profile: check(profile.total("samples") >= 50, "%s" % profile.comments), 1)


if __name__ == "__main__":
    lib.run(globals())
