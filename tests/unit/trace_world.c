/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/hash.h"

#define WALL 1700000000000000000ull

static int inflate_file(const char *path, struct bytes *to)
{
	gzFile f = gzopen(path, "rb");
	char part[65536];
	int n;

	if (!f)
		return -ENOENT;
	while ((n = gzread(f, part, sizeof(part))) > 0)
		bytes_add(to, part, (size_t)n);
	gzclose(f);
	return n < 0 || to->bad ? -EIO : 0;
}

static void read_name(struct cursor *c, char name[16])
{
	struct cursor text = cursor_sub(c, cursor_uleb128(c));
	size_t n = cursor_left(&text);

	memset(name, 0, 16);
	memcpy(name, text.p, n < 15 ? n : 15);
}

static void read_stacks(struct trace_world *w, struct cursor *c)
{
	uint64_t n_pcs = cursor_uleb128(c), n, pc = 0;
	VEC(struct trace_frame) pcs = { 0 };

	for (uint64_t i = 0; i < n_pcs && !c->bad; i++) {
		char *name = NULL;

		pc += cursor_uleb128(c);
		if (asprintf(&name, "f%llx", (unsigned long long)pc) < 0)
			break;
		vec_push(&w->names, name);
		vec_push(&pcs, ((struct trace_frame){ pc, name, "recorded.c", (uint32_t)i + 1, false }));
	}
	n = cursor_uleb128(c);
	vec_push(&w->stacks, ((struct trace_world_stack){ 0, 0 }));
	for (uint64_t i = 0; i < n && !c->bad; i++) {
		struct trace_world_stack s = { (uint32_t)w->frames.n, (uint32_t)cursor_uleb128(c) };

		for (uint32_t k = 0; k < s.n && !c->bad; k++) {
			uint64_t at = cursor_uleb128(c);

			vec_push(&w->frames, pcs.data[at < pcs.n ? at : 0]);
		}
		vec_push(&w->stacks, s);
	}
	vec_deinit(&pcs);
}

static void read_events(struct trace_world *w, struct cursor *c)
{
	uint64_t n = cursor_uleb128(c), t = 0;

	for (uint64_t i = 0; i < n && !c->bad; i++) {
		struct trace_event e = { .time = t += cursor_uleb128(c) };
		uint64_t call;

		e.kind = (uint8_t)cursor_uleb128(c);
		e.tid = (uint32_t)cursor_uleb128(c);
		e.cpu = (uint16_t)cursor_uleb128(c);
		e.other = (uint32_t)cursor_uleb128(c);
		e.stack = (uint32_t)cursor_uleb128(c);
		e.why = (uint8_t)cursor_uleb128(c);
		call = cursor_uleb128(c);
		e.call = (int16_t)(call & 1 ? -(int64_t)(call >> 1) - 1 : (int64_t)(call >> 1));
		e.flags = (uint8_t)cursor_uleb128(c);
		read_name(c, e.name);
		vec_push(&w->events, e);
	}
}

static void finish_start(struct trace_world *w)
{
	w->start.monotonic = w->events.data[0].time - 1000;
	w->start.realtime = WALL;
	w->start.boottime = w->start.monotonic + 5000000000ull;
	w->start.threads = w->threads.data;
	w->start.n_threads = (uint32_t)w->threads.n;
	w->start.pid = w->threads.data[0].tid;
	w->start.process = w->threads.data[0].name;
	w->start.n_cpus = 2;
}

int trace_world_read(struct trace_world *w, const char *path)
{
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
	int r = inflate_file(path, &b);
	struct cursor c;
	uint64_t n;

	memset(w, 0, sizeof(*w));
	if (r < 0)
		return r;
	c = cursor_over(b.data, b.n);
	n = cursor_uleb128(&c);
	for (uint64_t i = 0; i < n && !c.bad; i++) {
		struct trace_thread t = { .tid = (uint32_t)cursor_uleb128(&c) };

		read_name(&c, t.name);
		vec_push(&w->threads, t);
	}
	read_stacks(w, &c);
	read_events(w, &c);
	if (c.bad || cursor_left(&c) || !w->events.n || !w->threads.n)
		return -EBADMSG;
	finish_start(w);
	return 0;
}

uint32_t trace_world_stack(struct trace_world *w, const char *const *functions)
{
	struct trace_world_stack s = { (uint32_t)w->frames.n, 0 };

	for (; functions[s.n]; s.n++) {
		uint64_t pc = 0x1000 + hash_bytes(HASH_SEED, functions[s.n], strlen(functions[s.n])) % 0xfffff;
		struct trace_frame f = { pc, functions[s.n], "demo.c", 10 + s.n, false };

		vec_push(&w->frames, f);
	}
	if (!w->stacks.n)
		vec_push(&w->stacks, ((struct trace_world_stack){ 0, 0 }));
	vec_push(&w->stacks, s);
	return (uint32_t)w->stacks.n - 1;
}

void trace_world_add(struct trace_world *w, struct trace_event e)
{
	vec_push(&w->events, e);
}

int trace_world_small(struct trace_world *w)
{
	static const struct trace_thread threads[] = { { 101, "main", false }, { 102, "worker", false },
						       { 104, "quiet", false }, { 105, "reader", true } };
	const uint64_t t = 1000000000;

	memset(w, 0, sizeof(*w));
	for (size_t i = 0; i < sizeof(threads) / sizeof(*threads); i++)
		vec_push(&w->threads, threads[i]);
#define STACK(...) trace_world_stack(w, (const char *const[]){ __VA_ARGS__, NULL })
#define AT(ns, k, id, c, nr, ...)                                                                  \
	trace_world_add(w, (struct trace_event){ .time = t + (ns), .kind = (k), .tid = (id), .cpu = (c), .call = (nr), \
						 ##__VA_ARGS__ })
	AT(1000, TRACE_IN, 101, 0, -1);
	AT(5000, TRACE_ENTER, 101, 0, 202, .stack = STACK("futex_wait", "lock", "main"));
	AT(8000, TRACE_OUT, 101, 0, 202, .why = TRACE_SYNC, .stack = STACK("futex_wait", "lock", "main"));
	AT(9000, TRACE_IN, 102, 1, -1);
	AT(22000, TRACE_OUT, 102, 1, 18, .why = TRACE_SYSCALL, .flags = TRACE_DISK,
	   .stack = STACK("pwrite", "flush", "run"));
	AT(60000, TRACE_WAKING, 105, 1, -1, .flags = TRACE_IRQ);
	AT(61000, TRACE_IN, 105, 1, -1);
	AT(62000, TRACE_OUT, 105, 1, -1, .why = TRACE_NETWORK, .stack = STACK("recv", "reader"));
	AT(90000, TRACE_WAKING, 102, 0, -1, .name = "kworker/0:1");
	AT(95000, TRACE_IN, 102, 0, -1);
	AT(99000, TRACE_WAKING, 101, 0, -1, .other = 102, .stack = STACK("unlock", "run"));
	AT(99500, TRACE_IN, 101, 1, -1);
	AT(99800, TRACE_LEAVE, 101, 1, 202);
	AT(100000, TRACE_NEW, 103, 1, -1, .other = 101, .name = "main", .stack = STACK("pthread_create", "main"));
	AT(100200, TRACE_NAME, 103, 1, -1, .name = "helper");
	AT(100500, TRACE_SAMPLE, 101, 1, -1, .stack = STACK("compute", "main"));
	AT(110000, TRACE_OUT, 101, 1, -1, .why = TRACE_PREEMPTED, .stack = STACK("compute", "main"));
	AT(110000, TRACE_IN, 103, 1, -1);
	AT(115000, TRACE_OUT, 102, 0, 24, .why = TRACE_YIELDED);
	AT(120000, TRACE_EXIT, 103, 1, -1);
	AT(120100, TRACE_OUT, 103, 1, -1, .why = TRACE_DEAD);
#undef AT
#undef STACK
	finish_start(w);
	return 0;
}

void trace_world_free(struct trace_world *w)
{
	for (size_t i = 0; i < w->names.n; i++)
		free(w->names.data[i]);
	vec_deinit(&w->names);
	vec_deinit(&w->threads);
	vec_deinit(&w->events);
	vec_deinit(&w->frames);
	vec_deinit(&w->stacks);
}

uint32_t trace_world_frames(void *world, uint32_t id, const struct trace_frame **ret)
{
	const struct trace_world *w = world;

	if (!id || id >= w->stacks.n)
		return 0;
	*ret = w->frames.data + w->stacks.data[id].first;
	return w->stacks.data[id].n;
}

static uint32_t dice(uint64_t *seed)
{
	*seed = hash_u64(*seed, 0x9e3779b97f4a7c15ull);
	return (uint32_t)(*seed >> 20) % 1000000;
}

static int by_time(const void *a, const void *b)
{
	uint64_t s = ((const struct trace_event *)a)->time, t = ((const struct trace_event *)b)->time;

	return s < t ? -1 : s > t;
}

typedef VEC(struct trace_event) events_vec;

/* Losses come alone and in bursts, as from a ring that is full for a while. */
static uint64_t harm_events(struct trace_world *w, const struct trace_harm *h, struct bytes *to, size_t *ret_n)
{
	uint64_t seed = h->seed, lost = 0;
	uint32_t burst = 0, n = h->n ? h->n : (uint32_t)w->events.n;

	for (size_t i = h->first; i < h->first + n && i < w->events.n; i++) {
		struct trace_event e = w->events.data[i];

		if (!h->calls && (e.kind == TRACE_ENTER || e.kind == TRACE_LEAVE))
			continue;
		if (burst || dice(&seed) < h->lose) {
			static const uint8_t bursts[] = { 0, 0, 0, 5, 200 };

			burst = burst ? burst - 1 : bursts[dice(&seed) % 5];
			lost++;
			continue;
		}
		e.time += (uint64_t)h->skew_ns * e.cpu;
		bytes_add(to, &e, sizeof(e));
		if (dice(&seed) < h->twice)
			bytes_add(to, &e, sizeof(e));
	}
	*ret_n = to->n / sizeof(struct trace_event);
	if (*ret_n) /* glibc's is stable; nothing hangs on it */
		qsort(to->data, *ret_n, sizeof(struct trace_event), by_time);
	return lost;
}

int trace_world_play(struct trace_world *w, const struct trace_harm *harm, uint64_t ns,
		     int (*each)(void *context, const struct trace_generation *generation), void *context)
{
	_cleanup_(bytes_deinit) struct bytes all = BYTES_INIT;
	uint64_t seed = harm->seed + 1, lost = 0, t;
	events_vec late = { 0 }, now = { 0 };
	const struct trace_event *e;
	size_t n = 0, i = 0;
	int r = 0;

	lost = harm_events(w, harm, &all, &n);
	e = (const struct trace_event *)all.data;
	t = n ? e[0].time - 1 : w->start.monotonic;
	while (!r && i < n) {
		struct trace_generation g = { .began = t, .ended = t + ns, .n_lost = lost, .context = w,
					      .frames = trace_world_frames };

		now.n = 0;
		for (size_t k = 0; k < late.n; k++)
			vec_push(&now, late.data[k]);
		late.n = 0;
		for (; i < n && e[i].time < g.ended; i++)
			if (dice(&seed) < harm->late)
				vec_push(&late, e[i]);
			else
				vec_push(&now, e[i]);
		g.events = now.data;
		g.n = (uint32_t)now.n;
		r = each(context, &g);
		lost = 0;
		t = g.ended;
	}
	vec_deinit(&late);
	vec_deinit(&now);
	return r;
}
