/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "daemon/broker/answer.h"
#include "daemon/broker/context.h"
#include "daemon/broker/dwo_file.h"
#include "daemon/broker/labels.h"

void answer_fd(struct answer *a, int fd)
{
	if (fd < 0) {
		a->r->status = fd;
		return;
	}
	a->r->fds[a->r->n_fds++] = fd;
	a->give = true;
}

void answer_debug(struct broker *b, struct answer *a)
{
	const struct broker_debug *q = record_payload(a->r, struct broker_debug);
	const struct debug_caches caches = { b->debug_cache, b->fetches.cache.path };
	enum broker_place place = BROKER_N_PLACES;
	uint32_t found;

	if (!q || q->target >= b->n_processes || q->place >= BROKER_N_PLACES)
		a->r->status = -EINVAL;
	else
		answer_fd(a, debug_file_open(&b->processes[q->target], q, &caches, &place));
	if (a->give && place == BROKER_PLACE_FETCHED)
		fetch_cache_used(a->r->fds[0]);
	found = place;
	memcpy(a->r->data, &found, sizeof(found));
	a->r->n = sizeof(found);
}

void answer_fetch(struct broker *b, struct answer *a)
{
	const struct broker_fetch *q = record_payload(a->r, struct broker_fetch);
	struct broker_fetched f = { 0 };

	a->r->status = q ? fetches_answer(&b->fetches, q, &f) : -EINVAL;
	memcpy(a->r->data, &f, sizeof(f));
	a->r->n = sizeof(f);
}

void answer_dwo(struct broker *b, struct answer *a)
{
	const struct broker_dwo *q = record_payload(a->r, struct broker_dwo);
	enum broker_dwo_place place = BROKER_N_DWO_PLACES;
	uint32_t found;

	if (!q || q->target >= b->n_processes || q->place >= BROKER_N_DWO_PLACES)
		a->r->status = -EINVAL;
	else
		answer_fd(a, dwo_file_open(&b->processes[q->target], q, &place));
	found = place;
	memcpy(a->r->data, &found, sizeof(found));
	a->r->n = sizeof(found);
}

void answer_perf_map(struct broker *b, struct answer *a)
{
	const uint32_t *target = record_payload(a->r, uint32_t);

	if (!target || *target >= b->n_processes)
		a->r->status = -EINVAL;
	else
		answer_fd(a, perf_map_open(&b->processes[*target]));
	a->r->n = 0;
}

void answer_context(struct broker *b, struct answer *a)
{
	const uint32_t *target = record_payload(a->r, uint32_t);

	if (!target || *target >= b->n_processes)
		a->r->status = -EINVAL;
	else
		answer_fd(a, context_open(&b->processes[*target]));
	a->r->n = 0;
}

void answer_labels(struct broker *b, struct answer *a)
{
	struct broker_labels q = { 0 };
	const struct record *r = a->r;

	if (r->n >= sizeof(q))
		memcpy(&q, r->data, sizeof(q));
	if (r->n < sizeof(q) || q.n > BROKER_MAX_LABELS ||
	    r->n != sizeof(q) + q.n * sizeof(uint64_t) || q.target >= b->n_processes)
		a->r->status = -EINVAL;
	else
		answer_fd(a,
			  labels_read(&b->processes[q.target], &q.labels,
				      (const uint64_t *)(const void *)(r->data + sizeof(q)), q.n));
	a->r->n = 0;
}

void answer_carry(struct broker *b, struct answer *a)
{
	const uint32_t *target = record_payload(a->r, uint32_t);
	int fds[2] = { -1, -1 };

	a->r->status = -EINVAL;
	if (target && *target < b->n_processes)
		a->r->status = carry_open(&b->carry, &b->processes[*target], fds);
	a->r->n = 0;
	a->give = true;
	for (int i = 0; i < 2 && a->r->status == 0; i++)
		a->r->fds[a->r->n_fds++] = fds[i];
}
