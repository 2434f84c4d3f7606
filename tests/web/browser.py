# SPDX-License-Identifier: Apache-2.0
"""browser.py - Chromium by W3C WebDriver: Debian's chromedriver over HTTP, no packages of Python's.

A Browser is one chromedriver with one window. What a test waits for is a condition of the page: wait(script) until
it is true. Elements are found by CSS and spoken of by it, so that none goes stale."""
import atexit
import base64
import http.client
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "live"))
import lib  # noqa: E402
from lib import check, fail  # noqa: E402

LIMIT = 60  # seconds that anything may take which takes a moment on an idle machine
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "Shift": "\ue008", "Backspace": "\ue003",
        "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}


class Wrong(Exception):
    """What the driver refuses."""


class Browser:
    def __init__(self, width=1280, height=800, dark=False, scripts=True, options=()):
        for program in ("chromedriver", "chromium"):
            if not shutil.which(program):
                snap = "ID=ubuntu" in pathlib.Path("/etc/os-release").read_text()
                (lib.skip if snap else fail)("there is no package %s%s" % (program, " here" if snap else ": tools/install-packages test"))
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pprofd-web-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.downloads = self.folder / "downloads"
        self.downloads.mkdir()
        self.process = lib.Process("chromedriver", "--port=0", env={**os.environ, "HOME": str(self.folder), "TMPDIR": str(self.folder)})
        self.port = int(self.process.line(r"started successfully on port (\d+)", LIMIT).group(1))
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb", "--hide-scrollbars",
                     "--window-size=%d,%d" % (width, height), "--user-data-dir=%s" % (self.folder / "profile"), *options]
        prefs = {"download.default_directory": str(self.downloads), "download.prompt_for_download": False}
        if not scripts:
            prefs["profile.managed_default_content_settings.javascript"] = 2
        self.session = None
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments, "prefs": prefs, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL"}, "timeouts": {"script": LIMIT * 1000, "pageLoad": LIMIT * 1000}}}})
        self.session = "/session/" + answer["sessionId"]
        self.media(dark)
        self.size(width, height)

    def anew(self):
        """As if it had just been started, but for a tab's storage, which belongs to a daemon's port."""
        self.open("about:blank")
        self.media(False)
        self.size(1280, 800)
        self.said()
        return self

    def call(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT * 2)
        try:
            data = None if method in ("GET", "DELETE") else json.dumps(body or {})
            c.request(method, (self.session or "") + path, data, {"Content-Type": "application/json"})
            value = json.loads(c.getresponse().read())["value"]
        finally:
            c.close()
        if isinstance(value, dict) and value.get("error"):
            raise Wrong("%s: %s" % (value["error"], value["message"].splitlines()[0]))
        return value

    def devtools(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def media(self, dark):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def size(self, width, height):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def js(self, script, *arguments):
        """The value of a function's body; a promise is waited for."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, expression, text=None, *arguments):
        """Until the expression is true; what it is then."""
        last = [None]

        def look():
            try:
                last[0] = None
                return self.js("return (%s)" % expression, *arguments)
            except Wrong as e:
                last[0] = e
                return None
        try:
            return lib.eventually(look, text or expression, LIMIT, 0.05)
        except lib.Failure as e:
            return fail("%s; the page shows: %s; %s; %s" % (e, self.text("body")[:400], last[0] or "", self.said()[-3:]))

    def text(self, css):
        return self.js("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", css)

    def texts(self, css):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", css)

    def element(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        """A list may be drawn anew at any moment: then its new element is clicked."""
        last = [""]

        def done():
            try:
                self.call("POST", "/element/%s/click" % self.element(css))
                return True
            except Wrong as e:
                last[0] = str(e)
                return False
        lib.eventually(done, "cannot click %s" % css, LIMIT, 0.05)

    def choose(self, css, value):
        """An option of a select, as a person's choice."""
        self.js("const e = document.querySelector(arguments[0]); e.value = arguments[1];"
                "if (e.value !== arguments[1]) throw Error('no such option');"
                "e.dispatchEvent(new Event('change', {bubbles: true}))", css, value)

    def type(self, css, text):
        self.call("POST", "/element/%s/clear" % self.element(css))
        self.call("POST", "/element/%s/value" % self.element(css), {"text": text})

    def file(self, css, *paths):
        self.call("POST", "/element/%s/value" % self.element(css), {"text": "\n".join(str(p) for p in paths)})

    def keys(self, *keys):
        """Keys to whatever has the focus."""
        actions = []
        for key in keys:
            k = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": k}, {"type": "keyUp", "value": k}]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def point(self, x, y, click=True):
        actions = [{"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}]
        if click:
            actions += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.call("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions}]})

    def picture(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def said(self):
        """What the console has, of warnings and errors."""
        return [x["message"] for x in self.call("POST", "/se/log", {"type": "browser"}) if x["level"] in ("SEVERE", "WARNING")]

    def check_quiet(self, but=r"^$"):
        bad = [m for m in self.said() if not re.search(but, m)]
        check(not bad, "the console says: %s" % " | ".join(bad[:3]))

    def close(self):
        try:
            self.call("DELETE", "")
        except (OSError, Wrong):
            pass
        self.process.kill()


_shared = []


def shared():
    """The browser of all claims of a file: one takes seconds of CPU time to start. One that does not answer is replaced."""
    if _shared:
        try:
            return _shared[0].anew()
        except (OSError, http.client.HTTPException, ValueError, Wrong):
            end()
    _shared.append(Browser())
    lib.spared.add(_shared[0].process.pid)
    atexit.register(end)
    return _shared[0]


def end():
    while _shared:
        b = _shared.pop()
        lib.spared.discard(b.process.pid)
        b.close()


def number(text):
    """The first number in a text."""
    found = re.search(r"-?\d+(\.\d+)?", text)
    return float(found.group(0)) if found else fail("no number in %r" % text)
