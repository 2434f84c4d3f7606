// SPDX-License-Identifier: Apache-2.0
// live.js - the strip of the last ten minutes: CPU, memory, live heap, threads, waiting, pprofd's own cost. Owns
// the polling (every 2 s while the page is seen, nothing else), the points (in sessionStorage), and the small
// pictures. A moment that is clicked is told to the page, which opens the nearest capture.
import { bytes, clock, percent, seconds } from "./units.js";
import { el, framed, say } from "./dom.js";

const EVERY = 2000, SPAN = 600e3, MOST = 400, HEIGHT = 30;

/** What a second of time was spent on between two points: a number, or null where nobody counted. */
const rate = (key) => (p, before) => (before && p[key] !== null && before[key] !== null && p[key] >= before[key] && p.time > before.time
  ? (p[key] - before[key]) / ((p.time - before.time) / 1000) : null);

const CELLS = [
  { key: "cpu", name: "CPU", of: rate("cpu_s"), text: percent, title: "of one CPU" },
  { key: "rss", name: "RSS", of: (p) => p.rss, text: bytes, title: "resident memory" },
  { key: "heap", name: "Heap in use", of: (p) => p.heap, text: bytes, title: "as the heap profile has it; on while that is asked for" },
  { key: "threads", name: "Threads", of: (p) => p.threads, text: String, title: "threads" },
  { key: "block", name: "Waiting", of: rate("block_s"), text: (x) => seconds(x) + "/s", title: "waited for synchronisation, all threads; on while block or mutex is asked for" },
  { key: "over", name: "pprofd", of: rate("overhead_s"), text: percent, title: "what pprofd's programs cost the process, of one CPU" },
];

export class Live {
  /** url: of -/live; moment(ms): a moment was chosen; marks(): the times of captures. */
  constructor(url, { moment, marks }) {
    this.url = url;
    this.moment = moment;
    this.marks = marks;
    this.key = "pprofd-live " + new URL(url, location.href).pathname;
    this.points = this.stored();
    this.cursor = 0;
    this.draw = framed(() => this.paint());
    this.cells = CELLS.map((c) => this.cell(c));
    this.element = el("section.live", { "aria-label": "The last ten minutes" }, this.cells.map((c) => c.element));
    new ResizeObserver(this.draw).observe(this.element);
    document.addEventListener("visibilitychange", () => this.turn());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.draw);
    this.turn();
  }

  stored() {
    try {
      const list = JSON.parse(sessionStorage.getItem(this.key) || "[]");
      return Array.isArray(list) ? list.filter((p) => p && p.time > Date.now() - SPAN) : [];
    } catch {
      return [];
    }
  }

  cell(c) {
    const value = el("b", null, "…"), canvas = el("canvas", { height: HEIGHT, "aria-hidden": "true" });
    const element = el("button.cell", { type: "button", title: c.title + ". Click a moment: the nearest capture opens." },
      el("span", null, c.name), value, canvas);
    element.addEventListener("click", (e) => {
      const box = canvas.getBoundingClientRect(), now = Date.now();
      const by_key = !e.detail;
      const at = by_key ? this.cursor || now : now - SPAN * (1 - Math.min(1, Math.max(0, (e.clientX - box.left) / (box.width || 1))));
      this.cursor = 0;
      this.moment(at);
    });
    element.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: -10e3, ArrowRight: 10e3 }[e.key];
      if (!step) return;
      e.preventDefault();
      this.cursor = Math.min(Date.now(), Math.max(Date.now() - SPAN, (this.cursor || Date.now()) + step));
      say(clock(this.cursor) + ": " + c.name + " " + this.textAt(c, this.cursor));
      this.draw();
    });
    element.addEventListener("blur", () => {
      this.cursor = 0;
      this.draw();
    });
    return { ...c, element, value, canvas };
  }

  textAt(c, time) {
    let best = -1;
    this.points.forEach((p, i) => {
      if (best < 0 || Math.abs(p.time - time) < Math.abs(this.points[best].time - time)) best = i;
    });
    const v = best < 0 ? null : c.of(this.points[best], this.points[best - 1]);
    return v === null || v === undefined ? "not known" : c.text(v);
  }

  turn() {
    clearTimeout(this.timer);
    if (!document.hidden) this.poll();
  }

  async poll() {
    try {
      const answer = await fetch(this.url);
      if (answer.ok) this.take(await answer.json());
      else this.gone(answer.status === 404);
    } catch {
      this.gone(false);
    }
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.poll(), this.points.length < 2 ? EVERY / 4 : EVERY);
  }

  take(a) {
    const heap = a.heap && typeof a.heap.inuse_bytes === "number" ? a.heap.inuse_bytes : null;
    if (a.alive === false) return this.gone(true);
    this.element.classList.remove("gone");
    this.points.push({ time: a.time, cpu_s: a.cpu_s, rss: a.rss, threads: a.threads, heap, block_s: a.block_s, overhead_s: a.overhead_s });
    const from = a.time - SPAN;
    while (this.points.length && (this.points[0].time < from || this.points.length > MOST)) this.points.shift();
    try {
      sessionStorage.setItem(this.key, JSON.stringify(this.points));
    } catch {
      // no room, or not allowed: the strip begins anew with the page
    }
    this.draw();
  }

  gone(ended) {
    this.element.classList.add("gone");
    if (ended) this.cells[0].value.textContent = "ended";
  }

  paint() {
    const style = getComputedStyle(this.element), line = style.getPropertyValue("--accent"), faint = style.getPropertyValue("--line");
    const last = this.points[this.points.length - 1];
    if (!last) return;
    for (const c of this.cells) {
      const values = this.points.map((p, i) => c.of(p, this.points[i - 1]));
      const now = values[values.length - 1];
      if (now !== null && now !== undefined) c.value.textContent = c.text(now);
      else c.value.textContent = this.points.length < 2 && c.key !== "heap" ? "…" : "off";
      c.element.setAttribute("aria-label", c.name + " " + c.value.textContent + "; opens the nearest capture");
      this.spark(c, values, line, faint, last.time);
    }
  }

  spark(c, values, line, faint, now) {
    const ratio = devicePixelRatio || 1, w = c.canvas.clientWidth, h = HEIGHT;
    if (!w) return;
    c.canvas.width = w * ratio;
    c.canvas.height = h * ratio;
    const g = c.canvas.getContext("2d"), most = Math.max(...values.filter((v) => v !== null), 1e-12) * 1.1;
    g.scale(ratio, ratio);
    const x = (t) => w - ((now - t) / SPAN) * w, y = (v) => h - 2 - (v / most) * (h - 8);
    g.fillStyle = faint;
    g.fillRect(0, h - 1, w, 1);
    for (const t of this.marks()) if (x(t) > 0) g.fillRect(x(t) - 1, 0, 2, h);
    g.strokeStyle = g.fillStyle = line;
    g.lineWidth = 1.4;
    g.beginPath();
    let pen = false;
    values.forEach((v, i) => {
      const apart = i && this.points[i].time - this.points[i - 1].time > 4 * EVERY;
      if (v === null || v === undefined || apart) pen = false;
      if (v === null || v === undefined) return;
      if (pen) g.lineTo(x(this.points[i].time), y(v));
      else g.moveTo(x(this.points[i].time), y(v));
      pen = true;
    });
    g.stroke();
    if (this.cursor) g.fillRect(x(this.cursor), 0, 1, h);
  }
}
