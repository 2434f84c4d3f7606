// SPDX-License-Identifier: Apache-2.0
// link.js - the view as the part of the address behind "#". Owns what a link holds: which captures, which values,
// where it is zoomed to, what is searched. A link is words of strangers: each is checked where it is used.

// key in the address -> key of the view
const KEYS = { c: "capture", d: "before", t: "type", u: "beforeType", p: "profile", v: "view", q: "search", r: "reverse",
  g: "group", f: "filter", z: "zoom", a: "absolute" };

export function read(hash = location.hash) {
  const view = {};
  let words;
  try {
    words = new URLSearchParams(hash.replace(/^#/, ""));
  } catch {
    return view;
  }
  for (const [k, name] of Object.entries(KEYS)) {
    const v = words.get(k);
    if (v !== null) view[name] = v;
  }
  if (!["flame", "table", "threads"].includes(view.view)) delete view.view;
  view.reverse = view.reverse === "1";
  view.absolute = view.absolute === "1";
  view.zoom = parseInt(view.zoom, 36) | 0;
  return view;
}

export function write(view) {
  const words = new URLSearchParams();
  for (const [k, name] of Object.entries(KEYS)) {
    const v = view[name];
    if (v === undefined || v === null || v === "" || v === false || v === 0) continue;
    words.set(k, v === true ? "1" : name === "zoom" ? v.toString(36) : v);
  }
  return "#" + words;
}
