// SPDX-License-Identifier: Apache-2.0
// units.js - numbers as people read them. Owns every unit that profiles have; knows nothing of where they stand.

const TIME = [[3600e9, "h"], [60e9, "min"], [1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
const BYTES = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [1024, "KiB"], [1, "B"]];
const COUNT = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
const NS = { nanoseconds: 1, ns: 1, microseconds: 1e3, us: 1e3, milliseconds: 1e6, ms: 1e6, seconds: 1e9, s: 1e9 };
const B = { bytes: 1, byte: 1, b: 1, kilobytes: 1024, kb: 1024, megabytes: 2 ** 20, mb: 2 ** 20 };

function three(x) {
  const a = Math.abs(x);
  return a >= 100 || Number.isInteger(x) ? x.toFixed(0) : a >= 10 ? x.toFixed(1) : x.toFixed(2);
}

function scaled(x, steps) {
  const a = Math.abs(x);
  for (const [by, name] of steps) {
    if (a >= by) return three(x / by) + (name ? " " + name : "");
  }
  return three(x) + (steps === COUNT ? "" : " " + steps[steps.length - 1][1]);
}

/** A value of a profile: 1.23 s, 4.5 MiB, 17. */
export function amount(x, unit) {
  const u = String(unit || "").toLowerCase();
  if (NS[u]) return x ? scaled(x * NS[u], TIME) : "0 s";
  if (B[u]) return scaled(x * B[u], BYTES);
  if (u === "count" || !u) return Math.abs(x) < 10000 ? three(x) : scaled(x, COUNT);
  return three(x) + " " + unit;
}

export function percent(share) {
  const p = share * 100, a = Math.abs(p);
  return (a === 0 ? "0" : a < 0.01 ? p.toFixed(3) : a < 10 ? p.toFixed(2) : p.toFixed(1)) + " %";
}

export function signed(text, x) {
  return x > 0 ? "+" + text : text.replace(/^-/, "−");
}

export const bytes = (x) => scaled(x, BYTES);
export const seconds = (x) => (x ? scaled(x * 1e9, TIME) : "0 s");

/** The length of a window: 5 s, 0.5 s. */
export function span(s) {
  return Number(s.toFixed(s < 4 ? 1 : 0)) + " s";
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour12: false });
}

/** How long ago. */
export function ago(ms, now) {
  const s = Math.max(0, Math.round((now - ms) / 1000));
  return s < 60 ? s + " s" : s < 3600 ? Math.floor(s / 60) + " min" : Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
}

/** What types of samples are called here, where the profile's own word says less. */
export function typeName(t) {
  return t.type.replace(/_/g, " ") + (t.unit && t.unit !== "count" ? " (" + t.unit + ")" : "");
}
