#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""doors_http.py - who may read: TLS, client certificates, passwords, their change while pprofd runs, rates, what is
redacted, what is written down. Certificates are made here and last as long as the test."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import lib
import server
from lib import check

SECRET = "$2b$04$a3H0C7fM1Gx3b1d.7xjSKezRDHY3s4EdcgyPOvQOcj.OB2/DcdjyS"
OTHER = "$2b$04$TT9WvhNcxeF0Dcpydjvg7ehigbBBtHvkR5vGquVTbF.KdzWQpuYsi"
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
CMDLINE = "/debug/pprof/cmdline"


def openssl(*arguments):
    if not shutil.which("openssl"):
        lib.skip("openssl is not installed")
    p = subprocess.run(["openssl", *[str(a) for a in arguments]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=lib.DEADLINE, check=False)
    check(p.returncode == 0, "openssl %s: %s" % (arguments[0], p.stderr.decode()[-300:]))


def authority(where, name):
    openssl("req", "-x509", *EC, "-keyout", where / (name + ".key"), "-out", where / (name + ".pem"), "-days", "2",
            "-subj", "/CN=" + name)


def certificate(where, name, alternative, more="", ca="ca"):
    openssl("req", *EC, "-keyout", where / (name + ".key"), "-out", where / "csr", "-subj", "/CN=" + name)
    (where / "extensions").write_text("subjectAltName=" + alternative + "\n" + more)
    openssl("x509", "-req", "-in", where / "csr", "-CA", where / (ca + ".pem"), "-CAkey", where / (ca + ".key"),
            "-CAcreateserial", "-days", "2", "-extfile", where / "extensions", "-out", where / (name + ".pem"))


def place():
    """A directory with a CA and a certificate of the server's."""
    if not shutil.which("curl"):
        lib.skip("curl is not installed")
    where = lib.directory()
    authority(where, "ca")
    certificate(where, "server", "DNS:localhost,IP:127.0.0.1,DNS:prof.example")
    return where


TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


def users(*pairs):
    return "basic_auth_users:\n" + "".join("  %s: %s\n" % p for p in pairs)


class Door(lib.Daemon):
    """pprofd with a web configuration, on TCP and a Unix socket."""

    def __init__(self, where, text, *arguments, target=None):
        self.where = where
        self.file = where / "web.yml"
        self.write(text)
        self.path = str(where / "socket")
        super().__init__(target or lib.start("rungs", "600"), listen=("127.0.0.1:0", "unix:" + self.path),
                         arguments=("--web.config.file", str(self.file), *arguments))
        self.port = int(re.search(r":(\d+)/", self.addresses[0]).group(1))

    def write(self, text):
        """At once, as those who are careful do."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    def curl(self, *arguments, path=CMDLINE, scheme="https"):
        """(status or 0, head, body)"""
        p = subprocess.run(["curl", "-sS", "-i", "--max-time", str(lib.DEADLINE), "--cacert", str(self.where / "ca.pem"),
                            *arguments, "%s://localhost:%d%s" % (scheme, self.port, path)],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=2 * lib.DEADLINE, check=False)
        head, _, body = p.stdout.decode(errors="replace").partition("\r\n\r\n")
        found = re.match(r"HTTP/1.1 (\d+)", head)
        return int(found.group(1)) if found else 0, head, body

    def status(self, *arguments, **options):
        return self.curl(*arguments, **options)[0]

    def unix(self, path):
        return self.get(path, connection=lib.UnixConnection(self.path, lib.DEADLINE))


def test_tls_and_passwords():
    where = place()
    d = Door(where, TLS + users(("prom", SECRET), ("both", OTHER)) +
             "http_server_config:\n  http2: true\n  headers:\n    Strict-Transport-Security: max-age=600\n"
             "    X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n")
    check(d.addresses[0].startswith("https://127.0.0.1:"), d.addresses[0])
    code, head, body = d.curl("-u", "prom:secret")
    check(code == 200 and body.startswith(lib.target("rungs")), "%d %s" % (code, body))
    for line in ("Strict-Transport-Security: max-age=600", "X-Frame-Options: deny", "X-Content-Type-Options: nosniff",
                 "Cross-Origin-Resource-Policy: same-origin"):
        check(head.count(line) == 1, "%s: %s" % (line, head))
    check("Access-Control" not in head, head)
    for wrong in ((), ("-u", "prom:wrong"), ("-u", "prom:other"), ("-u", "nobody:secret"), ("-u", "prom:"),
                  ("-H", "Authorization: Basic !!!!"), ("-H", "Authorization: Bearer x")):
        code, head, body = d.curl(*wrong)
        check(code == 401 and "WWW-Authenticate: Basic" in head, "%s: %d %s" % (wrong, code, head))
        check(body == "Unauthorized\n", body)
    check(d.status("-u", "both:other") == 200, "the other user")
    check(d.status("-u", "prom:secret", "-H", "Host: prof.example") == 200, "a name of the certificate")
    check(d.status("-u", "prom:secret", "-H", "Host: evil.example") == 403, "a foreign name")
    check(d.status("-u", "prom:secret", "-H", "Origin: https://evil.example") == 403, "a foreign page")
    check(d.status("-u", "prom:secret", "-H", "Sec-Fetch-Site: cross-site") == 403, "a foreign page")
    check(d.status(scheme="http") != 200, "without TLS")
    check(d.unix(CMDLINE).status == 200, "a Unix socket wants a password")
    for pattern in (r'client="127.0.0.1" user="prom" pid=%d path="%s" status=200 ms=\d+ bytes=\d+$' % (d.target, CMDLINE),
                    r'client="127.0.0.1" path="%s" status=401' % CMDLINE, r'client="uid 0" pid=\d+ path='):
        lib.eventually(lambda: re.search(pattern, "\n".join(d.said("audit:")), re.M), "no %s: %s" % (pattern, d.said("audit:")))
    check("secret" not in "\n".join(d.lines), "a password is in the log")
    top = server.go("-top", "-symbolize=none",
                    "https+insecure://prom:secret@localhost:%d/debug/pprof/profile?seconds=1" % d.port).decode()
    check("File: rungs" in top and "rung_leaf" in top, top)
    d.stop()


def test_clients_with_certificates():
    """Go's policies, one after the other while pprofd runs."""
    where = place()
    certificate(where, "alice", "DNS:alice.example,URI:spiffe://alice")
    certificate(where, "mallory", "DNS:mallory.example")
    certificate(where, "purpose", "URI:spiffe://alice", "extendedKeyUsage=serverAuth")
    authority(where, "other")

    def tls(policy, more="  client_ca_file: ca.pem\n"):
        return TLS + "  client_auth_type: %s\n" % policy + more

    def of(name):
        return () if not name else ("--cert", str(where / (name + ".pem")), "--key", str(where / (name + ".key")))

    d = Door(where, tls("RequireAndVerifyClientCert", "  client_ca_file: ca.pem\n  client_allowed_sans: [bob, spiffe://alice]\n"))
    for name, served in (("alice", True), ("mallory", False), ("purpose", False), ("other", False), (None, False)):
        check((d.status(*of(name)) == 200) == served, "allowed names: %s" % name)
    check(d.said('user="CN=alice" pid='), "%s" % d.lines)
    for policy, more, marks in (
            ("VerifyClientCertIfGiven", "  client_ca_file: ca.pem\n", "yyny"),
            ("RequireAnyClientCert", "", "yyy-"), ("RequestClientCert", "", "yyyy")):
        d.write(tls(policy, more))
        before = len(d.said("has been read again"))
        lib.eventually(lambda: (d.unix("/"), len(d.said("has been read again")) > before)[1], "%s is not read" % policy, pause=0.2)
        for name, mark in zip(("alice", "mallory", "other", None), marks):
            code = d.status(*of(name))
            check((code == 200) == (mark == "y"), "%s: %s gets %d" % (policy, name, code))
    d.stop()


def of_server(d):
    """The serial number of the certificate that new connections get."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", d.port), timeout=lib.DEADLINE) as s:
        with context.wrap_socket(s) as t:
            return t.getpeercert(True)


def test_reload():
    where = place()
    d = Door(where, TLS + users(("prom", SECRET)))
    first = of_server(d)
    check(of_server(d) == first, "another certificate")
    # a new certificate and its key, which for a moment do not fit
    certificate(where, "next", "DNS:localhost")
    (where / "next.key").rename(where / "server.key")
    lib.eventually(lambda: (d.status("-u", "prom:secret"), d.said("is no good"))[1], "no word of the mismatch", pause=0.2)
    check(of_server(d) == first, "another certificate")
    (where / "next.pem").rename(where / "server.pem")
    lib.eventually(lambda: of_server(d) != first, "the old certificate", pause=0.2)
    check(d.status("-u", "prom:secret") == 200, "with the new certificate")
    # a broken file: the old one holds, and one line says so
    d.write(TLS + users(("prom", OTHER)) + "no_such_key: 1\n")
    d.popen.send_signal(signal.SIGHUP)
    lib.eventually(lambda: d.said("web.yml:"), "no word of the broken file")
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        check(d.status("-u", "prom:secret") == 200, "the broken file has changed something")
    said = d.said("web.yml:")
    check(len(said) == 1 and re.search(r'web.yml:6: unknown key "no_such_key"; what was read before holds', said[0]), "%s" % said)
    d.write(users(("prom", OTHER)))
    d.popen.send_signal(signal.SIGHUP)
    lib.eventually(lambda: d.said("TLS can be switched"), "no word of TLS")
    d.write(TLS + users(("prom", OTHER)))
    lib.eventually(lambda: d.status("-u", "prom:other") == 200, "the new password", pause=0.2)
    check(d.status("-u", "prom:secret") == 401, "the old password")
    # serve begins anew with what holds now
    serve = d.child("pprofd-serve")
    subprocess.run(["kill", "-9", str(serve)], check=True)
    lib.eventually(lambda: d.child("pprofd-serve") not in (None, serve), "no new serve")
    lib.eventually(lambda: d.status("-u", "prom:other") == 200, "after a restart", pause=0.2)
    check(d.kill(signal.SIGTERM) == 0, "%s" % d.lines[-3:])


def refused(code, pattern, *arguments):
    p = subprocess.run([lib.PPROFD, *[str(a) for a in arguments]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=lib.DEADLINE, check=False, preexec_fn=lib._in_child)
    text = p.stderr.decode()
    check(p.returncode == code and re.search(pattern, text) and text.count("\n") == 1,
          "%s: status %d: %s" % (arguments[-1], p.returncode, text))


def test_what_is_refused():
    where = place()
    pid = lib.start("rungs", "600").pid
    file = where / "web.yml"

    def bad(text, pattern, code=2):
        file.write_text(text)
        refused(code, pattern, "--pid", pid, "--listen", "127.0.0.1:0", "--web.config.file", file)

    bad("basic_auth_users:\n  a: nohash\n", r"web.yml:2: .*bcrypt")
    bad(TLS.replace("server.key", "nosuch.key"), r"web.yml:3: nosuch.key: No such file", 1)
    bad(TLS.replace("server.key", "ca.key"), r"certificate and key: ", 1)
    refused(1, "No such file", "--pid", pid, "--listen", "127.0.0.1:0", "--web.config.file", where / "nosuch")
    # beyond loopback, only what asks who is there
    refused(2, "no authentication.*--web.config.file", "--pid", pid, "--listen", "0.0.0.0:0")
    file.write_text(TLS)
    refused(2, "no authentication", "--pid", pid, "--listen", "0.0.0.0:0", "--web.config.file", file)
    file.write_text(TLS + users(("prom", SECRET)))
    d = lib.Daemon(pid, listen=(":0",), arguments=("--web.config.file", str(file)))
    check(d.addresses[0].startswith(("https://0.0.0.0:", "https://[::]:")), "%s" % d.addresses)
    # and it stays so
    file.write_text(TLS)
    d.popen.send_signal(signal.SIGHUP)
    d.line("no authentication is left.*what was read before holds")
    check(d.kill(signal.SIGTERM) == 0, "%s" % d.lines[-3:])


def test_rate():
    where = lib.directory()
    path = str(where / "socket")
    d = lib.Daemon(lib.start("rungs", "600"), listen=("127.0.0.1:0", "unix:" + path), arguments=("--max-rate", "1"))
    c = d.connect()
    answers = []
    while len(answers) < 500 and (not answers or answers[-1].status == 200):
        answers.append(d.get(CMDLINE, connection=c))
    last = answers[-1]
    check(len(answers) > 5 and last.status == 429, "%d answers, the last: %d" % (len(answers), last.status))
    check(last.text() == "more than 1 requests a second (--max-rate)\n" and int(last.headers["Retry-After"]) in (1, 2),
          "%r %s" % (last.text(), last.headers))
    check(d.get(CMDLINE, connection=lib.UnixConnection(path, lib.DEADLINE)).status == 200, "others wait, too")
    lib.eventually(lambda: d.get(CMDLINE, connection=c).status == 200, "never again", pause=1.1)
    check(d.said("status=429"), "%s" % d.lines[-3:])
    d.stop()


def test_redact():
    """That there is something to hide, server.py has seen."""
    d = lib.Daemon(lib.start("rungs", "600"), arguments=("--redact", "cmdline,paths"))
    for path in (CMDLINE, "/pprof/cmdline"):
        check(d.get(path).text() == "rungs", "%s: %s" % (path, d.get(path).text()))
    paths = ("goroutine?debug=2", "heap?debug=1", "profile?seconds=1&format=top", "trace?seconds=1", "")
    profile, *answers = lib.together(lambda: d.profile(1, "&demangle=full", at_least=20),
                                     *[lambda p=path: d.get("/debug/pprof/" + p) for path in paths])
    names = [m.file for m in profile.mappings if m.file] + [f.file for s in profile.samples for f in s.frames if f.file]
    check("rungs" in names and "rungs.c" in names and not any("/" in n for n in names), "%s" % set(names))
    for path, a in zip(paths, answers):
        check(a.status == 200, "%s: %d" % (path, a.status))
        found = re.search(rb"[\w.-]*/(rungs|lib[\w.+-]*\.so).*", a.body)
        check(not found, "%s: %s" % (path, found))
    d.stop()


def test_audit():
    """One line, whatever is in it; none of the index; none at all if so wished."""
    p = lib.start("rungs", "600")
    d, quiet = lib.Daemon(p), lib.Daemon(p, arguments=("--audit", "off"))
    for one in (d, quiet):
        one.get("/debug/pprof/")
        with socket.create_connection((one.host, one.port), timeout=lib.DEADLINE) as s:
            s.sendall(b'GET /debug/pprof/heap?"\xc3\xa4=%0approfd:+x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
            while s.recv(65536):
                pass
    said = lib.eventually(lambda: d.said("audit"), "no line")
    check(len(said) == 1 and r'path="/debug/pprof/heap?\"\xc3\xa4=%0approfd:+x" status=' in said[0], "%s" % said)
    check(not quiet.said("audit"), "%s" % quiet.lines)
    d.stop()
    quiet.stop()


if __name__ == "__main__":
    lib.run(globals())
