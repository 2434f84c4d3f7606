#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""web_http.py - what the page asks, without a browser: the pages themselves, their files, -/live, the history, formats."""

import gzip
import json
import re
import sys
import urllib.parse

import lib
import pprof
from lib import check, eventually

sys.path.insert(0, str(lib.ROOT / "tests"))
import formats  # noqa: E402

POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
          "base-uri 'none'; form-action 'self'; frame-ancestors 'none'")


def page(d, path):
    """A page that stands by itself: policy, nothing inline, relative links."""
    a = d.get(path)
    check(a.status == 200 and a.headers["Content-Type"] == "text/html; charset=utf-8", "%s: %d" % (path, a.status))
    check(a.headers["Content-Security-Policy"] == POLICY and a.headers["Referrer-Policy"] == "no-referrer", "%s" % a.headers)
    check(a.headers["X-Content-Type-Options"] == "nosniff" and a.headers["Cache-Control"] == "no-store", "%s" % a.headers)
    return formats.plain_page(a.text())


def resolve(path, link):
    return urllib.parse.urlsplit(urllib.parse.urljoin("http://x" + path, link))


def files(d, path, p):
    """What the page loads is there, for ever, packed or not."""
    for link in p.of("script", "src") + [x for x in p.of("link", "href") if not x.startswith("data:")]:
        at = resolve(path, link).path
        check(re.match(r"/-/ui/[0-9a-f]{16}/", at), "%s is %s" % (link, at))
        plain, packed = d.get(at), d.get(at, headers={"Accept-Encoding": "br, gzip"})
        check(plain.status == packed.status == 200 and packed.headers["Content-Encoding"] == "gzip", "%s" % packed.headers)
        check(plain.headers["Content-Encoding"] is None and gzip.decompress(packed.body) == plain.body, "two files")
        check("immutable" in plain.headers["Cache-Control"] and "max-age=31536000" in plain.headers["Cache-Control"],
              "%s" % plain.headers)
        check(d.get(at.replace("/app", "/none")).status == 404, "a file that there is not")
        check(d.get(re.sub(r"ui/.", "ui/x", at)).status == 404, "a file of another hash")


def links(d, path, p):
    """Every link leads somewhere; those that take a window are only looked at."""
    n = 0
    for link in sorted(set(p.of("a", "href"))):
        to = resolve(path, link)
        if "seconds=" in to.query or "threadcreate" in to.path:
            continue
        a = d.get(to.path + ("?" + to.query if to.query else ""))
        check(a.status in (200, 307), "%s leads to %s: %d %s" % (link, to.path, a.status, a.text()[:100]))
        n += 1
    return n


def kept(d, more=""):
    """A capture with samples, and its id; a longer one where a busy machine gives the target too little time."""
    for seconds in (1, 3, 10, 30):
        a = d.get("/debug/pprof/profile?seconds=%d&keep=1%s" % (seconds, more))
        check(a.status == 200, "%d %s" % (a.status, a.text()[:200]))
        p = pprof.parse(a.body)
        if p.total("samples") >= 5:
            break
    return a.headers["X-Pprofd-Capture"], p


def test_pages():
    t, u = lib.start("rungs", "600"), lib.start("rungs", "600")
    d = lib.Daemon(t)
    p = page(d, "/")
    check(dict(p.elements)["body"].get("data-pid") == str(t.pid) and "rungs" in p.text, "the page of the only target")
    files(d, "/", p)
    check(links(d, "/", p) > 20, "too few links")
    index = d.get("/debug/pprof/")
    check('<a href="../../">' in index.text() and index.headers["Content-Security-Policy"] is None, "the index")
    d.stop()
    d = lib.Daemon(t, u)
    p = page(d, "/")
    check(dict(p.elements)["body"].get("class") == "list", "no list")
    for pid in (t.pid, u.pid):
        check("pid/%d/" % pid in p.of("a", "href"), "%d is not listed" % pid)
    check(all(page(d, "/?sort=" + s) for s in ("name", "pid", "cpu", "rss", "threads", "since", "nothing")), "sorting")
    path = "/pid/%d/" % t.pid
    p = page(d, path)
    files(d, path, p)
    a = d.get(path[:-1] + "?x=1")
    check(a.status == 307 and a.headers["Location"] == "%d/?x=1" % t.pid, "%d to %s" % (a.status, a.headers["Location"]))
    p = page(d, "/t/rungs/")
    check("2 processes are called so" in p.text and "../../pid/%d/" % u.pid in p.of("a", "href"), p.text)
    check(d.get("/t/nobody/").status == 404 and d.get("/pid/1/").status == 404, "a page of nobody")
    d.stop()


def test_names_of_strangers():
    """A process that is called <script>, and its arguments."""
    hostile = "<script>'\"&"
    path = lib.directory(world=True) / hostile
    path.write_bytes(open(lib.target("rungs"), "rb").read())
    path.chmod(0o755)
    t = lib.Process(path, "600", "<img src=x onerror=alert(1)>")
    t.line("^ready")
    d = lib.Daemon(t)
    p = page(d, "/")
    check(dict(p.elements)["body"].get("data-name") == hostile and "<img src=x onerror" in p.text, p.text[:300])
    check(not p.of("img", "src"), "an image")
    check(hostile in page(d, "/?sort=cpu").text, "the list")
    capture, _ = kept(d, "&keepname=%3Cb%3E%22")
    entry = json.loads(d.get("/-/history").body)["captures"][0]
    check(entry["comm"] == hostile and entry["name"] == '<b>"', "%s" % entry)
    tips = formats.svg(d.get("/-/history/%s?format=svg" % capture).body)
    check(any(hostile in line for t in tips for line in t), "%s" % tips)
    d.stop()


def test_live():
    t, u = lib.start("rungs", "600"), lib.start("rungs", "600")
    d = lib.Daemon(t, u)
    base = "/pid/%d/" % t.pid

    def live(path=base):
        a = d.get(path + "-/live")
        check(a.status == 200 and a.headers["Content-Type"] == "application/json", "%d %s" % (a.status, a.text()))
        return json.loads(a.body)

    first = live()
    check(first["alive"] and first["threads"] == 1 and first["rss"] > 4096 and first["cpus"] > 0, "%s" % first)
    check(0 < first["started"] <= first["time"], "%s" % first)
    eventually(lambda: live()["cpu_s"] > first["cpu_s"], "it does not run")
    check(live()["cpu_s"] <= lib.cpu_seconds(t.pid) + 1e-5, "more CPU time than there was")  # it is rounded
    both = live("/t/rungs/")
    check(both["processes"] == 2 and both["threads"] == 2 and both["rss"] > first["rss"], "%s" % both)
    d.get(base + "debug/pprof/heap")
    for what in ("heap", "overhead_s", "block_s"):
        eventually(lambda w=what: live()[w] is not None, "%s is not told although it is counted" % what)
    t.kill()
    eventually(lambda: not live()["alive"], "it is alive for ever")
    check("(ended)" in page(d, base).text, "the page does not say so")
    d.stop()


def test_history():
    t, u = lib.start("rungs", "600"), lib.start("rungs", "600")
    d = lib.Daemon(t, u)

    def history(path="/"):
        return json.loads(d.get(path + "-/history").body)

    def post(path, body, **headers):
        c = d.connect()
        c.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **headers})
        r = c.getresponse()
        r.read()
        c.close()
        return r.status

    one, other = "/pid/%d/" % t.pid, "/pid/%d/" % u.pid
    check(not d.get(one + "debug/pprof/heap").headers["X-Pprofd-Capture"] and not history()["captures"], "kept unasked")
    a = d.get(one + "debug/pprof/goroutine?demangle=full&keep=1&keepname=before")
    first = a.headers["X-Pprofd-Capture"]
    d.get(other + "debug/pprof/goroutine?keep=1&format=top")
    d.get("/t/rungs/debug/pprof/goroutine?keep=1")
    for kind in ("svg", "speedscope", "firefox"):
        getattr(formats, kind)(d.get("/t/rungs/debug/pprof/goroutine?format=" + kind).body)
    h = history()
    check([x["pid"] for x in h["captures"]] == [0, u.pid, t.pid], "%s" % h)
    check(h["bytes"] == sum(x["bytes"] for x in h["captures"]) < h["max_bytes"] == 32 << 20 and h["dropped"] == 0, "%s" % h)
    e = h["captures"][2]
    check((e["id"], e["name"], e["query"], e["profile"], e["comm"]) == (first, "before", "demangle=full", "goroutine", "rungs"), "%s" % e)
    check([x["pid"] for x in history(one)["captures"]] == [t.pid], "those of another")
    check(len(history("/t/rungs/")["captures"]) == 3, "those of a name")
    at = one + "-/history/" + first
    again = d.get(at)
    check(again.body == a.body and again.headers["Content-Type"] == "application/octet-stream", "another file")
    check(d.get(other + "-/history/" + first).status == 404 and d.get("/-/history/" + first).body == a.body, "below another")
    check(d.get("/-/history/0123456789abcdef").status == 404 and d.get(at + "?format=none").status == 400, "what is none")
    eventually(lambda: d.said("audit: .*%s" % first), "no line of who has read it")
    check(post(at, "name=after+%3Cx%3E") == 200 and history(one)["captures"][0]["name"] == "after <x>", "%s" % history(one))
    check(post(at, "name=evil", Origin="http://evil.example") == 403, "another site names it")
    check(post(at, "name=evil", **{"Sec-Fetch-Site": "cross-site"}) == 403, "another site names it")
    check(post(at, "name=" + "x" * 999) == 400 and post(one + "-/history", "name=x") == 405 and post(one, "") == 405, "odd ones")
    check(history(one)["captures"][0]["name"] == "after <x>", "%s" % history(one))
    t.kill()
    check(d.get(at).body == a.body, "it went with its process")
    c = d.connect()
    for _ in range(600):
        d.get(other + "debug/pprof/growth?keep=1", connection=c)
    c.close()
    h = history()
    check(len(h["captures"]) == h["max"] == 512 and h["dropped"] == 603 - 512, "%d, dropped %d" % (len(h["captures"]), h["dropped"]))
    check(first in [x["id"] for x in h["captures"]], "what has a name went first")
    text = d.get("/metrics").text()
    check('pprofd_lost_total{what="kept_capture",reason="no_room"} 91' in text and "pprofd_history_captures 512" in text, "metrics")
    d.stop()


def test_formats():
    t = lib.start("rungs", "600")
    d = lib.Daemon(t)
    capture, profile = kept(d)
    at, total = "/-/history/%s?format=" % capture, profile.total("samples")
    f = formats.speedscope(d.get(at + "speedscope").body)
    check(sum(f["profiles"][0]["weights"]) == total, "%d of %d samples" % (sum(f["profiles"][0]["weights"]), total))
    f = formats.firefox(d.get(at + "firefox").body)
    check(sum(sum(t["samples"]["weight"]) for t in f["threads"]) == 10 * total, "other weights")
    a = d.get(at + "svg")
    check(formats.svg(a.body)[0][0] == "all", "a picture")
    check(a.headers["Content-Type"] == "image/svg+xml" and a.headers["Content-Security-Policy"].startswith("default-src 'none'"),
          "%s" % a.headers)
    folded = [int(line.rsplit(" ", 1)[1]) for line in d.get(at + "folded").text().splitlines()]
    check(sum(folded) == total, "folded has %d of %d" % (sum(folded), total))
    check("Type: cpu" in d.get(at + "top").text(), "no table")
    for name in ("heap", "allocs", "block", "mutex", "offcpu", "growth", "goroutine", "threadcreate"):
        for kind in ("speedscope", "firefox", "svg"):
            a = d.get("/debug/pprof/%s?format=%s" % (name, kind))
            check(a.status == 200, "%s as %s: %d" % (name, kind, a.status))
            getattr(formats, kind)(a.body)
    a = d.get("/debug/pprof/heap?format=xml")
    check(a.status == 400 and "speedscope" in a.text(), "%d %s" % (a.status, a.text()))
    d.stop()


def test_redacted():
    t = lib.start("rungs", "600")
    d = lib.Daemon(t, arguments=("--redact", "cmdline,paths"))
    check(dict(page(d, "/").elements) and lib.target("rungs") not in d.get("/").text(), "the path of its program")
    capture, _ = kept(d)
    for kind in ("svg", "speedscope", "firefox", "top"):
        text = d.get("/-/history/%s?format=%s" % (capture, kind)).text()
        check("/targets/" not in text and "rung" in text, "%s tells a path" % kind)
    d.stop()


lib.run(globals())
