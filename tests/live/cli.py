#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cli.py - the command line: each error is one line and a status, and `record` writes what it should."""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

import lib
import pprof
from lib import check, fail

SLEEPER = ["sleep", "600"]


def run(*arguments, before=(), **options):
    """pprofd to its end: (status, output, lines on stderr)."""
    p = subprocess.run([*before, lib.PPROFD, *[str(a) for a in arguments]], timeout=300,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       check=False, **options)
    return p.returncode, p.stdout, p.stderr.decode(errors="replace").splitlines()


def refused(status, pattern, *arguments, before=(), **options):
    """It ends with the status and says why in one line."""
    code, out, lines = run(*arguments, before=before, **options)
    what = "pprofd %s" % " ".join(str(a) for a in arguments)
    check(code == status, "%s: status %d, not %d: %s" % (what, code, status, lines))
    check(len(lines) == 1, "%s: %d lines on stderr: %s" % (what, len(lines), lines))
    check(lines[0].startswith("pprofd"), "%s: %r" % (what, lines[0]))
    check(pattern in lines[0], "%s: no %r in %r" % (what, pattern, lines[0]))
    check(not out, "%s: writes %r" % (what, out[:80]))


def sleeper():
    return lib.Process(*SLEEPER)


def test_help_and_version():
    for arguments in (["--help"], ["record", "--help"]):
        code, out, lines = run(*arguments)
        check(code == 0 and not lines, "%s: status %d, %s" % (arguments, code, lines))
        for option in (b"--pid", b"--hz"):
            check(option in out, "%s does not name %s" % (arguments, option))
    check(b"--listen" in run("--help")[1], "--help does not name --listen")
    check(b"--seconds" in run("record", "--help")[1], "record --help does not name --seconds")
    code, out, lines = run("--version")
    check(code == 0 and not lines and out.startswith(b"pprofd "), "--version: %d %r" % (code, out))


def test_bad_usage():
    for arguments, pattern in [
            (["--nosuch"], "nosuch"),
            (["--pid"], "--pid"),
            ([], "--pid"),
            (["--pid", "x"], "number"),
            (["--pid", "0"], "number"),
            (["--pid", "-5"], "number"),
            (["--pid", "12x"], "number"),
            (["--pid", "99999999999999999999"], "number"),
            (["--pid", "1", "--hz", "0"], "number"),
            (["--pid", "1", "--hz", "100000"], "number"),
            (["--pid", "1", "profile"], "record"),
            (["record", "--pid", "1"], "profile"),
            (["record", "profile"], "--pid"),
            (["record", "profile", "profile", "--pid", "1"], "one profile"),
            (["record", "profile", "--pid", "1", "--pid", "2"], "one process"),
            (["record", "profile", "--pid", "1", "--seconds", "0"], "number"),
            (["record", "profile", "--pid", "1", "--seconds", "3601"], "number"),
            (["record", "profile", "--pid", "1", "--seconds", "1.5"], "number"),
            (["record", "profile", "--pid", "1", "--format", "svg"], "folded"),
            (["record", "profile", "--pid", "1", "--format", "dump"], "of profile pprof, top or folded"),
            (["record", "heap", "--pid", "1", "--format", "go"], "of heap pprof, top or folded"),
            (["record", "goroutine", "--pid", "1", "--format", "perfetto"], "of goroutine pprof, top, dump or folded"),
            (["record", "--format", "top", "trace", "--pid", "1"], "of trace go or perfetto"),
            (["record", "profile", "--pid", "1", "--listen", ":0"], "listen"),
            (sum((["--pid", "1"] for _ in range(129)), []), "more than 128"),
    ]:
        refused(2, pattern, *arguments)


def test_bad_addresses():
    pid = sleeper().pid
    for address in ("6060", "localhost", ":", ":x", ":65536", "::1:80", "[::1", "a:b:1", "unix:",
                    "unix:" + "x" * 200, "[::1]", ""):
        refused(2, address[:40], "--pid", pid, "--listen", address)
    refused(2, "not loopback", "--pid", pid, "--listen", "0.0.0.0:0")
    refused(2, "--insecure", "--pid", pid, "--listen", "[::]:0")
    refused(2, "nosuch.invalid", "--pid", pid, "--listen", "nosuch.invalid:0")


def test_insecure_serves_every_address():
    d = lib.Daemon(sleeper(), listen=("0.0.0.0:0",), arguments=("--insecure",))
    check(d.addresses[0].startswith("http://0.0.0.0:"), d.addresses[0])
    check(d.get("/debug/pprof/cmdline").body == b"\0".join(a.encode() for a in SLEEPER), "cmdline")
    d.stop()


def test_the_empty_host_is_loopback():
    d = lib.Daemon(sleeper(), listen=(":0",))
    lines = d.said("^pprofd: serving")
    check(all("loopback only" in line for line in lines), "does not say so: %s" % lines)
    check(all("127." in line or "[::1]" in line for line in lines), "%s" % lines)
    d.stop()


def test_no_such_process():
    p = sleeper()
    p.kill()
    refused(1, "no process %d" % p.pid, "--pid", p.pid)
    refused(1, "no process 4194304", "record", "profile", "--pid", 1 << 22)


def test_kernel_thread():
    threads = [pid for pid in lib.children(2)]
    check(threads, "this machine shows no kernel threads")  # pid 2 is kthreadd
    refused(1, "kernel thread", "--pid", threads[0])


def test_thread_id():
    d = lib.start("life", "names")
    tid = [int(t) for t in os.listdir("/proc/%d/task" % d.pid) if int(t) != d.pid][0]
    refused(1, "thread of process %d" % d.pid, "--pid", tid)


def elf32(path):
    """A static 32-bit program, by hand: pause() for ever. Header, one segment, eight instructions."""
    base = 0x08048000
    code = bytes((0xb8, 29, 0, 0, 0,        # mov $29, %eax: pause of i386
                  0xcd, 0x80,               # int $0x80
                  0xeb, 0xf7))              # jmp to the start
    start = 52 + 32
    header = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9) + struct.pack(
        "<HHIIIIIHHHHHH", 2, 3, 1, base + start, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    n = start + len(code)
    segment = struct.pack("<IIIIIIII", 1, 0, base, base, n, n, 5, 0x1000)
    path.write_bytes(header + segment + code)
    path.chmod(0o755)


def test_32_bit_process():
    path = lib.directory() / "small"
    elf32(path)
    try:
        p = lib.Process(path)
    except OSError as e:
        lib.skip("this kernel runs no 32-bit programs: %s" % e)
    time.sleep(0.1)
    check(lib.alive(p.pid), "the 32-bit program has ended with %s" % p.popen.poll())
    refused(1, "32-bit", "--pid", p.pid)


def test_zombie():
    p = sleeper()
    p.popen.send_signal(signal.SIGKILL)  # and not waited for
    lib.eventually(lambda: lib.stat_field(p.pid, 3) == "Z", "no zombie")
    refused(1, "has ended", "--pid", p.pid)


def unprivileged(*capabilities):
    """Another user, with no more than these capabilities."""
    line = ["setpriv", "--reuid", str(lib.NOBODY), "--regid", str(lib.NOBODY), "--clear-groups"]
    if capabilities:
        names = ",".join("+" + c for c in capabilities)
        line += ["--inh-caps", names, "--ambient-caps", names]
    return line


def test_not_permitted():
    ours = lib.Process(*unprivileged(), *SLEEPER)
    lib.eventually(lambda: lib.status(ours.pid, "Uid").startswith(str(lib.NOBODY)), "uid")
    refused(1, "CAP_BPF and CAP_PERFMON missing", "--pid", ours.pid, "--listen", "127.0.0.1:0",
            before=unprivileged())
    refused(1, "CAP_PERFMON missing", "--pid", ours.pid, "--listen", "127.0.0.1:0",
            before=unprivileged("bpf"))
    refused(1, "CAP_BPF missing", "record", "profile", "--pid", ours.pid, "--seconds", 1,
            before=unprivileged("perfmon"))


def test_a_process_of_another_user():
    refused(1, "CAP_SYS_PTRACE missing", "--pid", sleeper().pid, "--listen", "127.0.0.1:0",
            before=unprivileged("bpf", "perfmon"))


def test_no_type_information():
    pid = sleeper().pid
    cover = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\""
    refused(1, "/sys/kernel/btf/vmlinux", "--pid", pid, "--listen", "127.0.0.1:0",
            before=["unshare", "-m", "sh", "-c", cover, "sh"])
    refused(1, "/nosuch/btf", "--pid", pid, "--listen", "127.0.0.1:0", "--btf", "/nosuch/btf")


def test_btf_file():
    copy = lib.directory() / "btf"
    copy.write_bytes(pathlib.Path("/sys/kernel/btf/vmlinux").read_bytes())
    p = lib.start("rungs", "600")
    lib.check_complete(recorded(p, "--btf", copy))


def recorded(p, *arguments, read=lambda out: out):
    """The profile of a window in which it had time to work."""
    for seconds in (1, 5, 30):
        code, out, err = lib.record("--pid", p.pid, "--seconds", seconds, "--hz", 500, *arguments, timeout=300)
        check(code == 0 and not err, "status %d: %s" % (code, err))
        profile = lib.profile_of(read(out))
        if profile.total("samples") >= 20:
            break
    return profile


def test_port_in_use():
    s = socket.create_server(("127.0.0.1", 0))
    refused(1, "in use", "--pid", sleeper().pid, "--listen", "127.0.0.1:%d" % s.getsockname()[1])


def test_unix_path_in_use():
    where = lib.directory(world=True)
    pid = sleeper().pid
    path = str(where / "used")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        refused(1, "in use", "--pid", pid, "--listen", "unix:" + path)
    # nobody listens there any more: taken over, and gone at the end
    d = lib.Daemon(pid, listen=("unix:" + path,))
    a = d.get("/debug/pprof/cmdline", connection=lib.UnixConnection(path, lib.DEADLINE))
    check(a.status == 200, "status %d" % a.status)
    d.stop()
    check(not os.path.exists(path), "the socket file is left behind")
    plain = where / "file"
    plain.write_text("precious")
    refused(1, str(plain), "--pid", pid, "--listen", "unix:%s" % plain)
    check(plain.read_text() == "precious", "a file was taken for a socket")
    refused(1, "/nosuch", "--pid", pid, "--listen", "unix:/nosuch/directory/x")


def test_output_not_writable():
    pid = sleeper().pid
    refused(1, "/nosuch/x", "record", "profile", "--pid", pid, "-o", "/nosuch/x")
    refused(1, "irectory", "record", "profile", "--pid", pid, "-o", str(lib.directory()))


def test_unknown_profile_leaves_no_file():
    path = lib.directory() / "out"
    refused(1, "Unknown profile; there are allocs, ", "record", "nosuch", "--pid", sleeper().pid, "-o", path, "--seconds", 1)
    check(not path.exists(), "an empty file is left behind")
    path.write_text("precious")
    refused(1, "Unknown profile", "record", "nosuch", "--pid", sleeper().pid, "-o", path, "--seconds", 1)
    check(path.read_text() == "precious", "a profile that failed has emptied the old file")


def test_record_to_a_pipe_and_a_file():
    p = lib.start("rungs", "600")
    lib.check_complete(recorded(p))
    path = lib.directory() / "out.pb.gz"
    path.write_bytes(bytes(1 << 20))  # longer than what replaces it

    def read(out):
        check(not out, "it writes %r" % out[:80])
        return path.read_bytes()

    lib.check_complete(recorded(p, "-o", path, read=read))


def test_record_text():
    p = lib.start("rungs", "600")
    recorded(p)  # so that the machine gives it time, now
    code, out, err = lib.record("--pid", p.pid, "--seconds", 3, "--hz", 500, "--format", "top")
    check(code == 0 and not err, "status %d: %s" % (code, err))
    check(b"flat%" in out and b"rung_leaf" in out, "no table: %r" % out[:300])
    code, out, err = lib.record("--pid", p.pid, "--seconds", 3, "--hz", 500, "--format", "folded")
    check(code == 0 and not err, "status %d: %s" % (code, err))
    check(b"main;rung_1;rung_2;rung_3;rung_leaf " in out, "no stacks: %r" % out[:300])


def test_record_to_a_terminal_is_a_table():
    p = lib.start("rungs", "600")
    recorded(p)  # so that the machine gives it time, now
    ours, theirs = os.openpty()
    popen = subprocess.Popen([lib.PPROFD, "record", "profile", "--pid", str(p.pid), "--hz", "500", "--seconds",
                              "3"], stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    text = b""
    try:
        while data := os.read(ours, 65536):
            text += data
    except OSError:
        pass  # the other end is closed
    check(popen.wait(300) == 0, "status %d: %s" % (popen.returncode, popen.stderr.read()))
    check(b"flat%" in text and b"rung_leaf" in text, "no table: %r" % text[:300])


def recording(p, *arguments):
    """pprofd in the middle of its window."""
    popen = subprocess.Popen([lib.PPROFD, "record", "profile", "--pid", str(p.pid), *arguments],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lib.eventually(lambda: lib.armed(popen.pid), "not armed")
    time.sleep(0.3)  # the window opens a moment later
    return popen


def interrupt(p, arguments, how):
    popen = recording(p, *arguments)
    lib.let_work(p.pid, 2)
    popen.send_signal(how)
    out, err = popen.communicate(timeout=300)
    return popen.returncode, out, err


def test_interrupt_writes_what_was_seen():
    p = lib.start("rungs", "600")
    code, out, err = interrupt(p, ["--seconds", "3600"], signal.SIGINT)
    check(code == 0 and not err, "status %d: %s" % (code, err))
    profile = lib.profile_of(out)
    lib.check_complete(profile)
    check(profile.duration_nanos < 600e9, "duration %d ns" % profile.duration_nanos)


def test_without_seconds_until_terminated():
    """Whole after SIGTERM too; a terminal that has gone takes the recording with it."""
    p = lib.start("rungs", "600")
    path = lib.directory() / "out"
    code, out, err = interrupt(p, ["-o", str(path)], signal.SIGTERM)
    check(code == 0 and not out, "status %d: %s" % (code, err))
    check(err.count(b"\n") == 1 and b"until Ctrl-C" in err, "said: %r" % err)
    lib.check_complete(lib.profile_of(path.read_bytes()))
    path.unlink()
    code, out, _ = interrupt(p, ["--seconds", "3600", "-o", str(path)], signal.SIGHUP)
    check(not out and not path.exists(), "status %d, %r" % (code, out[:80]))
    lib.eventually(lambda: not [c for c in lib.children(os.getpid()) if c != p.pid], "leftovers")


def test_record_of_a_process_that_ends():
    p = lib.start("life", "end", "1500", "0", stdin=subprocess.PIPE)
    popen = recording(p, "--seconds", "3600")
    p.popen.stdin.write(b"go\n")
    p.popen.stdin.flush()
    out, err = popen.communicate(timeout=300)
    check(popen.returncode == 0, "status %d: %s" % (popen.returncode, err))
    profile = lib.profile_of(out)
    check(lib.comments(profile, "process ended"), "no comment: %s" % profile.comments)
    check(lib.samples(profile, "last_work") > 20, "%s" % profile.comments)


def test_started_without_descriptors_it_serves():
    """No standard streams at all: nothing of ours lands in their numbers by mistake."""
    p = lib.start("rungs", "600")
    path = lib.directory() / "out"
    script = 'exec "$@" <&- >&- 2>&-'
    for seconds in (1, 5, 30):
        done = subprocess.run(["sh", "-c", script, "sh", lib.PPROFD, "record", "profile", "--pid", str(p.pid),
                               "--seconds", str(seconds), "--hz", "500", "-o", str(path)], timeout=300, check=False)
        check(done.returncode == 0, "status %d" % done.returncode)
        profile = lib.profile_of(path.read_bytes())
        if profile.total("samples") >= 20:
            break
    lib.check_complete(profile)


if __name__ == "__main__":
    lib.run(globals())
