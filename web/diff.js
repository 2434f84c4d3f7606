// SPDX-License-Identifier: Apache-2.0
// diff.js - two profiles made one: the same functions are the same symbols, every stack has a value before and
// one after. Owns what "the same" means: name and object, where the program itself, and versions of a library,
// count as one.
import { Symbols } from "./profile.js";

/** libfoo.so.1.2 is libfoo.so; the program is the program, whatever its file is called now. */
function sameObject(p, object) {
  if (object && object === p.main) return "\0";
  return object.replace(/(\.so)[.\d]+$/, "$1");
}

function addTo(symbols, shown, p) {
  return p.symbols.names.map((name, s) => {
    const object = p.symbols.objectNames[p.symbols.objects[s]], key = sameObject(p, object);
    const number = symbols.add(name, key, p.symbols.files[s]);
    const known = shown.get(key);
    shown.set(key, known && known !== object && !known.endsWith(" → " + object) ? known + " → " + object : known || object);
    return number;
  });
}

function joined(a, b) {
  const c = new a.constructor(a.length + b.length);
  c.set(a);
  c.set(b, a.length);
  return c;
}

function shifted(a, by) {
  return by ? a.map((x) => x + by) : a;
}

/** What one sample stands for in these values, where all stand for the same; else 0. */
function grain(p, type) {
  const counts = p.types.findIndex((t) => t.type === "samples" && t.unit === "count");
  if (counts < 0) return 0;
  const sum = (column) => column.reduce((a, b) => a + b, 0), n = sum(p.samples.values[counts]);
  return n ? sum(p.samples.values[type]) / n : 0;
}

/** Twice the standard deviation of after minus before, for counts of samples: what is less is chance. 0: not known.
 * x, y: before and after, as they are; grains and scales of each. */
export function chance(x, y, [g, h], [s, t]) {
  if (!g || !h) return 0;
  return 2 * Math.sqrt(Math.max(Math.abs(x), g) * g * s * s + Math.max(Math.abs(y), h) * h * t * t);
}

/** {profile, before, after, grains}: what tree.build wants of two; type numbers say which values. */
export function join(a, typeA, b, typeB) {
  const symbols = new Symbols(), shown = new Map();
  const ofA = addTo(symbols, shown, a), ofB = addTo(symbols, shown, b);
  symbols.objectNames = symbols.objectNames.map((key) => shown.get(key));
  const frames = (p, of) => p.locFrames.map((f) => of[f >> 1] * 2 + (f & 1));
  const A = a.samples, B = b.samples, nLocA = a.locOff.length - 1;
  const column = (own, where) => {
    const v = new Float64Array(A.n + B.n);
    v.set(own, where);
    return v;
  };
  const profile = {
    symbols,
    types: [b.types[typeB]],
    main: b.main,
    locFrames: joined(frames(a, ofA), frames(b, ofB)),
    locOff: joined(a.locOff, shifted(b.locOff.subarray(1), a.locOff[nLocA])),
    samples: {
      n: A.n + B.n,
      off: joined(A.off, shifted(B.off.subarray(1), A.off[A.n])),
      locs: joined(A.locs, shifted(B.locs, nLocA)),
      sets: joined(A.sets, shifted(B.sets, A.labelSets.length)),
      labelSets: A.labelSets.concat(B.labelSets),
    },
  };
  return { profile, before: column(A.values[typeA], 0), after: column(B.values[typeB], A.n), grains: [grain(a, typeA), grain(b, typeB)] };
}
