// SPDX-License-Identifier: Apache-2.0
// tree.js - stacks added up to a call tree, in typed arrays: a node is a number, parents come before their
// children, node 0 is the root of all. Owns merging, reversing, grouping and filtering by labels, and two columns
// of values (before and after) for differences. Draws nothing.

import { chance } from "./diff.js";

const MOST_NODES = 4 << 20; // a stack ends where it would need one more; `cut` counts them
const NONE = -1;

class Nodes {
  /** expected: how many there may be; it grows where they are more. */
  constructor(two, expected) {
    this.n = 0;
    this.two = two;
    const size = 1 << Math.min(20, Math.max(10, 32 - Math.clz32(expected)));
    this.allot(size);
    this.table = new Int32Array(size * 2).fill(NONE);
    this.add(NONE, NONE);
  }

  allot(size) {
    const more = (a, type) => {
      const b = new type(size);
      if (a) b.set(a);
      return b;
    };
    this.parent = more(this.parent, Int32Array);
    this.frame = more(this.frame, Int32Array);
    this.self = more(this.self, Float64Array);
    this.total = more(this.total, Float64Array);
    if (!this.two) return;
    this.self2 = more(this.self2, Float64Array);
    this.total2 = more(this.total2, Float64Array);
  }

  add(parent, frame) {
    if (this.n === this.parent.length) this.allot(this.n * 2);
    this.parent[this.n] = parent;
    this.frame[this.n] = frame;
    return this.n++;
  }

  slot(parent, frame) {
    const { table } = this, mask = table.length - 1;
    let h = Math.imul(parent, 0x9e3779b1) ^ Math.imul(frame, 0x85ebca6b);
    h = (h ^ (h >>> 15)) & mask;
    for (let node; (node = table[h]) !== NONE; h = (h + 1) & mask) {
      if (this.parent[node] === parent && this.frame[node] === frame) break;
    }
    return h;
  }

  /** The child that is this frame; NONE where there is room for no more. */
  child(parent, frame) {
    const h = this.slot(parent, frame);
    if (this.table[h] !== NONE) return this.table[h];
    if (this.n === MOST_NODES) return NONE;
    const node = this.add(parent, frame);
    this.table[h] = node;
    if (this.n * 2 > this.table.length) this.widen();
    return node;
  }

  widen() {
    this.table = new Int32Array(this.table.length * 2).fill(NONE);
    for (let i = 1; i < this.n; i++) this.table[this.slot(this.parent[i], this.frame[i])] = i;
  }
}

/** Which samples have the label, as bytes; all of them without a key. A missing label is the value "". */
export function kept(p, filter) {
  if (!filter || !filter.key) return null;
  const sets = p.samples.labelSets.map((set) => {
    const has = set.filter((l) => l.key === filter.key);
    return has.length ? has.some((l) => l.value === filter.value) : filter.value === "";
  });
  return p.samples.sets.map((s) => (sets[s] ? 1 : 0));
}

/** The frame that stands above all stacks of a label's value: numbers beyond those of symbols. */
function groups(p, key) {
  const base = p.symbols.names.length * 2, names = [], numbers = new Map();
  const frames = p.samples.labelSets.map((set) => {
    const name = set.filter((l) => l.key === key).map((l) => l.value).join(", ") || "(none)";
    if (!numbers.has(name)) numbers.set(name, base + 2 * (names.push(name) - 1));
    return numbers.get(name);
  });
  return { frames, names };
}

/** values: a column of numbers, one a sample; values2: another, for a difference.
 * options: reverse, group (a label's key), filter ({key, value}). */
export function build(p, values, values2, options = {}) {
  const { off, locs, n, sets } = p.samples, { locOff, locFrames } = p;
  const nodes = new Nodes(!!values2, locs.length / 3);
  const keep = kept(p, options.filter), group = options.group ? groups(p, options.group) : null;
  const reverse = !!options.reverse;
  let cut = 0, deepest = 0;
  for (let i = 0; i < n; i++) {
    if (keep && !keep[i]) continue;
    const v = values[i], w = values2 ? values2[i] : 0;
    if (!v && !w) continue;
    let node = group ? nodes.child(0, group.frames[sets[i]]) : 0, depth = group ? 1 : 0;
    const first = off[i], last = off[i + 1];
    walk: for (let l = reverse ? first : last - 1; reverse ? l < last : l >= first; l += reverse ? 1 : -1) {
      const f0 = locOff[locs[l]], f1 = locOff[locs[l] + 1];
      for (let f = reverse ? f0 : f1 - 1; reverse ? f < f1 : f >= f0; f += reverse ? 1 : -1) {
        const child = nodes.child(node, locFrames[f]);
        if (child === NONE) {
          cut++;
          break walk;
        }
        node = child;
        depth++;
      }
    }
    if (depth > deepest) deepest = depth;
    nodes.self[node] += v;
    if (values2) nodes.self2[node] += w;
  }
  return new Tree(p, nodes, group ? group.names : [], { cut, deepest, reverse });
}

export class Tree {
  constructor(p, nodes, groupNames, { cut, deepest, reverse }) {
    const n = nodes.n;
    this.symbols = p.symbols;
    this.groupNames = groupNames;
    this.n = n;
    this.cut = cut;
    this.deepest = deepest;
    this.reverse = reverse;
    for (const column of ["parent", "frame", "self", "total", "self2", "total2"]) {
      if (nodes[column]) this[column] = nodes[column].subarray(0, n);
    }
    this.two = nodes.two;
    this.total.set(this.self);
    if (this.two) this.total2.set(this.self2);
    for (let i = n - 1; i > 0; i--) {
      this.total[this.parent[i]] += this.total[i];
      if (this.two) this.total2[this.parent[i]] += this.total2[i];
    }
    // children of a node: order[first[node]..first[node + 1]), put in order of weight when somebody looks
    this.first = new Int32Array(n + 1);
    for (let i = 1; i < n; i++) this.first[this.parent[i] + 1]++;
    for (let i = 0; i < n; i++) this.first[i + 1] += this.first[i];
    const at = this.first.slice(0, n);
    this.order = new Int32Array(n - 1);
    for (let i = 1; i < n; i++) this.order[at[this.parent[i]]++] = i;
    this.sorted = new Uint8Array(n);
    this.scale = this.scale2 = 1;
    this.grains = [0, 0];
  }

  /** Shares: each column as parts of its own sum; else as they are. */
  asShares(yes) {
    this.scale = yes ? 1 / (this.total[0] || 1) : 1;
    this.scale2 = yes ? 1 / (this.total2[0] || 1) : 1;
    this.sorted.fill(0);
  }

  /** How wide a node is: its value, or the mean of both (so that what is gone has a place, too). */
  weight(node) {
    if (!this.two) return Math.abs(this.total[node]);
    return (Math.abs(this.total[node]) * this.scale + Math.abs(this.total2[node]) * this.scale2) / 2;
  }

  /** What a change has to be more than; see diff.js. */
  chance(node) {
    return chance(this.total[node], this.total2[node], this.grains, [this.scale, this.scale2]);
  }

  /** After minus before. */
  change(node) {
    return this.total2[node] * this.scale2 - this.total[node] * this.scale;
  }

  /** The children, widest first; a view that lives as long as the tree. */
  children(node) {
    const list = this.order.subarray(this.first[node], this.first[node + 1]);
    if (!this.sorted[node]) {
      if (list.length > 1) list.sort((a, b) => this.weight(b) - this.weight(a) || (this.name(a) < this.name(b) ? -1 : 1));
      this.sorted[node] = 1;
    }
    return list;
  }

  symbol(node) {
    const f = this.frame[node];
    return f >= 0 && f >> 1 < this.symbols.names.length ? f >> 1 : NONE;
  }

  name(node) {
    if (!node) return "all";
    const s = this.frame[node] >> 1, n = this.symbols.names.length;
    return s < n ? this.symbols.names[s] : this.groupNames[s - n];
  }

  object(node) {
    const s = this.symbol(node);
    return s < 0 ? "" : this.symbols.objectNames[this.symbols.objects[s]];
  }

  place(node) {
    const s = this.symbol(node);
    return s < 0 ? "" : this.symbols.files[s];
  }

  inlined(node) {
    return node > 0 && (this.frame[node] & 1) === 1;
  }

  depth(node) {
    let d = 0;
    for (; node > 0; node = this.parent[node]) d++;
    return d;
  }

  /** A number for the way to the node, by names: the same in another capture of the same program. */
  path(node) {
    let h = 0;
    const way = [];
    for (; node > 0; node = this.parent[node]) way.push(node);
    while (way.length) h = mix(h, hash(this.name(way.pop())));
    return h;
  }

  /** The node that a path leads to, or 0. */
  find(path) {
    if (!path) return 0;
    const h = new Int32Array(this.n), cache = new Map();
    for (let i = 1; i < this.n; i++) {
      const name = this.name(i);
      let own = cache.get(name);
      if (own === undefined) cache.set(name, (own = hash(name)));
      h[i] = mix(h[this.parent[i]], own);
      if (h[i] === path) return i;
    }
    return 0;
  }

  /** What fits matches(name): bytes for symbols, and the weight of all stacks that have one, each counted once. */
  search(matches) {
    const n = this.symbols.names.length, hit = new Uint8Array(n + this.groupNames.length);
    for (let s = 0; s < n; s++) hit[s] = matches(this.symbols.names[s]) ? 1 : 0;
    this.groupNames.forEach((name, g) => (hit[n + g] = matches(name) ? 1 : 0));
    const covered = new Uint8Array(this.n);
    let weight = 0, before = 0, after = 0, count = 0;
    for (let i = 1; i < this.n; i++) {
      const here = hit[this.frame[i] >> 1];
      if (here) count++;
      if (covered[this.parent[i]]) covered[i] = 1;
      else if (here) {
        covered[i] = 1;
        weight += this.weight(i);
        before += this.total[i];
        if (this.two) after += this.total2[i];
      }
    }
    return { hit, weight, before, after, count };
  }
}

function hash(name) {
  let h = 0x811c9dc5 | 0;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193) | 0;
  return h;
}

/** A way's number, one step on. */
function mix(way, own) {
  return Math.imul(Math.imul(way, 31) ^ own, 0x01000193) | 0;
}
