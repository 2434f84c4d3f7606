// SPDX-License-Identifier: Apache-2.0
// profile.js - a pprof message as columns. Owns the meaning of profile.proto: all of its fields, in any order,
// ours or Go's. A frame is the number of its symbol (name and object) times two, plus one where it was inlined;
// a stack is a row of locations, leaf first, and a location a row of frames, innermost first.
import { Cursor, Malformed, gunzip } from "./wire.js";

const KERNEL = /^\[?(kernel|vmlinux|guest\.kernel)/;

/** The last part of a path, which is what we call an object. */
export function objectOf(file) {
  if (!file) return "";
  if (KERNEL.test(file)) return "[kernel]";
  const at = file.replace(/ \(deleted\)$/, "");
  return at.startsWith("[") ? at : at.slice(at.lastIndexOf("/") + 1);
}

/** Names to numbers, one of each; frames of two profiles that are joined meet here. */
export class Symbols {
  constructor() {
    this.names = [];
    this.objects = []; // of each symbol, by its number in objectNames
    this.files = [];
    this.objectNames = [];
    this.numbers = new Map();
    this.objectNumbers = new Map();
  }

  object(name) {
    let n = this.objectNumbers.get(name);
    if (n === undefined) {
      n = this.objectNames.push(name) - 1;
      this.objectNumbers.set(name, n);
    }
    return n;
  }

  add(name, object, file) {
    let inObject = this.numbers.get(object);
    if (!inObject) this.numbers.set(object, (inObject = new Map()));
    let n = inObject.get(name);
    if (n === undefined) {
      n = this.names.push(name) - 1;
      inObject.set(name, n);
      this.objects.push(this.object(object));
      this.files.push(file || "");
    } else if (!this.files[n] && file) this.files[n] = file;
    return n;
  }
}

function grown(a, n) {
  if (n <= a.length) return a;
  const b = new a.constructor(Math.max(n, a.length * 2));
  b.set(a);
  return b;
}

/** Where each top-level field begins, by its number; what is single keeps the last. */
function survey(c) {
  const at = new Map();
  for (let f; (f = c.next()); ) {
    let list = at.get(f);
    if (!list) at.set(f, (list = []));
    list.push(c.pos);
    c.skip();
  }
  return at;
}

class Builder {
  constructor(bytes) {
    this.c = new Cursor(bytes);
    this.at = survey(this.c);
    this.size = bytes.length;
    this.strings = this.all(6, (c) => c.text());
  }

  /** read(cursor, end) for each field of that number. */
  all(field, read) {
    const c = this.c, out = [];
    for (const pos of this.at.get(field) || []) {
      c.pos = pos;
      c.end = this.size;
      c.wire = 2;
      out.push(read(c));
    }
    return out;
  }

  /** A message's fields into an object: names[number] is what it is called; capitals: a list of numbers. */
  message(c, names) {
    const end = c.open(), outer = c.end, m = {};
    c.end = end;
    for (let f; (f = c.next()); ) {
      const name = names[f];
      if (!name || c.wire !== 0) c.skip();
      else m[name] = c.uint();
    }
    c.end = outer;
    return m;
  }

  string(i) {
    if (!i) return "";
    const s = this.strings[i];
    if (s === undefined) throw new Malformed("a string that is not there");
    return s;
  }

  number(field) {
    const list = this.at.get(field);
    if (!list) return 0;
    this.c.pos = list[list.length - 1];
    this.c.end = this.size;
    return this.c.int();
  }

  numbers(field) {
    const out = [];
    for (const pos of this.at.get(field) || []) {
      this.c.pos = pos;
      this.c.end = this.size;
      // packed or not: the tag stands right before
      this.c.wire = this.c.b[pos - 1] & 7;
      this.c.each(() => out.push(this.c.int()));
    }
    return out;
  }

  valueTypes(field) {
    return this.all(field, (c) => this.message(c, { 1: "type", 2: "unit" }))
      .map((v) => ({ type: this.string(v.type), unit: this.string(v.unit) }));
  }
}

function readMappings(b) {
  const byId = new Map();
  const list = b.all(3, (c) => b.message(c, { 1: "id", 2: "start", 3: "limit", 4: "offset", 5: "file", 6: "build",
    7: "hasFunctions", 8: "hasFilenames", 9: "hasLines", 10: "hasInlined" }));
  for (const m of list) {
    m.file = b.string(m.file);
    m.build = b.string(m.build);
    m.object = objectOf(m.file);
    byId.set(m.id || 0, m);
  }
  return { list, byId };
}

function readFunctions(b) {
  const byId = new Map();
  for (const f of b.all(5, (c) => b.message(c, { 1: "id", 2: "name", 3: "system", 4: "file", 5: "line" }))) {
    byId.set(f.id || 0, { name: b.string(f.name) || b.string(f.system), file: b.string(f.file), line: Number(f.line || 0) });
  }
  return byId;
}

function hex(n) {
  return "0x" + (n || 0).toString(16);
}

function nameless(address, m) {
  if (!m || !m.object) return hex(address);
  const offset = BigInt(address || 0) - BigInt(m.start || 0) + BigInt(m.offset || 0);
  return m.object + "+" + hex(offset < 0n ? address : offset);
}

function readLocations(b, mappings, functions, symbols) {
  const n = (b.at.get(4) || []).length;
  const off = new Uint32Array(n + 1), byId = new Map();
  let frames = new Int32Array(n * 2 + 16), used = 0, i = 0;
  const lines = [];
  b.all(4, (c) => {
    const end = c.open();
    let id = 0, mapping = 0, address = 0;
    lines.length = 0;
    c.end = end;
    for (let f; (f = c.next()); ) {
      if (f === 1) id = c.uint();
      else if (f === 2) mapping = c.uint();
      else if (f === 3) address = c.uint();
      else if (f === 4) lines.push(b.message(c, { 1: "fn", 2: "line" }).fn || 0);
      else c.skip();
    }
    const m = mappings.byId.get(mapping);
    frames = grown(frames, used + lines.length + 1);
    if (!lines.length) frames[used++] = symbols.add(nameless(address, m), m ? m.object : "") * 2;
    for (let j = 0; j < lines.length; j++) {
      const fn = functions.get(lines[j]);
      if (!fn) throw new Malformed("a function that is not there");
      const place = fn.file && fn.line ? fn.file + ":" + fn.line : fn.file;
      const s = symbols.add(fn.name || nameless(address, m), m ? m.object : "", place);
      frames[used++] = s * 2 + (j + 1 < lines.length ? 1 : 0);
    }
    byId.set(id, i);
    off[++i] = used;
  });
  return { off, frames: frames.subarray(0, used), byId, n };
}

function readLabel(b, c) {
  const l = b.message(c, { 1: "key", 2: "str", 3: "num", 4: "unit" });
  let value;
  if (l.str) value = b.string(l.str);
  else value = String(typeof l.num === "bigint" ? BigInt.asIntN(64, l.num) : l.num || 0) + (l.unit ? " " + b.string(l.unit) : "");
  return { key: b.string(l.key), value };
}

function readSamples(b, locations, nTypes) {
  const n = (b.at.get(2) || []).length;
  const values = Array.from({ length: nTypes }, () => new Float64Array(n));
  const off = new Uint32Array(n + 1), sets = new Uint32Array(n), labelSets = [[]], setNumbers = new Map([["", 0]]);
  let locs = new Uint32Array(n * 16 + 16), used = 0, i = 0;
  b.all(2, (c) => {
    const end = c.open();
    let v = 0, labels = null;
    c.end = end;
    const location = () => {
      const l = locations.byId.get(c.uint());
      if (l === undefined) throw new Malformed("a location that is not there");
      if (used === locs.length) locs = grown(locs, used + 1);
      locs[used++] = l;
    };
    const value = () => {
      const x = c.int();
      if (v < nTypes) values[v++][i] = x;
    };
    for (let f; (f = c.next()); ) {
      if (f === 1) c.each(location);
      else if (f === 2) c.each(value);
      else if (f === 3) (labels ||= []).push(readLabel(b, c));
      else c.skip();
    }
    if (labels) {
      const key = labels.map((l) => l.key + "\0" + l.value).join("\0\0");
      let set = setNumbers.get(key);
      if (set === undefined) setNumbers.set(key, (set = labelSets.push(labels) - 1));
      sets[i] = set;
    }
    off[++i] = used;
  });
  return { n, off, locs: locs.subarray(0, used), values, sets, labelSets };
}

/** A profile from plain protobuf. Throws Malformed. */
export function parse(bytes) {
  const b = new Builder(bytes);
  const types = b.valueTypes(1);
  if (!types.length) throw new Malformed("no profile: it has no sample types");
  const symbols = new Symbols();
  const mappings = readMappings(b);
  const locations = readLocations(b, mappings, readFunctions(b), symbols);
  const samples = readSamples(b, locations, types.length);
  const wanted = b.string(b.number(14));
  const named = types.findIndex((t) => t.type === wanted);
  return {
    types,
    // pprof shows the last one where nothing is said
    defaultType: named >= 0 ? named : types.length - 1,
    symbols, samples,
    locOff: locations.off, locFrames: locations.frames,
    mappings: mappings.list, main: mappings.list.length ? mappings.list[0].object : "",
    comments: b.numbers(13).map((i) => b.string(i)),
    timeNanos: b.number(9), durationNanos: b.number(10),
    period: b.number(12), periodType: b.valueTypes(11)[0] || null,
    dropFrames: b.string(b.number(7)), keepFrames: b.string(b.number(8)), docUrl: b.string(b.number(15)),
  };
}

/** A profile from what a server or a file gives: gzip'ed or not. */
export async function load(bytes) {
  return parse(await gunzip(bytes));
}

/** The keys of labels, each with its values and what samples that have them weigh, the most first. */
export function labelsOf(p, column) {
  const counts = new Float64Array(p.samples.labelSets.length), keys = new Map();
  for (let i = 0; i < p.samples.n; i++) counts[p.samples.sets[i]] += column[i];
  p.samples.labelSets.forEach((set, s) => {
    for (const { key, value } of set) {
      if (!keys.has(key)) keys.set(key, new Map());
      const values = keys.get(key);
      values.set(value, (values.get(value) || 0) + counts[s]);
    }
  });
  return new Map([...keys].sort().map(([k, v]) => [k, new Map([...v].sort((a, b) => b[1] - a[1]))]));
}
