# SPDX-License-Identifier: Apache-2.0
"""engines.py - container runtimes as the claims use them: images made of the build's targets, containers that go with the
claim, and what a container's id and process are.

Nothing is asked of a registry. Everything is below $PPROFD_CONTAINERS (run.sh); a container's name begins with pprofd-test."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "live"))
import lib  # noqa: E402
from lib import check, eventually  # noqa: E402

WORK = pathlib.Path(os.environ.get("PPROFD_CONTAINERS", "/nonexistent"))
ID = re.compile(r"[0-9a-f]{64}")
PROGRAMS = ("rungs", "rungs-static", "rungs-stripped", "heap-c", "heap-musl-static", "waits", "threads", "jit")
V2 = subprocess.run(["stat", "-f", "-c", "%T", "/sys/fs/cgroup"], stdout=subprocess.PIPE, check=True).stdout == b"cgroup2fs\n"
_number = [0]


def do(*arguments, ok=True, timeout=120, **options):
    """What a command printed."""
    p = subprocess.run([str(a) for a in arguments], stdin=options.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=timeout, check=False, **options)
    check(not ok or p.returncode == 0, "%s: %s" % (" ".join(map(str, arguments)), p.stderr.decode(errors="replace")[-300:]))
    return p.stdout.decode(errors="replace").strip()


def unique():
    _number[0] += 1
    return "pprofd-test-%d-%d" % (os.getpid(), _number[0])


def needed(path):
    text = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout.decode()
    return re.findall(r"(/\S+) \(0x", text)


def put(root, path, to=None):
    """A program and the libraries that it needs, which is all that there is (a "distroless" image)."""
    shutil.copy(path, root / (to or os.path.basename(path)))
    for library in needed(path):
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)


def split(root, path):
    """Its debug information apart, where the container itself would look."""
    notes = do("readelf", "-n", path)
    build_id = re.search(r"Build ID: ([0-9a-f]+)", notes).group(1)
    place = root / "usr/lib/debug/.build-id" / build_id[:2]
    place.mkdir(parents=True)
    do("objcopy", "--only-keep-debug", path, place / (build_id[2:] + ".debug"))
    do("objcopy", "--strip-all", path, root / "rungs-split")


def image():
    """The root of the one image that the claims use; made once."""
    root = WORK / "image"
    if not root.exists():
        new = WORK / "image.new"
        for d in ("tmp", "proc", "dev", "sys", "etc"):
            (new / d).mkdir(parents=True)
        (new / "tmp").chmod(0o1777)
        for name in PROGRAMS:
            put(new, lib.target(name))
        for path in ("/usr/bin/redis-server", "/usr/bin/redis-benchmark", "/usr/bin/python3"):
            if os.path.exists(path):
                put(new, os.path.realpath(path), os.path.basename(path))
        if os.path.exists("/usr/lib/python3.11"):
            shutil.copytree("/usr/lib/python3.11", new / "usr/lib/python3.11", symlinks=True,
                            ignore=shutil.ignore_patterns("test", "__pycache__", "config-*"))
        if os.path.exists("/bin/busybox"):
            shutil.copy("/bin/busybox", new / "busybox")
        split(new, lib.target("rungs"))
        (new / "etc/passwd").write_text("root:x:0:0::/:/busybox\n")
        new.rename(root)
    return root


class Container(lib.Process):
    """One that is in the foreground: its output is what we read, and signals reach it."""

    def __init__(self, engine, name, argv, **options):
        self.engine, self.name = engine, name
        super().__init__(*argv, **options)

    def up(self, ready="^ready"):
        if ready:
            self.line(ready)
        self.client, self.id = self.pid, self.engine.id_of(self.name)
        self.pid = eventually(lambda: self.engine.pid_of(self.name), "%s has no process" % self.name)
        return self

    def again(self):
        """Stopped and started by the engine: the same container, another process."""
        old = self.pid
        self.engine.restart(self.name)
        self.pid = eventually(lambda: self.engine.pid_of(self.name) not in (0, old) and self.engine.pid_of(self.name), "no restart")


class Engine:
    """One that speaks Docker's command line."""

    def __init__(self, name, program, *globals_):
        self.name, self.program, self.globals = name, program, [program, *globals_]

    def there(self):
        return shutil.which(self.program) is not None

    def call(self, *arguments, **options):
        return do(*self.globals, *arguments, **options)

    def load(self):
        """The image, under the name `test`."""
        if "pprofd-test" not in self.call("images"):
            tar = subprocess.Popen(["tar", "-C", str(image()), "-c", "."], stdout=subprocess.PIPE)
            self.call("import", "-", "pprofd-test:1", stdin=tar.stdout)
            tar.wait()
        return "pprofd-test:1"

    def options(self):
        return ["--network", "none"]

    def argv(self, name, command, options=(), detach=False):
        return [*self.globals, "run", "-d" if detach else "-i", "--name", name, *self.options(), *options, self.load(), *command]

    def run(self, *command, options=(), ready="^ready", kind=Container, **more):
        name = unique()
        return kind(self, name, self.argv(name, command, options), **more).up(ready)

    def inspect(self, name):
        text = self.call("inspect", name, ok=False)
        return json.loads(text)[0] if text.startswith("[") and text != "[]" else None

    def id_of(self, name):
        return self.inspect(name)["Id"]

    def pid_of(self, name):
        found = self.inspect(name)
        return found["State"]["Pid"] if found else 0

    def restart(self, name):
        self.call("restart", "-t", "0", name)

    def exec(self, name, *command):
        """Another process in the container, in the foreground."""
        return lib.Process(*self.globals, "exec", name, *command)

    def clean(self):
        for name in self.call("ps", "-a", "--format", "{{.Names}}", ok=False).split():
            if name.startswith("pprofd-test"):
                self.call("rm", "-f", name, ok=False)


class Podman(Engine):
    def load(self):
        return super().load() and "localhost/pprofd-test:1"

    def options(self):
        # without that hierarchy's controllers there is no limit to set
        return ["--network", "none", *(("--pids-limit", "-1") if V2 else ())]


class Docker(Engine):
    def there(self):
        return (WORK / "docker.sock").exists() and shutil.which("docker") is not None


class Containerd(Engine):
    """ctr: containers have the names that they are given, and the cgroups."""

    def there(self):
        return (WORK / "containerd.sock").exists() and shutil.which("ctr") is not None

    def argv(self, name, command, options=(), detach=False):
        return [*self.globals, "run", *options, "--null-io" if detach else "--rm", "--rootfs", image(), name, *command]

    def id_of(self, name):
        return name

    def pid_of(self, name):
        found = re.search(r"^%s\s+(\d+)\s+RUNNING" % re.escape(name), self.call("tasks", "ls", ok=False), re.M)
        return int(found.group(1)) if found else 0

    def clean(self):
        for name in self.call("tasks", "ls", "-q", ok=False).split():
            self.call("tasks", "kill", "-s", "KILL", name, ok=False)
        for name in self.call("containers", "ls", "-q", ok=False).split():
            eventually(lambda n=name: n not in self.call("tasks", "ls", "-q", ok=False).split() or
                       self.call("tasks", "rm", "-f", n, ok=False), "%s does not end" % name, 20)
            self.call("containers", "rm", name, ok=False)


class Lxc(Engine):
    """lxc-execute: a name, and no id."""

    def there(self):
        return shutil.which("lxc-execute") is not None

    def argv(self, name, command, options=(), detach=False):
        conf = WORK / (name + ".conf")
        conf.write_text("lxc.rootfs.path = dir:%s\nlxc.uts.name = test\nlxc.net.0.type = none\n" % image())
        return ["lxc-execute", "-P", WORK, "-n", name, "-f", conf, *options, "--", *command]

    def id_of(self, name):
        return name

    def pid_of(self, name):
        """Of what its init has started."""
        init = do("lxc-info", "-P", WORK, "-n", name, "-p", "-H", ok=False)
        found = lib.children(int(init)) if init.isdigit() and int(init) > 0 else []
        return found[0] if found else 0

    def clean(self):
        for conf in WORK.glob("pprofd-test-*.conf"):
            do("lxc-stop", "-P", WORK, "-n", conf.stem, "-k", ok=False)
            conf.unlink()


ENGINES = [Podman("podman", "podman", "--runtime", "runc"), Docker("docker", "docker"),
           Containerd("containerd", "ctr", "-a", WORK / "containerd.sock", "-n", "pprofd-test"), Lxc("lxc", "lxc-execute")]
