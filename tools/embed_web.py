#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed_web.py OUT.c FILE... - the files of the page as C arrays, gzip'ed, and a hash of all their bytes and names, so
that an address that bears it never means anything else."""
import gzip
import hashlib
import os
import sys

TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
         ".png": "image/png", ".json": "application/json"}

out, *files = sys.argv[1:]
files.sort(key=os.path.basename)
total = hashlib.sha256()
with open(out, "w") as c:
    c.write('/* made by tools/embed_web.py */\n#include "daemon/serve/page/assets.h"\n')
    rows = ""
    for i, path in enumerate(files):
        name = os.path.basename(path)
        data = open(path, "rb").read()
        total.update(("%s %d\n" % (name, len(data))).encode() + data)
        packed = gzip.compress(data, 9, mtime=0)
        rows += '\t{ "%s", "%s", file_%d, %d, %d },\n' % (name, TYPES[os.path.splitext(name)[1]], i, len(packed), len(data))
        c.write("static const unsigned char file_%d[] = {\n" % i)
        for at in range(0, len(packed), 24):
            c.write(",".join(str(b) for b in packed[at:at + 24]) + ",\n")
        c.write("};\n")
    c.write("const struct asset assets[] = {\n%s};\nconst size_t n_assets = %d;\n" % (rows, len(files)))
    c.write('const char asset_hash[] = "%s";\n' % total.hexdigest()[:16])
