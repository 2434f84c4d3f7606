// SPDX-License-Identifier: Apache-2.0
// stage.js - what is shown of the open captures: one as a graph or a table, or what changed between two. Owns the
// way from profiles and a view to a tree and columns, the search, the legend, and the notices in their place.
import { amount, percent } from "./units.js";
import { assign, onTheme, theme } from "./colour.js";
import { el, say } from "./dom.js";
import { join } from "./diff.js";
import { labelsOf } from "./profile.js";
import { build, kept } from "./tree.js";
import { Flame } from "./flame.js";
import { Table, top } from "./table.js";
import { Threads } from "./threads.js";

/** Words of a search as a function of a name: a part of it, whatever its case, or /a regular expression/. */
export function matcher(text) {
  const re = /^\/(.+?)\/?$/.exec(text);
  if (re) {
    try {
      const r = new RegExp(re[1]);
      return (name) => r.test(name);
    } catch {
      return () => false;
    }
  }
  const small = text.toLowerCase();
  return (name) => name.toLowerCase().includes(small);
}

const OBJECTS = 7; // named in the legend

export class Stage {
  /** on: {zoomed(path), search(text)} */
  constructor(on) {
    this.flame = new Flame({ zoomed: (node) => on.zoomed(node ? this.tree.path(node) : 0), chosen: (node, text) => (this.line.textContent = text) });
    this.table = new Table((name) => on.search(name));
    this.threads = new Threads();
    this.notice = el("div.notice", { hidden: true });
    this.line = el("p.frame", { id: "frame" });
    this.legend = el("ul.legend", { "aria-label": "Colours" });
    this.conditions = el("details.conditions", { hidden: true });
    this.pane = el("div.pane", null, this.flame.element, this.table.element, this.threads.element, this.notice);
    this.element = el("section.stage", { "aria-label": "Profile" }, this.pane, this.line, this.legend, this.conditions);
    this.shown = "";
    onTheme(() => this.tree && this.paintLegend());
    this.view("flame");
  }

  view(which) {
    this.shown = which;
    for (const v of ["flame", "table", "threads"]) this[v].element.hidden = v !== which;
    this.line.hidden = this.legend.hidden = which !== "flame";
    this.conditions.hidden = which === "threads" || !this.conditions.firstChild;
    this.notice.hidden = true;
  }

  /** Instead of the profile: what is waited for, or went wrong. */
  say(...children) {
    this.notice.replaceChildren(...children);
    this.notice.hidden = false;
  }

  quiet() {
    this.notice.hidden = true;
  }

  /** after: {profile, type}; before: the same, or null; how: {reverse, group, filter, zoom, absolute}. */
  show(after, before, how) {
    const p = after.profile, key = how.filter ? how.filter.split("=", 1)[0] : "";
    const filter = key ? { key, value: how.filter.slice(key.length + 1) } : null;
    this.quiet();
    this.unit = p.types[after.type].unit;
    if (before) {
      const both = join(before.profile, before.type, p, after.type);
      this.use(both.profile, both.before, both.after, { ...how, filter });
      this.tree.asShares(!how.absolute);
      this.tree.grains = this.grains = both.grains;
      if (before.profile.types[before.type].unit !== this.unit) this.unit = "";
    } else this.use(p, p.samples.values[after.type], null, { ...how, filter });
    this.objects = assign(this.profile, this.columns[1] || this.columns[0]);
    this.shares = !!before && !how.absolute;
    this.flame.show(this.tree, { unit: this.unit, shares: this.shares, zoom: this.tree.find(how.zoom) });
    const keep = kept(this.profile, filter), [one, two] = this.columns;
    this.tops = () => this.table.show(this.profile, top(this.profile, one, keep), two && top(this.profile, two, keep), { unit: this.unit, shares: this.shares, grains: this.grains });
    this.stale = true;
    this.paintLegend();
    this.paintConditions(p, before && before.profile);
    this.line.textContent = this.summary();
    if (!this.tree.weight(0)) this.say(el("p", null, filter ? "No sample has this label." : "Nothing: no sample in this capture."));
  }

  use(profile, column, column2, how) {
    this.profile = profile;
    this.columns = [column, column2];
    this.tree = build(profile, column, column2, how);
  }

  summary() {
    const t = this.tree;
    let text = "all: " + amount(t.total[0], this.unit);
    if (t.two) text = "before " + text.slice(5) + ", after " + amount(t.total2[0], this.unit);
    return text + (t.cut ? "; " + t.cut + " stacks are cut short: too many frames for a page" : "");
  }

  /** Shows what is shown after show(), where that is not the graph. */
  fresh() {
    if (this.shown === "table" && this.stale && this.tops) {
      this.tops();
      this.stale = false;
    }
  }

  /** Marks what has the text; says how much that is. */
  search(text) {
    const matches = text ? matcher(text) : null;
    if (this.shown === "threads") return this.threads.find(matches);
    this.table.find(matches);
    if (!this.tree) return "";
    const found = matches && this.tree.search(matches);
    this.flame.mark(found);
    if (!found) return "";
    const t = this.tree, part = (x, all) => percent(all ? x / all : 0);
    const words = !found.count ? "no match" : t.two ? part(found.before, t.total[0]) + " → " + part(found.after, t.total2[0]) :
      part(found.before, t.total[0]) + " (" + amount(found.before, this.unit) + ")";
    say(words);
    return words;
  }

  paintLegend() {
    const t = theme(), item = (what, text, title) => el("li", { title }, what, text);
    const swatch = (fill, kind) => {
      const s = el("span.swatch" + (kind ? "." + kind : ""));
      s.style.backgroundColor = fill;
      return s;
    };
    const rgb = (c) => "rgb(" + c.join(",") + ")";
    if (this.tree.two) {
      this.legend.replaceChildren(item(swatch(rgb(t.grown)), "grown"), item(swatch(rgb(t.shrunk)), "shrunk"), item(swatch(rgb(t.mixed)), "the same"),
        item(el("b", null, "+"), " new"), item(el("b", null, "−"), " gone"), this.grains[0] ? el("li", null, "pale: may be chance") : "", item(swatch("transparent", "lines"), "inlined"),
        el("li", null, "width: the mean of both"));
      return;
    }
    const named = this.objects.filter((o) => o.seen && o.name !== "[kernel]").slice(0, OBJECTS), kernel = this.objects.find((o) => o.name === "[kernel]");
    this.legend.replaceChildren(...named.map((o) => item(swatch(t.objects[o.number]), o.name, this.share(o))),
      kernel ? item(swatch(t.objects[7], "dots"), "kernel", this.share(kernel)) : "", item(swatch("transparent", "lines"), "inlined"));
  }

  share(o) {
    return percent(o.weight / (this.tree.weight(0) || 1)) + " in its own code";
  }

  /** What the profile says of itself: no number without its condition. */
  paintConditions(p, before) {
    const list = (q) => el("ul", null, q.comments.map((c) => el("li", null, c)));
    const first = p.comments.find((c) => /process \d+ \(/.test(c)) || p.comments[0];
    this.conditions.hidden = !first;
    this.conditions.replaceChildren();
    if (!first) return;
    this.conditions.replaceChildren(el("summary", null, first), list(p));
    if (before) this.conditions.append(el("h3", null, "Before"), list(before));
  }

  labels() {
    return this.profile ? labelsOf(this.profile, this.columns[1] || this.columns[0]) : new Map();
  }
}
