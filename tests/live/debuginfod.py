#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""debuginfod.py - debug files over the network: from a server that serves, is slow, absent, or lies; and what the
process that fetches them may do."""

import array
import errno
import http.server
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

import lib
from lib import check
from names import build_id, check_named, check_nameless, objcopy, stripped

FETCH = str(lib.BUILD / "pprofd-fetch")
FETCH_NONE = 1  # daemon/fetch_protocol.h
ID = "00112233445566778899aabbccddeeff00112233"


class Server:
    """`answer(handler, path)` answers a GET, in a thread of its own; what was asked for is in `asked`."""

    def __init__(self, answer, context=None, family=socket.AF_INET):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(handler):
                self.asked.append(handler.path)
                handler.close_connection = True
                try:
                    answer(handler, handler.path)
                except OSError:
                    pass  # who asked has gone

            def log_message(handler, *_):
                pass

        self.asked = []
        self.over = threading.Event()
        class Listener(http.server.ThreadingHTTPServer):
            address_family = family

        self.http = Listener(("127.0.0.1" if family == socket.AF_INET else "::1", 0), Handler)
        self.http.daemon_threads = True
        if context:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, scheme="http"):
        return "%s://127.0.0.1:%d" % (scheme, self.port)

    def end(self):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()


def send(handler, body, status=200, headers=()):
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def unused_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def program(where):
    """A process that has lost its names; its debug file is prog.debug in `where`, under its build-id."""
    stripped(where)
    apart = lib.directory()
    shutil.move(where / "prog", apart / "prog")
    p = lib.Process(apart / "prog")
    p.line("^ready")
    return p, build_id(apart / "prog")


def daemon(target, url, cache, *more):
    return lib.Daemon(target, arguments=("--debuginfod", url, "--debuginfod-cache", cache, *more),
                      env=dict(os.environ, DEBUGINFOD_CACHE_PATH=str(cache) + ".none"))


def one_window(d):
    """Of a second, or as long as it takes until there is something to name."""
    return d.profile(at_least=1)


def counts(p):
    """fetched, thrown away, on no server, failed, too many, pending."""
    found = lib.comments(p, "^debuginfod: ")
    check(len(found) == 1, "comments: %s" % p.comments)
    return [int(n) for n in re.findall(r"\d+", found[0])]


def test_a_server_that_serves():
    """Debian's own. The first profile does not wait; a later one has the names, and so has, without any server, the
    first one of the next daemon."""
    if not shutil.which("debuginfod"):
        lib.skip("debuginfod is not installed")
    where, cache = lib.directory(), lib.directory() / "cache"
    target, known = program(where)
    port = unused_port()
    server = lib.Process("debuginfod", "-p", port, "-d", ":memory:", "-F", where, stderr=subprocess.DEVNULL,
                         env={k: v for k, v in os.environ.items() if k != "DEBUGINFOD_URLS"})
    url = "http://127.0.0.1:%d" % port
    lib.eventually(lambda: subprocess.run(["curl", "-sf", "-o", "/dev/null", "%s/buildid/%s/debuginfo" % (url, known)],
                                          check=False).returncode == 0, "debuginfod does not serve", pause=0.2)
    d = daemon(target, url + "/", cache)
    check_nameless(one_window(d), "the first")
    p = lib.eventually(lambda: (lambda p: lib.samples(p, "shop::box::fill") and p)(d.profile(at_least=3)), "no names")
    check_named(p, "a later one")
    check(counts(p)[0] >= 1 and counts(p)[1] == 0, "%s" % p.comments)
    kept = cache / known / "debuginfo"
    check(kept.read_bytes() == (where / "prog.debug").read_bytes(), "another file")
    check(kept.stat().st_mode & 0o777 == 0o600 and cache.stat().st_mode & 0o777 == 0o700, "modes")
    lib.eventually(lambda: not d.child("pprofd-fetch"), "the child stays")
    d.stop()
    server.kill()
    d = daemon(target, url, cache)
    check_named(d.profile(at_least=3), "the next daemon's first")
    d.stop()


def test_a_server_that_is_slow():
    """It never gets to the end: profiles come all the same, and so does the end of the daemon."""
    def answer(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000000")
        handler.end_headers()
        while not server.over.wait(0.2):
            handler.wfile.write(b"\0" * 2000)

    server = Server(answer)
    target, known = program(lib.directory())
    cache = lib.directory() / "cache"
    d = daemon(target, server.url(), cache)
    for _ in range(2):
        p = d.profile(at_least=3)
        check_nameless(p, "slow")
        lib.check_complete(p, at_least=3)
        lib.eventually(lambda: server.asked, "it is not asked")
    check(len(server.asked) <= 2 and counts(p)[5] >= 1 and counts(p)[:4] == [0, 0, 0, 0], "%s" % p.comments)
    check(not list(cache.iterdir()), "something is there already")
    d.stop()
    server.end()


def test_a_server_that_is_absent():
    cache = lib.directory() / "cache"
    d = daemon(program(lib.directory())[0], "http://127.0.0.1:%d" % unused_port(), cache)
    check_nameless(one_window(d), "absent")
    p = lib.eventually(lambda: (lambda p: counts(p)[5] == 0 and p)(one_window(d)), "still pending")
    check(counts(p)[3] >= 1, "%s" % p.comments)
    check(len(d.said("debuginfod: a debug file was not fetched")) == 1, "%s" % d.lines)
    d.stop()


def test_a_server_that_lies():
    """What belongs to another file, or to none, is thrown away and not asked for again; the profile is whole."""
    other = lib.directory() / "other.debug"
    objcopy("--only-keep-debug", lib.target("jit"), other)
    whole = pathlib.Path(lib.target("named")).read_bytes()
    lies = (("another's", other.read_bytes()), ("garbage", b"\x7fELF" + bytes(range(256)) * 40), ("cut short", whole[:4096]))
    started = []
    for what, body in lies:
        target, known = program(lib.directory())
        cache = lib.directory() / "cache"
        server = Server(lambda handler, path, id=known, b=body: send(handler, b) if id in path else send(handler, b"", 404))
        started.append((what, known, server, cache, daemon(target, server.url(), cache)))

    def look(what, known, server, cache, d):
        check_nameless(one_window(d), what)
        p = lib.eventually(lambda: (lambda p: counts(p)[5] == 0 and counts(p)[1] and p)(one_window(d)), "not thrown away")
        lib.check_complete(p, at_least=1)
        check_nameless(p, what)
        check(counts(p)[:2] == [1, 1], "%s: %s" % (what, p.comments))
        check_nameless(one_window(d), what)
        check(len([path for path in server.asked if known in path]) == 1, "%s: asked again" % what)
        check(not list(cache.iterdir()), "%s: kept" % what)

    lib.together(*[lambda s=s: look(*s) for s in started])
    for _, _, server, _, d in started:
        d.stop()
        server.end()


def test_a_debug_file_that_comes_later():
    """It is put where it belongs while the server, which has none, thinks about it."""
    def answer(handler, _):
        server.over.wait(lib.DEADLINE)
        send(handler, b"", 404)

    server = Server(answer)
    where = lib.directory()
    objcopy("--only-keep-debug", lib.target("named"), where / "later")
    objcopy("--strip-all", lib.target("named"), where / "prog")
    (where / "prog.debug").touch()
    objcopy("--add-gnu-debuglink=%s" % (where / "later"), where / "prog")
    target = lib.Process(where / "prog")
    target.line("^ready")
    (where / "later").rename(where / "elsewhere")
    d = daemon(target, server.url(), lib.directory() / "cache")
    check_nameless(one_window(d), "before")
    (where / "elsewhere").rename(where / "later")
    server.over.set()
    p = lib.eventually(lambda: (lambda p: lib.samples(p, "shop::box::fill") and p)(d.profile(at_least=3)), "no names")
    check_named(p, "after")
    d.stop()
    server.end()


# The child alone


class Fetching:
    """pprofd-fetch with our end of its socket, and the file that it writes to."""

    def __init__(self, *urls, max_size=1 << 20, seconds=120, before=(), known=ID):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.file = tempfile.TemporaryFile()
        self.socket = ours
        with theirs:
            self.process = lib.Process(*before, FETCH, output="stderr", pass_fds=(3,), close_fds=True,
                                       setup=lambda: os.dup2(theirs.fileno(), 3), env={})
        text = b"".join(u.encode() + b"\0" for u in urls)
        id_bytes = bytes.fromhex(known)
        question = struct.pack("<QIIII64s", max_size, seconds, len(id_bytes), len(urls), len(text), id_bytes) + text
        self.send(struct.pack("<IIiII", 1, 7, 0, len(question), 1) + question)

    def send(self, data):
        fds = array.array("i", [self.file.fileno()])
        self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

    def answer(self):
        """status, text, what is in the file"""
        self.socket.settimeout(lib.DEADLINE)
        data = self.socket.recv(65536)
        kind, _, status, n, _ = struct.unpack_from("<IIiII", data)
        check(kind == 2 and len(data) == 20 + n, "no answer: %r" % data)
        self.file.seek(0)
        check(self.process.wait() == 0, "status %s" % self.process.popen.returncode)
        self.socket.close()
        return status, data[20:].decode(), self.file.read()


def expect(fetching, status, text, what):
    got, said, _ = fetching.answer()
    check(got == status and re.search(text, said), "%s: %d %s" % (what, got, said))


def test_bounds_of_a_fetch():
    """Endless and slow bodies, endless headers, redirects that go round, to files, and to servers that nobody named."""
    elsewhere = Server(lambda handler, _: send(handler, b"secret"))

    def endless(handler, _):
        handler.send_response(200)
        handler.end_headers()
        while not server.over.is_set():
            handler.wfile.write(b"x" * 65536)

    def announced(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()

    def many_headers(handler, _):
        handler.send_response(200)
        while not server.over.is_set():
            handler.wfile.write(b"X-More: %s\r\n" % (b"y" * 1000))

    def slow(handler, _):
        handler.send_response(200)
        handler.end_headers()
        while not server.over.wait(0.1):
            handler.wfile.write(b"x" * 300)

    def redirect(to):
        return lambda handler, path: send(handler, b"", 302, [("Location", to or path)])

    def once(handler, path):
        if path.startswith("/again"):
            send(handler, b"found")
        else:
            send(handler, b"", 302, [("Location", "/again")])

    answers = {
        "endless": (endless, -errno.EFBIG, ""),
        "announced": (announced, -errno.EIO, "[Mm]aximum file size"),
        "headers": (many_headers, None, ""),
        "slow": (slow, -errno.EIO, "[Tt]imeout"),
        "loop": (redirect(None), -errno.EIO, "redirects"),
        "file": (redirect("file:///etc/passwd"), -errno.EIO, "[Pp]rotocol"),
        "elsewhere": (redirect(elsewhere.url() + "/"), -errno.EACCES, "another server"),
        "a name": (redirect("http://localhost:%d/" % elsewhere.port), None, ""),
        "broken": (lambda handler, _: send(handler, b"", 500), -errno.EIO, "status 500"),
        "empty": (lambda handler, _: send(handler, b""), -errno.EIO, "status 200"),
        "none": (lambda handler, _: send(handler, b"no", 404), FETCH_NONE, "^$"),
        "once": (once, 0, "^$"),
    }
    server = Server(lambda handler, path: answers[path[1:].split("/")[0].replace("%20", " ")][0](handler, path)
                    if not path.startswith("/again") else once(handler, path))
    started = {what: Fetching("%s/%s" % (server.url(), what.replace(" ", "%20")), seconds=3 if what == "slow" else 120)
               for what in answers}
    for what, f in started.items():
        _, status, text = answers[what]
        got, said, body = f.answer()
        check(got < 0 if status is None else got == status, "%s: %d %s" % (what, got, said))
        check(re.search(text, said), "%s: %s" % (what, said))
        check(len(body) <= 1 << 20 and (what != "once" or body == b"found"), "%s: %d bytes" % (what, len(body)))
        check(b"secret" not in body and b"root:" not in body, what)
    check(not elsewhere.asked, "it went elsewhere")
    two = Fetching(server.url() + "/none", server.url() + "/once")  # the second server has it
    check(two.answer()[2] == b"found", "the second server")
    server.end()
    elsewhere.end()


def test_servers_by_name():
    """Names are looked up before the child shuts itself in, and no others afterwards."""
    where = lib.directory(world=True)
    (where / "hosts").write_text("127.0.0.1 one.example\n127.0.0.1 two.example\n")
    mine = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts; exec "$@"', str(where / "hosts"))

    def answer(handler, path):
        if path.startswith("/away"):
            send(handler, b"", 302, [("Location", "http://two.example:%d/" % server.port)])
        else:
            send(handler, b"found")

    server = Server(answer)
    check(Fetching("http://one.example:%d" % server.port, before=mine).answer() == (0, "", b"found"), "by its name")
    status, _, body = Fetching("http://one.example:%d/away" % server.port, before=mine).answer()
    check(status < 0 and not body and len(server.asked) == 2, "to another name: %d" % status)
    both = Fetching("http://one.example:%d/away" % server.port, "http://two.example:%d" % server.port, before=mine)
    check(both.answer()[2] == b"found", "to one that was named")
    server.end()
    try:
        server = Server(lambda handler, _: send(handler, b"found"), family=socket.AF_INET6)
    except OSError:
        return  # this machine has no IPv6
    check(Fetching("http://[::1]:%d" % server.port).answer() == (0, "", b"found"), "by an address")
    server.end()


def test_record():
    """One profile: what is mapped is fetched while its window lasts."""
    where = lib.directory()
    target, known = program(where)
    body = (where / "prog.debug").read_bytes()
    server = Server(lambda handler, path: send(handler, body) if known in path else send(handler, b"", 404))

    def attempt(seconds):
        out = lib.directory() / "out"
        code, _, errors = lib.record("--pid", target.pid, "--seconds", seconds, "-o", out, "--debuginfod", server.url(),
                                     "--debuginfod-cache", lib.directory() / "cache", timeout=lib.DEADLINE + seconds)
        check(code == 0, errors)
        p = lib.profile_of(out.read_bytes())
        lib.enough(counts(p)[5] == 0 and p.total("samples") > 2, "too short: %s" % p.comments)
        check_named(p, "record")

    for seconds in (2, 10, 40):
        try:
            attempt(seconds)
            break
        except lib.TooLittle:
            if seconds == 40:
                raise
    server.end()


def test_https():
    """Certificates are looked at, by those that this machine trusts."""
    trusted = "/etc/ssl/certs/ca-certificates.crt"
    if not shutil.which("openssl") or not os.path.exists(trusted):
        lib.skip("openssl or ca-certificates are not installed")
    import ssl
    where = lib.directory(world=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", where / "key",
                    "-out", where / "certificate"], check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(where / "certificate", where / "key")
    server = Server(lambda handler, _: send(handler, b"found"), context)
    expect(Fetching(server.url("https")), -errno.EIO, "certificate", "not trusted")
    mine = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" %s; exec "$@"' % trusted, str(where / "certificate"))
    f = Fetching(server.url("https"), before=mine)
    check(f.answer() == (0, "", b"found"), "trusted")
    server.end()


def test_the_child_may_do_nothing_else():
    """Of the one that pprofd has started. What its filter refuses is tests/unit/test-sandbox.c's."""
    def answer(handler, _):
        server.over.wait(lib.DEADLINE)

    server = Server(answer)
    d = daemon(program(lib.directory())[0], server.url(), lib.directory() / "cache")
    check(not d.child("pprofd-fetch"), "it is there before anything is wanted")
    one_window(d)
    lib.eventually(lambda: server.asked, "the server is not asked")
    pid = lib.eventually(lambda: d.child("pprofd-fetch"), "no pprofd-fetch")
    for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        check(int(lib.status(pid, key), 16) == 0, "%s %s" % (key, lib.status(pid, key)))
    for key in ("Uid", "Gid"):
        check("0" not in lib.status(pid, key).split(), "%s %s" % (key, lib.status(pid, key)))
    check(lib.status(pid, "NoNewPrivs") == "1" and lib.status(pid, "Seccomp") == "2", "it is not shut in")
    limits = pathlib.Path("/proc/%d/limits" % pid).read_text()
    check(re.search(r"Max file size +%d " % (2 << 30), limits) and re.search(r"Max processes +0 ", limits), limits)
    files = [os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid) if int(fd) > 2]
    kept = [f for f in files if not f.startswith("socket:")]
    check(len(kept) == 1 and kept[0].endswith("(deleted)"), "files: %s" % files)
    d.stop()
    check(not lib.alive(pid), "it outlives pprofd")
    server.end()


def test_nobody_is_asked_unless_told():
    server = Server(lambda handler, _: send(handler, b"", 404))
    d = lib.Daemon(program(lib.directory())[0], env=dict(os.environ, DEBUGINFOD_URLS=server.url()))
    p = d.profile(at_least=3)
    check_nameless(p, "off")
    check(not lib.comments(p, "debuginfod") and not d.child("pprofd-fetch") and not server.asked, "%s" % p.comments)
    d.stop()
    server.end()


if __name__ == "__main__":
    lib.run(globals())
