# SPDX-License-Identifier: Apache-2.0
"""made.py - pprof files of the tests' own making, for what no process does on demand: 50,000 distinct stacks, numbers of
64 bits, fields in odd orders, names that mean harm. Written from the wire format, as tests/pprof.py reads it."""
import gzip
import random


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    """A number, bytes, or a list of numbers (packed)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, list):
        value = b"".join(varint(v) for v in value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(**fields):
    """_1=..., _2=[...]: numbers that are 0 are left out; of messages a tuple."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        if isinstance(value, tuple):
            out += b"".join(field(number, v) for v in value)
        elif value or isinstance(value, bytes):
            out += field(number, value)
    return out


class Maker:
    def __init__(self, types=(("samples", "count"), ("cpu", "nanoseconds"))):
        self.strings, self.functions, self.locations, self.samples, self.mappings = {"": 0}, {}, {}, [], {}
        self.types = types

    def string(self, text):
        return self.strings.setdefault(text, len(self.strings))

    def mapping(self, file):
        if file not in self.mappings:
            i = len(self.mappings) + 1
            self.mappings[file] = (i, message(_1=i, _2=i << 32, _3=(i << 32) + (1 << 24), _5=self.string(file)))
        return self.mappings[file][0]

    def function(self, name):
        if name not in self.functions:
            i = len(self.functions) + 1
            self.functions[name] = (i, message(_1=i, _2=self.string(name), _3=self.string(name), _4=self.string("dir/%d.c" % (i % 100))))
        return self.functions[name][0]

    def location(self, names, file, ids=lambda i: i, address=0):
        """names: innermost first; more than one: all but the last are inlined."""
        if isinstance(names, str):
            names = (names,)
        key = (names, file)
        if key not in self.locations:
            i = ids(len(self.locations) + 1)
            lines = tuple(message(_1=self.function(n), _2=7) for n in names if n)
            self.locations[key] = (i, message(_1=i, _2=self.mapping(file), _3=address or (self.mapping(file) << 32) + i % 4096, _4=lines))
        return self.locations[key][0]

    def sample(self, stack, values, labels=None):
        """stack: locations, leaf first."""
        marks = tuple(message(_1=self.string(k), _3=v) if isinstance(v, int) else message(_1=self.string(k), _2=self.string(v))
                      for k, v in (labels or {}).items())
        self.samples.append(message(_1=stack, _2=list(values), _3=marks))

    def bytes(self, default="", backwards=False):
        kinds = tuple(message(_1=self.string(t), _2=self.string(u)) for t, u in self.types)
        parts = [b"".join(field(1, k) for k in kinds), b"".join(field(2, s) for s in self.samples),
                 b"".join(field(3, m) for _, m in self.mappings.values()), b"".join(field(4, x) for _, x in self.locations.values()),
                 b"".join(field(5, f) for _, f in self.functions.values()), message(_12=10000000),
                 message(_14=self.string(default)), message(_9=1700000000000000000, _10=5000000000)]
        parts.append(b"".join(field(6, s.encode()) for s in self.strings))
        if backwards:
            parts.reverse()
        return gzip.compress(b"".join(parts), 6)


def many(*words, n=50000, depth=30, functions=4000):
    """n stacks, no two alike, up to `depth` deep, out of 40 files; and how many percent of them have a word in them."""
    r = random.Random(11)
    m = Maker()
    places = [m.location("namespace_%d::function_%d(int, char const*)" % (i % 97, i), "/usr/lib/lib%d.so" % (i % 40)) for i in range(functions)]
    has = [{places[i] for i in range(functions) if w in "::function_%d(int" % i} for w in words]
    counts = [0] * len(words)
    total = 0
    stems = [[places[r.randrange(functions)] for _ in range(r.randrange(4, depth - 4))] for _ in range(900)]
    for i in range(n):
        stem = stems[min(int(r.expovariate(1 / 150)), len(stems) - 1)]
        tail = [places[r.randrange(functions)] for _ in range(r.randrange(3, max(4, depth - len(stem))))]
        k = r.randrange(1, 20)
        total += k
        for j, places_of in enumerate(has):
            counts[j] += k * (not places_of.isdisjoint(stem) or not places_of.isdisjoint(tail) or places[0] in places_of)
        m.sample(tail[::-1] + stem[::-1] + [places[0]], (k, k * 10000000), {"thread": "worker-%d" % (i % 16)})
    return m.bytes(), [100 * c / total for c in counts]
