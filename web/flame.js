// SPDX-License-Identifier: Apache-2.0
// flame.js - the flame graph: a tree on a canvas, root on top. Owns what is on the screen, what is zoomed to,
// what is under the pointer and what the keyboard is on. Draws what is visible and at least half a pixel wide,
// once a frame at most; names are drawn, never parsed.
import { amount, percent, signed } from "./units.js";
import { changed, isKernel, numberOf, onTheme, pattern, theme } from "./colour.js";
import { el, framed, say } from "./dom.js";

const ROW = 19, LEAST = 0.5, TEXT_FROM = 22, PAD = 4;

export class Flame {
  /** unit: of the values; events: zoomed(node), chosen(node). */
  constructor(events) {
    this.events = events;
    this.canvas = el("canvas.flame", { "aria-hidden": "true" });
    this.spacer = el("div.spacer");
    this.view = el("div.flameview", { tabIndex: 0, role: "application", "aria-roledescription": "flame graph",
      "aria-label": "Flame graph. Arrow keys go from frame to frame, Enter zooms, Escape zooms out.",
      "aria-describedby": "frame" }, this.canvas, this.spacer);
    this.tip = el("div.tip", { hidden: true, "aria-hidden": "true" });
    this.element = el("div.flamebox", null, this.view, this.tip);
    this.tree = null;
    this.zoom = this.at = 0;
    this.hover = -1;
    this.found = null;
    this.rows = [];
    this.widths = new Map();
    this.draw = framed(() => this.paint());
    new ResizeObserver(() => this.draw()).observe(this.view);
    onTheme(() => {
      this.patterns = null;
      this.draw();
    });
    this.listen();
  }

  /** Shows a tree. options: unit, total (100 %), found (of tree.search), zoom (a node). */
  show(tree, options) {
    this.tree = tree;
    this.unit = options.unit;
    this.shares = options.shares;
    this.found = options.found || null;
    this.zoom = options.zoom || 0;
    this.at = this.zoom;
    this.hover = -1;
    this.tip.hidden = true;
    this.size();
    this.view.scrollTop = 0;
    this.isNew = true;
    this.draw();
  }

  mark(found) {
    this.found = found;
    this.draw();
  }

  zoomTo(node) {
    this.zoom = node;
    this.at = node;
    this.size();
    this.view.scrollTop = Math.max(0, this.tree.depth(node) * ROW - 3 * ROW);
    this.draw();
    this.events.zoomed(node);
    this.tell(node);
  }

  size() {
    this.spacer.style.height = (this.tree.deepest + 1) * ROW + 2 + "px";
  }

  paint() {
    const { tree, view, canvas } = this;
    if (!tree || !view.clientWidth) return;
    const ratio = devicePixelRatio || 1, width = view.clientWidth, height = view.clientHeight;
    const w = Math.round(width * ratio), h = Math.round(height * ratio);
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
      canvas.style.width = w / ratio + "px";
      canvas.style.height = h / ratio + "px";
      this.patterns = null;
    }
    const g = (this.g ||= canvas.getContext("2d", { alpha: false }));
    this.theme = theme();
    if (!this.patterns || this.ratio !== ratio) {
      this.patterns = { dots: pattern(g, "dots", this.theme, ratio), lines: pattern(g, "lines", this.theme, ratio) };
      this.ratio = ratio;
    }
    const font = getComputedStyle(view).font;
    if (font !== this.font) {
      this.font = font;
      this.widths.clear();
    }
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.fillStyle = this.theme.background;
    g.fillRect(0, 0, width, height);
    g.font = font;
    g.textBaseline = "middle";
    this.top = view.scrollTop;
    this.width = width;
    this.height = height;
    this.rows = [];
    this.lay();
    this.outline();
    if (this.isNew) performance.mark("flame");
    this.isNew = false;
  }

  /** The way to what is zoomed to, over the whole width, then all that is in it. */
  lay() {
    const { tree, zoom } = this, way = [];
    for (let n = zoom; n > 0; n = tree.parent[n]) way.push(n);
    way.push(0);
    way.reverse();
    way.forEach((n, depth) => this.rect(n, depth, 0, this.width, n !== zoom));
    const whole = tree.weight(zoom);
    if (!whole) return;
    const scale = this.width / whole, stack = [[zoom, way.length - 1, 0]];
    const lastRow = Math.ceil((this.top + this.height) / ROW);
    while (stack.length) {
      const [node, depth, x0] = stack.pop();
      if (depth >= lastRow) continue;
      let x = x0;
      const kids = tree.children(node);
      for (let i = 0; i < kids.length; i++) {
        const wide = tree.weight(kids[i]) * scale;
        if (wide < LEAST) break; // they come widest first
        this.rect(kids[i], depth + 1, x, wide, false);
        if (tree.first[kids[i]] < tree.first[kids[i] + 1]) stack.push([kids[i], depth + 1, x]);
        x += wide;
      }
    }
  }

  fill(node) {
    const t = this.theme, { tree } = this;
    if (tree.two && node) {
      const a = tree.total[node] * tree.scale, b = tree.total2[node] * tree.scale2;
      const most = Math.max(Math.abs(a), Math.abs(b)) || 1, chance = tree.chance(node);
      // how far it went, of itself; pale where that is next to nothing of the whole, or may be chance
      const sure = Math.min(1, Math.abs(b - a) / (chance || Math.max(tree.weight(0), 1e-300) * 0.01));
      return changed(t, Math.sign(b - a) * Math.sqrt(Math.abs(b - a) / most) * sure * sure);
    }
    if (tree.symbol(node) < 0) return { fill: t.group, text: t.text };
    return { fill: t.objects[numberOf(tree.object(node))], text: t.text };
  }

  rect(node, depth, x, wide, dimmed) {
    const y = depth * ROW - this.top;
    (this.rows[depth] ||= []).push([x, x + wide, node]);
    if (y + ROW < 0 || y > this.height) return;
    const { g, tree, found } = this, object = tree.object(node);
    const look = this.fill(node), hit = found && node && found.hit[tree.frame[node] >> 1];
    const shown = Math.max(LEAST, wide - (wide > 3 ? 1 : 0));
    g.globalAlpha = dimmed ? 0.55 : found && !hit ? this.theme.dim : 1;
    g.fillStyle = hit ? this.theme.found : look.fill;
    g.fillRect(x, y, shown, ROW - 1);
    if (!hit && wide > 2) {
      const hatch = tree.inlined(node) ? this.patterns.lines : isKernel(object) ? this.patterns.dots : null;
      if (hatch) {
        g.fillStyle = hatch;
        g.fillRect(x, y, shown, ROW - 1);
      }
    }
    g.globalAlpha = dimmed ? 0.75 : 1;
    if (wide < TEXT_FROM) return;
    g.fillStyle = hit ? this.theme.foundText : found && !dimmed ? this.theme.text : look.text;
    const text = this.fitting(this.mark_of(node) + tree.name(node), wide - 2 * PAD);
    if (text) g.fillText(text, x + PAD, y + ROW / 2);
    g.globalAlpha = 1;
  }

  /** What a difference says of a frame in words: new, gone. */
  mark_of(node) {
    const { tree } = this;
    if (!tree.two || !node) return "";
    return !tree.total[node] ? "+ " : !tree.total2[node] ? "− " : "";
  }

  fitting(text, room) {
    let wide = this.widths.get(text);
    if (wide === undefined) {
      wide = this.g.measureText(text.length > 300 ? text.slice(0, 300) : text).width;
      if (this.widths.size > 20000) this.widths.clear();
      this.widths.set(text, wide);
    }
    if (wide <= room) return text.length > 300 ? text.slice(0, 300) : text;
    let n = Math.floor((Math.min(text.length, 300) * room) / wide);
    if (n < 2) return "";
    let cut = text.slice(0, n - 1) + "…";
    while (n > 2 && this.g.measureText(cut).width > room) cut = text.slice(0, --n - 1) + "…";
    return n < 3 ? "" : cut;
  }

  /** A frame around what the keyboard, and what the pointer is on. */
  outline() {
    const focused = document.activeElement === this.view;
    for (const [node, line] of [[this.hover, 1], [focused ? this.at : -1, 2]]) {
      if (node < 0) continue;
      const box = this.boxOf(node);
      if (!box) continue;
      this.g.strokeStyle = line === 2 ? this.theme.focus : this.theme.text;
      this.g.lineWidth = line;
      const inset = line / 2;
      this.g.strokeRect(box.x + inset, box.y + inset, Math.max(1, box.w - 1 - line), ROW - 1 - line);
    }
  }

  boxOf(node) {
    const depth = this.tree.depth(node);
    const cell = (this.rows[depth] || []).find((c) => c[2] === node);
    return cell && { x: cell[0], y: depth * ROW - this.top, w: cell[1] - cell[0] };
  }

  nodeAt(event) {
    const box = this.view.getBoundingClientRect();
    const x = event.clientX - box.left, row = this.rows[Math.floor((event.clientY - box.top + this.view.scrollTop) / ROW)];
    const cell = row && event.clientX - box.left < this.view.clientWidth && row.find((c) => x >= c[0] && x < c[1]);
    return cell ? cell[2] : -1;
  }

  /** What there is to say of a frame: [text, ...]. */
  words(node) {
    const { tree, unit } = this, out = [];
    const of = (value, whole) => (whole ? " (" + percent(value / whole) + ")" : "");
    if (tree.two) {
      const a = tree.total[node], b = tree.total2[node], change = tree.change(node);
      out.push("before " + amount(a, unit) + of(a, tree.total[0]), "after " + amount(b, unit) + of(b, tree.total2[0]));
      if (node && Math.abs(change) < tree.chance(node)) out.push("may be chance");
      out.push(!node ? "" : !a ? "new" : !b ? "gone" : this.shares ? signed((change * 100).toFixed(2) + " points", change) : signed(amount(change, unit), change));
    } else {
      const v = tree.total[node];
      out.push(amount(v, unit) + of(v, tree.total[0]));
      if (node && tree.self[node]) out.push("self " + amount(tree.self[node], unit) + of(tree.self[node], tree.total[0]));
      if (this.zoom && node !== this.zoom && tree.weight(this.zoom) >= tree.weight(node)) out.push(percent(v / tree.total[this.zoom]) + " of the zoomed");
    }
    if (tree.object(node)) out.push(tree.object(node));
    if (tree.inlined(node)) out.push("inlined");
    if (tree.place(node)) out.push(tree.place(node));
    return out.filter(Boolean);
  }

  tell(node) {
    const text = this.tree.name(node) + ": " + this.words(node).join(", ");
    this.events.chosen(node, text);
    if (document.activeElement === this.view) say(text);
  }

  showTip(node, event) {
    this.tip.hidden = node < 0;
    if (node < 0) return;
    this.tip.replaceChildren(el("strong", null, this.tree.name(node).slice(0, 600)), el("div", null, this.words(node).join(" · ")));
    const box = this.element.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const w = this.tip.offsetWidth, h = this.tip.offsetHeight;
    this.tip.style.left = Math.max(2, Math.min(x + 12, box.width - w - 4)) + "px";
    this.tip.style.top = (y + 20 + h > box.height ? Math.max(2, y - h - 10) : y + 20) + "px";
  }

  listen() {
    const { view } = this;
    view.addEventListener("scroll", () => this.draw(), { passive: true });
    view.addEventListener("pointermove", (e) => {
      if (!this.tree || e.pointerType === "touch") return;
      const node = this.nodeAt(e);
      this.showTip(node, e);
      if (node !== this.hover) {
        this.hover = node;
        this.draw();
      }
    });
    view.addEventListener("pointerleave", () => {
      this.hover = -1;
      this.tip.hidden = true;
      this.draw();
    });
    view.addEventListener("click", (e) => {
      const node = this.tree ? this.nodeAt(e) : -1;
      if (node >= 0) this.zoomTo(node);
    });
    view.addEventListener("focus", () => this.tree && (this.tell(this.at), this.draw()));
    view.addEventListener("blur", () => this.draw());
    view.addEventListener("keydown", (e) => this.key(e));
  }

  key(e) {
    const { tree } = this;
    if (!tree || e.ctrlKey || e.metaKey || e.altKey) return;
    const parent = this.at ? tree.parent[this.at] : 0;
    const among = this.at && this.at !== this.zoom && !this.above(this.at) ? tree.children(parent) : [this.at];
    const i = among.indexOf(this.at), down = tree.children(this.at);
    const to = {
      ArrowUp: parent, ArrowLeft: among[Math.max(0, i - 1)], ArrowRight: among[Math.min(among.length - 1, i + 1)],
      ArrowDown: this.above(this.at) ? this.wayDown() : down.length ? down[0] : this.at, Home: this.zoom,
    }[e.key];
    if (to !== undefined) {
      e.preventDefault();
      if (to !== this.at && this.visible(to)) this.go(to);
      else if (to !== this.at) say("smaller frames: press Enter to zoom");
    } else if (e.key === "Enter") this.zoomTo(this.at);
    else if (e.key === "Backspace") this.zoomTo(tree.parent[this.zoom] > 0 ? tree.parent[this.zoom] : 0);
    else if (e.key === "Escape" && this.zoom) {
      e.stopPropagation();
      this.zoomTo(0);
    } else return;
    e.preventDefault();
  }

  above(node) {
    for (let n = tree_up(this.tree, this.zoom); n >= 0; n = tree_up(this.tree, n)) if (n === node) return true;
    return false;
  }

  /** Of what is above the zoomed frame, the one way down. */
  wayDown() {
    let n = this.zoom;
    while (n > 0 && this.tree.parent[n] !== this.at) n = this.tree.parent[n];
    return n;
  }

  visible(node) {
    return this.above(node) || node === this.zoom || (this.tree.weight(node) / (this.tree.weight(this.zoom) || 1)) * this.width >= LEAST;
  }

  go(node) {
    this.at = node;
    const y = this.tree.depth(node) * ROW;
    if (y < this.view.scrollTop) this.view.scrollTop = y;
    else if (y + ROW > this.view.scrollTop + this.view.clientHeight) this.view.scrollTop = y + ROW - this.view.clientHeight;
    this.draw();
    this.tell(node);
  }
}

function tree_up(tree, node) {
  return node > 0 ? tree.parent[node] : -1;
}
