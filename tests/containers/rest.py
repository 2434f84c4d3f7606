# SPDX-License-Identifier: Apache-2.0
"""rest.py - the image of packaging/Containerfile, run as packaging/daemonset.yaml says, and what it says where something of
that is missing.

Every word of the manifest's container has to be known here: one that is not fails the claim. The runtime is containerd, with
the filter that Kubernetes calls RuntimeDefault; ctr makes the specification, and what it cannot say is put in afterwards."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import engines
from engines import ENGINES, WORK, do, lib

import binaries
import heaplib
from lib import check, eventually

MANIFEST = engines.ROOT / "packaging" / "daemonset.yaml"
TARBALL, BASE = os.environ.get("TARBALL"), os.environ.get("BASE")
PODMAN, DOCKER, CONTAINERD, LXC = ENGINES
DEFAULT = "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split()
CLAIMS = {}


def claim(function):
    def run():
        if not TARBALL or not BASE:
            lib.skip("TARBALL and BASE are not given")
        for e in (PODMAN, CONTAINERD):
            if not e.there():
                lib.skip("%s is not installed" % e.name)
        try:
            function()
        finally:
            lib.kill_descendants()
            for e in ENGINES:
                if e.there():
                    e.clean()
    CLAIMS["test_" + function.__name__] = run
    return function


def manifest():
    """(pod, container) of the DaemonSet."""
    import yaml
    found = [d for d in yaml.safe_load_all(MANIFEST.read_text()) if d["kind"] == "DaemonSet"]
    pod = found[0]["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def built():
    """The image, by the recipe; its root as a directory."""
    root = WORK / "pprofd-image"
    if root.exists():
        return root
    if "docker.io/library/debian" not in PODMAN.call("images"):
        tar = subprocess.Popen(["tar", "-C", BASE, "--exclude=./var/cache/apt/archives/*.deb", "-c", "."], stdout=subprocess.PIPE)
        PODMAN.call("import", "-q", "-", "docker.io/library/debian:bookworm-slim", stdin=tar.stdout, timeout=300)
        tar.wait()
    context = WORK / "context"
    context.mkdir(exist_ok=True)
    shutil.copy(TARBALL, context)
    PODMAN.call("build", "--network", "host", "-q", "-f", engines.ROOT / "packaging/Containerfile", "-t", "pprofd:0.1.0", context, timeout=600)
    name = engines.unique()
    PODMAN.call("create", "--name", name, "localhost/pprofd:0.1.0")
    new = WORK / "pprofd-image.new"
    new.mkdir()
    tar = subprocess.Popen([*PODMAN.globals, "export", name], stdout=subprocess.PIPE)
    do("tar", "-C", new, "-x", stdin=tar.stdout)
    tar.wait()
    PODMAN.call("rm", "-f", name)
    new.rename(root)
    return root


class Node:
    """A container as kubelet makes it of the manifest. Changes are to it: without=CAPABILITY, pid=False, cgroup=True (a
    namespace of cgroups, as containerd gives on machines with one hierarchy)."""

    def __init__(self, arguments=None, without=(), with_=(), pid=True, cgroup=engines.V2, seccomp=True, change=lambda spec: None):
        self.pod, self.container = pod, c = manifest()
        self.name = engines.unique()
        security = c["securityContext"]
        check(set(pod) == {"hostPID", "hostNetwork", "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds",
                           "tolerations", "containers", "volumes"}, "not known here: %s" % sorted(pod))
        check(set(c) == {"name", "image", "args", "securityContext", "resources", "livenessProbe", "volumeMounts"}, sorted(c))
        check(set(security) == {"runAsUser", "privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities",
                                "seccompProfile", "appArmorProfile"}, sorted(security))
        check(not security["privileged"] and not security["allowPrivilegeEscalation"] and security["capabilities"]["drop"] == ["ALL"] and
              security["seccompProfile"] == {"type": "RuntimeDefault"} and pod["hostPID"] and pod["hostNetwork"], str(security))
        line = ["--rootfs", "--net-host"]
        line += ["--read-only"] if security["readOnlyRootFilesystem"] else []
        line += ["--seccomp"] if seccomp else []
        for name in (set(security["capabilities"]["add"]) | set(with_)) - set(without) - set(DEFAULT):
            line += ["--cap-add", "CAP_" + name]
        for name in set(DEFAULT) - (set(security["capabilities"]["add"]) - set(without)):
            line += ["--cap-drop", "CAP_" + name]
        volumes = {v["name"]: v["hostPath"]["path"] for v in pod["volumes"]}
        self.state = WORK / "state"
        self.state.mkdir(exist_ok=True)
        for m in c["volumeMounts"]:
            source = self.state if m["name"] == "run" else volumes[m["name"]]
            if os.path.exists(source):
                line += ["--mount", "type=bind,src=%s,dst=%s,options=rbind:%s" % (source, m["mountPath"], "ro" if m.get("readOnly") else "rw")]
        self.arguments = arguments if arguments is not None else ["127.0.0.1:0" if a == "localhost:6060" else a for a in c["args"]]
        CONTAINERD.call("containers", "create", *line, built(), self.name, "/usr/local/bin/pprofd", *self.arguments)
        spec = json.loads(CONTAINERD.call("containers", "info", "--spec", self.name))
        CONTAINERD.call("containers", "rm", self.name)
        kinds = spec["linux"]["namespaces"]
        kinds[:] = [n for n in kinds if n["type"] not in ("cgroup", *(("pid",) if pid else ()))] + ([{"type": "cgroup"}] if cgroup else [])
        spec["process"]["user"] = {"uid": security["runAsUser"], "gid": 0}
        spec["process"]["noNewPrivileges"] = True
        change(spec)
        self.spec = WORK / (self.name + ".json")
        self.spec.write_text(json.dumps(spec))

    def argv(self):
        return [*CONTAINERD.globals, "run", "--rm", "--config", self.spec, self.name]

    def said(self):
        """Runs it to its end: (status, output and errors)."""
        p = subprocess.run([str(a) for a in self.argv()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
        return p.returncode, p.stdout.decode(errors="replace")

    def daemon(self):
        """It, serving."""
        before = self.argv()
        d = lib.Daemon(listen=(), program=before[0], arguments=before[1:])
        d.line(r"^pprofd: serving \S+")
        d.read()
        d.port = int(re.search(r":(\d+)/", [x for x in d.lines if x.startswith("pprofd: serving ")][0]).group(1))
        d.inside = CONTAINERD.pid_of(self.name)
        return d


def end(d):
    """As kubelet ends it."""
    os.kill(d.inside, 15)
    check(d.wait() == 0, "status %s: %s" % (d.popen.returncode, d.lines[-3:]))


def profile(d, place, query="&kernel=0"):
    for seconds in (1, 3, 10, 30):
        a = d.get("%s/debug/pprof/profile?seconds=%d%s" % (place, seconds, query), timeout=seconds + lib.DEADLINE)
        check(a.status == 200, "%s: %d: %s" % (place, a.status, a.text()[:200]))
        p = lib.profile_of(a.body)
        if p.total("samples") >= 30:
            break
    return p


def labels(d, pid):
    found = [t["labels"] for t in json.loads(d.get("/sd").text()) if t["labels"]["__meta_pprofd_pid"] == str(pid)]
    check(len(found) == 1, "/sd has %d %d times" % (pid, len(found)))
    return found[0]


@claim
def image_is_built():
    root = built()
    check((root / "usr/local/bin/pprofd").exists() and not (root / "bin").exists(), "not the image")
    check("pprofd" in PODMAN.call("run", "--rm", "--network", "none", *PODMAN.options()[2:], "localhost/pprofd:0.1.0"), "no help")


@claim
def manifest_gives_what_it_needs():
    status, text = Node(["--check"]).said()
    check(status == 0 and "missing" not in text and text.count("available") >= 15, "%d: %s" % (status, text))


@claim
def profiles_of_the_node():
    """Of containers of all engines, and of what is in none; counts go on over an end of the pod; the probe of kubelet."""
    found = [e.run("/rungs", "600") for e in ENGINES if e.there()]
    here = binaries.started(lib.target("rungs"))
    d = Node().daemon()
    for c in [*found, here]:
        p = profile(d, "/pid/%d" % c.pid)
        binaries.check_ladder(p)
    for c in found:
        it = labels(d, c.pid)
        if engines.ID.fullmatch(c.id):
            check(it["__meta_pprofd_container"] == c.id, str(it))
            binaries.check_ladder(profile(d, "/t/" + c.id[:12]))
        # from a namespace of cgroups, those of our own parent keep a part of the way there
        where = re.sub(r"^(/\.\.)+", "", it["__meta_pprofd_cgroup"])
        check(where + "\n" in pathlib.Path("/proc/%d/cgroup" % c.pid).read_text(), str(it))
    place = "/pid/%d/debug/pprof/" % found[0].pid
    for what in ("heap", "block", "mutex", "growth", "threadcreate", "offcpu", "goroutine?debug=2", "cmdline", "trace?seconds=1", "wall?seconds=1"):
        a = d.get(place + what)
        check(a.status == 200, "%s: %d %s" % (what, a.status, a.text()[:200]))
    probe = manifest()[1]["livenessProbe"]["httpGet"]
    check(d.get(probe["path"]).status == 200, "kubelet's probe: %d" % d.get(probe["path"]).status)
    check(not d.said("cannot|not permitted|refuse"), "%s" % d.said("cannot|not permitted|refuse"))
    check(lib.status(d.inside, "NoNewPrivs") == "1" and int(lib.status(d.inside, "CapEff"), 16).bit_count() == 6, "rights")
    end(d)


@claim
def counts_go_on():
    c = DOCKER.run("/heap-c", "600", kind=TELLER()) if DOCKER.there() else PODMAN.run("/heap-c", "600", kind=TELLER())
    d = Node(["--all", "--listen", "127.0.0.1:0", "--state-dir", "/run/pprofd", "--max-overhead", "none"]).daemon()
    eventually(lambda: not heaplib.source(heaplib.get(d, pid=c.pid)).startswith("nothing yet"), "no source")
    c.say()
    time.sleep(2)
    before = heaplib.by_site(heaplib.get(d, pid=c.pid))
    os.kill(d.inside, 9)
    d.wait()
    d = Node(["--all", "--listen", "127.0.0.1:0", "--state-dir", "/run/pprofd", "--max-overhead", "none"]).daemon()
    eventually(lambda: not heaplib.source(heaplib.get(d, pid=c.pid)).startswith("nothing yet"), "no source")
    after = heaplib.by_site(heaplib.get(d, pid=c.pid))
    less = {k: (v, after.get(k)) for k, v in before.items() if k and after.get(k, [0])[0] < v[0]}
    check(before and not less, "went back: %s" % less)
    end(d)


def TELLER():
    import __main__
    return __main__.Teller


LACKS = {"BPF": "CAP_BPF", "PERFMON": "CAP_PERFMON", "SYS_PTRACE": "CAP_SYS_PTRACE", "DAC_READ_SEARCH": "CAP_DAC_READ_SEARCH",
         "CHECKPOINT_RESTORE": "CAP_CHECKPOINT_RESTORE", "SYSLOG": "CAP_SYSLOG"}


@claim
def one_capability_less():
    """--check names the one that is missing, and no other thing."""
    for name, word in LACKS.items():
        status, text = Node(["--check"], without=(name,)).said()
        missing = re.findall(r"missing: (.*)", text)
        check(status == 1 and missing and all(word in m for m in missing), "without %s: %d: %s" % (name, status, text))


@claim
def without_what_starts_children():
    """SETUID and SETGID put the processes without rights under another user: root cannot do without, and says so. KILL ends them,
    SETPCAP takes rights off for good: without those it serves all the same."""
    for name in ("SETUID", "SETGID"):
        for arguments in ["--check"], None:
            status, text = Node(arguments, without=(name,)).said()
            check(status == 1 and "CAP_SETUID and CAP_SETGID are needed" in text and text.count("\n") == 1, "%s: %d %s" % (name, status, text))
    for name in ("KILL", "SETPCAP"):
        here = binaries.started(lib.target("rungs"))
        d = Node(without=(name,)).daemon()
        binaries.check_ladder(profile(d, "/pid/%d" % here.pid))
        end(d)
        lib.kill_descendants()


@claim
def without_host_pid():
    """It sees itself alone, and says so."""
    status, text = Node(["--check"], pid=False).said()
    check(status == 1 and re.findall(r"(.*?) +missing: (.*)", text) ==
          [("(whole machine)", "its PID namespace (hostPID: true, --pid=host)")], "%d: %s" % (status, text))
    d = Node(pid=False).daemon()
    check(d.said("PID namespace") and json.loads(d.get("/sd").text()) == [], "%s %s" % (d.lines, d.get("/sd").text()))
    end(d)


@claim
def filter_that_refuses():
    """podman's, of Debian 12, wants CAP_SYS_ADMIN for bpf(2): each endpoint says that it is the filter; with that capability, or
    without the filter, nothing is missing."""
    _, c = manifest()
    few = [x for name in c["securityContext"]["capabilities"]["add"] for x in ("--cap-add", name)]

    def look(*more):
        p = subprocess.run([*PODMAN.globals, "run", "--rm", "--network", "host", "--pid", "host", *PODMAN.options()[2:], "--cap-drop", "ALL",
                            *few, *more, "localhost/pprofd:0.1.0", "--check"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=100, check=False)
        return p.returncode, p.stdout.decode()
    status, text = look()
    missing = re.findall(r"missing: (.*)", text)
    check((status == 0 and not missing) or all("seccomp filter" in m for m in missing), "%d: %s" % (status, text))
    for more in ("--cap-add", "SYS_ADMIN"), ("--security-opt", "seccomp=unconfined"):
        status, text = look(*more)
        check(status == 0, "%s: %s" % (more, text))


@claim
def admin_alone():
    """Docker 20.10 knows no CAP_BPF: CAP_SYS_ADMIN stands for it, and is kept then."""
    found = binaries.started(lib.target("rungs"))
    n = Node(without=("BPF", "PERFMON", "CHECKPOINT_RESTORE"), with_=("SYS_ADMIN",))
    d = n.daemon()
    binaries.check_ladder(profile(d, "/pid/%d" % found.pid))
    end(d)


@claim
def cgroup_namespace():
    """Seen from a namespace of cgroups, paths are the machine's."""
    c = (DOCKER if DOCKER.there() else PODMAN).run("/rungs", "600")
    where = pathlib.Path("/proc/%d/cgroup" % c.pid).read_text().splitlines()[-1].split(":", 2)[2]
    d = Node(["--cgroup", where, "--name", "it", "--listen", "127.0.0.1:0"], cgroup=True).daemon()
    check(os.readlink("/proc/%d/ns/cgroup" % d.inside) != os.readlink("/proc/self/ns/cgroup"), "no namespace")
    binaries.check_ladder(profile(d, "/t/it"))
    check(labels(d, c.pid)["__meta_pprofd_cgroup"] == where, "%s, not %s" % (labels(d, c.pid), where))
    end(d)
