// SPDX-License-Identifier: Apache-2.0
// colour.js - which colour means what, in light and dark. Owns the palette: eight hues after Okabe and Ito, which
// stay apart for colour-blind eyes, one an object in the order of their coming; what is more shares the last.
// Kernel code and inlined frames are told apart by hatching, never by hue alone. Text on each reads at 4.5:1.

const LIGHT = {
  objects: ["#f3bf6b", "#93c9f0", "#8fd3b6", "#f2e58c", "#e3afd0", "#ef9f7b", "#b7b6ea", "#d3d0c8"],
  group: "#e6e6e6", text: "#15181c", faint: "#6d747c", background: "#ffffff", border: "#ffffff", hatch: "rgba(0,0,0,.13)",
  found: "#a3219b", foundText: "#ffffff", dim: 0.28, focus: "#0b57d0", same: "#e9e7e2",
  grown: [214, 57, 38], shrunk: [38, 102, 201], mixed: [240, 238, 234],
};
const DARK = {
  objects: ["#85560c", "#1c5d8f", "#17694c", "#66600f", "#83446b", "#8b3f1d", "#4d4a96", "#55544f"],
  group: "#3a3f45", text: "#f4f5f6", faint: "#9aa1a9", background: "#15181b", border: "#15181b", hatch: "rgba(255,255,255,.13)",
  found: "#e58be0", foundText: "#15181b", dim: 0.32, focus: "#8ab4f8", same: "#34383d",
  grown: [190, 52, 38], shrunk: [40, 98, 190], mixed: [52, 56, 61],
};

const dark = matchMedia("(prefers-color-scheme: dark)");
const numbers = new Map([["[kernel]", 7]]);
let next = 0;

export function theme() {
  return dark.matches ? DARK : LIGHT;
}

export function onTheme(f) {
  dark.addEventListener("change", f);
}

/** The colour's number of an object, the same for as long as the page lives. */
export function numberOf(object) {
  let n = numbers.get(object);
  if (n === undefined) numbers.set(object, (n = object ? Math.min(next++, 7) : 7));
  return n;
}

export function isKernel(object) {
  return object === "[kernel]";
}

/** Gives out colours: the program first, then by what each object's own code weighs. What has none of it is seen all the same. */
export function assign(p, column) {
  const weight = new Float64Array(p.symbols.objectNames.length), seen = new Uint8Array(weight.length);
  const { off, locs, n } = p.samples;
  for (let i = 0; i < n; i++) {
    for (let k = off[i]; column[i] && k < off[i + 1]; k++)
      for (let f = p.locOff[locs[k]]; f < p.locOff[locs[k] + 1]; f++) seen[p.symbols.objects[p.locFrames[f] >> 1]] = 1;
    if (off[i] < off[i + 1]) weight[p.symbols.objects[p.locFrames[p.locOff[locs[off[i]]]] >> 1]] += Math.abs(column[i]);
  }
  if (p.main && p.symbols.objectNames.includes(p.main)) numberOf(p.main);
  return p.symbols.objectNames.map((name, i) => ({ name, weight: weight[i], seen: seen[i] }))
    .sort((a, b) => b.weight - a.weight).filter((o) => o.name)
    .map((o) => ({ ...o, number: numberOf(o.name) }));
}

/** Red where it has grown, blue where it has shrunk: -1 to 1. */
export function changed(t, x) {
  const to = x > 0 ? t.grown : t.shrunk, a = Math.min(1, Math.abs(x));
  const part = t.mixed.map((m, i) => Math.round(m + (to[i] - m) * a));
  return { fill: "rgb(" + part.join(",") + ")", text: part[0] * 0.299 + part[1] * 0.587 + part[2] * 0.114 > 140 ? "#15181c" : "#ffffff" };
}

/** Diagonal lines (inlined), or dots (kernel). */
export function pattern(context, what, t, ratio) {
  const c = document.createElement("canvas"), size = Math.round((what === "dots" ? 5 : 6) * ratio);
  c.width = c.height = size;
  const g = c.getContext("2d");
  g.strokeStyle = g.fillStyle = t.hatch;
  g.lineWidth = 1.4 * ratio;
  if (what === "dots") g.fillRect(0, 0, Math.ceil(1.4 * ratio), Math.ceil(1.4 * ratio));
  else {
    g.beginPath();
    for (const x of [-size, 0, size]) {
      g.moveTo(x, size);
      g.lineTo(x + size, 0);
    }
    g.stroke();
  }
  return context.createPattern(c, "repeat");
}
