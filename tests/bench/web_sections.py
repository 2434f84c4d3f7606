# SPDX-License-Identifier: Apache-2.0
"""web_sections - the section of tools/bench on the page: first paint, 50,000 stacks, weight, in Debian's Chromium."""
import pathlib
import re
import statistics
import subprocess
import sys
import urllib.parse

bench = None  # tools/bench, which sets it

# from the file being chosen to the end of the first frame: nothing is left to be done then
INTERACTIVE = """
const open = performance.getEntriesByName('open').pop(), flame = performance.getEntriesByName('flame').pop();
return open && flame && flame.startTime > open.startTime && flame.startTime - open.startTime"""


def section_web(o):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "web"))
    import browser
    import made
    lib = browser.lib
    lib.BUILD, lib.PPROFD, lib.TARGETS = o.build, str(o.build / "pprofd"), o.build / "tests" / "targets"
    print("\n## The page\n\n| | |\n|---|---|")
    t = lib.start("page", stdin=subprocess.PIPE)
    d = lib.Daemon(t)
    page = d.get("/").text()
    todo, total, seen = [urllib.parse.urljoin("/", x) for x in re.findall(r'(?:src|href)="([^"]*/ui/[^"]*)"', page)], len(page), set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        text = d.get(path).text()
        total += len(text.encode())
        if path.endswith(".js"):
            todo += [urllib.parse.urljoin(path, x) for x in re.findall(r'from "(\./[^"]+)"', text)]
    print("| weight before compression, %d files | %.1f kB |" % (len(seen) + 1, total / 1e3), flush=True)
    b = browser.Browser()
    paints = []
    for i in range(o.runs // 2):
        b.open("about:blank")
        b.devtools("Network.clearBrowserCache")
        b.open(d.url("/?%d" % i))
        paints.append(b.wait("(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime"))
    print("| first paint, nothing cached, median and worst of %d | %.0f, %.0f ms |" % (len(paints), statistics.median(paints), max(paints)), flush=True)
    bench.end(t.popen)
    big = b.folder / "many.pb.gz"
    big.write_bytes(made.many()[0])
    times = []
    for i in range(max(3, o.runs // 4)):
        b.open("about:blank")
        b.open(d.url("/?%d" % i))
        b.wait("document.querySelector('#openfile') && document.readyState === 'complete'")
        b.file("#openfile", big)
        times.append(b.wait("(() => { %s })()" % INTERACTIVE))
    print("| 50,000 stacks, from the file to the first frame of the graph, median and worst of %d | %.0f, %.0f ms |" % (
        len(times), statistics.median(times), max(times)), flush=True)
    times = []
    for _ in range(10):
        times.append(b.js("""const f = document.querySelector('.flameview'), began = performance.now();
            f.focus(); f.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown'})); f.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'}));
            return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began))))"""))
    print("| zoom in it, to the second frame, median and worst of 10 | %.0f, %.0f ms |" % (statistics.median(times), max(times)), flush=True)
    b.close()
    lib.kill_descendants()


SECTIONS = {"web": section_web}
