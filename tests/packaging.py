#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""packaging.py BUILD SOURCE - units, manual page and completions against the program that was built: what an option list
says in one place, it says in all. What a machine has no tool for is skipped, and said."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

BUILD, SOURCE = map(pathlib.Path, sys.argv[1:3])
sys.path.insert(0, str(SOURCE / "tools"))
import man  # noqa: E402

EXPOSURE = "25"  # tenths: issue-wide bound of systemd-analyze security
VALUED = re.compile(r"(?<![\w.-])--[a-z][a-z0-9.-]+")


class Skip(Exception):
    pass


def run(*command, status=0, **more):
    env = dict(os.environ, PATH="%s:%s" % (BUILD, os.environ["PATH"]), LC_ALL="C", HOME="/nonexistent", **more)
    p = subprocess.run([str(c) for c in command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    text = p.stdout.decode()
    assert p.returncode == status, "%s: status %d: %s" % (command[0], p.returncode, text[-2000:])
    return text


def need(tool):
    if not shutil.which(tool):
        raise Skip("%s is not installed" % tool)


def options(*command):
    found = man.help_of(str(BUILD / "pprofd"), *command)
    assert len(found) > 10, found
    return found


def names(*command):
    return {name for _, name, _, _ in options(*command)}


def every_name():
    return names() | names("record")


def same(found, wanted, what):
    assert set(found) == set(wanted), "%s: %s" % (what, sorted(set(found) ^ set(wanted)))


def test_help_is_understood_whole():
    for command in ((), ("record",)):
        text = run(BUILD / "pprofd", *command, "--help", ARGP_HELP_FMT="rmargin=20000")
        same(re.findall(r"^ +(?:-\S, )?(--[a-z0-9.-]+)", text, re.M), names(*command), "parsed")


def test_manual_page_has_every_option():
    text = (BUILD / "systemd" / "pprofd.8").read_text()
    items = [line for line in text.splitlines() if line.startswith(".It") and "Fl " in line]
    same([x.replace("\\-", "-") for x in re.findall(r"Fl (\\-[\w.\\-]+)", "\n".join(items))],
         [x[1:] for x in every_name()], "pprofd.8")


def test_manual_page_is_well_formed():
    need("mandoc")
    text = run("mandoc", "-Tlint", "-Wwarning", BUILD / "systemd" / "pprofd.8")
    assert not text, text


def test_values_of_completions_are_of_options_that_are():
    for name in ("pprofd.bash", "_pprofd"):
        text = (SOURCE / "completions" / name).read_text()
        body = re.search(r"_values\(\).*?esac", text, re.S).group()
        labels = " ".join(line.split(")")[0] for line in body.splitlines() if ") " in line)
        unknown = set(VALUED.findall(labels)) - every_name() - PLANNED
        assert not unknown, "%s: %s" % (name, unknown)
    body = re.search(r"switch.*?\n    end", (SOURCE / "completions" / "pprofd.fish").read_text(), re.S).group()
    cases = {"--" + x for line in re.findall(r"case (.*)", body) for x in line.split()}
    assert not cases - every_name() - PLANNED, cases - every_name()


# of branches that are on their way
PLANNED = {"--config", "--web.config.file"}


def test_bash():
    script = 'source "$0"; COMP_WORDS=(pprofd %s --); COMP_CWORD=%d; _pprofd; printf "%%s\\n" "${COMPREPLY[@]}"'
    for words, at, command in (("", 1, ()), ("record", 2, ("record",))):
        said = run("bash", "-c", script % (words, at), SOURCE / "completions" / "pprofd.bash").split()
        same([x.rstrip("=") for x in said], names(*command), "bash %s" % words)
        same([x[:-1] for x in said if x.endswith("=")], [n for _, n, a, _ in options(*command) if a], "with a value")


def test_bash_values():
    script = 'source "$0"; COMP_WORDS=(pprofd --heap = a); COMP_CWORD=3; _pprofd; printf "%s\\n" "${COMPREPLY[@]}"'
    assert run("bash", "-c", script, SOURCE / "completions" / "pprofd.bash").split() == ["allocs"]


def test_zsh():
    need("zsh")
    for command in ((), ("record",)):
        text = run("zsh", "-fc", "source $0; _pprofd_specs pprofd %s" % " ".join(command), SOURCE / "completions" / "_pprofd")
        same(re.findall(r"^\*(--[a-z0-9.-]+)=?\[", text, re.M), names(*command), "zsh")
        same(re.findall(r"^\*(-.)\+?\[", text, re.M), {s for s, _, _, _ in options(*command) if s}, "zsh, short")


def test_fish():
    need("fish")
    with tempfile.TemporaryDirectory() as home:
        for command in ((), ("record",)):
            text = run("fish", "--no-config", "-c", 'source %s; complete -C "pprofd %s --"' %
                       (SOURCE / "completions" / "pprofd.fish", " ".join(command)), XDG_CONFIG_HOME=home, XDG_DATA_HOME=home)
            same([line.split("\t")[0].rstrip("=") for line in text.splitlines()], names(*command), "fish")


def test_the_deb_is_built_from_what_we_are_built_from():
    text = (SOURCE / "tools" / "install-packages").read_text()
    wanted = set(re.search(r'^build="(.*?)"', text, re.S | re.M).group(1).split())
    control = (SOURCE / "debian" / "control").read_text().split("\n\n")[0]
    here = set(re.findall(r"[a-z0-9.+-]+", control.split("Build-Depends:")[1]))
    missing = wanted - here - {"build-essential", "ninja-build"}  # of every build; of meson
    assert not missing, missing


def units(where):
    """The units as they would be, but for a program that is there."""
    for unit in BUILD.joinpath("systemd").glob("pprofd*.service"):
        (where / unit.name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.M))
    shutil.copy(SOURCE / "systemd" / "pprofd.socket", where)
    return where


def test_units_are_understood():
    need("systemd-analyze")
    with tempfile.TemporaryDirectory() as where:
        for unit in ("pprofd.service", "pprofd@x.service", "pprofd.socket"):
            text = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit, SYSTEMD_UNIT_PATH="%s:" % units(pathlib.Path(where)))
            assert "pprofd" not in text, text


def test_exposure():
    need("systemd-analyze")
    with tempfile.TemporaryDirectory() as where:
        for unit in ("pprofd.service", "pprofd@.service"):
            run("systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=" + EXPOSURE,
                units(pathlib.Path(where)) / unit)


def test_options_of_units_are_options():
    for unit in BUILD.joinpath("systemd").glob("pprofd*.service"):
        line = re.search(r"^ExecStart=(.*)", unit.read_text(), re.M).group(1)
        unknown = set(re.findall(r"--[a-z0-9.-]+", line)) - names() - {"--config", "--unit"}
        assert not unknown, unknown


def test_installs_where_it_is_told():
    with tempfile.TemporaryDirectory() as where:
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", where)
        files = {str(p.relative_to(where)) for p in pathlib.Path(where).rglob("*") if p.is_file()}
        for end in ("bin/pprofd", "libexec/pprofd/pprofd-serve", "libexec/pprofd/pprofd-symbolizer", "libexec/pprofd/pprofd-fetch",
                    "include/pprofd.h", "man8/pprofd.8", "systemd/system/pprofd.service", "systemd/system/pprofd@.service",
                    "systemd/system/pprofd.socket", "sysusers.d/pprofd.conf", "sysctl.d/60-pprofd.conf", "pkgconfig/pprofd.pc",
                    "etc/pprofd.conf") + (("pprofd/libpprofd-alloc.so",) if (BUILD / "libpprofd-alloc.so").exists() else ()):
            assert any(f.endswith(end) for f in files), "%s is not installed" % end
        program = next(f for f in files if f.endswith("bin/pprofd"))
        assert "pprofd" in run(os.path.join(where, program), "--version")


def main():
    failed = 0
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    print("1..%d" % len(tests))
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print("ok %d %s" % (number, name[5:]))
        except Skip as e:
            print("ok %d %s # SKIP %s" % (number, name[5:], e))
        except Exception as e:  # noqa: BLE001
            failed += 1
            print("not ok %d %s" % (number, name[5:]))
            for line in str(e).splitlines():
                print("# " + line)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
