# SPDX-License-Identifier: Apache-2.0
"""names_big.py - makes a program with some hundred MB of DWARF, for tools/bench names.

Some C++ files, full of templates and inlined calls, compiled once each by g++ and clang++ as DWARF 4 and 5, and linked
many times under other names: what takes time is the compiler, and a linker does not see that code is the same. The
result is kept beside the other things the benchmark keeps."""

import pathlib
import subprocess
import sys

HEAD = """#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>
namespace part%(unit)d {
static inline long mix(long a, long b) { return (a << 7) ^ (b >> 3) ^ (a * b); }
template <class T> static inline long fold(const std::vector<T> &v) { long n = 0; for (auto &x : v) n = mix(n, x.key()); return n; }
"""
TYPE = """
struct t%(i)d { long a, b; std::string s; long key() const { return mix(a, b) + (long)s.size(); }
  bool operator<(const t%(i)d &o) const { return key() * %(i)d < o.key(); } };
namespace { long own%(i)d(const t%(i)d &x, long k) { return k > 3 ? mix(x.key(), k) + own%(i)d(x, k - 1) : mix(k, x.a); } }
long f%(i)d(std::vector<t%(i)d> &v, std::map<t%(i)d, std::string> &m, std::unordered_map<std::string, t%(i)d> &u) {
  std::sort(v.begin(), v.end(), [](const t%(i)d &x, const t%(i)d &y) { return x.key() > y.key(); });
  long n = fold(v);
  for (auto &x : v) { n = mix(n, (long)m[x].size()); u[x.s] = x; n += own%(i)d(x, x.a %% 9); }
  std::set<t%(i)d> s(v.begin(), v.end());
  std::function<long(long)> g = [&](long k) { return mix(k, (long)s.size()) + fold(v); };
  return n + g(n) + std::accumulate(v.begin(), v.end(), 0l, [](long k, const t%(i)d &x) { return mix(k, x.b); });
}
"""
COMPILERS = [("g++", "-gdwarf-5"), ("clang++", "-gdwarf-5"), ("g++", "-gdwarf-4"), ("clang++", "-gdwarf-4")]


def source(unit, n_types):
    return HEAD % {"unit": unit} + "".join(TYPE % {"i": unit * 1000 + i} for i in range(n_types)) + "}\n"


def copy(at, name, number):
    """The same object with every name that it defines made another."""
    to = at / f"{name}-{number}.o"
    listed = subprocess.run(["nm", "--defined-only", "-j", str(at / f"{name}.o")], capture_output=True, text=True, check=True)
    names = sorted({n for n in listed.stdout.split() if not n.startswith(".")})
    (at / "names").write_text("".join(f"{n} {n}.{number}\n" for n in names))
    subprocess.run(["objcopy", f"--redefine-syms={at / 'names'}", str(at / f"{name}.o"), str(to)], check=True)
    return to


def make(at, n_units=16, n_types=8, n_copies=14):
    """The program's path."""
    at = pathlib.Path(at)
    program = at / f"big-{n_units}-{n_types}-{n_copies}"
    if program.exists():
        return program
    at.mkdir(parents=True, exist_ok=True)
    (at / "main.cc").write_text("int main() { return 0; }\n")
    subprocess.run(["g++", "-g", "-c", "-o", str(at / "main.o"), str(at / "main.cc")], check=True)
    objects = [at / "main.o"]
    for u in range(n_units):
        compiler, version = COMPILERS[u % len(COMPILERS)]
        (at / f"u{u}.cc").write_text(source(u, n_types + u % 5))
        subprocess.run([compiler, "-std=c++17", "-O2", version, "-c", "-o", str(at / f"u{u}.o"), str(at / f"u{u}.cc")],
                       check=True)
        objects += [copy(at, f"u{u}", k) for k in range(n_copies)]
    (at / "objects").write_text("\n".join(map(str, objects)))
    subprocess.run(["g++", "-Wl,-z,muldefs", "-o", str(program), f"@{at / 'objects'}"], check=True)
    for o in objects:
        o.unlink(missing_ok=True)
    return program


if __name__ == "__main__":
    print(make(sys.argv[1]))
