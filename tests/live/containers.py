#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""containers.py - targets in other namespaces and other roots, pprofd in one of its own, and roots that
try to lead it out of them."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import binaries
import lib
from lib import check

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x1000, 0x4000, 1 << 18, 2
SYS_PIVOT_ROOT = 155  # x86_64
IN_ACCESS, IN_OPEN, IN_NONBLOCK = 1, 0x20, 0x800


def own_mounts():
    """What is mounted from here on is ours alone and goes with us."""
    lib.libc("unshare", CLONE_NEWNS)
    lib.libc("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def enter(root):
    """Becomes a process of a container: its own mounts, of which `root` is the root, and no others."""
    where = os.fsencode(root)
    own_mounts()
    lib.libc("mount", where, where, None, MS_BIND, None)
    os.chdir(where)
    lib.syscall(SYS_PIVOT_ROOT, b".", b".")
    lib.libc("umount2", b".", MNT_DETACH)
    os.chdir("/")


def inner(p):
    """The pid of what `unshare --fork` runs."""
    return lib.eventually(lambda: lib.children(p.pid), "no child")[0]


def in_shell(script, *arguments, before=()):
    """A target started by a shell script that says "ready" in the end."""
    p = lib.Process(*before, "sh", "-ec", script, "sh", *arguments)
    p.line("^ready")
    return p


def test_another_mount_namespace():
    """The binary is on a file system that only the target sees."""
    where = lib.directory()
    p = in_shell('mount -t tmpfs none "$1"; cp "$2" "$1/prog"; exec "$1/prog" 600', where,
                 lib.target("rungs"), before=("unshare", "-m"))
    check(not os.listdir(where), "we see it, too")
    d = binaries.daemon(p)
    binaries.check_ladder(d.profile(at_least=50))
    d.stop()


def libraries(program):
    text = subprocess.run(["ldd", program], stdout=subprocess.PIPE, check=True).stdout.decode()
    return re.findall(r"(/\S+) \(0x", text)


def make_root(*files):
    """A directory with programs and the libraries that they need, for chroot."""
    root = lib.directory(world=True)
    for path in files:
        shutil.copy(path, root / os.path.basename(path))
        for library in libraries(path):
            to = root / library.lstrip("/")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, to)
    return root


def test_another_root():
    root = make_root(lib.target("rungs"))
    p = lib.Process("chroot", root, "/rungs", "600")
    p.line("^ready")
    d = binaries.daemon(p)
    binaries.check_ladder(d.profile(at_least=50))
    d.stop()


def test_a_container():
    """Another mount namespace with another root: paths as they are in there."""
    root = make_root(lib.target("rungs"))
    p = lib.Process("/rungs", "600", setup=lambda: enter(root))
    p.line("^ready")
    d = binaries.daemon(p)
    profile = d.profile(at_least=50)
    binaries.check_ladder(profile)
    check(profile.mappings[0].file == "/rungs", "shown as %s" % profile.mappings[0].file)
    d.stop()


def test_another_pid_namespace():
    """It is number 1 in there; we call it by the number it has here."""
    p = lib.Process("unshare", "-p", "-f", "--kill-child", lib.target("rungs"), "600")
    p.line("^ready")
    pid = inner(p)
    check(lib.status(pid, "NSpid").split()[-1] == "1", "not the first of its namespace")
    d = binaries.daemon(pid)
    profile = d.profile(at_least=50)
    binaries.check_ladder(profile)
    check(lib.Account(profile).pid == pid, "called %d" % lib.Account(profile).pid)
    d.stop()


def test_everything_apart():
    """Mounts, pids, users, network, host name and all the rest are its own."""
    p = lib.Process("unshare", "-m", "-p", "-f", "-U", "-r", "-n", "-u", "-i", "--kill-child",
                    "--mount-proc", lib.target("rungs"), "600")
    p.line("^ready")
    d = binaries.daemon(inner(p))
    binaries.check_ladder(d.profile(at_least=50))
    d.stop()


def inside(script):
    """pprofd in a PID namespace of its own, run by `script`: (daemon, the broker's pid out here)."""
    d = lib.Daemon(before=("unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-ec",
                           script, lib.target("rungs")), arguments=("--hz", "500"))
    broker = lib.eventually(lambda: [p for p in descendants(d.pid)
                                     if lib.status(p, "Name") == "pprofd"], "no broker")[0]
    return d, broker


def descendants(pid):
    found = lib.children(pid)
    return found + [x for p in found for x in descendants(p)]


def check_inside(d, broker):
    target = [p for p in descendants(d.pid) if lib.status(p, "Name") == "rungs"][0]
    profile = d.profile(at_least=50)
    binaries.check_ladder(profile)
    number = int(lib.status(target, "NSpid").split()[-1])
    check(number != target and lib.Account(profile).pid == number, "it is called %d" %
          lib.Account(profile).pid)
    os.kill(broker, signal.SIGTERM)
    check(d.wait() == 0, "status %s" % d.popen.returncode)


def test_pprofd_in_a_pid_namespace():
    check_inside(*inside('"$0" 600 >/dev/null & "$@" --pid $! & wait $!'))


def test_pprofd_is_init():
    """The first of its namespace: signals reach it all the same, and so does the end of its children."""
    check_inside(*inside('"$0" 600 >/dev/null & exec "$@" --pid $!'))


def test_pprofd_in_a_user_namespace():
    """Root in there is nobody out here: one line, no profile."""
    p = subprocess.run(["unshare", "-U", "-r", "sh", "-c", 'sleep 600 2>&- & exec "$0" "$@" --pid $!',
                        lib.PPROFD, "--listen", "127.0.0.1:0"], timeout=60, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    lines = p.stderr.decode().splitlines()
    check(p.returncode == 1 and len(lines) == 1, "status %d: %s" % (p.returncode, lines))
    check("not permit" in lines[0], lines[0])


def cgroup(path):
    """A cgroup below the root, in the one hierarchy or, where that takes none, another: its directory. It goes in the end."""
    for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory"):
        where = pathlib.Path(root + path)
        try:
            where.mkdir(parents=True)
        except OSError:
            continue
        if (where / "cgroup.procs").exists():
            return where
        where.rmdir()
    return lib.skip("no cgroup may be made here")


def test_by_container_and_cgroup():
    """The id of a container is in its cgroup's path; seen from a namespace of cgroups, too, where paths begin elsewhere."""
    number = "%016x" % int.from_bytes(os.urandom(8), "big") * 4
    top = "/pprofd-live-%d" % os.getpid()
    where, ours = cgroup("%s/docker-%s.scope" % (top, number)), cgroup(top + "-ours/own")
    inside = "%s/docker-%s.scope" % (top, number)
    try:
        p = lib.Process(lib.target("rungs"), "600", setup=lambda: (where / "cgroup.procs").write_text("0"))
        p.line("^ready")
        spaces = ("sh", "-c", 'echo 0 >"$0" && exec unshare -C "$@"', ours / "cgroup.procs")
        for before in (), spaces:
            d = lib.Daemon(before=before, arguments=("--hz", "500", "--container", number[:20], "--cgroup", inside, "--name", "it"))
            for name in number[:12], number, "it":
                a = d.get("/t/%s/debug/pprof/cmdline" % name)
                check(a.status == 200 and "rungs" in a.text(), "%s: %d" % (name, a.status))
            row = [r for r in json.loads(d.get("/sd").text()) if r["labels"]["__meta_pprofd_pid"] == str(p.pid)][0]["labels"]
            check(row["__meta_pprofd_container"] == number and row["__meta_pprofd_cgroup"] == inside, str(row))
            d.stop()
        p.kill()
    finally:
        lib.kill_descendants()
        for path in (where, ours, ours.parent, where.parent):
            lib.eventually(lambda x=path: not x.exists() or gone(x), "%s stays" % path)


def gone(path):
    try:
        path.rmdir()
        return True
    except OSError:
        return False


class Watch:
    """Whether somebody opens or reads a file (inotify)."""

    def __init__(self, path):
        self.fd = lib.libc("inotify_init1", IN_NONBLOCK)
        lib.libc("inotify_add_watch", self.fd, os.fsencode(path), IN_ACCESS | IN_OPEN)

    def seen(self):
        try:
            return bool(os.read(self.fd, 65536))
        except BlockingIOError:
            return False


# Without CAP_CHECKPOINT_RESTORE (and SYS_ADMIN, which stands for it) the broker cannot follow the
# links in map_files, and goes by path.
BY_PATH = ("setpriv", "--bounding-set=-checkpoint_restore,-sys_admin", "--inh-caps=-all")


def loaded():
    """A container with a library, and a library of another name outside."""
    root = make_root(lib.target("life"))
    (root / "x").mkdir()
    (root / "proc").mkdir()
    shutil.copy(lib.target("libone.so"), root / "x/lib.so")
    outside = lib.directory(world=True) / "lib.so"
    shutil.copy(lib.target("libtwo.so"), outside)
    p = lib.Process("/life", "load", "/x/lib.so", setup=lambda: enter(root))
    p.line("^ready")
    return p, root, outside


def within(pid, function):
    """Does it in the mount namespace of the process, whose root is then ours."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open("/proc/%d/ns/mnt" % pid, "rb") as f:
                lib.libc("setns", f.fileno(), CLONE_NEWNS)
            function()
            code = 0
        finally:
            os._exit(code)
    check(os.waitpid(child, 0)[1] == 0, "cannot be done in the container")


def covered(p, root, make):
    """The library's directory is mounted over: the path of the mapping leads to something else."""
    def cover():
        lib.libc("mount", b"none", b"/x", b"tmpfs", 0, None)
        make("/x/lib.so")
    within(p.pid, cover)


def deleted(p, root, make):
    """The library is gone, and something bears the name that the kernel shows for what is gone."""
    (root / "x/lib.so").unlink()
    make(root / "x/lib.so (deleted)")
    make(root / "x/lib.so")


WAYS = (covered, deleted)


def check_not_led(p, outside, before):
    """A window, in which nobody looks at the file outside and nothing bears its names."""
    watch = Watch(outside)
    d = lib.Daemon(p, before=before, arguments=("--hz", "500"))
    profile = d.profile(at_least=50)
    check(not watch.seen(), "the file outside was opened")
    check(not lib.samples(profile, "work_two"), "names from outside")
    if before:
        check(lib.samples(profile, r"lib\.so\+0x[0-9a-f]+|.*lib\.so\]"), "%s" %
              [f.name for f in profile.functions])
    else:
        lib.check_complete(profile)
        check(lib.samples(profile, "work_one"), "no names")
    d.stop()
    outside.read_bytes()
    check(watch.seen(), "the watch does not work")


def check_links(leads_to):
    """A link instead of the library, by each way of putting it there, with and without the right to go by
    the mapping itself."""
    for way in WAYS:
        for before in (), BY_PATH:
            p, root, outside = loaded()
            way(p, root, lambda path, o=outside: os.symlink(leads_to(o), path))
            check_not_led(p, outside, before)
            p.kill()


def test_a_link_that_leads_outside():
    check_links(str)


def test_a_link_with_many_dots():
    check_links(lambda outside: "../" * 20 + str(outside))


def test_a_magic_link_that_leads_outside():
    """The root of a process out here, in the target's own /proc: no path, but it can be opened."""
    for before in (), BY_PATH:
        p, root, outside = loaded()

        def cover(o=outside):
            lib.libc("mount", b"none", b"/proc", b"proc", 0, None)
            lib.libc("mount", b"none", b"/x", b"tmpfs", 0, None)
            os.symlink("/proc/%d/root%s" % (os.getppid(), o), "/x/lib.so")
            with open("/x/lib.so", "rb"):
                pass  # it does lead there
        within(p.pid, cover)
        check_not_led(p, outside, before)


def test_a_directory_that_leads_outside():
    for before in (), BY_PATH:
        p, root, outside = loaded()
        (root / "x/lib.so").unlink()
        (root / "x").rmdir()
        (root / "x").symlink_to(outside.parent)
        outside.rename(outside.parent / "lib.so (deleted)")
        outside = outside.parent / "lib.so (deleted)"
        check_not_led(p, outside, before)


def test_by_path():
    """The fair case: the path in its root is the file that it runs."""
    p, _, _ = loaded()
    d = lib.Daemon(p, before=BY_PATH, arguments=("--hz", "500"))
    profile = d.profile(at_least=50)
    lib.check_complete(profile)
    check(lib.samples(profile, "work_one"), "no names")
    d.stop()


def test_by_path_to_another_file():
    """The path in its own root has another file now, of the same size: what is mapped is not that."""
    for way in WAYS:
        p, root, outside = loaded()
        content = outside.read_bytes()
        way(p, root, lambda path, c=content: pathlib.Path(path).write_bytes(c))
        d = lib.Daemon(p, before=BY_PATH, arguments=("--hz", "500"))
        profile = d.profile(at_least=50)
        check(not lib.samples(profile, "work_two"), "%s: names of a file that it does not run" %
              way.__name__)
        d.stop()


def test_by_path_to_what_is_no_file():
    """A pipe that nobody writes, and a device: neither is opened, nobody waits."""
    targets = []
    for make in (os.mkfifo, lambda path: os.mknod(path, 0o20666, os.makedev(1, 5))):
        for way in WAYS:
            p, root, _ = loaded()
            way(p, root, make)
            targets.append(p)
    d = lib.Daemon(*targets, before=BY_PATH, arguments=("--hz", "500"))
    for profile in lib.together(*(lambda p=p: d.profile(2, pid=p.pid, at_least=50)
                                  for p in targets)):
        check(profile.total("samples") >= 50, "%s" % profile.comments)
        check(not lib.samples(profile, "work_one"), "names of what is not there")
    d.stop()


if __name__ == "__main__":
    own_mounts()
    lib.run(globals())
