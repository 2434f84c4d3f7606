/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* probe_list.h - the probes of one file while they are being found.
 *
 * Owns them until probe_list_deinit. Past SYMBOLIZER_MAX_PROBES one is counted and not kept. */

#include "base/vec.h"
#include "symbolizer/probes.h"

struct probe_list {
	VEC(struct symbolizer_probe) probes;
	struct symbolizer_probes_end end; /* n_probes is set by allocators_find */
};

/* 0, also where it was only counted; -ENOMEM. */
static inline int probe_list_add(struct probe_list *l, const struct symbolizer_probe *p)
{
	if (l->probes.n < SYMBOLIZER_MAX_PROBES)
		return vec_push(&l->probes, *p);
	l->end.n_lost++;
	return 0;
}

static inline void probe_list_deinit(struct probe_list *l)
{
	vec_deinit(&l->probes);
}
