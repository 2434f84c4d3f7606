# SPDX-License-Identifier: Apache-2.0
"""memleak.py SCRIPT ARGUMENTS... - runs bcc's memleak as Debian 12 has it (0.26), but for one thing.

Its Python passes bpf_attach_uprobe one argument less than its library takes: what happens to stand on
the stack becomes the offset of a semaphore, and the kernel refuses. Here it is 0. For the Python that bcc
is installed for."""
import ctypes
import runpy
import sys

import bcc
from bcc import libbcc

attach = libbcc.lib.bpf_attach_uprobe
short = len(attach.argtypes) == 6
if short:
    attach.argtypes = [*attach.argtypes, ctypes.c_uint32]


class Library:
    def __getattr__(self, name):
        if name == "bpf_attach_uprobe" and short:
            return lambda *arguments: attach(*arguments, 0)
        return getattr(libbcc.lib, name)


bcc.lib = Library()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
