# SPDX-License-Identifier: Apache-2.0
"""label_sections - the section of tools/bench on labels: what it costs to set one, and to read them with a sample."""
import statistics
import subprocess

bench = None  # tools/bench, which sets it

COUNTS = (0, 1, 2, 8)
ROUNDS = 80
HZ = 10000


def read_turns(o):
    """{labels: [ns of a sample]}: one thread that spins, one run of the programs, in turns: the machine drifts."""
    target = bench.spawn([str(o.build / "tests" / "labels-bench"), "spin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    found = {n: [] for n in COUNTS}

    def ask(p, line):
        p.stdin.write("%s\n" % line)
        p.stdin.flush()
        return p.stdout.readline()

    ask(target, 1)
    walk = bench.spawn([str(o.build / "walk-cost"), "turns", str(target.pid), "1", str(HZ)], stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE, text=True)
    for k in range(ROUNDS + 1):
        for n in COUNTS:
            ask(target, n)
            ns = float(ask(walk, ""))
            if k and ns > 0:  # the first is cold
                found[n].append(ns)
    walk.stdin.close()
    walk.wait()
    bench.end(target)
    return found


def section_labels(o):
    print("\n## labels\n\n| setting one | ns |\n|---|---|")
    out = subprocess.run([str(o.build / "tests" / "labels-bench"), "set", "/users"], stdout=subprocess.PIPE, text=True, check=True)
    values = dict(line.split() for line in out.stdout.splitlines())
    for name, what in (("literal", "of a literal"), ("text", "of a text"), ("pair", "and clearing it")):
        print("| %s | %.1f |" % (what, float(values[name]) - float(values["nothing"])))
    print("\nns of the kernel's program a sample, by the kernel's account: one thread, %d Hz, %d turns of each; a key of 2 and a value of 10 bytes" %
          (HZ, ROUNDS))
    print("\n| labels of the thread | median | a tenth is below | above none: median | tenth |\n|---|---|---|---|---|")
    found = {n: (statistics.median(of), statistics.quantiles(of, n=10)[0]) for n, of in read_turns(o).items()}
    for n, of in found.items():
        print("| %d | %.0f | %.0f | %+.0f | %+.0f |" % (n, *of, of[0] - found[0][0], of[1] - found[0][1]))


SECTIONS = {"labels": section_labels}
