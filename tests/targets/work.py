# SPDX-License-Identifier: Apache-2.0

"""work.py [SECONDS] - a workload for the Python interpreter: calls, dictionaries, sorting, JSON."""

import json
import sys
import time


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def sort_some(turn):
    return sorted((i * 7919 + turn) % 1009 for i in range(500))[10]


def main():
    end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 10)
    print("ready", flush=True)
    sink = turn = 0
    while time.monotonic() < end:
        turn += 1
        sink += fibonacci(12) + sort_some(turn)
        sink += len(json.loads(json.dumps({str(i): [i, str(i)] for i in range(50)})))


main()
