/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "trace_check_state.h"

#define MAX_BATCH 65536
#define MAX_STRING 1024
#define MAX_FRAMES 128
#define END_OF_GENERATION 52

static const struct kind {
	const char *name, *args; /* a letter each: s string, k stack, . number */
} kinds[64] = {
	[9] = { "ProcsChange", ".k" },	     [10] = { "ProcStart", ".." },
	[11] = { "ProcStop", "" },	     [13] = { "ProcStatus", ".." },
	[14] = { "GoCreate", ".kk" },	     [16] = { "GoStart", ".." },
	[17] = { "GoDestroy", "" },	     [19] = { "GoStop", "sk" },
	[20] = { "GoBlock", "sk" },	     [21] = { "GoUnblock", "..k" },
	[22] = { "GoSyscallBegin", ".k" },   [23] = { "GoSyscallEnd", "" },
	[24] = { "GoSyscallEndBlocked", "" }, [25] = { "GoStatus", "..." },
	[37] = { "HeapAlloc", "." },	     [38] = { "HeapGoal", "." },
	[39] = { "GoLabel", "s" },	     [40] = { "UserTaskBegin", "..sk" },
	[41] = { "UserTaskEnd", ".k" },	     [42] = { "UserRegionBegin", ".sk" },
	[43] = { "UserRegionEnd", ".sk" },   [44] = { "UserLog", ".ssk" },
	[48] = { "GoStatusStack", "...k" },
};

const char *trace_check_type(uint8_t type)
{
	return type < 64 && kinds[type].name ? kinds[type].name : "?";
}

int fail(struct reader *r, const char *format, ...)
{
	va_list ap;
	int n;

	if (r->ret->error[0])
		return -1;
	n = snprintf(r->ret->error, sizeof(r->ret->error), "generation %llu: ",
		     (unsigned long long)r->generation);
	va_start(ap, format);
	vsnprintf(r->ret->error + n, sizeof(r->ret->error) - (size_t)n, format, ap);
	va_end(ap);
	return -1;
}

/* Go's reader refuses a number of more than 64 bits. */
static uint64_t number(struct cursor *c)
{
	const uint8_t *from = c->p;
	uint64_t v = cursor_uleb128(c);

	if (c->p - from > 10 || (c->p - from == 10 && from[9] > 1))
		c->bad = true;
	return v;
}

static int read_strings(struct reader *r, struct cursor *c)
{
	while (cursor_left(c)) {
		uint8_t record = cursor_u8(c);
		uint64_t id = number(c), len = number(c);
		struct string s = { (const char *)c->p, len };

		cursor_skip(c, len);
		if (c->bad || record != 5 || !id || id > UINT32_MAX)
			return fail(r, "a bad record of strings");
		if (len > MAX_STRING)
			return fail(r, "string %llu: %llu bytes", (unsigned long long)id, (unsigned long long)len);
		while (r->strings.n <= id)
			vec_push(&r->strings, ((struct string){ NULL, 0 }));
		if (r->strings.data[id].text)
			return fail(r, "string %llu twice", (unsigned long long)id);
		r->strings.data[id] = s;
		r->ret->n_strings++;
	}
	return 0;
}

static int read_stacks(struct reader *r, struct cursor *c)
{
	while (cursor_left(c)) {
		uint8_t record = cursor_u8(c);
		uint64_t id = number(c), n = number(c);
		struct stack s = { c->p, (uint32_t)n };

		if (c->bad || record != 3 || !id || id > UINT32_MAX)
			return fail(r, "a bad record of stacks");
		if (!n || n > MAX_FRAMES)
			return fail(r, "stack %llu: %llu frames", (unsigned long long)id, (unsigned long long)n);
		for (uint64_t i = 0; i < n * 4; i++)
			number(c);
		if (c->bad)
			return fail(r, "stack %llu is cut", (unsigned long long)id);
		while (r->stacks.n <= id)
			vec_push(&r->stacks, ((struct stack){ NULL, 0 }));
		if (r->stacks.data[id].frames)
			return fail(r, "stack %llu twice", (unsigned long long)id);
		r->stacks.data[id] = s;
		r->ret->n_stacks++;
	}
	return 0;
}

static bool string_known(const struct reader *r, uint64_t id)
{
	return !id || (id < r->strings.n && r->strings.data[id].text);
}

static bool stack_known(const struct reader *r, uint64_t id)
{
	return !id || (id < r->stacks.n && r->stacks.data[id].frames);
}

/* From bytes that were read before. */
static struct cursor rest_of(const struct reader *r, const uint8_t *p)
{
	return cursor_over(p, (size_t)(r->c.end - p));
}

/* A PC must mean one frame. */
static int check_frames(struct reader *r)
{
	for (size_t i = 0; i < r->stacks.n; i++) {
		struct cursor c = { 0 };

		if (r->stacks.data[i].frames)
			c = rest_of(r, r->stacks.data[i].frames);

		for (uint32_t k = 0; k < r->stacks.data[i].n; k++) {
			uint64_t pc = number(&c), function = number(&c), file = number(&c), line = number(&c);
			uint64_t means = hash_u64(hash_u64(hash_u64(HASH_SEED, function), file), line);
			uint64_t *known = map_get(&r->pcs, pc);

			if (!string_known(r, function) || !string_known(r, file))
				return fail(r, "stack %zu: frame %u has an unknown string", i, k);
			if (!known)
				map_put(&r->pcs, pc, means);
			else if (*known != means)
				return fail(r, "stack %zu: pc %llx means two frames", i, (unsigned long long)pc);
		}
	}
	return 0;
}

static int read_samples(struct reader *r, struct cursor *c)
{
	while (cursor_left(c)) {
		uint8_t record = cursor_u8(c);
		uint64_t v[5];

		for (int i = 0; i < 5; i++)
			v[i] = number(c);
		if (c->bad || record != 7)
			return fail(r, "a bad sample");
		vec_push(&r->sample_stacks, v[4]);
		r->ret->n_samples++;
	}
	return 0;
}

static int read_clock(struct reader *r, struct cursor *c, bool sync)
{
	if (sync != (r->ret->version >= 25))
		return fail(r, "a frequency as another version has it");
	if (r->clocks++)
		return fail(r, "two frequencies");
	if (sync && cursor_u8(c) != 8)
		return fail(r, "a sync batch without a frequency");
	if (!number(c))
		return fail(r, "frequency 0");
	if (sync) {
		if (cursor_u8(c) != 51)
			return fail(r, "no clock snapshot");
		for (int i = 0; i < 4; i++)
			number(c);
	}
	if (c->bad || cursor_left(c))
		return fail(r, "a bad clock batch");
	return 0;
}

static struct m *m_of(struct reader *r, uint64_t id)
{
	uint64_t *at = map_get(&r->m_index, id);

	if (!at) {
		vec_push(&r->ms, ((struct m){ .id = id, .p = NONE, .g = NONE }));
		map_put(&r->m_index, id, r->ms.n - 1);
		return &r->ms.data[r->ms.n - 1];
	}
	return &r->ms.data[*at];
}

static int read_payload(struct reader *r, uint64_t id, uint64_t time, struct cursor c)
{
	struct cursor all = c;
	struct m *m;

	switch (cursor_u8(&c)) {
	case 2:
		return read_stacks(r, &c);
	case 4:
		return read_strings(r, &c);
	case 6:
		return read_samples(r, &c);
	case 8:
		return read_clock(r, &c, false);
	case 50:
		return read_clock(r, &c, true);
	}
	if (id == NONE)
		return fail(r, "events of no M");
	m = m_of(r, id);
	vec_push(&m->batches, ((struct batch){ time, all }));
	return 0;
}

/* 1: a batch; 0: the generation has ended; -1. */
static int read_batch(struct reader *r)
{
	struct cursor before = r->c;
	uint64_t generation, m, time, size;
	struct cursor payload;

	if (!cursor_left(&r->c))
		return 0;
	if (r->ret->version >= 26 && *r->c.p == END_OF_GENERATION) {
		cursor_skip(&r->c, 1);
		r->ended = true;
		return 0;
	}
	if (cursor_u8(&r->c) != 1)
		return fail(r, "no batch at byte %zu", (size_t)(before.p - r->begin));
	generation = number(&r->c);
	m = number(&r->c);
	time = number(&r->c);
	size = number(&r->c);
	payload = cursor_sub(&r->c, size);
	if (r->c.bad || !size || size > MAX_BATCH)
		return fail(r, "a bad batch at byte %zu", (size_t)(before.p - r->begin));
	if (generation == r->generation + 1 && r->ret->version < 26 && r->n_batches) {
		r->c = before;
		return 0;
	}
	if (generation != r->generation)
		return fail(r, "a batch of generation %llu", (unsigned long long)generation);
	r->ret->n_batches++;
	r->n_batches++;
	return read_payload(r, m, time, payload) < 0 ? -1 : 1;
}

static const char *frame_name(const struct reader *r, const struct stack *s, uint32_t at, size_t *ret_len)
{
	struct cursor c = rest_of(r, s->frames);
	uint64_t function;

	for (uint32_t i = 0; i < at * 4; i++)
		number(&c);
	number(&c);
	function = number(&c);
	*ret_len = 0;
	if (!function)
		return "";
	*ret_len = r->strings.data[function].len;
	return r->strings.data[function].text;
}

/* Strings and stacks that an event names. */
static int resolve(struct reader *r, const struct kind *k, struct trace_check_event *e)
{
	for (int i = 0; i < e->n_args; i++) {
		uint64_t v = e->args[i];

		if (k->args[i] == 's') {
			if (!string_known(r, v))
				return fail(r, "%s: unknown string %llu", k->name, (unsigned long long)v);
			e->string = v ? r->strings.data[v].text : "";
			e->string_len = v ? r->strings.data[v].len : 0;
		}
		if (k->args[i] == 'k') {
			if (!stack_known(r, v))
				return fail(r, "%s: unknown stack %llu", k->name, (unsigned long long)v);
			if (!v)
				continue;
			e->n_frames = r->stacks.data[v].n;
			e->root = frame_name(r, &r->stacks.data[v], e->n_frames - 1, &e->root_len);
		}
	}
	return 0;
}

/* m's next event into m->e; 0 at its end. */
static int next(struct reader *r, struct m *m)
{
	const struct kind *k;
	uint64_t dt;

	while (m->at < m->batches.n && !cursor_left(&m->batches.data[m->at].c)) {
		m->at++;
		m->begun = false;
	}
	if (m->at == m->batches.n)
		return 0;
	if (!m->begun)
		m->time = m->batches.data[m->at].time;
	m->begun = true;

	struct cursor *c = &m->batches.data[m->at].c;

	m->e = (struct trace_check_event){ .generation = r->generation, .m = m->id, .type = cursor_u8(c) };
	k = &kinds[m->e.type & 63];
	if (m->e.type > 63 || !k->name || (m->e.type == 48 && r->ret->version < 23))
		return fail(r, "M %llu: unknown event %u", (unsigned long long)m->id, m->e.type);
	dt = number(c);
	m->e.n_args = (uint8_t)strlen(k->args);
	for (int i = 0; i < m->e.n_args; i++)
		m->e.args[i] = number(c);
	if (c->bad || m->time + dt < m->time)
		return fail(r, "M %llu: a cut event", (unsigned long long)m->id);
	if (m->last > m->time + dt)
		return fail(r, "M %llu: time goes back", (unsigned long long)m->id);
	m->last = m->e.time = m->time += dt;
	return resolve(r, k, &m->e) < 0 ? -1 : 1;
}

static bool earlier(const struct reader *r, uint32_t a, uint32_t b)
{
	return r->ms.data[a].e.time < r->ms.data[b].e.time;
}

static void sift(struct reader *r, size_t i)
{
	for (;;) {
		size_t least = i, left = 2 * i + 1;
		uint32_t t;

		if (left < r->heap.n && earlier(r, r->heap.data[left], r->heap.data[least]))
			least = left;
		if (left + 1 < r->heap.n && earlier(r, r->heap.data[left + 1], r->heap.data[least]))
			least = left + 1;
		if (least == i)
			return;
		t = r->heap.data[i];
		r->heap.data[i] = r->heap.data[least];
		r->heap.data[least] = t;
		i = least;
	}
}

/* The M at heap[i] takes its event, if it can; 1: it did. */
static int try(struct reader *r, size_t i)
{
	struct m *m = &r->ms.data[r->heap.data[i]];
	int n = advance(r, m);

	if (n <= 0)
		return n;
	if (m->e.time <= r->now)
		r->ret->n_ties++;
	r->now = m->e.time;
	r->ret->n_events++;
	r->ret->n_type[m->e.type]++;
	if (r->ret->event)
		r->ret->event(r->ret->context, &m->e);
	n = next(r, m);
	if (n < 0)
		return -1;
	if (!n)
		r->heap.data[i] = r->heap.data[--r->heap.n];
	for (size_t k = i + 1; k-- > 0;) /* up or down from there */
		sift(r, k);
	return 1;
}

/* When the earliest cannot go on, the first of the others that can. */
static int retry(struct reader *r)
{
	r->ret->n_retries++;
	for (size_t i = 1; i < r->heap.n; i++) /* in order of time: a heap that is sorted stays one */
		for (size_t k = i; k && earlier(r, r->heap.data[k], r->heap.data[k - 1]); k--) {
			uint32_t t = r->heap.data[k];

			r->heap.data[k] = r->heap.data[k - 1];
			r->heap.data[k - 1] = t;
		}
	for (size_t i = 1; i < r->heap.n; i++) {
		int n = try(r, i);

		if (n)
			return n;
	}
	return 0;
}

static int play(struct reader *r)
{
	r->heap.n = 0;
	for (uint32_t i = 0; i < r->ms.n; i++) {
		int n = next(r, &r->ms.data[i]);

		if (n < 0)
			return -1;
		if (n)
			vec_push(&r->heap, i);
	}
	for (size_t i = r->heap.n; i-- > 0;)
		sift(r, i);
	while (r->heap.n) {
		int n = try(r, 0);

		if (!n)
			n = retry(r);
		if (!n) {
			struct m *m = &r->ms.data[r->heap.data[0]];

			return fail(r, "no M can go on; the earliest is %llu with %s %llu",
				    (unsigned long long)m->id, trace_check_type(m->e.type),
				    (unsigned long long)m->e.args[0]);
		}
		if (n < 0)
			return -1;
	}
	return 0;
}

static void forget_generation(struct reader *r)
{
	r->strings.n = r->stacks.n = r->sample_stacks.n = 0;
	r->n_batches = 0;
	r->clocks = 0;
	r->ended = false;
	map_clear(&r->pcs);
	for (size_t i = 0; i < r->ms.n; i++) {
		r->ms.data[i].batches.n = 0;
		r->ms.data[i].at = 0;
		r->ms.data[i].begun = false;
	}
}

static int read_generation(struct reader *r)
{
	int n;

	r->generation++;
	forget_generation(r);
	while ((n = read_batch(r)) > 0)
		;
	if (n < 0)
		return -1;
	if (r->clocks != 1)
		return fail(r, "no frequency");
	if (r->ret->version >= 26 && !r->ended)
		return fail(r, "no end of the generation");
	if (check_frames(r) < 0)
		return -1;
	for (size_t i = 0; i < r->sample_stacks.n; i++)
		if (!stack_known(r, r->sample_stacks.data[i]))
			return fail(r, "a sample of an unknown stack");
	r->ret->n_generations++;
	return play(r);
}

static int read_header(struct reader *r)
{
	static const unsigned versions[] = { 22, 23, 25, 26 };
	struct cursor head = cursor_sub(&r->c, 16);
	char want[17];

	for (size_t i = 0; i < 4 && !head.bad; i++) {
		memset(want, 0, sizeof(want));
		snprintf(want, sizeof(want), "go 1.%u trace", versions[i]);
		if (!memcmp(want, head.p, 16))
			r->ret->version = versions[i];
	}
	return r->ret->version ? 0 : fail(r, "no header of a version that is known");
}

static void deinit(struct reader *r)
{
	for (size_t i = 0; i < r->ms.n; i++)
		vec_deinit(&r->ms.data[i].batches);
	for (size_t i = 0; i < r->gs.n; i++)
		vec_deinit(&r->gs.data[i].regions);
	vec_deinit(&r->ms);
	vec_deinit(&r->gs);
	vec_deinit(&r->ps);
	vec_deinit(&r->tasks);
	vec_deinit(&r->strings);
	vec_deinit(&r->stacks);
	vec_deinit(&r->sample_stacks);
	vec_deinit(&r->heap);
	map_deinit(&r->m_index);
	map_deinit(&r->g_index);
	map_deinit(&r->p_index);
	map_deinit(&r->pcs);
}

bool trace_check(const void *data, size_t n, struct trace_check *ret)
{
	struct reader r = { .ret = ret, .c = cursor_over(data, n), .begin = data };

	*ret = (struct trace_check){ .event = ret->event, .context = ret->context };
	if (!read_header(&r)) {
		if (!cursor_left(&r.c))
			fail(&r, "nothing follows the header");
		while (cursor_left(&r.c) && !read_generation(&r))
			;
	}
	deinit(&r);
	return !ret->error[0];
}
