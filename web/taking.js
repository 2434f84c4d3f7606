// SPDX-License-Identifier: Apache-2.0
// taking.js - a capture on its way: the countdown, how to cancel it, what it waits for. Owns the one that runs;
// a second one ends the first.
import { el, say } from "./dom.js";

export class Taking {
  /** shelf: where it goes; stage: where the countdown stands while nothing else is to be seen. */
  constructor(shelf, stage) {
    this.shelf = shelf;
    this.stage = stage;
    this.bar = el("progress.taking", { hidden: true, max: 1, value: 0, "aria-label": "Capture" });
    this.running = null;
  }

  cancel() {
    if (this.running) this.running.abort();
  }

  /** {id, profile}, or null where it was cancelled; throws Refused and Malformed. aside: what is shown stays in sight.
   * changed(text): the countdown, "" at the end. */
  async take(url, name, seconds, aside, changed) {
    this.cancel();
    const control = (this.running = new AbortController()), began = performance.now();
    const text = el("b.count"), note = el("p", null, text);
    const ring = el("progress", { max: 1, value: 0, "aria-label": "Time of the capture" });
    if (!aside) this.stage.say(el("p", null, name + (seconds ? ", " + seconds + " s" : "")), ring, note,
      el("button", { type: "button", onclick: () => control.abort() }, "Cancel"));
    this.bar.hidden = false;
    say("capturing " + name + (seconds ? " for " + seconds + " seconds" : ""));
    const tick = () => {
      const left = seconds - (performance.now() - began) / 1000;
      if (seconds && left > 0) {
        ring.value = this.bar.value = 1 - left / seconds;
        text.textContent = Math.ceil(left) + " s";
      } else {
        ring.removeAttribute("value");
        this.bar.removeAttribute("value");
        text.textContent = seconds ? "names …" : "asking …";
      }
      if (this.running === control) changed(text.textContent);
    };
    tick();
    const timer = setInterval(tick, 250);
    try {
      return await this.shelf.capture(url, control.signal);
    } catch (e) {
      if (e.name !== "AbortError") throw e;
      return null;
    } finally {
      clearInterval(timer);
      if (this.running === control) {
        this.running = null;
        this.bar.hidden = true;
        if (!aside) this.stage.quiet();
        changed("");
      }
    }
  }
}
