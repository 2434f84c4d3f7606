// SPDX-License-Identifier: Apache-2.0
// toolbar.js - what can be chosen: the profile, its window, the values, grouping, search, and the two sides of a
// difference. Owns the controls and their words; what they mean is app.js's.
import { el, options } from "./dom.js";
import { typeName } from "./units.js";
import { labelsOf } from "./profile.js";

const NAMES = { profile: "CPU", heap: "Heap", allocs: "Allocations", block: "Block", mutex: "Mutex", offcpu: "Off-CPU", wall: "Wall",
  goroutine: "Threads", threadcreate: "Thread creation", growth: "Growth" };
const ORDER = Object.keys(NAMES);
const WINDOWS = [1, 2, 5, 10, 30, 60, 300];
const MOST_VALUES = 200; // of a label, in the list of what can be filtered

export class Toolbar {
  /** on: {change(view), look(view), take(), cancel(), pick(name), swap()} */
  constructor(kinds, view, on) {
    this.on = on;
    this.view = view;
    this.kinds = kinds;
    this.window = { window: "5", cumulative: "", instant: "" };
    this.busy = false;
    const rank = (k) => (ORDER.includes(k.name) ? ORDER.indexOf(k.name) : ORDER.length);
    this.buttons = [...kinds].sort((a, b) => rank(a) - rank(b)).map((k) =>
      el("button", { type: "button", title: k.help, "data-name": k.name, onclick: () => on.pick(k.name) }, this.nameOf(k)));
    this.seconds = el("select", { id: "seconds", "aria-label": "Window", onchange: () => (this.window[this.kind().kind] = this.seconds.value) });
    this.capture = el("button.primary", { type: "button", id: "capture", onclick: () => (this.busy ? on.cancel() : on.take()) }, "Capture");
    this.nav = el("nav.profiles", { "aria-label": "Profiles" }, el("span.tabs", null, this.buttons), el("span.take", null, this.seconds, this.capture));
    this.search = el("input", { type: "search", id: "search", placeholder: "Search  /", value: view.search || "", autocomplete: "off", spellcheck: false,
      "aria-label": "Search functions; /regular expression/", oninput: () => on.change({ search: this.search.value }) });
    this.search.addEventListener("keydown", (e) => e.key === "Escape" && this.search.blur());
    this.match = el("output", { id: "match", htmlFor: "search" });
    this.views = ["flame", "table", "threads"].map((v) => el("button", { type: "button", "data-view": v, onclick: () => on.look(v) },
      { flame: "Flame", table: "Table", threads: "List" }[v]));
    this.reverse = el("button", { type: "button", id: "reverse", title: "callers: from the leaf up (r)", onclick: () => on.change({ reverse: !view.reverse, zoom: 0 }) }, "Reverse");
    this.type = this.select("type", "Values", (v) => on.change({ type: v, zoom: 0 }));
    this.group = this.select("group", "Group by label", (v) => on.change({ group: v, filter: "", zoom: 0 }));
    this.filter = this.select("filter", "Only this label", (v) => on.change({ filter: v, zoom: 0 }));
    this.panelButton = el("button", { type: "button", id: "captures", title: "captures (h)", onclick: () => this.panel() }, "Captures");
    this.tools = el("span.tools", null, this.panelButton);
    this.options = el("div.row.options", null, el("span.views", { role: "group", "aria-label": "View" }, this.views), this.type, this.group, this.filter,
      this.reverse, el("span.search", { role: "search" }, this.search, this.match), this.tools);
    this.element = el("div.toolbar", null, this.nav, this.options, this.sides());
  }

  select(id, label, chosen) {
    const s = el("select", { id, "aria-label": label, onchange: () => chosen(s.value) });
    return s;
  }

  sides() {
    const { on } = this;
    this.beforeSide = this.select("before", "Before", (v) => on.change({ before: v, zoom: 0 }, "open"));
    this.afterSide = this.select("after", "After", (v) => on.change({ capture: v, zoom: 0 }, "open"));
    this.beforeType = this.select("beforetype", "Values before", (v) => on.change({ beforeType: v, zoom: 0 }));
    this.absolute = el("input", { type: "checkbox", id: "absolute", onchange: () => on.change({ absolute: this.absolute.checked }) });
    this.diff = el("div.row.diff", { hidden: true, role: "group", "aria-label": "Difference" }, el("b", null, "Before"), this.beforeSide, this.beforeType,
      el("b", null, "After"), this.afterSide, el("button", { type: "button", id: "swap", title: "swap the sides", onclick: () => on.swap() }, "⇄"),
      el("label.check", null, this.absolute, " absolute"), el("button", { type: "button", id: "enddiff", onclick: () => on.change({ before: "", zoom: 0 }, "open") }, "End"));
    return this.diff;
  }

  nameOf(kind) {
    return NAMES[kind.name] || kind.name;
  }

  kind() {
    return this.kinds.find((k) => k.name === this.view.profile) || { kind: "cumulative", name: this.view.profile };
  }

  secondsFor(kind) {
    return kind.kind === "instant" ? 0 : Number(this.window[kind.kind] || (kind.kind === "window" ? 5 : 0));
  }

  /** The countdown of a capture, or "". */
  taking(text) {
    const label = text ? "Cancel, " + text : "Capture";
    this.busy = !!text;
    if (this.capture.textContent !== label) this.capture.textContent = label;
  }

  found(text) {
    this.match.textContent = text;
  }

  captures(shelf, view) {
    const list = shelf.all().map((c) => [c.id, shelf.title(c)]);
    for (const [select, id] of [[this.beforeSide, view.before], [this.afterSide, view.capture]]) {
      options(select, list.some(([i]) => i === id) || !id ? list : [[id, id], ...list], id);
    }
  }

  show(shown, shelf) {
    const { view } = this, kind = this.kind(), threads = view.view === "threads";
    for (const b of this.buttons) b.setAttribute("aria-current", String(b.dataset.name === view.profile));
    for (const b of this.views) {
      b.setAttribute("aria-pressed", String(b.dataset.view === view.view));
      if (b.dataset.view === "threads") b.hidden = view.profile !== "goroutine";
    }
    this.reverse.setAttribute("aria-pressed", String(!!view.reverse));
    this.seconds.hidden = kind.kind === "instant";
    options(this.seconds, [...(kind.kind === "window" ? [] : [["", "so far"]]), ...WINDOWS.map((s) => [String(s), s < 60 ? s + " s" : s / 60 + " min"])], this.window[kind.kind]);
    for (const e of [this.type, this.group, this.filter, this.reverse]) e.hidden = threads || !shown;
    if (view.view === "table") this.reverse.hidden = true;
    this.diff.hidden = threads || !shown || !shown.before;
    if (shown && !threads) this.ofProfile(shown, shelf);
  }

  ofProfile({ after, before }, shelf) {
    const { view } = this, types = (p) => p.types.map((t) => [t.type, typeName(t)]);
    const chosen = (p, t) => (p.types.some((x) => x.type === t) ? t : p.types[p.defaultType].type);
    options(this.type, types(after), chosen(after, view.type));
    const column = after.types.findIndex((t) => t.type === this.type.value), labels = labelsOf(after, after.samples.values[column]);
    options(this.group, [["", labels.size ? "no groups" : "no labels"], ...[...labels.keys()].map((k) => [k, "by " + k])], view.group || "");
    this.group.disabled = !labels.size;
    const key = view.group || (view.filter || "").split("=", 1)[0], values = labels.get(key);
    const list = values ? [...values.keys()].slice(0, MOST_VALUES).map((v) => [key + "=" + v, v]) : [];
    if (view.filter && !list.some(([v]) => v === view.filter)) list.push([view.filter, view.filter.slice(key.length + 1) || "(none)"]);
    options(this.filter, [["", "all"], ...list], view.filter || "");
    this.filter.hidden = !key;
    if (!before) return;
    options(this.beforeType, types(before), chosen(before, view.beforeType || view.type));
    this.absolute.checked = !!view.absolute;
    this.captures(shelf, view);
  }
}
