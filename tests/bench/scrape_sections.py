# SPDX-License-Identifier: Apache-2.0
"""scrape_sections - the sections of tools/bench on being scraped: many at once, nobody for a minute, a day of it."""
import http.client
import os
import pathlib
import re
import selectors
import socket
import subprocess
import time

bench = None  # tools/bench, which sets it

# 1 ms of work ten times a second
TARGET = "import time\nwhile True:\n t = time.process_time()\n while time.process_time() - t < 0.001: sum(range(100))\n time.sleep(0.1)\n"
WINDOW = 5
PARCA = ["allocs", "block", "goroutine", "mutex", "profile"]


class Served:
    """pprofd for many."""

    def __init__(self, build, *args):
        self.p = bench.spawn([str(build / "pprofd"), "--listen", "127.0.0.1:0", "--audit", "off", *args],
                             stderr=subprocess.PIPE, text=True)
        self.port = int(re.search(r":(\d+)/", self.p.stderr.readline()).group(1))
        os.set_blocking(self.p.stderr.fileno(), False)
        while self.get("/-/ready")[0] != 200:
            time.sleep(0.05)

    def settle(self):
        """Until all is attached that counts from the start on (--pid), growth last."""
        while b'pprofd_collector_attached{collector="growth"} 1\n' not in self.get("/metrics")[1]:
            time.sleep(0.2)

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        c.request("GET", path)
        r = c.getresponse()
        body = r.read()
        c.close()
        return r.status, body

    def pids(self):
        """Broker, serve, symbolizer; not the children that read memory for a moment."""
        found = subprocess.run(["pgrep", "-P", str(self.p.pid), "-f", "pprofd-"], capture_output=True, text=True).stdout.split()
        return [self.p.pid] + [int(x) for x in found]

    def resident_of(self, pid):
        """MiB, pages shared with others (of the maps) among them."""
        found = re.search(r"VmRSS:\s+(\d+)", pathlib.Path("/proc/%d/status" % pid).read_text())
        return int(found.group(1)) / 1024 if found else 0  # it has just ended

    def resident(self):
        """MiB of all processes, pages that they share (of the maps) counted once for each that has them."""
        return sum(self.resident_of(pid) for pid in self.pids())

    def ran(self):
        """CPU time in seconds, and how often threads have gone to sleep."""
        s, n = 0.0, 0
        for pid in self.pids():
            s += time.clock_gettime_ns(~pid << 3 | 2) / 1e9
            for task in os.listdir("/proc/%d/task" % pid):
                text = pathlib.Path("/proc/%d/task/%s/status" % (pid, task)).read_text()
                n += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", text).group(1))
        return s, n

    def close(self):
        self.p.terminate()
        self.p.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Scrape:
    def __init__(self, port, path):
        self.path, self.data, self.took = path, b"", None
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)

    def send(self):
        self.began = time.monotonic()
        self.socket.send(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % self.path.encode())

    def read(self):
        """Whether it has ended."""
        try:
            data = self.socket.recv(1 << 20)
        except OSError:
            data = b""
        self.data += data
        if data:
            return False
        self.took = time.monotonic() - self.began
        self.socket.close()
        return True

    def good(self):
        """200, and all of it."""
        head, _, body = self.data.partition(b"\r\n\r\n")
        n = re.search(rb"Content-Length: (\d+)", head)
        return head.startswith(b"HTTP/1.1 200") and n and len(body) == int(n.group(1)) > 0


def scrape_all(port, paths):
    """All at once, by one thread: the client is not what is measured."""
    all_ = [Scrape(port, p) for p in paths]
    with selectors.DefaultSelector() as s:
        for x in all_:
            s.register(x.socket, selectors.EVENT_READ, x)
        for x in all_:
            x.send()
        while s.get_map():
            for key, _ in s.select():
                if key.data.read():
                    s.unregister(key.fileobj)
    return all_


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


def targets(n):
    started = [bench.spawn(["/usr/bin/python3", "-c", TARGET]) for _ in range(n)]
    time.sleep(2)
    return started


def section_scrape(o):
    print("\n## scrape: 500 at once, of 50 processes\n\n| what | errors | beyond the window: p50 | p99 | longest | resident MiB |\n|---|---|---|---|---|---|")
    started = targets(50)
    pids = [p.pid for p in started]
    with Served(o.build, *(x for pid in pids for x in ("--pid", str(pid)))) as d:
        d.settle()
        scrape_all(d.port, ["/pid/%d/debug/pprof/profile?seconds=1" % p for p in pids])  # names are known, as after a first round
        rows = [("profile, 10 a process", ["profile"] * 10), ("what Parca asks for, twice", PARCA * 2)]
        for what, names in rows:
            paths = ["/pid/%d/debug/pprof/%s?seconds=%d" % (pid, name, WINDOW) for name in names for pid in pids]
            done = scrape_all(d.port, paths)
            bad = [x for x in done if not x.good()]
            took = [x.took - WINDOW for x in done]
            print("| %s | %d | %.2f s | %.2f s | %.2f s | %.0f |" % (what, len(bad), quantile(took, 0.5), quantile(took, 0.99),
                                                                   max(took), d.resident()))
            for x in bad[:3]:
                print("<!-- %s: %r -->" % (x.path, x.data[:200]))
    for p in started:
        bench.end(p)


def forks():
    return int(re.search(r"\nprocesses (\d+)", pathlib.Path("/proc/stat").read_text()).group(1))


def section_scrape_idle(o):
    print("\n## scrape-idle: --all, nobody asks, for a minute\n\n| processes | CPU | wake-ups a second | resident MiB | forks of the machine meanwhile |\n|---|---|---|---|---|")
    started = [bench.spawn([str(o.build / "tests" / "targets" / "life"), "sleep"]) for _ in range(200)]
    with Served(o.build, "--all") as d:
        time.sleep(5)
        known = int(float(re.search(r"\npprofd_targets_known (\S+)", d.get("/metrics")[1].decode()).group(1)))
        time.sleep(10)  # the connection ends, its thread too
        cpu, n = d.ran()
        had = forks()
        time.sleep(60)
        cpu2, n2 = d.ran()
        print("| %d | %.3f %% | %.2f | %.1f | %d |" % (known, (cpu2 - cpu) / 60 * 100, (n2 - n) / 60, d.resident(), forks() - had))
    for p in started:
        bench.end(p)


SECTIONS = {"scrape": section_scrape, "scrape-idle": section_scrape_idle}
