/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ring.h - reads the ring of notices (Documentation/bpf/ringbuf.rst), without libbpf: serve has the
 * descriptor and nothing else.
 *
 * Owns the mappings. One reader. What the kernel wrote is checked for length. */

#include <stdint.h>

#include "bpf/event.h"

struct ring {
	int fd;
	uint32_t size; /* bytes of records, a power of two */
	uint64_t *consumer;
	const uint64_t *producer;
	const char *records; /* mapped twice, so that a record never wraps */
};

typedef void ring_fn(void *context, const struct pp_notice *n);

/* Takes the descriptor. 0 or -errno. */
int ring_init(struct ring *r, int fd, uint32_t size);
void ring_deinit(struct ring *r);
/* Calls `notice` for what has arrived. The descriptor polls readable while something waits. */
void ring_read(struct ring *r, ring_fn *notice, void *context);
