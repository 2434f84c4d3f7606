#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""summary.py BUILD... - adds up what meson's test runs said: passed, failed, skipped and why.

A run that tested nothing is a failure, and so is a skip for want of BPF or root."""
import json
import pathlib
import sys

total = {}
skips = []
for build in sys.argv[1:]:
    logs = sorted(pathlib.Path(build, "meson-logs").glob("testlog*.json"))
    if not logs:
        print(f"{build}: no test has run")
        sys.exit(1)
    seen = {}
    for log in logs:
        for line in log.read_text().splitlines():
            test = json.loads(line)
            seen[test["name"]] = test
    for test in seen.values():
        total[test["result"]] = total.get(test["result"], 0) + 1
        if test["result"] == "SKIP":
            text = (test.get("stdout") or "") + (test.get("stderr") or "")
            why = text.strip().splitlines()[-1] if text.strip() else "no reason given"
            skips.append((test["name"], why))
print(", ".join(f"{n} {result.lower()}" for result, n in sorted(total.items())) or "nothing ran")
for name, why in skips:
    print(f"skipped: {name}: {why}")
bad = [r for r in total if r not in ("OK", "SKIP", "EXPECTEDFAIL")]
bad += [name for name, why in skips if "BPF" in why or why == "no reason given"]
sys.exit(1 if bad or not total.get("OK") else 0)
