# SPDX-License-Identifier: Apache-2.0
"""names_compare.py - what two symbolizers say of the same addresses, and in what they differ.

Both as llvm-symbolizer writes it: for each address its frames, innermost first, two lines each, and an empty line."""

import re


def read(text, with_address):
    """[[(function, file, line)]], an entry an address."""
    answers = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")[1 if with_address else 0:]
        frames = []
        for name, place in zip(lines[::2], lines[1::2]):
            file, line = re.match(r"(.*?):(\d+)(?::\d+)?(?: \(.*\))?$", place).groups()
            frames.append((name, file, int(line)))
        answers.append([f for f in frames if f != ("??", "??", 0)])
    return answers


def kind(ours, theirs):
    """In what an address's answers differ; None: in nothing."""
    if ours == theirs:
        return None
    if len(ours) != len(theirs):
        return f"frames: {'more' if len(ours) > len(theirs) else 'fewer'}"
    kinds = set()
    for (a, af, al), (b, bf, bl) in zip(ours, theirs):
        if a != b:
            kinds.add("qualified name" if a.endswith("::" + b) else "name")
        if af != bf:
            kinds.add("file")
        if al != bl:
            kinds.add("line")
    return ", ".join(sorted(kinds))


def differences(ours, theirs):
    """{kind: [index]}"""
    found = {}
    for i, (a, b) in enumerate(zip(ours, theirs)):
        k = kind(a, b)
        if k:
            found.setdefault(k, []).append(i)
    return found


if __name__ == "__main__":
    import sys
    o, t = read(open(sys.argv[1]).read().split("\npass ")[0], True), read(open(sys.argv[2]).read(), False)
    print(len(o), len(t))
    for k, v in differences(o, t).items():
        print(k, len(v))
        for i in v[:int(sys.argv[3]) if len(sys.argv) > 3 else 2]:
            print("   ", i, o[i], "\n    llvm", t[i])
