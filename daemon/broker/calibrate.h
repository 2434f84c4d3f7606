/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* calibrate.h - what does a uprobe cost on this machine? Measured on a child of ours, so that nobody's
 * process pays for the knowledge. */

#include <stdint.h>
#include <sys/types.h>

/* Attaches to `offset` of our own executable for the process: descriptor of the link, or -errno. */
typedef int calibrate_attach_fn(void *context, int file, uint64_t offset, pid_t pid);

/* Where our own executable has an instruction that may be probed, which nobody runs but a child that is measured: its offset
 * there, and the file, which is the caller's. 0 or -errno. */
int calibrate_place(int *ret_file, uint64_t *ret_offset);

/* CPU time of one hit in nanoseconds, the dearest of 1 to 4 threads at once, where so many others, which are attached for
 * ourselves, share the place; or -errno. */
int calibrate_hit(calibrate_attach_fn *attach, void *context, unsigned n_others);
