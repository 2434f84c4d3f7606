// SPDX-License-Identifier: Apache-2.0
// app.js - the page of a target. Owns the view (which captures, which values, how they are shown), writes it to the
// address, and tells the parts to follow. One direction: something changes the view, follow() shows it.
import { popup, el, options, say } from "./dom.js";
import * as link from "./link.js";
import { menu } from "./downloads.js";
import { History } from "./history.js";
import { Live } from "./live.js";
import { Shelf, request } from "./shelf.js";
import { Stage } from "./stage.js";
import { Taking } from "./taking.js";
import { Toolbar } from "./toolbar.js";

const body = document.body, app = document.getElementById("app"), plain = document.getElementById("plain");
// no name and password in what is fetched, which fetch() refuses: the browser has them
const here = location.origin + location.pathname, beside = (to) => new URL(to || "./", here).href;
const base = beside(body.dataset.base), root = beside(body.dataset.root);
const kinds = JSON.parse(app.dataset.profiles || "[]"), pid = Number(body.dataset.pid) || 0;

const view = { view: "flame", ...link.read() };
const shelf = new Shelf(root);
const stage = new Stage({
  zoomed: (path) => change({ zoom: path }, "link"),
  search: (name) => {
    bar.search.value = name;
    change({ search: name, view: "flame" });
    stage.flame.view.focus();
  },
});
const taking = new Taking(shelf, stage);
const history = new History(shelf, pid, {
  open: (id) => change({ capture: id, zoom: 0, ...(view.before === id ? { before: "" } : {}) }, "open"),
  compare: (id) => change({ before: view.before === id ? "" : id, beforeType: "", zoom: 0 }, "open"),
  file: openFile,
  rename: (id, name) => shelf.rename(id, name).then(refresh).catch(complain),
});
const live = new Live(base + "-/live", {
  moment: (ms) => {
    const near = shelf.captures.filter((c) => !pid || c.pid === pid).sort((a, b) => Math.abs(a.time - ms) - Math.abs(b.time - ms))[0];
    if (near) change({ capture: near.id, zoom: 0 }, "open");
    else say("no capture yet");
  },
  marks: () => shelf.captures.filter((c) => !pid || c.pid === pid).map((c) => c.time),
});
const bar = new Toolbar(kinds, view, { change, look, take, cancel: () => taking.cancel(), pick, swap });

function kindOf(name) {
  return kinds.find((k) => k.name === name) || { name, kind: "cumulative" };
}

/** The one way in which the view changes. how: "open" (other captures), "link" (nothing to draw anew). */
function change(what, how) {
  Object.assign(view, what);
  globalThis.history.replaceState(null, "", link.write(view));
  if (how === "open") open();
  else if (how !== "link") follow();
}

let shown = null; // {after, before}: profiles of the view
let turn = 0; // what was asked for last: answers to what was asked before change nothing

async function open() {
  try {
    if (view.view === "threads") change({ view: "flame" }, "link");
    const mine = ++turn;
    const [after, before] = await Promise.all([shelf.profile(view.capture), view.before ? shelf.profile(view.before) : null]);
    if (turn !== mine) return;
    const meta = shelf.meta(view.capture);
    if (meta && !meta.file) view.profile = meta.profile;
    shown = { after, before };
    follow();
  } catch (e) {
    complain(e);
  }
}

function typeOf(profile, wanted) {
  const i = profile.types.findIndex((t) => t.type === wanted);
  return i >= 0 ? i : profile.defaultType;
}

function follow() {
  history.show(view.capture, view.before);
  stage.view(view.view);
  bar.show(shown, shelf);
  if (view.view !== "threads" && shown) {
    const after = { profile: shown.after, type: typeOf(shown.after, view.type) };
    const before = shown.before && { profile: shown.before, type: typeOf(shown.before, view.beforeType || view.type) };
    stage.show(after, before, view);
    stage.fresh();
  }
  bar.found(stage.search(view.search || ""));
  document.documentElement.dataset.shown = view.view + (shown && shown.before ? " diff" : "");
}

function complain(e) {
  stage.say(el("p.error", { role: "alert" }, e.message || String(e)));
}

async function refresh() {
  try {
    await shelf.refresh();
  } catch (e) {
    shelf.state = { ...shelf.state };
    history.foot.textContent = e.message;
    return;
  }
  history.show(view.capture, view.before);
  bar.captures(shelf, view);
  live.draw();
}

/** A capture of now of what is chosen. */
async function take() {
  const kind = kindOf(view.profile);
  if (view.view === "threads") return dump();
  const seconds = bar.secondsFor(kind), words = new URLSearchParams({ keep: "1" });
  if (seconds) words.set("seconds", seconds);
  try {
    const mine = ++turn, open = shelf.meta(view.capture), aside = !!shown && !!open && open.profile === kind.name;
    const url = base + "debug/pprof/" + encodeURIComponent(kind.name) + "?" + words;
    const got = await taking.take(url, bar.nameOf(kind), seconds, aside, (text) => bar.taking(text));
    if (turn !== mine) return got && refresh();
    if (!got) return shown ? follow() : stage.say(el("p", null, "Cancelled."), el("button", { type: "button", onclick: take }, "Capture"));
    await refresh();
    change({ capture: got.id, zoom: 0 }, "open");
  } catch (e) {
    complain(e);
  }
}

async function dump() {
  const mine = ++turn;
  stage.view("threads");
  stage.say(el("p", null, "asking …"));
  try {
    const text = await (await request(base + "debug/pprof/goroutine?debug=2")).text();
    if (turn !== mine) return;
    stage.threads.show(text);
    stage.quiet();
    follow();
  } catch (e) {
    complain(e);
  }
}

/** The same otherwise; of threads, a list and a capture are two answers. */
function look(which) {
  if (which === "threads") {
    change({ view: which });
    return stage.threads.dump ? undefined : dump();
  }
  change({ view: which }, shown ? undefined : "link");
  if (shown) return;
  stage.view(which);
  take();
}

/** Another profile: its last window where there is one, else a capture of it. */
function pick(name) {
  const kind = kindOf(name);
  taking.cancel();
  const was = { profile: name, type: "", before: "", beforeType: "", zoom: 0, group: "", filter: "" };
  if (name === "goroutine") {
    shown = null;
    change({ ...was, capture: "", view: "threads" });
    return dump();
  }
  change({ ...was, view: view.view === "threads" ? "flame" : view.view }, "link");
  const last = kind.kind === "window" && shelf.captures.find((c) => c.profile === name && (!pid || c.pid === pid));
  bar.show(shown, shelf);
  return last ? change({ capture: last.id }, "open") : take();
}

function swap() {
  change({ capture: view.before, before: view.capture, type: view.beforeType || view.type, beforeType: view.beforeType ? view.type : "", zoom: 0 }, "open");
}

async function openFile(file) {
  performance.mark("open");
  try {
    const { id } = await shelf.open(file);
    taking.cancel();
    change({ capture: id, before: "", zoom: 0, type: "", group: "", filter: "", view: view.view === "threads" ? "flame" : view.view }, "open");
    bar.captures(shelf, view);
  } catch (e) {
    complain(new Error(file.name + ": " + e.message));
  }
}

function keys(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
  const typing = e.target.closest("input, select, textarea");
  if (e.key === "Escape" && !typing && view.search) {
    bar.search.value = "";
    change({ search: "" });
  }
  if (typing) return;
  const to = {
    "/": () => bar.search.focus(), r: () => change({ reverse: !view.reverse, zoom: 0 }), c: take,
    f: () => look("flame"), t: () => look("table"), h: () => bar.panel(),
  }[e.key];
  if (!to) return;
  e.preventDefault();
  to();
}

function begin() {
  const copied = () => navigator.clipboard ? navigator.clipboard.writeText(location.href).then(() => say("the link is copied")) : Promise.reject(new Error());
  const linkMenu = popup("Link", "an address that holds this view", () => {
    const input = el("input", { type: "text", readOnly: true, value: location.href, "aria-label": "Link to this view", onfocus: () => input.select() });
    copied().catch(() => {});
    return [input, el("p.note", null, "Holds the view. The capture behind it is kept for an hour; download what is to last.")];
  });
  const help = popup("?", "keys", () => el("dl.keys", null, [["/", "search"], ["r", "callers (reverse)"], ["f t", "flame graph, table"], ["c", "capture"],
    ["h", "captures"], ["← → ↑ ↓", "from frame to frame"], ["Enter", "zoom"], ["Backspace", "zoom out one step"], ["Esc", "zoom out, end the search"]]
    .map(([k, text]) => [el("dt", null, el("kbd", null, k)), el("dd", null, text)])));
  bar.tools.append(menu(shelf, base, () => shelf.meta(view.capture)), linkMenu, help);
  bar.nav.after(taking.bar);
  const work = el("div.work", null, stage.element, history.element);
  bar.panel = (yes = work.classList.toggle("closed") === false) => {
    work.classList.toggle("closed", !yes);
    bar.panelButton.setAttribute("aria-pressed", String(yes));
    stage.flame.draw();
  };
  app.append(live.element, bar.element, work, el("div.hidden", { id: "said", "aria-live": "polite" }));
  bar.panel(innerWidth > 1000);
  app.hidden = false;
  plain.hidden = true;
  const nav = document.querySelector("body > header nav") || document.querySelector("body > header");
  if (nav) nav.append(" ", el("button.plain", { type: "button", "aria-expanded": "false", onclick: (e) => {
    plain.hidden = !plain.hidden;
    e.target.setAttribute("aria-expanded", String(!plain.hidden));
  } }, "plain links"));
  document.addEventListener("keydown", keys);
  document.addEventListener("dragover", (e) => e.preventDefault());
  document.addEventListener("drop", (e) => {
    e.preventDefault();
    for (const f of e.dataTransfer.files) openFile(f);
  });
  addEventListener("hashchange", () => {
    for (const k of Object.keys(view)) delete view[k];
    Object.assign(view, { view: "flame" }, link.read());
    bar.search.value = view.search || "";
    start();
  });
  setInterval(() => document.hidden || refresh(), 15000);
}

/** Shows what the link says, or the CPU of the next five seconds. */
async function start() {
  const wanted = (view.view === "threads" && "goroutine") || view.profile || (kinds.some((k) => k.name === "profile") ? "profile" : (kinds[0] || { name: "profile" }).name);
  view.profile = wanted;
  follow();
  if (view.view === "threads") {
    refresh();
    return dump();
  }
  if (!view.capture) {
    refresh();
    return take();
  }
  await refresh();
  return open();
}

begin();
start();
