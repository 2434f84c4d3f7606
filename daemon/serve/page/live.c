/* SPDX-License-Identifier: Apache-2.0 */

/* live.c - -/live: what a process takes now. One question to the broker, and a look at what is counted anyway: nothing is
 * attached, and no slot is taken. */

#include <string.h>
#include <unistd.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/metrics/facts.h"
#include "daemon/serve/page/html.h"
#include "daemon/serve/page/page.h"

struct live {
	double cpu_s, overhead_s, block_s;
	uint64_t resident_bytes;
	int64_t inuse_bytes, started_ms;
	uint32_t n_threads;
	bool alive, has_overhead, has_heap, has_block;
};

/* Of all threads, those that have ended too; finer than ticks. */
static double cpu_seconds(int32_t pid)
{
	return (double)clock_ns((clockid_t)(~(unsigned)pid << 3 | 2)) / 1e9;
}

static void add_process(const struct known_process *k, const struct broker_stat *stat, struct live *to)
{
	int64_t started_ms = page_started_ms(k->start);

	if (!stat->n_threads)
		return;
	to->alive = true;
	to->cpu_s += cpu_seconds(k->pid);
	to->resident_bytes += stat->resident_bytes;
	to->n_threads += stat->n_threads;
	if (!to->started_ms || started_ms < to->started_ms)
		to->started_ms = started_ms;
}

/* Waits that can be for synchronization, as far as can be told without names: the block profile may leave some out. The
 * lock is held. */
static double blocked_seconds(struct core *c, const struct target *t)
{
	int64_t sum = 0;

	for (size_t i = 0; i < c->kept.rows.n; i++) {
		const struct total *row = &c->kept.rows.data[i];

		if (row->collector == PP_WAIT && target_has_image(t, row->target) && wait_may_be_sync(row->item))
			sum += row->v[1];
	}
	return (double)sum / 1e9;
}

/* What is counted of it already. */
static void add_counts(struct core *c, int32_t pid, struct live *to)
{
	struct target *t = lease_find(c, pid);
	struct facts_target f = { 0 };

	if (!t)
		return;
	pthread_mutex_lock(&c->lock);
	if (c->kernel == CORE_READY) {
		bool keeps = !t->leased || __atomic_load_n(&t->keeps, __ATOMIC_RELAXED);

		facts_target_read(c, t, &f);
		to->overhead_s += f.sample_s + f.heap_s + f.wait_s + f.custom_s;
		to->has_overhead = true;
		if (c->heap.loaded && t->heap.sides & BROKER_SIDE_FREE) {
			int64_t live = __atomic_load_n(&c->heap.states[t->index].live_bytes, __ATOMIC_RELAXED);

			to->inuse_bytes += live > 0 ? live : 0;
			to->has_heap = true;
		}
		if (c->waits.loaded && keeps) {
			pool_fold(&c->pool, &c->totals, &c->kept);
			to->block_s += blocked_seconds(c, t);
			to->has_block = true;
		}
	}
	pthread_mutex_unlock(&c->lock);
	lease_end(c, t);
}

static void read_all(struct core *c, const struct page_found *f, struct live *to)
{
	struct broker_stat stats[PLACE_MAX];
	struct broker_who who[PLACE_MAX];

	for (size_t i = 0; i < f->n; i++)
		who[i] = (struct broker_who){ .known = f->all[i].id, .pid = f->all[i].pid };
	if (!f->n || broker_stats(&c->broker, who, (uint32_t)f->n, stats) < 0)
		return;
	for (size_t i = 0; i < f->n; i++) {
		add_process(&f->all[i], &stats[i], to);
		add_counts(c, f->all[i].pid, to);
	}
}

static void add_seconds(struct bytes *b, const char *name, bool has, double v)
{
	bytes_printf(b, ",\"%s\":", name);
	if (has)
		bytes_printf(b, "%.9g", v);
	else
		bytes_puts(b, "null");
}

void page_live(const struct asking *s, const struct page_found *f)
{
	struct bytes *b = &s->ret->body;
	struct live l = { 0 };

	read_all(s->a->core, f, &l);
	bytes_printf(b, "{\"time\":%lld,\"alive\":%s,\"processes\":%zu,\"left_out\":%zu", (long long)(realtime_ns() / NS_PER_MS),
		     l.alive ? "true" : "false", f->n, f->n_all - f->n);
	bytes_printf(b, ",\"cpus\":%ld,\"cpu_s\":%.6f,\"rss\":%llu,\"threads\":%u,\"started\":%lld", sysconf(_SC_NPROCESSORS_ONLN),
		     l.cpu_s, (unsigned long long)l.resident_bytes, l.n_threads, (long long)l.started_ms);
	add_seconds(b, "block_s", l.has_block, l.block_s);
	add_seconds(b, "overhead_s", l.has_overhead, l.overhead_s);
	if (l.has_heap)
		bytes_printf(b, ",\"heap\":{\"inuse_bytes\":%lld}}\n", (long long)l.inuse_bytes);
	else
		bytes_puts(b, ",\"heap\":null}\n");
	s->ret->status = 200;
	s->ret->kind = HTTP_JSON;
}
