/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* files.h - the descriptors that come with a question. */

#include "base/cleanup.h"
#include "symbolizer/protocol.h"

/* Descriptors of a question; what is left is closed. */
struct files {
	int own, debug, alt, dwp;
};

/* What a question says about itself, checked. */
static inline const struct symbolizer_question *question(const struct record *r)
{
	const struct symbolizer_question *q = (const void *)r->data;
	uint32_t n;

	if (r->n < sizeof(*q))
		return NULL;
	n = r->type == SYMBOLIZER_FITS || r->type == SYMBOLIZER_DWO ? 0 : q->n;
	if (n > SYMBOLIZER_MAX_ADDRESSES || !q->object || q->beside > SYMBOLIZER_BESIDE_ALL ||
	    r->n != sizeof(*q) + n * sizeof(uint64_t) || q->demangle > DEMANGLE_FULL)
		return NULL;
	return q;
}

/* The vdso alone comes without a descriptor of its own. */
static inline struct files take_files(struct record *r, const struct symbolizer_question *q)
{
	struct files f = { -1, -1, -1, -1 };
	uint32_t at = 0;

	if (r->n_fds && q->kind != SYMBOLIZER_VDSO)
		f.own = TAKE_FD(r->fds[at++]);
	if (q->beside & SYMBOLIZER_BESIDE_DEBUG && at < r->n_fds)
		f.debug = TAKE_FD(r->fds[at++]);
	if (q->beside & SYMBOLIZER_BESIDE_ALT && at < r->n_fds)
		f.alt = TAKE_FD(r->fds[at++]);
	if (q->beside & SYMBOLIZER_BESIDE_DWP && at < r->n_fds)
		f.dwp = TAKE_FD(r->fds[at++]);
	return f;
}

static inline void close_files(struct files *f)
{
	close_fd(&f->own);
	close_fd(&f->debug);
	close_fd(&f->alt);
	close_fd(&f->dwp);
}
