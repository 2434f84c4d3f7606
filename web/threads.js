// SPDX-License-Identifier: Apache-2.0
// threads.js - the dump of all threads (goroutine?debug=2, Go's text): read, grouped by equal stacks, searched.
// Owns that text's meaning. Deadlocks come first, then the largest groups.
import { el, say } from "./dom.js";

const HEAD = /^goroutine (\d+) \[(.*)\]:$/, CREATED = /^created by (.+?)(?: in goroutine (\d+))?$/;

function state(text) {
  const labels = /labels:(\{.*\})/.exec(text), minutes = /, (\d+) minutes$/.exec(text), held = /\(held by goroutine (\d+)\)/.exec(text);
  let words = {};
  if (labels) {
    try {
      words = JSON.parse(labels[1]);
    } catch {
      // shown without them
    }
  }
  return {
    state: text.replace(/ labels:\{.*\}/, "").replace(/, \d+ minutes$/, "").replace(/ \(held by .*?\)/, "").trim(),
    minutes: minutes ? Number(minutes[1]) : 0, holder: held ? held[1] : "", name: words.thread || "", labels: words,
  };
}

/** {threads: [{tid, state, minutes, holder, name, frames: [{name, place}], created}], deadlocks: [text], notes: [text]} */
export function parse(text) {
  const out = { threads: [], deadlocks: [], notes: [] };
  let now = null;
  for (const line of text.split("\n")) {
    const head = HEAD.exec(line), created = now && CREATED.exec(line);
    if (head) out.threads.push((now = { tid: head[1], ...state(head[2]), frames: [], created: "" }));
    else if (line.startsWith("# pprofd: deadlock: ")) out.deadlocks.push(line.slice(20));
    else if (line.startsWith("# pprofd: ")) out.notes.push(line.slice(10));
    else if (!line) now = null;
    else if (!now) continue;
    else if (created) now.created = created[1];
    else if (line.startsWith("\t")) {
      const f = now.frames[now.frames.length - 1], place = line.trim().replace(/ \+0x[0-9a-f]+$/, "");
      if (!f || place.startsWith("goroutine running")) now.frames.push({ name: "running, no stack", place: "" });
      else if (!now.created) f.place = place.replace(/^\?\?:0$/, "");
    } else now.frames.push({ name: line.replace(/\(\.\.\.\)$|\(\)$/, ""), place: "" });
  }
  return out;
}

/** Threads of the same stack and state, the most first. */
export function group(threads) {
  const groups = new Map();
  for (const t of threads) {
    const key = t.state + "\0" + t.frames.map((f) => f.name + "\0" + f.place).join("\0");
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(t);
  }
  return [...groups.values()].sort((a, b) => b.length - a.length || Math.max(...b.map((t) => t.minutes)) - Math.max(...a.map((t) => t.minutes)));
}

const SHOWN = 300, NAMES = 40;

export class Threads {
  constructor() {
    this.body = el("div.groups");
    this.element = el("div.threadsbox", { tabIndex: 0, role: "region", "aria-label": "Threads" }, this.body);
    this.matches = null;
  }

  show(text) {
    this.dump = parse(text);
    this.paint();
  }

  /** What is found: "3 of 17 threads". */
  find(matches) {
    this.matches = matches;
    return this.dump ? this.paint() : "";
  }

  fits(t) {
    const m = this.matches;
    return !m || m(t.name) || m(t.state) || m(t.tid) || Object.values(t.labels).some((v) => m(String(v))) || t.frames.some((f) => m(f.name));
  }

  paint() {
    const { threads, deadlocks, notes } = this.dump, fitting = threads.filter((t) => this.fits(t)), groups = group(fitting);
    const locked = new Set(deadlocks.flatMap((d) => d.match(/\d+/g) || []));
    const inDeadlock = (g) => deadlocks.length > 0 && g.some((t) => locked.has(t.tid) && t.holder);
    groups.sort((a, b) => inDeadlock(b) - inDeadlock(a));
    const found = fitting.length + " of " + threads.length + " threads in " + groups.length + (groups.length === 1 ? " group" : " groups");
    this.body.replaceChildren(
      ...deadlocks.map((d) => el("p.deadlock", { role: "alert" }, el("b", null, "Deadlock: "), d.replace(/goroutine /g, "thread "))),
      el("p.note", null, found + (notes.length ? ". " + notes.join("; ") : "")),
      ...groups.slice(0, SHOWN).map((g) => this.item(g, inDeadlock(g))));
    if (groups.length > SHOWN) this.body.append(el("p.note", null, groups.length - SHOWN + " more groups: search narrows it"));
    say(found);
    return found;
  }

  item(g, bad) {
    const first = g[0], most = Math.max(...g.map((t) => t.minutes));
    // the frames that say something come first to the eye: those of the program, after the C library's own
    const own = first.frames.find((f) => f.place && !/^\.\.?\//.test(f.place)) || first.frames[0] || { name: "no stack" };
    const who = g.slice(0, NAMES).map((t) => (t.name ? t.name + " " : "") + t.tid).join(", ") + (g.length > NAMES ? ", and " + (g.length - NAMES) + " more" : "");
    const holders = [...new Set(g.map((t) => t.holder).filter(Boolean))];
    return el("details.group" + (bad ? ".bad" : ""), null,
      el("summary", null, el("b.count", null, g.length + "×"), el("span.state", null, first.state), most ? el("span.waited", null, most + " min") : null,
        el("code", null, own.name), el("small", null, who)),
      holders.length ? el("p.note", null, "waits for what thread " + holders.slice(0, 10).join(", ") + " holds") : null,
      el("ol.stack", null, first.frames.map((f) => el("li", null, el("code", null, f.name), f.place ? el("small", null, f.place) : null))),
      first.created ? el("p.note", null, "created by " + first.created) : null);
  }
}
