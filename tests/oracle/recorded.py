# SPDX-License-Identifier: Apache-2.0
"""recorded.py - fixtures/recorded-trace.gz (its form: tests/unit/trace_world.h), for tests that compare with it."""
import collections
import gzip
import pathlib

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
IN, OUT, WAKING, NEW, EXIT, NAME, ENTER, LEAVE, SAMPLE = range(1, 10)
SYNC, NETWORK, PIPE, EVENTFD = 5, 6, 7, 8  # enum trace_why
SYSCALL = 14
Event = collections.namedtuple("Event", "time kind tid cpu other stack why call flags name")


def read():
    """({tid: name} at the start, events)"""
    data = gzip.open(FIXTURES / "recorded-trace.gz").read()
    at = 0

    def number():
        nonlocal at
        v = shift = 0
        while True:
            b = data[at]
            at += 1
            v |= (b & 127) << shift
            shift += 7
            if b < 128:
                return v

    def name():
        nonlocal at
        n = number()
        at += n
        return data[at - n:at].decode()
    threads = {}
    for _ in range(number()):
        tid = number()
        threads[tid] = name()
    for _ in range(number()):  # PCs
        number()
    for _ in range(number()):  # stacks
        for _ in range(number()):
            number()
    t, events = 0, []
    for _ in range(number()):
        t += number()
        events.append(Event(t, *(number() for _ in range(8)), name()))
    assert at == len(data)
    return threads, events
