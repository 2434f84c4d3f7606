/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as the counts that an earlier pprofd has left, for the process that they say they are of. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct core c;
	struct target *t = &c.targets[0];

	memset(&c, 0, sizeof(c));
	c.next_image = 2;
	assert(vec_push(&t->images, 1) == 0);
	if (n >= 16) { /* as in the head: pid, gaps, start */
		memcpy(&t->pid, data, sizeof(t->pid));
		memcpy(&t->start_boottime, data + 8, sizeof(t->start_boottime));
	}
	if (carry_read(&c, t, data, n) == 0)
		assert(t->images.n == 2 && t->carry.restored);
	else
		assert(t->images.n == 1 && !t->carry.restored);
	assert(t->images.data[t->images.n - 1] == 1);
	for (size_t i = 0; i < c.kept.rows.n; i++)
		assert(c.kept.rows.data[i].collector < PP_N_COLLECTORS && c.kept.rows.data[i].v[0] >= 0);
	totals_deinit(&c.kept);
	objects_deinit(&c.objects);
	vec_deinit(&t->images);
	return 0;
}
