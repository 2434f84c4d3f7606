# SPDX-License-Identifier: Apache-2.0
"""steady_sections - the sections of tools/bench on what a service holds after long: a day of scrapes, and targets that are never the
same. Of each process and kind of holding: how much, and its slope in a thousand scrapes after a quarter of them (least squares)."""
import os
import pathlib
import random
import re
import socket
import tempfile
import threading
import time

from scrape_sections import PARCA, Served, scrape_all, targets

bench = None  # tools/bench, which sets it

DAY = 24 * 3600 // 10
NAMES = ("pprofd", "pprofd-serve", "pprofd-symboliz")
WHAT = ("resident KiB", "anonymous KiB", "descriptors", "threads", "BPF maps", "BPF KiB")
KINDS = ("profile?seconds=1", "profile?seconds=1&format=svg", "profile?seconds=1&format=speedscope", "profile?seconds=1&format=firefox",
         "profile?seconds=1&keep=1", "heap", "heap?seconds=1", "heap?debug=1", "allocs", "block", "mutex", "mutex?seconds=1", "goroutine",
         "goroutine?debug=2", "threadcreate", "growth", "offcpu?seconds=1", "wall?seconds=1", "trace?seconds=1",
         "trace?seconds=1&format=perfetto", "pieces", "pieces?seconds=1", "delta_heap", "delta_block", "cmdline", "")
OTHERS = ("/metrics", "/sd", "/", "/-/live", "/-/history", "/t/churn/debug/pprof/heap")


def holds(pid):
    """What one process has, as WHAT says; maps as it holds descriptors of them."""
    text = pathlib.Path("/proc/%d/status" % pid).read_text()
    field = {k: int(v) for k, v in re.findall(r"^(\w+):\s+(\d+)", text, re.M)}
    fds, maps = os.listdir("/proc/%d/fd" % pid), {}
    for fd in fds:
        try:
            info = pathlib.Path("/proc/%d/fdinfo/%s" % (pid, fd)).read_text()
        except OSError:
            continue  # it has just been closed
        for i in re.findall(r"^map_id:\s+(\d+)", info, re.M):
            maps[i] = int(re.search(r"^memlock:\s+(\d+)", info, re.M).group(1)) // 1024
    return field["VmRSS"], field["RssAnon"], len(fds), field["Threads"], len(maps), sum(maps.values())


def slope(points):
    """Of the line through them, in a thousand scrapes."""
    n, x, y = len(points), sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points)
    across = sum((p[0] - x) ** 2 for p in points)
    return 1000 * sum((p[0] - x) * (p[1] - y) for p in points) / across if n > 1 and across else 0.0


class Watch:
    """Looks at all processes now and then, and says in the end how they went."""

    def __init__(self, served, n_all):
        self.served, self.n_all, self.seen = served, n_all, []

    def look(self, n):
        row = {pathlib.Path("/proc/%d/comm" % pid).read_text().strip(): holds(pid) for pid in self.served.pids()}
        self.seen.append((n, row))

    def say(self):
        print("| process | what | after 10 % | 50 % | 100 % | slope in 1,000 scrapes |\n|---|---|---|---|---|---|")
        late = [x for x in self.seen if x[0] >= self.n_all / 4]
        at = [min(self.seen, key=lambda x, k=k: abs(x[0] - self.n_all * k)) for k in (0.1, 0.5, 1)]
        for name in NAMES:
            for i, what in enumerate(WHAT):
                points = [(n, row[name][i]) for n, row in late if name in row]
                if not points or not any(v for _, v in points):
                    continue
                print("| %s | %s | %s | %+.1f |" % (name, what, " | ".join(str(row[name][i]) for _, row in at), slope(points)), flush=True)

    def tables(self):
        """What serve says that its tables take, and how near they are to their bounds."""
        text = self.served.get("/metrics")[1].decode()
        fill = dict(re.findall(r'^pprofd_table_fill_ratio\{table="(\w+)"\} (\S+)', text, re.M))
        size = re.findall(r'^pprofd_table_bytes\{table="(\w+)"\} (\S+)', text, re.M)
        print("\nTables: %s" % ", ".join("%s %.0f KiB (%.1f %% of its bound)" % (k, float(v) / 1024, 100 * float(fill[k])) for k, v in size))


def section_scrape_day(o):
    print("\n## scrape-day: a scrape each 10 s for 24 hours, in compressed time\n")
    started = targets(4)
    batch = 24
    with Served(o.build, *(x for p in started for x in ("--pid", str(p.pid)))) as d:
        d.settle()
        w, n, bad = Watch(d, DAY), 0, 0
        while n < DAY:
            paths = []
            for i in range(batch):
                pid = started[(n + i) % 4].pid
                paths.append("/pid/%d/debug/pprof/profile?seconds=1" % pid)
                paths += ["/pid/%d/debug/pprof/%s" % (pid, name) for name in PARCA[:-1]] if i % 6 == 0 else []
            bad += sum(not x.good() for x in scrape_all(d.port, paths))
            n += batch
            if n % (batch * 6) == 0:
                w.look(n)
        w.say()
        w.tables()
        print("\n%d of %d failed." % (bad, n))
    for p in started:
        bench.end(p)


class Churn:
    """Targets that are never the same: two that execute themselves now and then, one of which is another now and then, and one for
    ever."""

    def __init__(self, build, where):
        self.build, self.where, self.random = build, where, random.Random(1)
        self.fixed = self.start()
        self.others = [self.start(), self.start()]
        self.next = time.monotonic() + 15

    def start(self):
        path = self.build / "tests" / "targets"
        return bench.spawn([str(path / "churn"), self.where, str(self.random.randint(8, 25)), str(path / "libone.so")], stdout=-3)

    def end(self, p):
        bench.end(p)
        pathlib.Path("/tmp/perf-%d.map" % p.pid).unlink(missing_ok=True)

    def turn(self):
        if time.monotonic() > self.next:
            self.next = time.monotonic() + 15
            self.end(self.others.pop(0))
            self.others.append(self.start())

    def close(self):
        for p in [self.fixed, *self.others]:
            self.end(p)


class Client(threading.Thread):
    """Asks for anything, and now and then hangs up before the answer or in the middle of it."""

    def __init__(self, d, churn, seed):
        super().__init__(daemon=True)
        self.d, self.churn, self.random, self.n, self.stop = d, churn, random.Random(seed), 0, False

    def ask(self):
        pid = self.random.choice([self.churn.fixed, *self.churn.others]).pid
        path = "/pid/%d/debug/pprof/%s" % (pid, self.random.choice(KINDS))
        if self.random.random() < 0.15:
            path = self.random.choice(OTHERS)
        with socket.create_connection(("127.0.0.1", self.d.port), timeout=120) as s:
            s.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
            if self.random.random() < 0.1:
                time.sleep(self.random.random() * 1.2)
                return
            slow = self.random.random() < 0.05
            while s.recv(1000 if slow else 1 << 16):
                time.sleep(0.02 if slow else 0)

    def run(self):
        while not self.stop:
            try:
                self.ask()
            except OSError:
                pass
            self.n += 1


def section_scrape_churn(o):
    n_all = 100 * o.runs
    print("\n## scrape-churn: all kinds of requests, %d of them, of processes that come, go, execute and open files\n" % n_all)
    with tempfile.TemporaryDirectory() as where:
        churn = Churn(o.build, where)
        with Served(o.build, "--pid", str(churn.fixed.pid), "--comm", "churn", "--lease", "10", "--state-dir", "none") as d:
            clients = [Client(d, churn, i) for i in range(8)]
            w, looked = Watch(d, n_all), 0
            for c in clients:
                c.start()
            while sum(c.n for c in clients) < n_all:
                time.sleep(0.5)
                churn.turn()
                if sum(c.n for c in clients) >= looked:
                    w.look(sum(c.n for c in clients))
                    looked += n_all // 50
            for c in clients:
                c.stop = True
            w.say()
            w.tables()
        churn.close()


SECTIONS = {"scrape-day": section_scrape_day, "scrape-churn": section_scrape_churn}
