#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""privilege.py - what each of the four processes that are always there holds, and what becomes of the others when one dies; what
works with less.

What the sandboxes refuse is tests/unit/test-sandbox.c's; here stands what the kernel says of the
processes that run."""

import ctypes
import errno
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import time

import lib
from lib import check

SYS_BPF, SYS_PTRACE, SYS_PIDFD_GETFD = 321, 101, 438  # x86_64
BROKER_IDENTIFY = 9  # daemon/protocol.h
PTRACE_ATTACH = 16
BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_LINK_GET_FD_BY_ID = 13, 14, 30
# capability.h: what daemon/broker/confine.c keeps; SYS_ADMIN where perf_event_paranoid or the lack of uprobe sessions asks for it
KEPT = {"DAC_READ_SEARCH": 2, "SYS_PTRACE": 19, "SYSLOG": 34, "PERFMON": 38, "BPF": 39, "CHECKPOINT_RESTORE": 40}
SYS_ADMIN = 21
STARTER = {"KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8}  # daemon/broker/starter.c
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def rungs():
    return lib.start("rungs", "600")


def test_serve_and_symbolizer_hold_nothing():
    d = lib.Daemon(rungs())
    _, *rest = d.three()
    d.profile()
    for pid in rest:
        comm = lib.status(pid, "Name")
        for key in SETS:
            check(int(lib.status(pid, key), 16) == 0, "%s: %s %s" % (comm, key,
                                                                     lib.status(pid, key)))
        check("0" not in lib.status(pid, "Uid").split(), "%s: uid %s" % (comm,
                                                                         lib.status(pid, "Uid")))
        check("0" not in lib.status(pid, "Gid").split(), "%s: gid" % comm)
        check(not lib.status(pid, "Groups"), "%s: groups %s" % (comm, lib.status(pid, "Groups")))
        for key, value in (("NoNewPrivs", "1"), ("Seccomp", "2")):
            check(lib.status(pid, key) == value, "%s: %s %s" % (comm, key, lib.status(pid, key)))
        check(pathlib.Path("/proc/%d/environ" % pid).read_bytes() == b"", "%s: environ" % comm)
    d.stop()


def test_limits_of_the_symbolizer():
    """Its own memory is data and stack, together less than 256 MiB."""
    d = lib.Daemon(rungs())
    d.profile()
    text = pathlib.Path("/proc/%d/limits" % d.three()[2]).read_text()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()[1:]}
    data, stack = limits["Max data size"], limits["Max stack size"]
    check("unlimited" not in data + stack and all(int(data[i]) + int(stack[i]) < 256 << 20 for i in (0, 1)),
          "data %s, stack %s" % (data, stack))
    for name in ("Max core file size", "Max file size", "Max processes"):
        check(limits[name] == ["0", "0"], "%s: %s" % (name, limits[name]))
    d.stop()


def test_every_thread_of_serve_is_shut_in():
    d = lib.Daemon(rungs())
    serve = d.three()[1]
    d.profile()
    seen = {}
    for tid in os.listdir("/proc/%d/task" % serve):
        try:
            seen[tid] = lib.status(serve, "Seccomp", int(tid))
        except OSError:
            pass  # the thread of a connection, which has just ended
    check(len(seen) > 1, "one thread only")
    check(set(seen.values()) == {"2"}, "threads %s" % seen)
    d.stop()


def mask(capabilities):
    return sum(1 << bit for bit in capabilities.values())


def paranoid():
    return int(pathlib.Path("/proc/sys/kernel/perf_event_paranoid").read_text())


def check_sets(pid, expected, also=0):
    """Exactly these in each set, and no inheritable ones; `also`: such as may be there."""
    for key in SETS:
        has = int(lib.status(pid, key), 16) & ~also
        wanted = 0 if key in ("CapInh", "CapAmb") else expected & ~also
        check(has == wanted, "%s %x, not %x" % (key, has, wanted))


def test_the_broker_keeps_what_it_needs():
    d = lib.Daemon(rungs())
    d.profile()
    ours = int(lib.status(os.getpid(), "CapPrm"), 16)
    check_sets(d.pid, mask(KEPT) & ours | (1 << SYS_ADMIN if paranoid() > 2 else 0), 0 if paranoid() > 2 else 1 << SYS_ADMIN)
    check(lib.status(d.pid, "NoNewPrivs") == "1", "NoNewPrivs")
    for tid in os.listdir("/proc/%d/task" % d.pid):
        check(lib.status(d.pid, "Seccomp", int(tid)) == "2", "a thread of the broker is not shut in")
    starter = d.child("pprofd-starter")
    check(starter, "no starter")
    check_sets(starter, mask(STARTER) & ours)
    check(len(lib.children(d.pid)) == 3, "children: %s" % lib.children(d.pid))
    check(lib.status(starter, "NoNewPrivs") == "1", "NoNewPrivs of the starter")
    check(not [x for x in links(starter) if "bpf" in x or "perf_event" in x], "the starter has %s" % links(starter))
    d.stop()
    lib.eventually(lambda: not lib.alive(starter), "the starter lives")


# As another user, with capabilities of the files


def copies(capabilities):
    """The programs, in a directory of their own, and the broker with these capabilities."""
    to = lib.directory(world=True)
    for name in ("pprofd", "pprofd-serve", "pprofd-symbolizer"):
        shutil.copy(lib.BUILD / name, to / name)
        (to / name).chmod(0o755)
    bits = mask(capabilities)
    # linux/capability.h: VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, {permitted, inheritable} twice
    os.setxattr(to / "pprofd", "security.capability",
                struct.pack("<IIIII", 0x02000001, bits & 0xffffffff, 0, bits >> 32, 0))
    return str(to / "pprofd")


AS_NOBODY = ("setpriv", "--reuid", str(lib.NOBODY), "--regid", str(lib.NOBODY), "--clear-groups")


def run_check(*arguments, program=None, before=()):
    """{what: "" or what is missing} of --check, and its exit status."""
    p = subprocess.run([*before, program or lib.PPROFD, "--check", *[str(a) for a in arguments]], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=lib.DEADLINE, check=False)
    check(not p.stderr, "--check says %s" % p.stderr)
    rows = {}
    for line in p.stdout.decode().splitlines():
        match = re.match(r"(.*?) +(available|missing: (.+))$", line)
        check(match, "--check: %r" % line)
        rows[match.group(1)] = match.group(3) or ""
    check(p.returncode == (1 if any(rows.values()) else 0), "status %d of %s" % (p.returncode, rows))
    rows.pop("(whole machine)", None)  # not where the tests run in a container
    return rows


def test_another_user_with_capabilities_of_the_file():
    """Those that loading takes are enough for processes of one's own. Everything is tried."""
    if paranoid() > 2:
        lib.skip("perf_event_paranoid is %d: perf events want CAP_SYS_ADMIN" % paranoid())
    few = {name: KEPT[name] for name in ("BPF", "PERFMON")}
    program = copies(few)
    own = lib.Process(*AS_NOBODY, lib.target("rungs"), "600")
    own.line("^ready")
    before, lib.PPROFD = lib.PPROFD, program
    try:
        d = lib.Daemon(own, before=AS_NOBODY)
    finally:
        lib.PPROFD = before
    p = d.profile(at_least=20)
    lib.check_complete(p)
    check(lib.samples(p, "rung_leaf") > 0, "no names")
    for name in ("goroutine?debug=2", "block?seconds=1", "heap?seconds=1", "threadcreate", "trace?seconds=1"):
        a = d.get("/debug/pprof/" + name)
        check(a.status == 200, "%s: %d %s" % (name, a.status, a.text()[:200]))
    for pid in (d.pid, *d.three()[1:], d.child("pprofd-starter")):
        check(set(lib.status(pid, "Uid").split()) == {str(lib.NOBODY)}, "Uid of %d" % pid)
        check(int(lib.status(pid, "CapPrm"), 16) == (mask(few) if pid == d.pid else 0), "CapPrm of %d" % pid)
        check(lib.status(pid, "NoNewPrivs") == "1", "NoNewPrivs of %d" % pid)
    check(lib.status(d.pid, "Seccomp") == "2", "Seccomp")
    d.stop()
    rows = run_check(own.pid, program=program, before=AS_NOBODY)
    check(rows.pop("(kernel names)") in ("", "CAP_SYSLOG") and not any(rows.values()), "of one's own: %s" % rows)
    rows = run_check(os.getpid(), program=program, before=AS_NOBODY)
    check(rows["process %d" % os.getpid()] == "CAP_SYS_PTRACE", "of another user's: %s" % rows)


def test_check_tells_what_is_missing():
    whole = run_check()
    check(not any(whole.values()), "with everything: %s" % whole)
    endpoints = [name for name in whole if name[0] != "("]
    check(len(endpoints) == 13, "endpoints: %s" % endpoints)
    for name, missing in (("bpf", endpoints), ("perfmon", endpoints), ("sys_ptrace", ["(other users)"]),
                          ("dac_read_search", ["(other users)"]), ("checkpoint_restore", ["(deleted files)"])):
        # CAP_SYS_ADMIN stands for most of them
        rows = run_check(before=("setpriv", "--bounding-set=-%s,-sys_admin" % name, "--inh-caps=-" + name))
        for what in missing:
            check(rows[what] == ("" if what == "cmdline" else "CAP_" + name.upper()), "without %s: %s: %s" % (name, what, rows[what]))
        if name not in ("bpf", "perfmon"):
            check([w for w in rows if rows[w]] == missing, "without %s: %s" % (name, rows))
    t = rungs()
    rows = run_check(t.pid, 1 << 22)
    check("no such process" in rows.pop("process %d" % (1 << 22)) and not any(rows.values()), "of two: %s" % rows)


def test_options_of_a_file():
    t = rungs()
    file = lib.directory() / "pprofd.conf"
    file.write_text("# ours\npid: %d\nlisten:\n  - 127.0.0.1:0\nhz: 500\nmax-overhead: none\n" % t.pid)
    d = lib.Daemon(t, listen=(), arguments=("--config", file))
    lib.eventually(lambda: d._serving(0), "it serves nowhere")
    found = re.match(r"http://([^:]*):(\d+)/", d.addresses[0])
    d.host, d.port = found.group(1), int(found.group(2))
    check(d.profile().period == 2000000, "not 500 Hz")
    d.stop()
    p = subprocess.run([lib.PPROFD, "--config", file, "--check-config"], stdout=subprocess.PIPE, timeout=60, check=False)
    check(p.returncode == 0 and p.stdout.split()[1:] == [b"--listen=127.0.0.1:0", b"--hz=500", b"--max-overhead=none"],
          "--check-config: %s" % p.stdout)
    file.write_text("pid: 1\nhz: [100, 0]\n")
    p = subprocess.run([lib.PPROFD, "--config", file], stderr=subprocess.PIPE, timeout=60, check=False)
    check(p.returncode == 2 and p.stderr.startswith(b"pprofd: %s:2: --hz 0: " % bytes(file)), "%s" % p.stderr)


def links(pid):
    found = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            found.append(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        except OSError:
            pass
    return found


ESTABLISHED, LISTENS = "01", "0A"  # include/net/tcp_states.h


def network():
    """{inode: state} of the network's sockets."""
    rows = [line.split() for name in ("tcp", "tcp6", "udp", "udp6", "raw")
            if os.path.exists("/proc/net/" + name)
            for line in pathlib.Path("/proc/net/" + name).read_text().splitlines()[1:]]
    return {row[9]: row[3] for row in rows}


def of_network(pid, states):
    return [states[x[8:-1]] for x in links(pid) if x.startswith("socket:") and x[8:-1] in states]


def test_descriptors():
    """Beside the standard streams: the symbolizer has one socket and files that targets have mapped, or their debug files; the
    broker has the listening sockets, for the next serve, and never a connection; nobody has one of
    /proc/PID/mem."""
    t = rungs()
    d = lib.Daemon(t)
    broker, serve, symbolizer = d.three()
    client = d.connect()
    d.get("/debug/pprof/cmdline", connection=client)  # and it stays connected
    d.profile()
    mapped = {line.split(maxsplit=5)[5].strip() for line in
              pathlib.Path("/proc/%d/maps" % t.pid).read_text().splitlines()
              if len(line.split(maxsplit=5)) == 6}
    standard = set(links(os.getpid())) | {"/dev/null"}
    for link in links(symbolizer):
        check(link.startswith("socket:") or link in mapped or link in standard or
              link.startswith("pipe:") or link == "/proc/kallsyms" or
              re.match("/usr/lib/debug/.*/[^/]*[.]debug$", link), "symbolizer has %s" % link)
    sockets = [x for x in links(symbolizer) if x.startswith("socket:")]
    check(len(sockets) == 1, "symbolizer has %d sockets" % len(sockets))
    states = network()
    check(not of_network(symbolizer, states), "symbolizer has a socket of the network")
    check(of_network(broker, states) == [LISTENS], "broker has %s" % of_network(broker, states))
    # the connection of the window goes a moment after its client
    lib.eventually(lambda: sorted(of_network(serve, network())) == [ESTABLISHED, LISTENS],
                   "serve has other sockets")
    client.close()
    for pid in (broker, serve, symbolizer):
        check(not [x for x in links(pid) if re.search(r"/proc/\d+/(mem|pagemap)$", x)], "mem")
    d.stop()


def as_nobody(pid):
    """What another process of that user gets when it traces or reads this one."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(lib.NOBODY, lib.NOBODY, lib.NOBODY)
        os.setresuid(lib.NOBODY, lib.NOBODY, lib.NOBODY)
        said = []
        try:
            lib.syscall(SYS_PTRACE, PTRACE_ATTACH, pid, 0, 0)
            said.append("traced")
        except OSError as e:
            said.append(errno.errorcode[e.errno])
        for name in ("mem", "maps", "environ"):
            try:
                with open("/proc/%d/%s" % (pid, name), "rb") as f:
                    f.read(0)
                said.append("opened " + name)
            except OSError as e:
                said.append(errno.errorcode[e.errno])
        os.write(write, ",".join(said).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        said = f.read().split(",")
    os.waitpid(child, 0)
    return said


def test_nobody_looks_into_them():
    """They run as nobody, and so may others: those cannot trace, read or dump them."""
    # that the attempt itself is a fair one: it succeeds on an ordinary process of that user
    own = lib.Process("setpriv", "--reuid", str(lib.NOBODY), "--regid", str(lib.NOBODY),
                      "--clear-groups", "sleep", "600")
    lib.eventually(lambda: lib.status(own.pid, "Name") == "sleep", "sleep")
    check(as_nobody(own.pid)[0] == "traced", "the attempt fails anyway: %s" % as_nobody(own.pid))
    d = lib.Daemon(rungs())
    for pid in d.three()[1:]:
        check(os.stat("/proc/%d/mem" % pid).st_uid == 0, "%d is dumpable" % pid)
        tried = as_nobody(pid)
        check(len(tried) == 4 and set(tried) <= {"EPERM", "EACCES"}, "%d: %s" % (pid, tried))
    d.stop()


def test_serve_dies():
    d = lib.Daemon(rungs())
    first = d.three()[1]
    d.profile()
    os.kill(first, signal.SIGKILL)
    second = lib.eventually(lambda: d.child("pprofd-serve") not in (None, first) and
                            d.child("pprofd-serve"), "serve is not started again")
    check(second != first, "the same process")
    lib.eventually(lambda: d.said("started again"), "nothing is said")
    lib.eventually(lambda: d._serving(1), "does not serve again")
    check(d.addresses[0] == d.addresses[1], "another address: %s" % d.addresses)
    p = d.profile(at_least=20)
    lib.check_complete(p)
    check(lib.samples(p, "rung_leaf") > 20, "no names")
    d.kill(signal.SIGTERM)


def status_for(uid, path, address):
    """What a user is told at a Unix socket."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            c = lib.UnixConnection(address, lib.DEADLINE)
            c.request("GET", path)
            os.write(theirs, b"%d" % c.getresponse().status)
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as f:
        said = f.read()
    os.waitpid(child, 0)
    return said


def test_whose_a_setuid_program_is():
    """A process's user may ask about it, unless it has the rights of another one."""
    where, user = lib.directory(world=True), str(lib.NOBODY)
    for mode, status in ((0o755, "200"), (0o4755, "403")):
        program = where / ("sleep-%o" % mode)
        shutil.copy("/bin/sleep", program)
        program.chmod(mode)
        p = lib.Process("setpriv", "--reuid", user, "--regid", user, "--clear-groups", program, "600")
        lib.eventually(lambda: lib.status(p.pid, "Name").startswith("sleep"), "sleep")
        if mode & 0o4000 and len(set(lib.status(p.pid, "Uid").split())) == 1:
            lib.skip("no setuid programs here")
        address = str(where / ("socket-%o" % mode))
        d = lib.Daemon(p, listen=("unix:" + address,))
        said = status_for(lib.NOBODY, "/debug/pprof/cmdline", address)
        check(said == status, "mode %o: %s" % (mode, said))
        d.stop()


def test_whose_a_program_is_that_comes_later():
    """Who could ask about the first program cannot about a setuid one that it becomes, not even what was asked before."""
    where, user = lib.directory(world=True), str(lib.NOBODY)
    program = where / "rungs"
    shutil.copy(lib.target("rungs"), program)
    program.chmod(0o4755)
    p = lib.Process("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "sh", "-c",
                    "while [ ! -e %s/go ]; do :; done; exec %s 600" % (where, program))
    lib.eventually(lambda: lib.status(p.pid, "Name") == "sh", "sh")
    address = str(where / "socket")
    d = lib.Daemon(p, listen=("unix:" + address,))
    path = "/debug/pprof/profile?seconds=1"
    check(status_for(lib.NOBODY, path, address) == "200", "its own program")
    said, _ = lib.together(lambda: status_for(lib.NOBODY, "/debug/pprof/profile?seconds=4", address),
                           lambda: (time.sleep(1), (where / "go").touch()))
    if len(set(lib.status(p.pid, "Uid").split())) == 1:
        lib.skip("no setuid programs here")
    check(said == "403", "while it became another: %s" % said)
    for kind in ("goroutine?debug=2", "profile?seconds=1", "heap"):
        said = status_for(lib.NOBODY, "/debug/pprof/" + kind, address)
        check(said == "403", "%s: %s" % (kind, said))
    check(status_for(0, path, address) == "200", "root's")
    d.stop()


def test_serve_takes_no_answers():
    """One that asks and asks, and does not listen, ends; nobody else waits for it."""
    d = lib.Daemon(rungs())
    first = d.three()[1]
    pidfd = os.pidfd_open(first)
    theirs = socket.socket(fileno=lib.syscall(SYS_PIDFD_GETFD, pidfd, 3, 0))  # of serve to the broker
    os.kill(first, signal.SIGSTOP)
    poll, question = select.poll(), struct.pack("<IIiII", BROKER_IDENTIFY, 0, 0, 0, 0)
    poll.register(pidfd, select.POLLIN)  # readable when it has ended
    while not poll.poll(0):
        try:
            theirs.send(question, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            poll.poll(20)
        except ConnectionError:
            break
    lib.eventually(lambda: d.said("started again"), "nothing is said")
    os.close(pidfd)
    theirs.close()
    lib.eventually(lambda: d._serving(1), "does not serve again")
    lib.check_complete(d.profile(at_least=20))
    d.kill(signal.SIGTERM)


def test_serve_dies_during_a_window():
    d = lib.Daemon(rungs())
    serve = d.three()[1]
    c = d.connect()
    c.request("GET", "/debug/pprof/profile?seconds=600")
    lib.eventually(lambda: lib.armed(d.pid), "not armed")
    os.kill(serve, signal.SIGKILL)
    lib.eventually(lambda: not lib.armed(d.pid), "still armed")
    lib.eventually(lambda: d._serving(1), "does not serve again")
    lib.check_complete(d.profile(at_least=20))
    d.kill(signal.SIGTERM)


def test_serve_keeps_dying():
    d = lib.Daemon(rungs())
    killed = 0
    while killed < 6 or (killed < 30 and lib.alive(d.pid)):  # six a minute, which a busy machine may miss
        serve = lib.eventually(lambda: d.child("pprofd-serve") or not lib.alive(d.pid), "no serve")
        check(serve is not True or killed >= 6, "it has ended after %d deaths" % killed)
        if serve is True:
            break
        os.kill(serve, signal.SIGKILL)
        lib.eventually(lambda s=serve: not lib.alive(s), "serve lives")
        killed += 1
        lib.eventually(lambda: d.child("pprofd-serve") or not lib.alive(d.pid), "nothing happens")
    check(d.wait() == 1, "status %s" % d.popen.returncode)
    check(d.said("keeps dying"), "nothing is said: %s" % d.lines[-2:])


def test_the_symbolizer_dies():
    d = lib.Daemon(rungs())
    first = d.three()[2]
    os.kill(first, signal.SIGKILL)  # before it has named anything
    lib.eventually(lambda: not lib.alive(first), "it lives")
    for _ in range(2):
        p = d.profile(at_least=20)
        lib.check_complete(p)
        check(lib.samples(p, "rung_leaf") >= 0.9 * p.total("samples"), "no names")
    second = d.three()[2]
    check(second != first, "the same process")
    os.kill(second, signal.SIGKILL)  # and with all names in serve's cache
    p = d.profile(at_least=20)
    lib.check_complete(p)
    check(lib.samples(p, "rung_leaf") >= 0.9 * p.total("samples"), "no names")
    d.kill(signal.SIGTERM)


def test_the_symbolizer_dies_before_a_new_object():
    """Between the start and dlopen: the new library must be unwound and named all the same."""
    t = lib.start("life", "load", lib.target("libone.so"))
    d = lib.Daemon(t)
    os.kill(d.three()[2], signal.SIGKILL)
    p = d.profile(2, at_least=20)
    lib.check_complete(p)
    check(lib.samples(p, "work_one") >= 0.9 * p.total("samples"), "no names: %s" % p.comments)
    d.kill(signal.SIGTERM)


def ids(pid):
    """(kind, id) of the BPF programs, maps and links whose descriptors it holds."""
    found = set()
    for fd in os.listdir("/proc/%d/fdinfo" % pid):
        try:
            text = pathlib.Path("/proc/%d/fdinfo/%s" % (pid, fd)).read_text()
        except OSError:
            continue
        for kind in ("prog", "map", "link"):
            match = re.search(r"^%s_id:\s*(\d+)$" % kind, text, re.M)
            if match and not (kind == "prog" and "link_id" in text):
                found.add((kind, int(match.group(1))))
    return found


def exists(kind, number):
    """Whether the kernel still has that BPF object."""
    command = {"prog": BPF_PROG_GET_FD_BY_ID, "map": BPF_MAP_GET_FD_BY_ID,
               "link": BPF_LINK_GET_FD_BY_ID}[kind]
    attribute = ctypes.create_string_buffer(struct.pack("<II", number, 0).ljust(16, b"\0"))
    try:
        os.close(lib.syscall(SYS_BPF, command, attribute, 16))
        return True
    except OSError as e:
        check(e.errno == errno.ENOENT, "bpf(): %s" % e)
        return False


def nothing_stays(d, end):
    """Ends pprofd in the middle of a window; children, programs, maps and links must go, too."""
    _, *rest = d.three()
    c = d.connect(60)
    c.request("GET", "/debug/pprof/profile?seconds=600")
    lib.eventually(lambda: lib.armed(d.pid), "not armed")
    had = ids(d.pid)
    check({k for k, _ in had} == {"prog", "map", "link"}, "found only %s" % had)
    check(all(exists(*x) for x in had), "the kernel does not know what the broker holds")
    end()
    d.wait()
    for pid in rest:
        lib.eventually(lambda p=pid: not lib.alive(p), "a child lives")
    lib.eventually(lambda: not any(exists(*x) for x in had), "BPF objects stay: %s" %
                   [x for x in had if exists(*x)])


def test_the_broker_is_killed():
    d = lib.Daemon(rungs())
    nothing_stays(d, lambda: os.kill(d.pid, signal.SIGKILL))


def test_broker_and_starter_are_killed_at_once():
    """As by `pkill -9 pprofd`: nobody is left who may signal those of another user."""
    d = lib.Daemon(rungs())
    starter = d.child("pprofd-starter")
    d.profile()

    def kill():
        os.kill(starter, signal.SIGSTOP)  # it may not do its office in between
        os.kill(d.pid, signal.SIGKILL)
        os.kill(starter, signal.SIGKILL)

    nothing_stays(d, kill)
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", d.port))  # who comes next gets it


def test_the_broker_is_ended():
    d = lib.Daemon(rungs())
    nothing_stays(d, lambda: os.kill(d.pid, signal.SIGTERM))
    check(d.popen.returncode == 0, "status %s" % d.popen.returncode)


def test_the_children_start_from_the_broker_only():
    for name in ("pprofd-serve", "pprofd-symbolizer", "pprofd-fetch"):
        p = subprocess.run([str(lib.BUILD / name)], stdin=subprocess.DEVNULL, timeout=60,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        check(p.returncode == 2 and b"started by pprofd" in p.stderr, "%s: %d %s" %
              (name, p.returncode, p.stderr))


if __name__ == "__main__":
    lib.run(globals())
