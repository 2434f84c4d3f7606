// SPDX-License-Identifier: Apache-2.0
// downloads.js - the menu of formats. Owns which tool reads which; the server converts.
import { el, popup } from "./dom.js";
import { fileName } from "./history.js";

const FORMATS = [
  ["", "pb.gz", "pprof", "go tool pprof, Parca, Pyroscope"], ["folded", "folded", "Folded stacks", "flamegraph.pl, grep"],
  ["speedscope", "speedscope.json", "speedscope JSON", "speedscope.app"], ["firefox", "firefox.json", "Firefox profiler JSON", "profiler.firefox.com"],
  ["svg", "svg", "SVG", "a picture of the flame graph"], ["top", "txt", "Table", "text"],
];

/** current(): the open capture's row of the shelf, or nothing. */
export function menu(shelf, base, current) {
  const row = (href, name, text, note) => el("a.item", { href, download: name }, el("b", null, text), el("small", null, note));
  return popup("Download", "the open capture in other formats, and traces", () => {
    const c = current(), rows = [];
    if (c && c.file) {
      const url = URL.createObjectURL(new Blob([c.data], { type: "application/octet-stream" }));
      setTimeout(() => URL.revokeObjectURL(url), 600e3);
      rows.push(row(url, fileName(c, "pb.gz"), "pprof", "the file as it was; others for what pprofd has captured"));
    } else if (c) rows.push(...FORMATS.map(([f, ending, text, note]) => row(shelf.url(c.id, f), fileName(c, ending), text, note)));
    else rows.push(el("p.note", null, "no capture is open"));
    rows.push(el("hr"), row(base + "debug/pprof/trace?seconds=5", "trace", "Trace of the next 5 s", "go tool trace"),
      row(base + "debug/pprof/trace?seconds=5&format=perfetto", "trace.perfetto", "Trace of the next 5 s", "ui.perfetto.dev"),
      el("a.item", { href: base + "debug/pprof/" }, el("b", null, "All endpoints"), el("small", null, "as a Go program has them")));
    return rows;
  });
}
