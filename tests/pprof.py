#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads pprof profiles without dependencies, and says what their readers would refuse.

parse(bytes) gives a Profile of plain objects; validate(profile) the list of problems: the rules of
`go tool pprof` (profile.CheckValid and its decoder), of Parca's validation and of Alloy's and
Pyroscope's readers. limits(profile) says which of Pyroscope's default limits a profile passes. The
decoder is written from the wire format (protobuf.dev/programming-guides/encoding) and the field
table, not with the daemon's own library, so that one does not hide a mistake of the other.
"""

import struct
import sys
import zlib

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# number -> (name, kind). A kind in capitals is repeated.
FIELDS = {
    "Profile": {
        1: ("sample_type", "VALUETYPE"), 2: ("sample", "SAMPLE"), 3: ("mapping", "MAPPING"),
        4: ("location", "LOCATION"), 5: ("function", "FUNCTION"), 6: ("string_table", "STRING"),
        7: ("drop_frames", "int"), 8: ("keep_frames", "int"), 9: ("time_nanos", "int"),
        10: ("duration_nanos", "int"), 11: ("period_type", "valuetype"), 12: ("period", "int"),
        13: ("comment", "INT"), 14: ("default_sample_type", "int"), 15: ("doc_url", "int"),
    },
    "ValueType": {1: ("type", "int"), 2: ("unit", "int")},
    "Sample": {1: ("location_id", "UINT"), 2: ("value", "INT"), 3: ("label", "LABEL")},
    "Label": {1: ("key", "int"), 2: ("str", "int"), 3: ("num", "int"), 4: ("num_unit", "int")},
    "Mapping": {
        1: ("id", "uint"), 2: ("memory_start", "uint"), 3: ("memory_limit", "uint"),
        4: ("file_offset", "uint"), 5: ("filename", "int"), 6: ("build_id", "int"),
        7: ("has_functions", "int"), 8: ("has_filenames", "int"),
        9: ("has_line_numbers", "int"), 10: ("has_inline_frames", "int"),
    },
    "Location": {
        1: ("id", "uint"), 2: ("mapping_id", "uint"), 3: ("address", "uint"), 4: ("line", "LINE"),
        5: ("is_folded", "int"),
    },
    "Line": {1: ("function_id", "uint"), 2: ("line", "int"), 3: ("column", "int")},
    "Function": {
        1: ("id", "uint"), 2: ("name", "int"), 3: ("system_name", "int"), 4: ("filename", "int"),
        5: ("start_line", "int"),
    },
}
MESSAGES = {name.upper(): name for name in FIELDS}


class Malformed(Exception):
    """The bytes are no profile at all."""


class Raw:
    """A message as it stands on the wire: fields by name, repeated ones as lists."""

    def __init__(self, kind):
        self.kind = kind
        self.count = {}  # occurrences of single fields
        for name, what in FIELDS[kind].values():
            setattr(self, name, [] if what.isupper() else None if what == "valuetype" else 0)


class Plain:
    """An object of named values."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __repr__(self):
        return "%s(%s)" % (type(self).__name__,
                           ", ".join("%s=%r" % kv for kv in self.__dict__.items()))


class Frame(Plain):
    """name, system_name, file, start_line, line, inlined, address, mapping (or None)"""


class Sample(Plain):
    """frames (leaf first, inlined ones too), values, labels {key: [str]}, numbers {key: [int]}"""


class Mapping(Plain):
    """id, start, limit, offset, file, build_id, has_functions, has_filenames, ..."""


class Profile(Plain):
    """sample_types [(type, unit)], samples, mappings, comments, period_type, period, time_nanos,
    duration_nanos, default_sample_type, strings, functions, n_bytes, raw, gzip"""

    def column(self, kind):
        """The index of a sample type."""
        return [t for t, _ in self.sample_types].index(kind)

    def total(self, kind):
        column = self.column(kind)
        return sum(s.values[column] for s in self.samples)


def read_varint(data, at, end):
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise Malformed("varint without an end at byte %d" % at)
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at


def number(value, kind):
    signed = kind in ("int", "INT")
    return value - (1 << 64) if signed and value >> 63 else value


def read_field(data, at, end):
    """One field: number, wire type, value (an int, or a range of bytes), and where it ends."""
    key, at = read_varint(data, at, end)
    wire = key & 7
    if wire == VARINT:
        value, at = read_varint(data, at, end)
    elif wire == BYTES:
        n, at = read_varint(data, at, end)
        value, at = (at, at + n), at + n
    elif wire in (FIXED64, FIXED32):
        at += 8 if wire == FIXED64 else 4
        value = None
    else:
        raise Malformed("wire type %d at byte %d" % (wire, at))
    if at > end:
        raise Malformed("field %d ends behind its message" % (key >> 3))
    return key >> 3, wire, value, at


def decode(data, at, end, kind, problems):
    message = Raw(kind)
    fields = FIELDS[kind]
    while at < end:
        n, wire, value, at = read_field(data, at, end)
        if n not in fields:
            problems.append("%s has an unknown field %d" % (kind, n))
            continue
        name, what = fields[n]
        is_number = what.lower() in ("int", "uint")
        if is_number and wire == VARINT:
            values = [number(value, what)]
        elif is_number and wire == BYTES and what.isupper():  # packed
            values, pos = [], value[0]
            while pos < value[1]:
                v, pos = read_varint(data, pos, value[1])
                values.append(number(v, what))
        elif wire != BYTES or is_number:
            raise Malformed("%s.%s has wire type %d" % (kind, name, wire))
        elif what == "STRING":
            values = [bytes(data[value[0]:value[1]])]
        else:
            values = [decode(data, value[0], value[1], MESSAGES[what.upper()], problems)]
        if what.isupper():
            getattr(message, name).extend(values)
        else:
            message.count[name] = message.count.get(name, 0) + 1
            setattr(message, name, values[-1])
    return message


def unzip(body, problems):
    """The payload and the facts of the gzip header. Uncompressed profiles are legal, too."""
    if body[:2] != b"\x1f\x8b":
        problems.append("the body is not gzip'ed")
        return body, None
    d = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        data = d.decompress(body) + d.flush()
    except zlib.error as e:
        raise Malformed("gzip: %s" % e) from None
    if not d.eof:
        raise Malformed("gzip: cut off")
    if d.unused_data:
        problems.append("%d bytes behind the first gzip member" % len(d.unused_data))
    elif struct.unpack("<I", body[-4:])[0] != len(data) & 0xffffffff:
        problems.append("the gzip trailer's size is wrong")
    header = Plain(flags=body[3], mtime=struct.unpack("<I", body[4:8])[0], xfl=body[8], os=body[9])
    if header.flags or header.mtime:
        problems.append("the gzip header has a name, a comment or a time")
    return data, header


class Resolver:
    """From a Raw profile to plain objects; what does not resolve becomes a problem."""

    def __init__(self, raw, problems):
        self.raw = raw
        self.problems = problems
        self.strings = []
        for i, s in enumerate(raw.string_table):
            try:
                self.strings.append(s.decode("utf-8"))
            except UnicodeDecodeError:
                problems.append("string %d is not UTF-8: %r" % (i, s[:40]))
                self.strings.append(s.decode("utf-8", "replace"))
        if not self.strings:
            problems.append("no string table")
        elif self.strings[0]:
            problems.append("string_table[0] is %r" % self.strings[0][:40])

    def string(self, index, whose):
        if 0 <= index < len(self.strings):
            return self.strings[index]
        self.problems.append("%s: string %d of %d" % (whose, index, len(self.strings)))
        return ""

    def by_id(self, what, items):
        """Parca wants ids that count from 1; then no id can be 0 or there twice."""
        found = {}
        for i, item in enumerate(items, 1):
            if item.id != i:
                self.problems.append("%s number %d has id %d" % (what, i, item.id))
            if item.id in found:
                self.problems.append("two of %s have id %d" % (what, item.id))
            found[item.id] = item
        return found

    def value_type(self, v, whose):
        return (self.string(v.type, whose), self.string(v.unit, whose)) if v else ("", "")

    def mapping(self, m):
        flags = {k: bool(getattr(m, k)) for _, (k, _) in FIELDS["Mapping"].items()
                 if k.startswith("has_")}
        return Mapping(id=m.id, start=m.memory_start, limit=m.memory_limit, offset=m.file_offset,
                       file=self.string(m.filename, "mapping"),
                       build_id=self.string(m.build_id, "mapping"), **flags)

    def function(self, f):
        return Plain(id=f.id, name=self.string(f.name, "function"),
                     system_name=self.string(f.system_name, "function"),
                     file=self.string(f.filename, "function"), start_line=f.start_line)

    def frames(self, location, mappings, functions):
        """The lines of a location, innermost first."""
        whose = "location %d" % location.id
        m = mappings.get(location.mapping_id)
        if location.mapping_id and not m:
            self.problems.append("%s: no mapping %d" % (whose, location.mapping_id))
        if m and m.has_functions and not location.line:
            self.problems.append("%s has no line, but its mapping has_functions" % whose)
        out = []
        for i, line in enumerate(location.line):
            f = functions.get(line.function_id)
            if not f:
                self.problems.append("%s: no function %d" % (whose, line.function_id))
                continue
            out.append(Frame(name=f.name, system_name=f.system_name, file=f.file,
                             start_line=f.start_line, line=line.line, mapping=m,
                             address=location.address, inlined=i + 1 < len(location.line)))
        if not location.line:
            out.append(Frame(name="", system_name="", file="", start_line=0, line=0, mapping=m,
                             address=location.address, inlined=False))
        return out

    def sample(self, number_, s, locations):
        whose = "sample %d" % number_
        frames, labels, numbers = [], {}, {}
        for i in s.location_id:
            if i not in locations:
                self.problems.append("%s: no location %d" % (whose, i))
            frames.extend(locations.get(i, []))
        for label in s.label:
            key = self.string(label.key, whose)
            if not label.key or not key:
                self.problems.append("%s: a label without a key" % whose)
            if label.str and (label.num or label.num_unit):
                self.problems.append("%s: label %r is text and number" % (whose, key))
            if label.str:
                labels.setdefault(key, []).append(self.string(label.str, whose))
            elif label.num or label.num_unit:
                self.string(label.num_unit, whose)
                numbers.setdefault(key, []).append(label.num)
            else:
                self.problems.append("%s: label %r without a value" % (whose, key))
        if len(s.value) != len(self.raw.sample_type):
            self.problems.append("%s: %d values for %d sample types" %
                                 (whose, len(s.value), len(self.raw.sample_type)))
        return Sample(frames=frames, values=s.value, labels=labels, numbers=numbers)

    def profile(self, n_bytes, gzip):
        raw = self.raw
        mappings = {i: self.mapping(m) for i, m in self.by_id("mapping", raw.mapping).items()}
        functions = {i: self.function(f) for i, f in self.by_id("function", raw.function).items()}
        locations = {i: self.frames(l, mappings, functions)
                     for i, l in self.by_id("location", raw.location).items()}
        return Profile(
            sample_types=[self.value_type(v, "sample type") for v in raw.sample_type],
            samples=[self.sample(i, s, locations) for i, s in enumerate(raw.sample, 1)],
            mappings=list(mappings.values()), functions=list(functions.values()),
            comments=[self.string(c, "comment") for c in raw.comment],
            period_type=self.value_type(raw.period_type, "period type"), period=raw.period,
            time_nanos=raw.time_nanos, duration_nanos=raw.duration_nanos,
            default_sample_type=self.string(raw.default_sample_type, "default sample type"),
            drop_frames=self.string(raw.drop_frames, "drop_frames"),
            keep_frames=self.string(raw.keep_frames, "keep_frames"),
            doc_url=self.string(raw.doc_url, "doc_url"),
            strings=self.strings, n_bytes=n_bytes, raw=raw, gzip=gzip, problems=self.problems)


def parse(body):
    """A Profile from the body of an answer; raises Malformed."""
    problems = []
    if not body:
        raise Malformed("an empty body")
    data, gzip = unzip(body, problems)
    if not data:
        raise Malformed("nothing in the gzip member")
    raw = decode(data, 0, len(data), "Profile", problems)
    return Resolver(raw, problems).profile(len(data), gzip)


def load(path):
    with open(path, "rb") as f:
        return parse(f.read())


def validate(profile):
    """What the readers would refuse or lose: a list of sentences, empty for a good profile."""
    raw = profile.raw
    problems = list(profile.problems)
    for name, n in raw.count.items():
        if n > 1:
            problems.append("%s is there %d times: two profiles in one body?" % (name, n))
    if not profile.sample_types:
        problems.append("no sample types")
    if len(profile.sample_types) > 4:
        problems.append("more sample types than Alloy's array holds: %d" %
                        len(profile.sample_types))
    if any(not t for t, _ in profile.sample_types):
        problems.append("a sample type without a name")
    default = profile.default_sample_type
    if default and default not in [t for t, _ in profile.sample_types]:
        problems.append("default sample type %r is none of the sample types" % default)
    infos = [c for c in profile.comments if c.startswith("executableInfo=")]
    if infos and len(infos) != len(profile.mappings):
        problems.append("%d comments executableInfo= for %d mappings (Parca refuses)" %
                        (len(infos), len(profile.mappings)))
    for m in profile.mappings:
        if m.limit and m.limit <= m.start:
            problems.append("mapping %d ends before it begins" % m.id)
    return problems


def limits(profile):
    """Which defaults of Pyroscope (its limits.go) the profile passes: it rejects or cuts it."""
    deepest = max((len(s.frames) for s in profile.samples), default=0)
    labels = max((len(s.label) for s in profile.raw.sample), default=0)
    longest = max((len(s) for s in profile.raw.string_table), default=0)
    found = [("bytes uncompressed", profile.n_bytes, 4 << 20),
             ("samples", len(profile.samples), 16000), ("labels of a sample", labels, 100),
             ("frames of a stack", deepest, 1000), ("bytes of a string", longest, 65535)]
    return ["%d %s, the limit is %d" % (n, what, limit) for what, n, limit in found if n > limit]


def summary(profile):
    types = ", ".join("%s/%s = %d" % (t, u, sum(s.values[i] for s in profile.samples
                                                if i < len(s.values)))
                      for i, (t, u) in enumerate(profile.sample_types))
    yield "sample types: %s" % types
    yield "period: %d %s/%s" % (profile.period, *profile.period_type)
    yield "start: %d ns, duration: %d ns" % (profile.time_nanos, profile.duration_nanos)
    if profile.default_sample_type:
        yield "default sample type: %s" % profile.default_sample_type
    yield "%d samples, %d locations, %d functions, %d strings, %d bytes uncompressed" % (
        len(profile.samples), len(profile.raw.location), len(profile.functions),
        len(profile.strings), profile.n_bytes)
    for m in profile.mappings:
        flags = [k[4:] for k in m.__dict__ if k.startswith("has_") and getattr(m, k)]
        yield "mapping %d: %#x-%#x %s %s [%s]" % (m.id, m.start, m.limit, m.file, m.build_id,
                                                  " ".join(flags))
    for comment in profile.comments:
        yield "comment: %s" % comment


def main(arguments):
    if len(arguments) != 1:
        print("usage: pprof.py FILE", file=sys.stderr)
        return 2
    try:
        profile = load(arguments[0])
    except Malformed as e:
        print("problem: %s" % e)
        return 1
    problems = validate(profile)
    for line in summary(profile):
        print(line)
    for line in limits(profile):
        print("limit: %s" % line)
    for line in problems:
        print("problem: %s" % line)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
