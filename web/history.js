// SPDX-License-Identifier: Apache-2.0
// history.js - the panel of captures: open, compare, name, download. Owns the list's look; shelf.js has what is in it.
import { ago, bytes, clock, span } from "./units.js";
import { el } from "./dom.js";

export class History {
  /** on: {open(id), compare(id), file(File), renamed()} */
  constructor(shelf, base, on) {
    this.shelf = shelf;
    this.base = base; // the target's pid, or "" for all
    this.on = on;
    this.all = false;
    this.list = el("ol.captures", { "aria-label": "Captures, newest first" });
    this.foot = el("p.note");
    const input = el("input", { type: "file", id: "openfile", accept: ".gz,.pb,.pprof,.prof", className: "hidden", tabIndex: -1,
      "aria-label": "Profile to open", onchange: () => {
        for (const f of input.files) on.file(f);
        input.value = "";
      } });
    this.everyone = el("label.check", { hidden: true }, el("input", { type: "checkbox", id: "alltargets", onchange: (e) => {
      this.all = e.target.checked;
      this.paint();
    } }), " all targets");
    this.element = el("aside.history", { "aria-label": "History" },
      el("div.row", null, el("h2", null, "Captures"), this.everyone,
        el("button", { type: "button", title: "a .pb.gz of pprofd's, Go's or anybody's; or drop it anywhere on the page", onclick: () => input.click() }, "Open file…"), input),
      this.list, this.foot);
  }

  show(open, before) {
    this.open = open;
    this.before = before;
    this.paint();
  }

  paint() {
    const { shelf } = this, everything = shelf.all(), mine = everything.filter((c) => c.file || this.all || !this.base || c.pid === this.base);
    this.everyone.hidden = !everything.some((c) => !c.file && c.pid !== this.base);
    const focused = document.activeElement && this.list.contains(document.activeElement) && document.activeElement.dataset.key;
    if (this.list.querySelector("input")) return; // somebody types a name
    this.list.replaceChildren(...mine.map((c) => this.item(c)));
    if (focused) {
      const again = [...this.list.querySelectorAll("button")].find((b) => b.dataset.key === focused);
      if (again) again.focus();
    }
    const s = shelf.state;
    this.foot.textContent = (mine.length ? "" : "Nothing yet. ") + "Kept in memory for an hour, " + bytes(s.bytes || 0) +
      " of " + bytes(s.max_bytes || 0) + (s.dropped ? "; " + s.dropped + " dropped to make room" : "");
  }

  item(c) {
    const { shelf, on } = this, now = shelf.state.now || Date.now(), open = c.id === this.open, before = c.id === this.before;
    const head = c.name || (c.profile + (c.seconds ? " " + span(c.seconds) : ""));
    const detail = c.file ? "file, " + bytes(c.bytes) : clock(c.time) + ", " + ago(c.time, now) + " ago, " + bytes(c.bytes) +
      (c.name ? ", " + c.profile : "") + (this.base && c.pid === this.base ? "" : ", " + c.comm + " " + c.pid);
    const button = (key, text, title, f, pressed) => el("button", { type: "button", title, onclick: f, "data-key": key + c.id,
      "aria-pressed": pressed === undefined ? null : String(pressed), "aria-label": title + ": " + head }, text);
    const li = el("li" + (open ? ".open" : before ? ".before" : ""), { "data-id": c.id },
      el("button.capture", { type: "button", onclick: () => on.open(c.id), "aria-current": open ? "true" : null, "data-key": "o" + c.id },
        el("b", null, head), el("small", null, detail)),
      el("span.acts", null,
        open ? el("i", null, "shown") : button("d", "diff", "Compare: changes from this one to the shown", () => on.compare(c.id), before),
        button("n", "name", "Name", () => this.naming(li, c)),
        c.file ? null : el("a", { href: shelf.url(c.id), download: fileName(c, "pb.gz"), "aria-label": "Download: " + head, title: "download .pb.gz" }, "↓")));
    return li;
  }

  naming(li, c) {
    const input = el("input", { type: "text", maxLength: 64, value: c.name || "", "aria-label": "Name of the capture" });
    let done = false;
    const end = async (save) => {
      if (done) return;
      done = true;
      input.remove();
      if (save && input.value.trim() !== (c.name || "")) await this.on.rename(c.id, input.value.trim());
      this.paint();
    };
    input.addEventListener("keydown", (e) => {
      if (e.key === "Enter") end(true);
      else if (e.key === "Escape") end(false);
      else return;
      e.stopPropagation();
    });
    input.addEventListener("blur", () => end(true));
    li.append(input);
    input.focus();
  }
}

/** What a download is called. */
export function fileName(c, ending) {
  const words = [c.comm, c.file ? c.name.replace(/\.pb\.gz$|\.gz$/, "") : c.profile, c.name && !c.file ? c.name : "",
    new Date(c.time).toISOString().slice(0, 19).replace(/:/g, "")];
  return words.filter(Boolean).join("-").replace(/[^\w.+-]+/g, "_") + "." + ending;
}
