// SPDX-License-Identifier: Apache-2.0
// table.js - functions by what they weigh: flat (the function itself) and cum (with what it calls), or, of two
// captures, what has changed most. Owns adding up by symbol, each stack counting once, and the table's order.
import { amount, percent, signed } from "./units.js";
import { chance } from "./diff.js";
import { el } from "./dom.js";

const AT_FIRST = 200, MORE = 5000;

/** {flat, cum} by symbol. keep: which samples, as bytes, or null. */
export function top(p, column, keep) {
  const n = p.symbols.names.length, flat = new Float64Array(n), cum = new Float64Array(n);
  const seen = new Int32Array(n).fill(-1), { off, locs } = p.samples;
  let sum = 0;
  for (let i = 0; i < p.samples.n; i++) {
    const v = column[i];
    if (!v || (keep && !keep[i])) continue;
    sum += v;
    for (let l = off[i]; l < off[i + 1]; l++) {
      for (let f = p.locOff[locs[l]]; f < p.locOff[locs[l] + 1]; f++) {
        const s = p.locFrames[f] >> 1;
        if (l === off[i] && f === p.locOff[locs[l]]) flat[s] += v;
        if (seen[s] === i) continue;
        seen[s] = i;
        cum[s] += v;
      }
    }
  }
  return { flat, cum, sum };
}

const ONE = [
  { key: "flat", text: "Flat", title: "in the function itself" }, { key: "flatp", text: "%", by: "flat", title: "flat, of all" },
  { key: "cum", text: "Cum", title: "with what it calls" }, { key: "cump", text: "%", by: "cum", title: "cumulative, of all" },
  { key: "name", text: "Function" }, { key: "object", text: "Object" },
];
const TWO = [
  { key: "dflat", text: "Δ flat", title: "change in the function itself; of shares: percentage points" }, { key: "dcum", text: "Δ cum", title: "change, with what it calls" },
  { key: "before", text: "Before", title: "cum, before" }, { key: "after", text: "After", title: "cum, after" },
  { key: "state", text: "", title: "new, gone; ?: the change may be chance" }, { key: "name", text: "Function" }, { key: "object", text: "Object" },
];

export class Table {
  /** chosen(name): somebody wants to see it in the graph. */
  constructor(chosen) {
    this.chosen = chosen;
    this.element = el("div.tablebox", { tabIndex: 0, role: "region", "aria-label": "Table of functions" });
    this.sort = null;
    this.limit = AT_FIRST;
  }

  /** one: {flat, cum, sum}; two: the same after, for a difference. */
  show(p, one, two, { unit, shares, grains }) {
    this.two = !!two;
    this.unit = unit;
    this.shares = shares;
    const scale = (t) => (shares ? 1 / (t.sum || 1) : 1), s1 = scale(one), s2 = two ? scale(two) : 1;
    this.sum = one.sum;
    this.rows = [];
    for (let s = 0; s < p.symbols.names.length; s++) {
      if (!one.cum[s] && !(two && two.cum[s])) continue;
      const row = { name: p.symbols.names[s], object: p.symbols.objectNames[p.symbols.objects[s]], flat: one.flat[s], cum: one.cum[s] };
      if (two) {
        row.before = one.cum[s] * s1;
        row.after = two.cum[s] * s2;
        row.dcum = row.after - row.before;
        row.dflat = two.flat[s] * s2 - one.flat[s] * s1;
        const sure = (x, y, change) => Math.abs(change) >= chance(x, y, grains, [s1, s2]);
        row.state = !one.cum[s] ? "new" : !two.cum[s] ? "gone" : "";
        if (!sure(one.flat[s], two.flat[s], row.dflat) && !sure(one.cum[s], two.cum[s], row.dcum)) row.state += "?";
      }
      this.rows.push(row);
    }
    if (!this.sort || !(this.two ? TWO : ONE).some((c) => (c.by || c.key) === this.sort)) this.order(this.two ? "dflat" : "flat");
    this.limit = AT_FIRST;
    this.paint();
  }

  order(key) {
    this.down = this.sort === key ? !this.down : key !== "name" && key !== "object";
    this.sort = key;
  }

  find(matches) {
    this.matches = matches;
    if (this.rows) this.paint();
  }

  sorted() {
    const { sort, down } = this, text = typeof (this.rows[0] || {})[sort] === "string", size = sort[0] === "d";
    const value = (r) => (size ? Math.abs(r[sort]) : r[sort]);
    const rows = this.matches ? this.rows.filter((r) => this.matches(r.name)) : this.rows.slice();
    rows.sort((a, b) => (text ? (a[sort] < b[sort] ? -1 : a[sort] > b[sort] ? 1 : 0) : value(a) - value(b)) * (down ? -1 : 1) ||
      (a.name < b.name ? -1 : 1));
    return rows;
  }

  cell(c, r) {
    const value = (x) => (this.shares ? percent(x) : amount(x, this.unit));
    const change = (x) => el("td.number" + (x > 0 ? ".grown" : x < 0 ? ".shrunk" : ""), null,
      signed(this.shares ? (x * 100).toFixed(2) + " pp" : amount(x, this.unit), x));
    if (c.key === "name") {
      return el("td.name", null, el("button.plain", { type: "button", title: "show in the flame graph", onclick: () => this.chosen(r.name) }, r.name || "?"));
    }
    if (c.key === "object") return el("td.object", null, r.object);
    if (c.key === "state") return el("td.state", null, r.state);
    if (c.key === "flatp" || c.key === "cump") return el("td.number", null, percent(r[c.by] / (this.sum || 1)));
    if (c.key[0] === "d") return change(r[c.key]);
    return el("td.number", null, this.two ? value(r[c.key]) : amount(r[c.key], this.unit));
  }

  paint() {
    const columns = this.two ? TWO : ONE, rows = this.sorted();
    const heads = columns.map((c) => {
      const key = c.by || c.key, mine = key === this.sort && !c.by;
      const sort = mine ? (this.down ? "descending" : "ascending") : null;
      return el("th", { scope: "col", "aria-sort": sort, title: c.title }, c.text === "" ? el("span.hidden", null, "new, gone, or chance") :
        el("button.plain", { type: "button", onclick: () => {
          this.order(key);
          this.paint();
          const at = columns.indexOf(c);
          this.element.querySelectorAll("th")[at].querySelector("button").focus();
        } }, c.text + (mine ? (this.down ? " ▾" : " ▴") : "")));
    });
    const body = rows.slice(0, this.limit).map((r) => el("tr", null, columns.map((c) => this.cell(c, r))));
    const left = rows.length - Math.min(rows.length, this.limit);
    this.element.replaceChildren(el("table.top", null, el("thead", null, el("tr", null, heads)), el("tbody", null, body)));
    if (!rows.length) this.element.append(el("p.note", null, "no function"));
    if (left) {
      this.element.append(this.limit >= MORE ? el("p.note", null, left + " more are not shown: search narrows it") :
        el("p.note", null, el("button", { type: "button", onclick: () => {
          this.limit = MORE;
          this.paint();
        } }, left + " more")));
    }
  }
}
