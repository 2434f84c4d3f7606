/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* perfetto_check.h - reads a Perfetto trace against the part of its schema that we use: every field is known there and of its
 * type, every number that stands for a string, frame or stack has been said before. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct perfetto_check {
	uint64_t n_packets, n_bundles, n_lost_bundles, n_samples, n_stacks, n_frames, n_functions, n_notes;
	uint64_t n_processes, n_threads;
	uint64_t n_event[512]; /* by field of FtraceEvent */
	uint64_t n_from_idle, n_to_idle; /* switches */
	uint64_t first, last; /* times of scheduler's events */
	char note[256];	      /* the last */
	char error[128];
};

bool perfetto_check(const void *data, size_t n, struct perfetto_check *ret);
