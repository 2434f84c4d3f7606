// SPDX-License-Identifier: Apache-2.0
// dom.js - elements. Owns the one way in which text gets into the page: as text. No markup is ever parsed.

/** el("a.download", {href: "x", onclick: f}, "text", child, ...) */
export function el(what, props, ...children) {
  const [tag, ...classes] = what.split(".");
  const e = document.createElement(tag || "div");
  if (classes.length) e.className = classes.join(" ");
  for (const [k, v] of Object.entries(props || {})) {
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k in e && !k.includes("-") && k !== "list" && k !== "form") e[k] = v;
    else e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

/** Says it to those who do not see the screen: the region is #said. */
export function say(text) {
  const e = document.getElementById("said");
  if (e && e.textContent !== text) e.textContent = text;
}

/** Options of a select: [[value, text], ...]; keeps what is chosen where it is still there. */
export function options(select, list, chosen = select.value) {
  select.replaceChildren(...list.map(([value, text]) => el("option", { value }, text)));
  if (list.some(([v]) => v === chosen)) select.value = chosen;
}

/** Calls f at most once a frame. */
export function framed(f) {
  let waiting = 0;
  return () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      f();
    });
  };
}

/** A button that opens a panel below it; Escape and a click elsewhere close it. */
export function popup(label, title, fill) {
  const panel = el("div.popup", { hidden: true });
  const button = el("button", { type: "button", title, "aria-expanded": "false", "aria-haspopup": "true" }, label);
  const box = el("span.menu", null, button, panel);
  const show = (yes) => {
    panel.hidden = !yes;
    button.setAttribute("aria-expanded", String(yes));
    if (!yes) return;
    panel.replaceChildren(...[fill()].flat());
    panel.classList.toggle("left", button.getBoundingClientRect().left < 240);
    const first = panel.querySelector("a, button, input");
    if (first) first.focus();
  };
  button.addEventListener("click", () => show(panel.hidden));
  box.addEventListener("keydown", (e) => {
    if (e.key === "Escape" && !panel.hidden) {
      e.stopPropagation();
      show(false);
      button.focus();
    }
  });
  document.addEventListener("pointerdown", (e) => box.contains(e.target) || show(false));
  box.shut = () => show(false);
  return box;
}
