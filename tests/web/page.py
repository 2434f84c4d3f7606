#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""page.py - the page in a real Chromium, against the real daemon: every figure that is read off it is held against the
pprof answer that it was made of. A claim has a daemon of its own and goes one person's way."""
import base64
import gzip
import http.client
import http.server
import json
import pathlib
import re
import socketserver
import subprocess
import threading
import urllib.parse
import xml.etree.ElementTree as ElementTree

import browser
import made
from browser import lib, number
from lib import check, fail

HERE = pathlib.Path(__file__).resolve().parent
AXE = "axe-core@4.10.3"
# a capture is shown, or it is said that it has no sample
SHOWN = ("document.querySelector('#frame') && /^(all:|before)/.test(document.querySelector('#frame').innerText) &&"
         "(document.querySelector('.notice').hidden || document.querySelector('.notice').innerText.includes('no sample'))")
OPEN = "const o = document.querySelector('.captures .open'); return o ? o.dataset.id : ''"


def started(*arguments):
    return lib.start("page", *arguments, stdin=subprocess.PIPE)


def tell(target, line):
    n = len(target.lines)
    target.popen.stdin.write(line.encode() + b"\n")
    target.popen.stdin.flush()
    target.line("^done", start=n)


def opened(b, d, path="/", window=1):
    """The page, once it shows its first capture. Five seconds are the page's own default; tests have less."""
    b.open(d.url(path))
    b.wait("document.querySelector('#app') && !document.querySelector('#app').hidden")
    if window:
        b.choose("#seconds", str(window))
        b.click("#capture")  # ends the one that the page has begun with
        b.wait("!/Cancel/.test(document.querySelector('#capture').innerText)")
        again(b)
    else:
        b.wait(SHOWN)


def again(b):
    """A new capture, shown. Longer ones where a busy machine leaves the target too little."""
    before = b.js(OPEN)
    b.click("#capture")
    b.wait("(() => { %s })() !== arguments[0] && %s" % (OPEN, SHOWN), "no new capture", before)


def capture(b, d):
    """The profile that is shown, as tests/pprof.py reads it."""
    a = d.get("/-/history/" + b.js(OPEN))
    check(a.status == 200, a.text())
    return lib.pprof.parse(a.body)


def share(p, pattern, column=-1, label=None):
    mine = [s for s in p.samples if label is None or s.labels.get(label[0]) == [label[1]]]
    total = sum(s.values[column] for s in mine)
    found = sum(s.values[column] for s in mine if any(pattern in f.name for f in s.frames))
    return 100 * found / total if total else fail("an empty profile")


def close_to(text, percent):
    """What is shown is that number, as far as it has digits."""
    shown = number(text)
    check(abs(shown - percent) <= (0.051 if percent >= 10 else 0.0051) + 1e-9, "the page says %r, the profile %.4f" % (text, percent))


def search(b, text):
    b.js("const s = document.querySelector('#search'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", text)
    return b.text("#match")


def shows(b, text):
    return b.wait("document.querySelector('#frame').innerText.includes(arguments[0]) && document.querySelector('#frame').innerText", "no " + text, text)


def test_capture_search_zoom_reverse_labels():
    t = started()
    d = lib.Daemon(t)
    b = browser.shared()
    b.open(d.url("/"))
    b.wait("/Cancel, [1-5] s/.test(document.querySelector('#capture').innerText) && document.querySelector('.notice progress')", "no countdown")
    opened(b, d)
    def plenty():  # of work_a, under its label
        p = capture(b, d)
        total = p.total("samples")
        mine = sum(s.values[0] for s in p.samples if s.labels.get("turn") == ["a"])
        return total > 20 and mine > total * 0.51 and lib.samples(p, "work_a") > total * 0.51 or again(b)
    lib.eventually(plenty, "too few samples")
    p = capture(b, d)

    close_to(search(b, "work_a"), share(p, "work_a"))
    close_to(search(b, "/^work_b$/"), share(p, "work_b"))
    check(search(b, "no such function") == "no match", b.text("#match"))
    search(b, "")

    # the widest below main, by the mouse: rows of 19 px, root on top
    depth = b.js("return arguments[0]", 0)
    b.js("document.querySelector('.flameview').focus()")
    names = []
    while "work_a" not in (names or [""])[-1]:
        b.keys("ArrowDown")
        names.append(b.text("#frame"))
        check(len(names) < 40 and (depth == 0 or names[-1] != names[-2]), "no work_a on the way down: %s" % names)
        depth = len(names)
    close_to(names[-1].split("(")[1], share(p, "work_a"))
    box = b.js("const r = document.querySelector('.flameview').getBoundingClientRect(); return [r.left, r.top]")
    b.point(box[0] + 12, box[1] + depth * 19 + 9)
    b.wait("/z=/.test(location.hash)", "a click does not zoom")
    b.keys("ArrowDown")
    check("of the zoomed" in b.text("#frame"), b.text("#frame"))
    b.keys("Escape")
    b.wait("!/z=/.test(location.hash)", "Escape does not zoom out")

    # upside down: what is under the root now are leaves
    b.keys("r")
    b.wait("document.querySelector('#reverse').getAttribute('aria-pressed') === 'true'")
    close_to(search(b, "work_a"), share(p, "work_a"))
    search(b, "")
    b.js("document.querySelector('.flameview').focus()")
    b.keys("ArrowDown")
    leaves = {}
    for s in p.samples:
        leaves[s.frames[0].name] = leaves.get(s.frames[0].name, 0) + s.values[-1]
    leaf = max(leaves.values())
    close_to(b.text("#frame").split("(")[1], 100 * leaf / sum(leaves.values()))
    b.keys("r")

    # by a label, then one value of it alone
    b.choose("#group", "turn")
    b.js("document.querySelector('.flameview').focus()")
    b.keys("ArrowDown")
    check(b.text("#frame").startswith("a: "), "the widest group: " + b.text("#frame"))
    b.choose("#filter", "turn=b")
    close_to(search(b, "work_b"), share(p, "work_b", label=("turn", "b")))
    close_to(search(b, "work_a") if share(p, "work_a", label=("turn", "b")) else "0", share(p, "work_a", label=("turn", "b")))
    search(b, "")
    b.choose("#group", "")

    # samples, then the table
    b.choose("#type", "samples")
    check(b.text("#frame") == "all: %d" % sum(s.values[0] for s in p.samples), b.text("#frame"))
    b.choose("#type", "cpu")
    b.keys("t")
    b.wait("document.querySelector('.top tbody tr')")
    row = next((r for r in b.texts(".top tbody tr") if "work_a" in r), "")
    close_to(row.split("\t")[3], share(p, "work_a"))
    b.click(".top tbody button")
    b.wait("document.querySelector('#search').value && document.querySelector('.flameview').clientWidth")
    # what the profile says of itself is there
    check(any("samples" in c for c in b.texts(".conditions summary")), "no conditions")
    b.check_quiet()
    d.stop()


def test_names_that_mean_harm():
    t = started()
    tell(t, "0 1")
    d = lib.Daemon(t)
    b = browser.shared()
    harm = "<script>document.title=1</script><img src=x onerror=document.title=2>"

    def taken():  # as it is linked: what stands between < and > is a template's argument otherwise
        a = d.get("/debug/pprof/profile?seconds=1&keep=1&demangle=none")
        return a.headers["X-Pprofd-Capture"] if lib.samples(lib.pprof.parse(a.body), re.escape(harm)) else None
    ident = lib.eventually(taken, "harm is not in the profile")
    b.open(d.url("/#c=" + ident))
    b.wait(SHOWN)
    check(b.js(OPEN) == ident, "another one is open")
    close_to(search(b, harm), share(capture(b, d), harm))
    b.keys("Tab")
    b.choose("#group", "thread")
    b.keys("t")
    b.wait("[...document.querySelectorAll('.top tbody button')].some((x) => x.innerText === arguments[0])", "not in the table", harm)
    search(b, "")
    b.js("[...document.querySelectorAll('[data-name=goroutine]')][0].click()")
    b.wait("document.querySelector('.group')")
    b.js("for (const g of document.querySelectorAll('.group')) g.open = true")
    check("<b>page</b>" in b.text(".groups"), "the thread's name: " + b.text(".groups")[:300])
    check(b.js("return document.querySelectorAll('#app img, #app script, .groups b:not(.count)').length") == 0, "markup out of a name")
    check(b.js("return document.title").endswith("pprofd"), "a script of a name ran")
    # and in a picture of the server's
    svg = d.get("/-/history/%s?format=svg" % ident).body
    check(any(harm in x for x in ElementTree.fromstring(svg).itertext()), "not in the svg")
    check(not [e for e in ElementTree.fromstring(svg).iter() if e.tag.endswith(("script", "img", "foreignObject"))], "markup in the svg")
    b.check_quiet()


def test_difference_history_link_file():
    t = started()
    tell(t, "1 8")
    d = lib.Daemon(t)
    b = browser.shared()
    opened(b, d)
    lib.eventually(lambda: lib.samples(capture(b, d), "work_b") > 20 or again(b), "no samples")
    first, before = b.js(OPEN), capture(b, d)
    tell(t, "8 1")
    again(b)
    lib.eventually(lambda: lib.samples(capture(b, d), "work_a") > 20 or again(b), "no samples")
    second, after = b.js(OPEN), capture(b, d)

    # named, compared
    item = ".captures li[data-id='%s'] " % first
    b.click(item + ".acts button:nth-child(2)")
    b.type(item + "input", "before the <i>deploy</i>")
    b.keys("Enter")
    b.wait("document.querySelector(arguments[0]).innerText === 'before the <i>deploy</i>'", "no name", item + "b")
    b.click(item + ".acts button")
    b.wait("!document.querySelector('.row.diff').hidden && document.querySelector('#frame').innerText.startsWith('before')")
    was, now = (number(x) for x in search(b, "work_b").split("→"))
    check(abs(was - share(before, "work_b")) < 0.06 and abs(now - share(after, "work_b")) < 0.06, "work_b %s to %s" % (was, now))
    search(b, "")
    b.keys("Tab")
    b.click("[data-view=table]")
    rows = {r.split("\t")[5]: r.split("\t") for r in b.texts(".top tbody tr")}
    for name in ("work_a", "work_b"):
        change = share(after, name) - share(before, name)
        shown = float(rows[name][1].replace("−", "-").replace(" pp", ""))
        check(abs(shown - change) < 0.011, "%s: %s, should be %.2f" % (name, rows[name], change))
    b.click(".top th:nth-child(2) button")
    first_rows = [r.split("\t")[5] for r in b.texts(".top tbody tr")[:2]]
    check(sorted(first_rows) == ["work_a", "work_b"], "the largest changes: %s" % first_rows)
    b.click("[data-view=flame]")
    b.click("#swap")
    b.wait("location.hash.includes('c=' + arguments[0])", "not swapped", first)
    b.click("#swap")
    b.wait("location.hash.includes('c=' + arguments[0])", "not swapped back", second)

    # the link holds it: elsewhere, the same
    b.js("document.querySelector('.flameview').focus()")
    b.keys("ArrowDown", "ArrowDown", "Enter")
    b.wait("/z=/.test(location.hash)")
    link, line = b.js("return location.href"), b.text("#frame")
    check("d=" + first in link, link)
    b.open("about:blank")
    b.open(link)
    b.wait("document.querySelector('#frame') && !document.querySelector('.row.diff').hidden")
    b.js("document.querySelector('.flameview').focus()")
    check(shows(b, line.split(":")[0]) == line, "the link shows %r, not %r" % (b.text("#frame"), line))

    # files: of our own, of other makers, of nobody
    b.click("#enddiff")
    b.wait("document.querySelector('.row.diff').hidden")
    own = b.folder / "own.pb.gz"
    own.write_bytes(d.get("/-/history/" + first).body)
    b.file("#openfile", own)
    b.wait("document.querySelector('.captures .open b').innerText === 'own.pb.gz' && " + SHOWN)
    close_to(search(b, "work_b"), share(before, "work_b"))
    search(b, "")
    m = made.Maker((("objects", "count"), ("big", "bytes"), ("last", "count")))
    far = m.location(("in_lined", "outer"), "/lib/far.so", ids=lambda i: (1 << 63) + i, address=(1 << 64) - 4096)
    main = m.location("main", "/bin/main")
    m.sample([far, main], (3, 1 << 53, 1), {"bytes": 512, "who": "x=y"})
    m.sample([m.location("", "/lib/far.so", ids=lambda i: (1 << 63) + 7 * i), main], (1, 1 << 53, 0))
    strange = b.folder / "strange.pb"
    strange.write_bytes(gzip.decompress(m.bytes("big", backwards=True)))
    b.file("#openfile", strange)
    shows(b, "all: 16384 TiB")
    close_to(search(b, "in_lined"), 50)
    b.choose("#type", "objects")
    close_to(search(b, "outer"), 75)
    b.choose("#group", "who")
    b.choose("#filter", "who=x=y")
    check(search(b, "outer").startswith("100.0 %"), b.text("#match"))
    bad = b.folder / "bad.pb.gz"
    for junk in (b"", b"\x1f\x8b junk", b"{}", own.read_bytes()[:200], gzip.compress(b"\x12\xff\xff\xff\xff\x0f" * 9)):
        bad.write_bytes(junk)
        b.file("#openfile", bad)
        b.wait("/bad.pb.gz: ./.test(document.querySelector('.notice').innerText) && !document.querySelector('.notice').hidden")
        b.js("document.querySelector('.notice').replaceChildren()")
    b.check_quiet()


def test_downloads():
    t = started()
    d = lib.Daemon(t)
    b = browser.shared()
    b.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(b.downloads))
    opened(b, d)
    lib.eventually(lambda: lib.samples(capture(b, d), "work_a") > 5 or again(b), "no samples")
    p = capture(b, d)

    def down(title):
        b.js("document.querySelectorAll('.menu button')[0].click()")
        names = set(x.name for x in b.downloads.iterdir())
        b.js("const a = [...document.querySelectorAll('.popup a')].find((a) => a.innerText.startsWith(arguments[0])); a.click()", title)
        b.js("document.body.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}))")
        path = lib.eventually(lambda: next((x for x in b.downloads.iterdir() if x.name not in names and not x.name.endswith(".crdownload")
                                            and not x.name.startswith(".")), None), "no download of " + title, browser.LIMIT)
        return path.name, path.read_bytes()

    name, data = down("pprof")
    check(name.endswith(".pb.gz"), name)
    check(not lib.pprof.validate(lib.pprof.parse(data)), "pprof")
    name, data = down("Folded")
    rows = [re.fullmatch(r"(.*) (\d+)", line) for line in data.decode().splitlines()]
    check(all(rows) and any("work_a" in r.group(1) for r in rows), "folded: %r" % data[:200])
    name, data = down("speedscope")
    s = json.loads(data)
    check(s["$schema"] == "https://www.speedscope.app/file-format-schema.json", "speedscope")
    of = s["profiles"][0]
    check(of["type"] == "sampled" and len(of["samples"]) == len(of["weights"]) and max(max(x) for x in of["samples"] if x) < len(s["shared"]["frames"]), "speedscope")
    name, data = down("Firefox")
    f = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    check(f["meta"]["version"] and f["threads"], "firefox: %s" % list(f))
    name, data = down("SVG")
    root = ElementTree.fromstring(data)
    check(root.tag == "{http://www.w3.org/2000/svg}svg" and any("work_a" in (e.text or "") for e in root.iter()), "svg")
    name, data = down("Table")
    check(b"work_a" in data, "top: %r" % data[:200])
    check(share(p, "work_a") > 0, "no work_a")
    b.check_quiet()


def test_threads_live_strip_heap():
    t = started("deadlock")
    d = lib.Daemon(t)
    b = browser.shared()
    opened(b, d)
    b.click("[data-name=goroutine]")
    b.wait("document.querySelector('.groups .group')")
    lib.eventually(lambda: b.text(".deadlock").startswith("Deadlock: thread") or b.click("#capture"), "no deadlock: " + b.text(".groups")[:500])
    check(b.js("return document.querySelector('.groups').firstElementChild.className") == "deadlock", "deadlocks are not on top")
    first = b.text(".groups .group summary")
    check("2×" in first and "Mutex" in first and "take_two" in first, "the first group: " + first)
    check(search(b, "take_two").startswith("2 of 3 threads in 1 group"), b.text("#match"))
    search(b, "")
    b.wait("/[0-9] %/.test(document.querySelector('.live .cell b').innerText) && /MiB/.test(document.querySelectorAll('.live .cell b')[1].innerText)",
           "no live figures")
    check(b.texts(".live .cell b")[3] == "3", "threads: %s" % b.texts(".live .cell b"))
    # the flame graph of threads is a capture of its own
    b.click("[data-view=flame]")
    b.wait(SHOWN)
    check(b.text("#frame") == "all: 3", b.text("#frame"))
    # a moment in the strip opens what was captured nearest to it
    b.click(".captures li:last-child .capture")
    b.wait("document.querySelector('.captures li:last-child').classList.contains('open') && " + SHOWN)
    n = len(json.loads(d.get("/-/history").body)["captures"])
    b.js("document.querySelector('.live .cell').focus()")
    b.keys("Enter")
    b.wait("document.querySelector('.captures li:first-child').classList.contains('open')", "no nearest capture")
    check(len(json.loads(d.get("/-/history").body)["captures"]) == n, "a moment makes a capture")
    # memory that is held, once it is asked for
    b.click("[data-name=heap]")
    b.wait(SHOWN)
    tell(t, "hold")

    def seen():
        was = b.js(OPEN)
        b.click("#capture")
        b.wait("(() => { %s })() !== arguments[0] && !/Cancel/.test(document.querySelector('#capture').innerText)" % OPEN, None, was)
        return any("held_here" in f.name for s in capture(b, d).samples if s.values[-1] for f in s.frames)
    lib.eventually(seen, "held_here is not in the heap")
    b.choose("#type", "inuse_space")
    close_to(search(b, "held_here"), share(capture(b, d), "held_here"))
    b.wait("/MiB|KiB/.test(document.querySelectorAll('.live .cell b')[2].innerText)", "no live heap")
    b.check_quiet()


def axe(b, what, rules=None):
    """No finding that is serious, by axe-core from npm."""
    folder = lib.BUILD / "tests" / "web"
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    for _ in range(3):
        if script.exists():
            break
        folder.mkdir(parents=True, exist_ok=True)
        said = subprocess.run(["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), AXE],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False).stderr
    if not script.exists():
        fail("axe-core cannot be had from npm: " + said[-200:])
    if not b.js("return typeof axe === 'object'"):
        b.js(script.read_text() + "; window.axe = axe")
    found = b.js("return axe.run(document, {resultTypes: ['violations'], ...arguments[0]}).then((r) => r.violations.filter((v) => ['serious', 'critical'].includes(v.impact))"
                 ".map((v) => v.id + ': ' + v.nodes.map((n) => n.html + ' ' + n.failureSummary).slice(0, 3).join(' | ')))", {"runOnly": rules} if rules else {})
    check(not found, "%s: %s" % (what, "; ".join(found)))


def test_accessible_dark_narrow():
    t = started("deadlock")
    d = lib.Daemon(t)
    b = browser.shared()
    opened(b, d)
    first = b.js(OPEN)
    again(b)
    light = b.js("return getComputedStyle(document.documentElement).backgroundColor")
    pixel = "const c = document.querySelector('canvas.flame'); return [...c.getContext('2d').getImageData(c.width - 3, c.height - 3, 1, 1).data].slice(0, 3)"
    white = b.js(pixel)
    for dark in (False, True):
        b.media(dark)
        name, rules = (" dark", ["color-contrast"]) if dark else (" light", None)
        b.click("[data-name=profile]")
        b.wait(SHOWN)
        axe(b, "flame" + name, rules)
        b.click("[data-view=table]")
        b.click(".captures li[data-id='%s'] .acts button" % first)
        b.wait("!document.querySelector('.row.diff').hidden")
        search(b, "work")  # some rows are as good as hundreds
        axe(b, "table of a difference" + name, rules)
        search(b, "")
        b.click("#enddiff")
        b.click("[data-view=flame]")
        b.click("[data-name=goroutine]")
        b.wait("document.querySelector('.groups .group')")
        b.js("document.querySelectorAll('.menu button')[0].click()")
        axe(b, "threads and downloads" + name, rules)
        b.keys("Escape")
    b.click("[data-name=profile]")
    b.wait(SHOWN)
    check(b.js("return getComputedStyle(document.documentElement).backgroundColor") != light, "dark is light")
    b.wait("JSON.stringify((() => { %s })()) !== arguments[0]" % pixel, "the canvas is light in the dark", json.dumps(white).replace(" ", ""))
    b.size(400, 800)
    b.wait("document.documentElement.clientWidth === 400")
    for view in ("flame", "table"):
        b.click("[data-view=%s]" % view)
        check(b.js("return document.documentElement.scrollWidth") <= 400, view + " is wider than 400 px")
        outside = b.js("return [...document.querySelectorAll('.toolbar button, .toolbar select, .toolbar input')].filter((e) => {"
                       "const r = e.getBoundingClientRect(); return r.width && !e.closest('.tabs') && (r.left < 0 || r.right > 400) }).map((e) => e.id || e.innerText)")
        check(not outside, "outside of 400 px: %s" % outside)
        search(b, "work")
    axe(b, "narrow")
    b.check_quiet("willReadFrequently")


def test_keyboard_only():
    t = started()
    d = lib.Daemon(t)
    b = browser.shared()
    b.open(d.url("/"))
    b.wait("document.querySelector('#capture') && /Cancel/.test(document.querySelector('#capture').innerText)")

    def tab_to(condition):
        for _ in range(80):
            b.keys("Tab")
            if b.js("const e = document.activeElement; return " + condition):
                return
        fail("the keyboard does not get to " + condition)

    tab_to("e.id === 'seconds'")
    b.keys("ArrowUp", "ArrowUp")
    check(b.js("return document.activeElement.value") == "1", "the window: %s" % b.js("return document.activeElement.value"))
    tab_to("e.id === 'capture'")
    b.keys("Enter")
    b.wait("document.querySelector('#capture').innerText === 'Capture'")

    def pressed():
        was = b.js(OPEN)
        b.keys("c")
        b.wait("(() => { %s })() !== arguments[0] && %s" % (OPEN, SHOWN), "no new capture", was)
        return lib.samples(capture(b, d), "work_.")
    lib.eventually(pressed, "no samples")
    b.keys("/")
    check(b.js("return document.activeElement.id") == "search", "/ does not search")
    b.keys(*"work_")
    b.wait("document.querySelector('#match').innerText.includes('%')")
    b.keys("Escape")
    tab_to("e.classList.contains('flameview')")
    b.keys("ArrowDown")
    line = b.wait("document.querySelector('#said').innerText")
    check(line == b.text("#frame"), "said %r, shown %r" % (line, b.text("#frame")))
    b.keys("Enter")
    b.wait("/z=/.test(location.hash)")
    b.keys("Backspace")
    b.wait("!/z=/.test(location.hash)")
    b.keys("t")
    tab_to("e.closest && e.closest('thead') && e.innerText.startsWith('Function')")
    b.keys("Enter")
    b.wait("document.activeElement.closest('th').getAttribute('aria-sort') === 'ascending'")
    b.keys("f")
    tab_to("e.innerText === 'Download'")
    b.keys("Enter")
    b.wait("document.activeElement.closest('.popup') && document.activeElement.innerText.startsWith('pprof')")
    b.keys("Escape")
    check(b.js("return document.activeElement.innerText") == "Download", "the focus is lost")
    tab_to("e.innerText === '?'")
    b.keys("Enter")
    b.wait("document.querySelector('.keys').innerText.includes('callers')")
    b.check_quiet()


def test_scripts_off_and_the_list():
    t, other = started(), started()
    d = lib.Daemon(t, other)
    b = browser.Browser(scripts=False)
    b.open(d.url("/pid/%d/" % t.pid))
    b.wait("document.querySelector('#plain form') && document.querySelector('#app').hidden")
    check("page" in b.text("h1"), "no head")
    b.js("document.querySelector('input[name=seconds]').value = '1'")
    b.click("#plain form button[formaction$='/profile']")
    b.wait("document.documentElement.nodeName === 'svg' && document.documentElement.textContent.includes('work_a')", "no flame graph without scripts")
    b.open(d.url("/?sort=pid"))
    b.wait("document.querySelectorAll('#targets tbody tr').length === 2")
    check(b.js("return document.querySelector('form[role=search]').hidden"), "a search that does nothing")
    b.close()

    b = browser.shared()
    b.open(d.url("/"))
    b.wait("!document.querySelector('form[role=search]').hidden")
    b.type("#search", str(other.pid))
    b.wait("[...document.querySelectorAll('#targets tbody tr')].filter((r) => !r.hidden).length === 1")
    b.js("const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))")
    b.click("#targets th:nth-child(2) a")
    b.click("#targets th:nth-child(2) a")
    pids = b.js("return [...document.querySelectorAll('#targets tbody tr')].map((r) => Number(r.cells[1].innerText))")
    check(sorted(pids) in (pids, pids[::-1]) and len(pids) == 2, "not sorted: %s" % pids)
    axe(b, "list")
    b.click("#targets tbody tr:first-child a")
    b.wait("document.querySelector('#app') && !document.querySelector('#app').hidden")
    check("/pid/%d/" % pids[0] in b.js("return location.pathname"), "a row leads elsewhere")
    b.check_quiet()


class Proxy(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Puts a daemon below /a/prefix, for who has a password; passes Host on, as proxies are told to."""

    daemon_threads, request_queue_size = True, 64

    def __init__(self, port):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                proxy.paths.append(self.path)
                n = int(self.headers.get("Content-Length") or 0)
                sent = self.rfile.read(n) if n else None
                if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"me:secret").decode():
                    return self.give(401, [("WWW-Authenticate", 'Basic realm="x"')], b"who?\n")
                if not self.path.startswith("/a/prefix/"):
                    return self.give(404, [], b"not below the prefix\n")
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=lib.DEADLINE)
                keep = {k: v for k, v in self.headers.items() if k.lower() not in ("authorization", "connection", "host")}
                try:
                    c.request(self.command, self.path[len("/a/prefix"):], sent, {**keep, "Host": "127.0.0.1:%d" % proxy.server_port})
                    r = c.getresponse()
                    body = r.read()
                except (OSError, http.client.HTTPException):
                    return self.give(502, [], b"gone\n")
                headers = [(k, v) for k, v in r.getheaders() if k.lower() not in ("content-length", "connection", "transfer-encoding")]
                return self.give(r.status, headers, body)

            def give(self, status, headers, body):
                self.send_response(status)
                for k, v in headers + [("Content-Length", str(len(body)))]:
                    self.send_header(k, v)
                try:
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:  # the browser has asked enough
                    self.close_connection = True

            do_GET = do_POST = answer

        super().__init__(("127.0.0.1", 0), Handler)
        self.paths = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_below_a_prefix_with_a_password():
    t, other = started(), started()
    d = lib.Daemon(t, other)
    proxy = Proxy(d.port)
    b = browser.shared()
    b.open("http://me:secret@127.0.0.1:%d/a/prefix/" % proxy.server_port)
    b.wait("document.querySelectorAll('#targets tbody tr').length === 2")
    b.open("http://me:secret@127.0.0.1:%d/a/prefix/pid/%d/" % (proxy.server_port, t.pid))
    b.choose("#seconds", "1") if b.wait("document.querySelector('#seconds') && document.querySelector('#seconds').options.length") else None
    b.click("#capture")
    b.wait("document.querySelector('#capture').innerText === 'Capture'")
    again(b)
    item = ".captures li[data-id='%s'] " % b.js(OPEN)
    b.click(item + ".acts button")
    b.type(item + "input", "through a proxy")
    b.keys("Enter")
    b.wait("document.querySelector(arguments[0]).innerText === 'through a proxy'", "no name", item + "b")
    astray = [p for p in proxy.paths if not p.startswith("/a/prefix/") and p != "/favicon.ico"]
    check(not astray, "asked for beside the prefix: %s" % astray[:3])
    check(b.js("return fetch(document.querySelector('.captures a').href.replace(/me:secret@/, '')).then((r) => r.status)") == 200, "a download leads elsewhere")
    proxy.shutdown()


def test_fifty_thousand_stacks():
    """That they are shown, and how fast is tools/bench's to say."""
    t = started()
    tell(t, "0 0")
    d = lib.Daemon(t)
    b = browser.shared()
    b.open(d.url("/"))
    b.wait("document.querySelector('#openfile')")
    big = b.folder / "many.pb.gz"
    data, parts = made.many("function_77", "function_123(")
    big.write_bytes(data)
    b.file("#openfile", big)
    b.wait("document.querySelector('.captures .open b') && document.querySelector('.captures .open b').innerText === 'many.pb.gz' && " + SHOWN)
    close_to(search(b, "function_77"), parts[0])
    b.js("document.querySelector('.flameview').focus()")
    b.keys("ArrowDown", "ArrowDown", "Enter", "r")
    close_to(search(b, "function_123("), parts[1])
    b.check_quiet()


def test_weight():
    """What a person's browser loads is below 150 kB."""
    t = started()
    d = lib.Daemon(t)
    page = d.get("/").text()
    check("no-referrer" in str(d.get("/").headers) and "default-src 'none'" in d.get("/").headers["Content-Security-Policy"], "headers")
    todo = [urllib.parse.urljoin("/", x) for x in re.findall(r'(?:src|href)="([^"]*/ui/[^"]*)"', page)]
    total, seen = len(page), set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        a = d.get(path)
        check(a.status == 200 and "immutable" in a.headers["Cache-Control"], "%s: %d" % (path, a.status))
        total += len(a.body)
        if path.endswith(".js"):
            todo += [urllib.parse.urljoin(path, x) for x in re.findall(r'from "(\./[^"]+)"', a.text())]
    check(len(seen) > 10 and total < 150000, "%d files of %d bytes" % (len(seen), total))


lib.run(globals())
