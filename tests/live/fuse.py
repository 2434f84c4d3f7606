# SPDX-License-Identifier: Apache-2.0
"""fuse.py - a file system of one file, served by a thread of the test: it answers until it is told to be silent, and
then waits of its clients cannot be ended by a signal."""

import ctypes
import errno
import os
import struct
import threading

import lib

(LOOKUP, FORGET, GETATTR, OPEN, READ, FLUSH, INIT, RELEASE, INTERRUPT, FORGETS) = (1, 2, 3, 14, 15, 25, 26, 18, 36, 42)
ROOT, FILE = 1, 2
MNT_DETACH = 2
HOUR = 3600


class Files:
    def __init__(self, content):
        """`name` is the file; its directory goes with the test. OSError: there is no FUSE here."""
        self.content = content
        self.silent, self.unanswered = (), 0  # which operations get no answer; how many have got none
        self.where = lib.directory(world=True)
        self.name = self.where / "file"
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        lib.libc("mount", b"fuse", bytes(self.where), b"fuse", ctypes.c_ulong(0),
                 b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % self.fd)
        threading.Thread(target=self._serve, daemon=True).start()

    def _attributes(self, node):
        kind, size = (0o40755, 0) if node == ROOT else (0o100755, len(self.content))
        return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, kind, 1, 0, 0, 0, 4096, 0)

    def _answer(self, what, node, body):
        if what == INIT:
            major, minor, ahead, _ = struct.unpack_from("<4I", body)
            return struct.pack("<4I2H2I2H8I", major, min(minor, 31), ahead, 0, 12, 9, 65536, 1, 0, 0, *[0] * 8)[:64]
        if what == LOOKUP and body.split(b"\0")[0] == b"file":
            return struct.pack("<4Q2I", FILE, 0, HOUR, HOUR, 0, 0) + self._attributes(FILE)
        if what == GETATTR:
            return struct.pack("<Q2I", HOUR, 0, 0) + self._attributes(node)
        if what == OPEN:
            return struct.pack("<Q2I", 0, 0, 0)
        if what == READ:
            _, at, n = struct.unpack_from("<2QI", body)
            return self.content[at:at + n]
        if what in (FLUSH, RELEASE):
            return b""
        return errno.ENOENT if what == LOOKUP else errno.ENOSYS

    def _serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError:
                return
            if not request:
                return
            _, what, unique, node, *_ = struct.unpack_from("<IIQQ4I", request)
            if what in (FORGET, FORGETS, INTERRUPT):
                continue
            if what in self.silent:
                self.unanswered += 1
                continue
            said = self._answer(what, node, request[40:])
            code, said = (-said, b"") if isinstance(said, int) else (0, said)
            try:
                os.write(self.fd, struct.pack("<IiQ", 16 + len(said), code, unique) + said)
            except OSError:
                pass

    def end(self):
        """Whoever waits is told that nobody is there."""
        lib.libc("umount2", bytes(self.where), ctypes.c_int(MNT_DETACH))
        os.close(self.fd)
