# SPDX-License-Identifier: Apache-2.0
"""reader.py - a reader of otel_memory probes that is not pprofd: perf events on the sites that the notes name.

It knows nothing of the library but what .note.stapsdt says. Needs root (or CAP_PERFMON) and uprobes."""
import ctypes
import mmap
import os
import re
import struct
import subprocess

UPROBE = "/sys/bus/event_source/devices/uprobe"
PERF_EVENT_OPEN = 298  # x86_64
SAMPLE_TID_TIME, SAMPLE_REGS_USER = 1 << 1 | 1 << 2, 1 << 12
REGISTERS = {"%rdi": 5, "%rsi": 4, "%rdx": 3}  # PERF_REG_X86_*
PAGES = 2048
USE_CLOCKID, CLOCK_MONOTONIC = 1 << 25, 1  # perf's own clock may step back from one CPU to the next
libc = ctypes.CDLL(None, use_errno=True)


def file_offset(library, address):
    out = subprocess.run(["readelf", "-lW", library], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        field = line.split()
        if field[:1] == ["LOAD"]:
            offset, start, size = int(field[1], 16), int(field[2], 16), int(field[4], 16)
            if start <= address < start + size:
                return offset + address - start
    raise ValueError(f"{address:#x} is in no segment's file part")


def notes(library):
    """probe name -> (site's address, semaphore's address, arguments)"""
    out = subprocess.run(["readelf", "-nW", library], capture_output=True, text=True, check=True).stdout
    found = {}
    pattern = (r"Provider: otel_memory\s+Name: (\w+)\s+Location: (0x\w+), Base: (0x\w+), "
               r"Semaphore: (0x\w+)\s+Arguments: (.*)")
    for name, site, _, semaphore, arguments in re.findall(pattern, out):
        found[name] = int(site, 16), int(semaphore, 16), arguments.split()
    return found


class Event:
    def __init__(self, pid, library, note):
        site, semaphore, arguments = note
        self.registers = [REGISTERS[a.removeprefix("8@")] for a in arguments]
        path = ctypes.create_string_buffer(os.fsencode(library))
        kind = int(open(f"{UPROBE}/type").read())
        attr = struct.pack("<IIQQQQQIIQQQQIiQIHHI4x", kind, 120,
                           file_offset(library, semaphore) << 32, 1, SAMPLE_TID_TIME | SAMPLE_REGS_USER, 0,
                           1 << 3 | USE_CLOCKID, 0, 0,
                           ctypes.addressof(path), file_offset(library, site), 0,
                           sum(1 << r for r in self.registers), 0, CLOCK_MONOTONIC, 0, 0, 0, 0, 0)
        attr = attr.ljust(120, b"\0")
        self.fd = libc.syscall(PERF_EVENT_OPEN, attr, pid, -1, -1, 8)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "perf_event_open")
        self.ring = mmap.mmap(self.fd, (1 + PAGES) * 4096)

    def read(self):
        """(time, register values in the note's order), and how many were lost"""
        head, size = struct.unpack_from("<Q", self.ring, 1024)[0], PAGES * 4096
        data = self.ring[4096:]
        data += data[:4096]  # a record may go past the end
        at, samples, lost = 0, [], 0
        order = sorted(self.registers)
        while at < head:
            kind, _, length = struct.unpack_from("<IHH", data, at % size)
            body = data[at % size + 8:at % size + length]
            if kind == 9:
                values = struct.unpack_from(f"<8xQQ{len(order)}Q", body)
                by_register = dict(zip(order, values[2:]))
                samples.append((values[0], [by_register[r] for r in self.registers]))
            elif kind == 2:
                lost += struct.unpack_from("<8xQ", body)[0]
            at += length
        return samples, lost

    def close(self):
        self.ring.close()
        os.close(self.fd)
