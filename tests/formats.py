#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""formats.py FORMAT-MAKE - each format of a profile as its readers read it: JSON by their schemas, the picture as XML.

Imported by the live tests for its checks."""
import html.parser
import json
import subprocess
import sys
import xml.etree.ElementTree

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert("1")</script>&amp;\'\\'


def need(condition, text):
    if not condition:
        raise AssertionError(text)


def is_int(v):
    return isinstance(v, int) and not isinstance(v, bool)


def speedscope(data):
    """By its file-format-schema: required members, no others where it allows none, kinds and bounds of values."""
    f = json.loads(data)
    need(set(f) <= {"$schema", "exporter", "name", "activeProfileIndex", "shared", "profiles"}, "members %s" % set(f))
    need(f["$schema"] == "https://www.speedscope.app/file-format-schema.json", "its mark is %s" % f["$schema"])
    frames = f["shared"]["frames"]
    for x in frames:
        need(set(x) <= {"name", "file", "line", "col"} and isinstance(x["name"], str), "a frame is %s" % x)
        need(isinstance(x.get("file", ""), str) and is_int(x.get("line", 0)), "a frame is %s" % x)
    need(f["profiles"] and 0 <= f["activeProfileIndex"] < len(f["profiles"]), "no active profile")
    for p in f["profiles"]:
        need(set(p) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}, "members %s" % set(p))
        need(p["type"] == "sampled" and isinstance(p["name"], str), "a profile is %s" % p["type"])
        need(p["unit"] in ("none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"), "unit %s" % p["unit"])
        need(len(p["samples"]) == len(p["weights"]), "%d stacks, %d weights" % (len(p["samples"]), len(p["weights"])))
        need(all(is_int(i) and 0 <= i < len(frames) for s in p["samples"] for i in s), "a frame that there is not")
        need(all(is_int(w) and w > 0 for w in p["weights"]), "a weight below 1")
        need(p["startValue"] == 0 and p["endValue"] == sum(p["weights"]), "weights of %d in %d" % (sum(p["weights"]), p["endValue"]))
    return f


COLUMNS = {
    "samples": "stack time weight",
    "stackTable": "prefix frame category subcategory",
    "frameTable": "address inlineDepth category subcategory func nativeSymbol innerWindowID implementation line column",
    "funcTable": "name isJS relevantForJS resource fileName lineNumber columnNumber",
    "resourceTable": "lib name host type",
    "nativeSymbols": "libIndex address name functionSize",
    "markers": "data name startTime endTime phase category",
}


def firefox(data):
    """As version 48 of the processed profile format has it, the one that profiles are upgraded from."""
    p = json.loads(data)
    meta = p["meta"]
    need(meta["preprocessedProfileVersion"] == 48 and meta["interval"] > 0 and meta["startTime"] > 0, "meta is %s" % meta)
    need(any(c["color"] == "grey" for c in meta["categories"]), "no category that is none")
    need(all(c["subcategories"] for c in meta["categories"]), "a category without any below it")
    need(meta["extensions"]["length"] == 0 and isinstance(meta["markerSchema"], list), "meta is %s" % meta)
    for lib in p["libs"]:
        need(set(lib) == {"arch", "name", "path", "debugName", "debugPath", "breakpadId", "codeId"}, "a lib is %s" % lib)
    need(p["threads"], "no thread")
    need(len({t["tid"] for t in p["threads"]}) == len(p["threads"]), "two threads of one number")
    for t in p["threads"]:
        for table, columns in COLUMNS.items():
            for c in columns.split():
                need(len(t[table][c]) == t[table]["length"], "%s.%s has %d of %d" % (table, c, len(t[table][c]), t[table]["length"]))
        need(isinstance(t["pid"], str) and isinstance(t["name"], str) and t["samples"]["weightType"] in ("samples", "tracing-ms", "bytes"),
             "a thread is %s" % t["name"])
        strings, stacks, frames, functions = t["stringArray"], t["stackTable"], t["frameTable"], t["funcTable"]
        need(all(isinstance(s, str) for s in strings), "strings")
        for i, (prefix, frame) in enumerate(zip(stacks["prefix"], stacks["frame"])):
            need(prefix is None or 0 <= prefix < i, "stack %d on %s" % (i, prefix))
            need(0 <= frame < frames["length"], "stack %d of frame %d" % (i, frame))
        need(all(0 <= f < functions["length"] for f in frames["func"]), "a function that there is not")
        need(all(0 <= s < len(strings) for s in functions["name"]), "a name that there is not")
        need(all(s is None or 0 <= s < len(strings) for s in functions["fileName"]), "a file that there is not")
        need(all(-1 <= r < t["resourceTable"]["length"] for r in functions["resource"]), "a resource that there is not")
        need(all(0 <= x < len(p["libs"]) for x in t["resourceTable"]["lib"]), "a lib that there is not")
        need(all(0 <= x < len(strings) for x in t["resourceTable"]["name"]), "a name that there is not")
        need(all(s is None or 0 <= s < stacks["length"] for s in t["samples"]["stack"]), "a stack that there is not")
        need(t["samples"]["time"] == sorted(t["samples"]["time"]), "times that go back")
    return p


def svg(data):
    """The tooltips, each as its lines."""
    root = xml.etree.ElementTree.fromstring(data)
    need(root.tag == SVG + "svg", root.tag)
    kinds = {e.tag.replace(SVG, "") for e in root.iter()}
    need(kinds <= {"svg", "g", "title", "rect", "text"}, "elements %s" % kinds)
    need(not any(a.startswith("on") or "href" in a or a == "style" for e in root.iter() for a in e.attrib), "attributes")
    for r in root.iter(SVG + "rect"):
        x, width = float(r.get("x", 0)), float(r.get("width"))
        need(-0.1 <= x and x + width <= 1200.2, "a frame from %s of %s" % (x, width))
    return [e.text.split("\n") for e in root.iter(SVG + "title")]


class Page(html.parser.HTMLParser):
    """What is in a page: elements with their attributes, and text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag, attribute):
        return [a[attribute] for t, a in self.elements if t == tag and attribute in a]


def plain_page(text):
    """Nothing inline: all that a policy of 'self' forbids."""
    p = Page(text)
    for tag, attributes in p.elements:
        need(not any(a.startswith("on") or a == "style" for a in attributes), "<%s %s>" % (tag, attributes))
        need(tag != "style" and (tag != "script" or attributes.get("src")), "<%s> inline" % tag)
    need(len(p.of("script", "src")) == 1 and text.count("<script") == 1, "scripts: %s" % p.of("script", "src"))
    for link in p.of("a", "href") + p.of("script", "src") + p.of("link", "href") + p.of("form", "action") + p.of("button", "formaction"):
        need(not link.startswith("/") and "://" not in link, "%s is not relative" % link)
    return p


def main(make):
    def made(*words):
        return subprocess.run([make, *words], check=True, stdout=subprocess.PIPE).stdout

    for how in ([], ["loaded"]):
        for threads in ("0", "3", "700"):
            f = speedscope(made("speedscope", threads, *how))
            names = {x["name"] for x in f["shared"]["frames"]}
            need(HOSTILE in names and "main;<thread>" in names, "names: %s" % names)
            need([p["name"] for p in f["profiles"]] == ["samples", "cpu"] and f["activeProfileIndex"] == 1, "profiles")
            need(sum(f["profiles"][0]["weights"]) == 12 + sum(1 + i % 3 for i in range(int(threads))), "weights")
            p = firefox(made("firefox", threads, *how))
            total = sum(sum(t["samples"]["weight"]) for t in p["threads"])
            need(total == 10 * (8 + sum(1 + i % 3 for i in range(int(threads)))), "%s ms" % total)
            need(len(p["threads"]) == min(4 + int(threads), 256), "%d threads" % len(p["threads"]))
            t = p["threads"][0]
            need(max(t["frameTable"]["inlineDepth"]) == 2 and HOSTILE in t["stringArray"], "thread %s" % t["name"])
            need(any(1 in t["frameTable"]["category"] for t in p["threads"]), "nothing of the kernel")
            tips = svg(made("svg", threads, *how))
            need(any(t[0] == HOSTILE for t in tips) and ["innermost (inlined)"] in [t[:1] for t in tips], "tooltips: %s" % tips)
            need(tips[0][0] == "all" and tips[0][-1].endswith("(100.00 %)"), "the first is %s" % tips[0])
    for f in ("top", "folded"):
        need(made(f, "3") == made(f, "3", "loaded"), "%s of a loaded profile is another" % f)
    listing, page = made("pages").decode().split("\n=====\n")
    p = plain_page(listing)
    need("<script>" in p.text and "pid/1/" in p.of("a", "href"), "the list: %s" % p.text)
    need("t/a%2F%3Cb%3E/" in p.of("a", "href"), "links: %s" % p.of("a", "href"))
    p = plain_page(page)
    need("</code><script>alert(1)</script>" in p.text, "the page: %s" % p.text)
    known = json.loads(p.of("main", "data-profiles")[0])
    need(known[0]["name"] == "\"><script>/..?#%\\'", "profiles: %s" % known)
    print("all formats are read")


if __name__ == "__main__":
    main(sys.argv[1])
