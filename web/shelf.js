// SPDX-License-Identifier: Apache-2.0
// shelf.js - captures: those that the server keeps for an hour, and files opened here. Owns the requests for them
// and the last few that were parsed. An id is the server's, or "file-N" of this page alone.
import { load } from "./profile.js";
import { clock, span } from "./units.js";

const PARSED = 8; // profiles kept in memory

/** What went wrong, in words for people. */
export class Refused extends Error {}

export async function request(url, options) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Refused("pprofd does not answer");
  }
  if (answer.ok) return answer;
  const again = answer.headers.get("Retry-After");
  const text = (await answer.text().catch(() => "")).trim().slice(0, 300);
  throw new Refused((text || "status " + answer.status) + (again ? " (try again in " + again + " s)" : ""));
}

export class Shelf {
  /** root: the relative way to "/", where the captures of all targets are. */
  constructor(root) {
    this.root = root;
    this.captures = [];
    this.files = [];
    this.parsed = new Map();
    this.state = { bytes: 0, max_bytes: 0, dropped: 0 };
  }

  async refresh() {
    const answer = await (await request(this.root + "-/history")).json();
    this.captures = Array.isArray(answer.captures) ? answer.captures : [];
    this.state = answer;
    return this.all();
  }

  all() {
    return [...this.files, ...this.captures];
  }

  meta(id) {
    return this.all().find((c) => c.id === id);
  }

  title(c) {
    if (!c) return "";
    if (c.file) return c.name;
    const what = (c.comm || "?") + " " + c.profile + (c.seconds ? " " + span(c.seconds) : "");
    return (c.name ? c.name + ", " : "") + what + ", " + clock(c.time);
  }

  url(id, format) {
    return this.root + "-/history/" + encodeURIComponent(id) + (format ? "?format=" + format : "");
  }

  remember(id, profile) {
    this.parsed.delete(id);
    this.parsed.set(id, profile);
    if (this.parsed.size > PARSED) {
      const old = [...this.parsed.keys()].find((k) => !k.startsWith("file-"));
      if (old && old !== id) this.parsed.delete(old);
    }
    return profile;
  }

  async profile(id) {
    const known = this.parsed.get(id);
    if (known) return this.remember(id, known);
    if (id.startsWith("file-")) throw new Refused("that file was open in another page");
    const answer = await request(this.url(id));
    return this.remember(id, await load(new Uint8Array(await answer.arrayBuffer())));
  }

  /** A profile of now: {id, profile}. What the server keeps has an id of its. */
  async capture(url, signal) {
    const answer = await request(url, { signal });
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const profile = await load(bytes), id = answer.headers.get("X-Pprofd-Capture");
    if (id) this.remember(id, profile);
    return id ? { id, profile } : this.file(url.replace(/^.*\/|\?.*$/g, "") + ", not kept", bytes, profile);
  }

  file(name, bytes, profile) {
    const id = "file-" + (this.files.length + 1);
    this.files.unshift({ id, file: true, name, bytes: bytes.length, time: profile.timeNanos / 1e6 || Date.now(),
      seconds: 0, profile: "file", data: bytes });
    this.remember(id, profile);
    return { id, profile };
  }

  async open(file) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    return this.file(file.name, bytes, await load(bytes));
  }

  async rename(id, name) {
    const own = this.files.find((f) => f.id === id);
    if (own) own.name = name || own.name;
    else await request(this.url(id), { method: "POST", body: new URLSearchParams({ name }) });
  }
}
