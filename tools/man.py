#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""man.py PPROFD TEMPLATE OUT - the manual page: the template's prose, with the options as `pprofd --help` has
them, so that the two cannot tell different things. A line `.\\" options COMMAND...` becomes a list."""

import os
import re
import subprocess
import sys
import textwrap

OPTION = re.compile(r"^ +(?:(-\S), )?(--[\w.-]+)(?:\[?=([^\s\]]+)\]?)? +(.*)$")


def help_of(program, *command):
    """Each option of it on one line: [(short, long, argument, text)]."""
    env = dict(os.environ, ARGP_HELP_FMT="rmargin=20000", LC_ALL="C", ASAN_OPTIONS="detect_leaks=0")
    text = subprocess.run([program, *command, "--help"], env=env, stdout=subprocess.PIPE, check=True).stdout.decode()
    return [m.groups() for m in map(OPTION.match, text.splitlines()) if m]


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def sentence(text):
    return text[:1].upper() + text[1:] + "."


def option_list(options):
    yield ".Bl -tag -width indent"
    for short, name, argument, text in options:
        item = ".It " + ("Fl %s , " % escape(short[1:]) if short else "") + "Fl \\-" + escape(name[2:])
        yield item + (" Ns = Ns Ar " + escape(argument) if argument else "")
        for part in re.split(r"(?<=\.) (?=[A-Z])", sentence(text.strip())):
            yield from map(escape, textwrap.wrap(part, 78, break_on_hyphens=False, break_long_words=False))
    yield ".El"


def main(program, template, out):
    lines = []
    for line in open(template, encoding="utf-8").read().splitlines():
        if line.startswith('.\\" options'):
            lines += option_list(help_of(program, *line.split()[2:]))
        else:
            lines.append(line)
    with open(out, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
