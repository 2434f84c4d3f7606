/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "daemon/broker/answer.h"
#include "daemon/broker/context.h"
#include "daemon/broker/dwo_file.h"
#include "daemon/broker/labels.h"
#include "daemon/broker/usage.h"

void answer_fd(struct answer *a, int fd)
{
	if (fd < 0) {
		a->r->status = fd;
		return;
	}
	a->r->fds[a->r->n_fds++] = fd;
	a->give = true;
}

void answer_file(struct answer *a, int fd)
{
	answer_fd(a, fd);
	a->foreign = a->give;
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
		answer_file(a, debug_file_open(&b->processes[q->target], q, &caches, &place));
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
		answer_file(a, dwo_file_open(&b->processes[q->target], q, &place));
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
		answer_file(a, perf_map_open(&b->processes[*target]));
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

void answer_usage(struct broker *b, struct answer *a)
{
	struct broker_usage u;

	usage_read(b, &u);
	memcpy(a->r->data, &u, sizeof(u));
	a->r->n = sizeof(u);
}

void answer_stats(struct broker *b, struct answer *a)
{
	struct broker_stat all[BROKER_MAX_STATS];
	const struct broker_known *k;
	struct broker_who who;
	uint32_t n = a->r->n / sizeof(who);

	if (a->r->n % sizeof(who) || n > BROKER_MAX_STATS) {
		a->r->status = -EINVAL;
		a->r->n = 0;
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		memcpy(&who, a->r->data + i * sizeof(who), sizeof(who));
		k = census_find_pid(&b->census, who.known, who.pid);
		all[i] = (struct broker_stat){ 0 };
		if (k)
			usage_stat(k, &all[i]);
	}
	memcpy(a->r->data, all, n * sizeof(*all));
	a->r->n = n * (uint32_t)sizeof(*all);
}

void answer_cmdline(struct broker *b, struct answer *a)
{
	const struct broker_who *who = record_payload(a->r, struct broker_who);
	const struct broker_known *k = who ? census_find_pid(&b->census, who->known, who->pid) : NULL;
	struct broker_stat alive = { 0 };
	char path[32];
	int fd;

	if (!k) {
		a->r->status = -ESRCH;
	} else {
		snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)k->pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		answer_fd(a, fd < 0 ? -errno : fd);
		usage_stat(k, &alive);
	}
	if (a->give && !alive.n_threads) { /* it may be another process's */
		record_close_fds(a->r);
		a->r->status = -ESRCH;
	}
	a->r->n = 0;
}

void broker_look_web(struct broker *b, bool even_if_same)
{
	char error[WEB_MAX_TEXT];

	if (web_look(&b->web, even_if_same, error) < 0)
		fprintf(stderr, "pprofd: %s; what was read before holds\n", error);
}

int broker_send_web(struct broker *b)
{
	static struct record r;
	int err;

	r = (struct record){ .type = BROKER_WEB };
	err = web_record(&b->web, 0, &r);
	if (err == 0)
		err = record_send(b->serve.socket, &r);
	record_close_fds(&r);
	return err;
}

void answer_web(struct broker *b, struct answer *a)
{
	const uint32_t *has = record_payload(a->r, uint32_t);
	uint32_t generation = has ? *has : 0;

	broker_look_web(b, false);
	a->r->n = 0;
	a->r->status = b->web.path ? web_record(&b->web, generation, a->r) : -ENOENT;
	a->give = true;
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

void answer_proc(struct broker *b, struct answer *a)
{
	const struct broker_proc *q = record_payload(a->r, struct broker_proc);

	if (!q || q->target >= b->n_processes || q->file >= BROKER_N_PROC)
		a->r->status = -EINVAL;
	else
		answer_fd(a, process_open_proc(&b->processes[q->target],
					     (enum broker_proc_file)q->file));
	a->r->n = 0;
}

void answer_object(struct broker *b, struct answer *a)
{
	const struct broker_range *q = record_payload(a->r, struct broker_range);
	struct broker_file file = { 0 };

	if (!q || q->target >= b->n_processes)
		a->r->status = -EINVAL;
	else
		answer_file(a, process_open_mapped(&b->processes[q->target], q->start, q->end, &file));
	memcpy(a->r->data, &file, sizeof(file));
	a->r->n = sizeof(file);
}
