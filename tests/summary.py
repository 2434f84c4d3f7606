#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""summary.py BUILD... - adds up what meson's test runs said: passed, failed, skipped and why.

A run that tested nothing is a failure, and so is a skip for want of BPF or root. A live claim that failed and
held when it was tried again is unstable: shown with what it said, and more than five of them are a failure."""
import json
import pathlib
import sys

UNSTABLE_AT_MOST = 5

total = {}
skips = []
unstable = []
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
        lines = (test.get("stdout") or "").splitlines()
        for name in [line.split()[1].rstrip(":") for line in lines if line.startswith("unstable ")]:
            said = [line for line in lines if line.startswith("FAIL " + name)]
            unstable.append("%s: %s" % (test["name"], said[0] if said else name))
print(", ".join(f"{n} {result.lower()}" for result, n in sorted(total.items())) or "nothing ran")
for name, why in skips:
    print(f"skipped: {name}: {why}")
for what in unstable:
    print(f"unstable: {what}")
bad = [r for r in total if r not in ("OK", "SKIP", "EXPECTEDFAIL")]
bad += [name for name, why in skips if "BPF" in why or why == "no reason given"]
if len(unstable) > UNSTABLE_AT_MOST:
    print(f"{len(unstable)} unstable, {UNSTABLE_AT_MOST} may be")
    bad.append("unstable")
sys.exit(1 if bad or not total.get("OK") else 0)
