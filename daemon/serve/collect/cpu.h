/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cpu.h - CPU samples: from rows of totals to a capture. */

#include "daemon/serve/ahead.h"
#include "daemon/serve/session.h"

/* Kernel-side figures at one moment, to tell what a window lost. */
struct cpu_figures {
	uint64_t statistics[PP_N_STATISTICS];
	uint64_t n_events, n_stale, n_other, n_not_kept, n_unlabelled;
	size_t n_images;
	int64_t cpu_ns; /* of the process, by its own clock; 0: it has ended */
};

/* The lock is held for these two. */
void cpu_figures(const struct session *s, struct cpu_figures *ret);
/* Adds the samples since `before` and the comments that say what is missing. 0 or -ENOMEM. */
int cpu_capture(const struct session *s, const struct totals_before *before,
		const struct cpu_figures *then, struct capture *to);
/* Adds the words of their stacks. Likewise. */
int cpu_words(const struct session *s, const struct totals_before *before, struct ahead_words *to);
