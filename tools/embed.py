#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py OUT.c OUT.h NAME=FILE... - BPF objects as C strings, aligned as libelf wants them."""
import os
import sys

out_c, out_h, *files = sys.argv[1:]
with open(out_c, "w") as c, open(out_h, "w") as h:
    h.write("/* made by tools/embed.py */\n#pragma once\n#include <stddef.h>\n")
    c.write(f"/* made by tools/embed.py */\n#include \"{os.path.basename(out_h)}\"\n")
    for f in files:
        name, path = f.split("=", 1)
        data = open(path, "rb").read()
        h.write(f"extern const unsigned char bpf_object_{name}[];\nextern const size_t bpf_object_{name}_size;\n")
        c.write(f"const size_t bpf_object_{name}_size = {len(data)};\n"
                f"const unsigned char bpf_object_{name}[] __attribute__((aligned(8))) =\n")
        for i in range(0, len(data), 32):  # a string: compilers read it twenty times as fast as a list of numbers
            c.write('"' + "".join(f"\\{b:03o}" for b in data[i:i + 32]) + '"\n')
        c.write(";\n")
