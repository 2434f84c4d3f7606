/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* worker.h - the symbolizer child: answers questions on one socket until it closes.
 *
 * Owns a small cache of parsed files by object id. Opens nothing: files arrive as descriptors. */

#include <stddef.h>

struct worker_vdso {
	const void *image; /* NULL: none */
	size_t n;
};

/* Returns when the peer is gone: 0, or -errno. */
int worker_run(int socket, struct worker_vdso vdso);
