#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""doors.py - the table of rooms and doors in ARCHITECTURE.md, held against the includes; and a few rules besides.

Each room says which rooms and which outside libraries its files may include. What is not named here is
open to all: the C library and Linux's own headers."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# room -> rooms it may include (prefixes of include paths)
ROOMS = {
    "base": ["base/"],
    "bpf": [],
    "symbolizer": ["base/", "symbolizer/"],
    "proto": [],
    "preload": ["preload/"],
    "daemon/broker": ["base/", "bpf/event.h", "bpf/custom.h", "bpf/heap.h", "bpf/wait.h", "bpf/threads.h", "bpf/trace.h", "bpf/identity.h", "bpf/life.h", "daemon/broker/", "daemon/protocol.h", "daemon/fetch_protocol.h",
                      "daemon/endpoints.h", "bpf_objects.h", "version.h"],
    "daemon/fetch": ["base/", "daemon/fetch/", "daemon/fetch_protocol.h"],
    "daemon/serve": ["base/", "bpf/event.h", "bpf/custom.h", "bpf/heap.h", "bpf/wait.h", "bpf/threads.h", "bpf/trace.h", "daemon/serve/", "daemon/protocol.h", "proto/",
                     "symbolizer/client.h", "symbolizer/probes.h", "symbolizer/protocol.h",
                     "symbolizer/rows.h"],
}
# the walk of the kernel's side, compiled for serve as well
EXTRA = {
    "daemon/serve/threads/walk.c": ["bpf/unwind.bpf.h"],
    "daemon/serve/threads/native.h": ["bpf/vmlinux.h"],
    # and its reading of labels, compiled for the broker
    "daemon/broker/labels.c": ["bpf/label.bpf.h"],
    "daemon/broker/labels_native.h": ["bpf/vmlinux.h"],
}
# library header -> the only files that may see it
LIBRARIES = {
    r"bpf/(lib)?bpf\.h": ["daemon/broker/kernel.c", "daemon/broker/uprobes.c", "daemon/broker/customs.c", "daemon/broker/traces.c",
                            "daemon/broker/waits.c", "daemon/broker/life.c", "daemon/broker/diagnose.h"],
    r"bpf/bpf_.*\.h": ["bpf/"],
    r"microhttpd\.h": ["daemon/serve/http"],
    r"elfutils/.*|gelf\.h|libelf\.h": ["symbolizer/"],
    r"curl/.*": ["daemon/fetch/fetch.c"],
    r"lzma\.h|libiberty/.*": ["symbolizer/"],
    r"zstd\.h": ["symbolizer/sections.c"],
    r"Zydis/.*": ["symbolizer/chooser.c", "symbolizer/flow_x86.c"],
    r"yaml\.h": ["daemon/broker/config.c", "daemon/broker/web_file.c"],
    r"cap-ng\.h": ["daemon/broker/"],
    r"seccomp\.h": ["symbolizer/sandbox.c", "daemon/broker/confine.c", "daemon/serve/sandbox.c", "daemon/fetch/sandbox.c", "daemon/serve/trace/call.c"],
    r"gnutls/.*": ["daemon/serve/door/tls.c", "daemon/serve/door/password.c"],
    r"crypt\.h": ["daemon/serve/door/password.c"],
    r"zlib\.h": ["daemon/serve/encode.c", "daemon/serve/format/gunzip.c", "symbolizer/"],
    r"protobuf-c/.*": ["daemon/serve/encode.c", "daemon/serve/format/load.c", "proto/"],
}
LIMITS = {"file": 600, "bpf": 400}

# The day's time jumps: it is for what is shown as a date, and no duration is told by it.
DAY = re.compile(r"\brealtime_ns\(\)|\btime\(NULL\)|\bgettimeofday\(|CLOCK_REALTIME\b")
DAY_IS = re.compile(r"time_ns = realtime_ns\(\);|start\.realtime = |secret = |started_ns|clock_ns\(CLOCK_REALTIME\)|"
                    r"inline int64_t realtime_ns|boot_ns = realtime_ns\(\) - |realtime_ns\(\) / NS_PER_MS|\(unsigned long long\)time\(NULL\)\);")

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')


def room_of(path):
    best = max((r for r in ROOMS if path.startswith(r + "/")), key=len, default=None)
    return best


def check(path, text, problems):
    room = room_of(path)
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        own, library = match.groups()
        where = f"{path}:{number}"
        if own and room and room != "bpf" and "/" in own and \
           not any(own.startswith(a) for a in ROOMS[room] + EXTRA.get(path, [])):
            problems.append(f"{where}: {room} may not include {own}")
        if own and room == "bpf" and "/" in own:
            problems.append(f"{where}: bpf includes only itself")
        if not library:
            continue
        for pattern, allowed in LIBRARIES.items():
            if re.fullmatch(pattern, library) and not any(path.startswith(a) for a in allowed):
                problems.append(f"{where}: <{library}> is not for {path}")


# the page: names of strangers never become markup, and nothing comes from elsewhere
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc|\beval\(|new Function|https?://")


def check_web(problems):
    for file in sorted((ROOT / "web").glob("*.[jc]s*")):
        path, lines = "web/" + file.name, file.read_text().splitlines()
        if len(lines) > LIMITS["file"]:
            problems.append(f"{path}: more than {LIMITS['file']} lines")
        if "SPDX-License-Identifier: Apache-2.0" not in lines[0] or not re.match(rf"(//|/\*) {file.name} - ", lines[1]):
            problems.append(f"{path}: does not open with its licence and what it owns")
        problems += [f"{path}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if MARKUP.search(line)]
        if f"'{file.name}'" not in (ROOT / "web" / "meson.build").read_text():
            problems.append(f"{path}: is not in web/meson.build")


def main():
    problems = []
    check_web(problems)
    n = 0
    for folder in ("base", "bpf", "daemon", "symbolizer", "proto", "preload"):
        for file in sorted((ROOT / folder).rglob("*.[ch]")):
            path = str(file.relative_to(ROOT))
            text = file.read_text()
            n += 1
            check(path, text, problems)
            problems += [f"{path}:{i}: the day's time, where it is no date" for i, line in enumerate(text.splitlines(), 1)
                         if path.startswith("daemon/") and DAY.search(line) and not DAY_IS.search(line)]
            if len(text.splitlines()) > LIMITS["file"]:
                problems.append(f"{path}: more than {LIMITS['file']} lines")
            if not text.startswith("/* SPDX-License-Identifier: "):
                problems.append(f"{path}: no licence line")
            elif path.startswith("bpf/") != ("GPL-2.0 OR BSD-2-Clause" in text.splitlines()[0]):
                problems.append(f"{path}: the wrong licence for its room")
            if path.endswith(".h") and "#pragma once" not in text:
                problems.append(f"{path}: no #pragma once")
    if n < 50:
        problems.append(f"only {n} files found: is this the tree?")
    for p in problems:
        print(p)
    print(f"doors: {n} files, {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main())
