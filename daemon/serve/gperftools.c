/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/gperftools.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/serve/text.h"

enum leaf { LEAF_CALL, LEAF_EXACT };

static uint64_t address_of(const struct capture *c, const struct naming *n, uint32_t word)
{
	uint32_t l = naming_find(n, c->words.data[word]);

	return l == UINT32_MAX ? 1 : n->locations.data[l].address;
}

/* Of texts, `go tool pprof` takes one from the leaf too, and the perl pprof does not. The last byte
 * of a call is the same call for both; a page fault may be a function's first instruction, and is
 * given one more. */
static void add_stack(struct bytes *out, const struct capture *c, const struct naming *n,
		      uint32_t stack, enum leaf leaf)
{
	struct capture_stack s = c->stacks.data[stack];

	bytes_puts(out, " @");
	for (uint32_t i = 0; i < s.n; i++)
		bytes_printf(out, " 0x%llx",
			     (unsigned long long)address_of(c, n, s.first + i) +
				     (i > 0 || leaf == LEAF_EXACT));
	bytes_puts(out, "\n");
}

static void add_comments(struct bytes *out, const struct capture *c)
{
	for (size_t i = 0; i < c->comments.n; i++)
		bytes_printf(out, "# pprofd: %s\n", c->comments.data[i]);
}

/* In the shape of /proc/PID/maps. */
static void add_maps(struct bytes *out, const struct naming *n)
{
	for (size_t i = 0; i < n->mappings.n; i++) {
		const struct naming_mapping *m = &n->mappings.data[i];

		bytes_printf(out, "%08llx-%08llx r-xp %08llx 00:00 0 %s\n",
			     (unsigned long long)m->start, (unsigned long long)m->limit,
			     (unsigned long long)m->offset, m->file);
	}
}

static int finish(struct bytes *out, struct bytes *ret)
{
	int r = out->bad ? -ENOMEM : out->n >= TEXT_MAX_BYTES ? -E2BIG : 0;

	if (r < 0)
		bytes_deinit(out);
	else
		*ret = *out;
	return r;
}

/* Heads have no signs; what is in use may be less than it was. */
static unsigned long long sum(const struct capture *c, int column)
{
	int64_t v = 0;

	for (size_t i = 0; i < c->samples.n; i++)
		v += c->samples.data[i].values[column];
	return v > 0 ? (unsigned long long)v : 0;
}

/* Bytes of no objects make readers give up the whole text. */
static long long objects(const int64_t v[2])
{
	return v[0] || !v[1] ? v[0] : v[1] > 0 ? 1 : -1;
}

int gperftools_heap(const struct capture *c, const struct naming *n, uint64_t rate,
		    struct bytes *ret)
{
	unsigned long long allocated = sum(c, 1), used = sum(c, 3);
	struct bytes out = { 0 };

	/* equal columns would make readers take it for a profile of two */
	bytes_printf(&out, "heap profile: %llu: %llu [%llu: %llu] @ ", sum(c, 2), used, sum(c, 0),
		     allocated + (allocated == used));
	if (rate)
		bytes_printf(&out, "heap_v2/%llu\n", (unsigned long long)rate);
	else
		bytes_puts(&out, "heapprofile\n");
	for (size_t i = 0; i < c->samples.n && out.n < TEXT_MAX_BYTES; i++) {
		const struct capture_sample *s = &c->samples.data[i];

		bytes_printf(&out, "%lld: %lld [%lld: %lld]", objects(s->values + 2),
			     (long long)s->values[3], objects(s->values), (long long)s->values[1]);
		add_stack(&out, c, n, s->stack, LEAF_CALL);
	}
	add_comments(&out, c);
	bytes_puts(&out, "\nMAPPED_LIBRARIES:\n");
	add_maps(&out, n);
	return finish(&out, ret);
}

int gperftools_growth(const struct capture *c, const struct naming *n, struct bytes *ret)
{
	unsigned long long times = sum(c, 0), bytes = sum(c, 1);
	struct bytes out = { 0 };

	bytes_printf(&out, "heap profile: %llu: %llu [%llu: %llu] @ growthz\n", times, bytes, times,
		     bytes);
	for (size_t i = 0; i < c->samples.n && out.n < TEXT_MAX_BYTES; i++) {
		const struct capture_sample *s = &c->samples.data[i];

		bytes_printf(&out, "%lld: %lld [%lld: %lld]", objects(s->values),
			     (long long)s->values[1], objects(s->values), (long long)s->values[1]);
		add_stack(&out, c, n, s->stack, LEAF_EXACT);
	}
	add_comments(&out, c);
	bytes_puts(&out, "\nMAPPED_LIBRARIES:\n");
	add_maps(&out, n);
	return finish(&out, ret);
}

int gperftools_contention(const struct capture *c, const struct naming *n, struct bytes *ret)
{
	struct bytes out = { 0 };

	bytes_puts(&out, "--- contention:\ncycles/second=1000000000\nsampling period=1\n");
	for (size_t i = 0; i < c->samples.n && out.n < TEXT_MAX_BYTES; i++) {
		const struct capture_sample *s = &c->samples.data[i];
		int64_t times = s->values[0] > 0 ? s->values[0] : 1; /* readers divide by it */

		bytes_printf(&out, "%lld %lld", (long long)s->values[1], (long long)times);
		add_stack(&out, c, n, s->stack, LEAF_CALL);
	}
	add_comments(&out, c);
	bytes_puts(&out, "--- Memory map: ---\n");
	add_maps(&out, n);
	return finish(&out, ret);
}

static void add_word(struct bytes *out, uint64_t v)
{
	unsigned char b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (unsigned char)(v >> 8 * i);
	bytes_add(out, b, sizeof(b));
}

/* A reader that finds (nearly) the same second frame in all stacks takes it for gperftools' own
 * signal handler and takes it out, twice: true callers, of a program that has but one hot loop.
 * What is told apart here are records, not samples; so some that count for nothing, of one frame
 * only, keep callers where they are. */
static void add_ballast(struct bytes *out, const struct capture *c, const struct naming *n)
{
	size_t records = c->samples.n ? c->samples.n / 31 + 2 : 0;
	struct capture_stack s = { 0 };

	for (size_t i = 0; i < c->samples.n && !s.n; i++)
		s = c->stacks.data[c->samples.data[i].stack];
	for (size_t i = 0; i < records && s.n; i++) {
		add_word(out, 0);
		add_word(out, 1);
		add_word(out, address_of(c, n, s.first));
	}
}

static void add_cpu_sample(struct bytes *out, const struct capture *c, const struct naming *n,
			   const struct capture_sample *sample)
{
	struct capture_stack s = c->stacks.data[sample->stack];

	add_word(out, (uint64_t)sample->values[0]);
	add_word(out, s.n ? s.n : 1);
	if (!s.n)
		add_word(out, 1); /* no stack; 0 would be the end of all */
	for (uint32_t i = 0; i < s.n; i++)
		add_word(out, address_of(c, n, s.first + i) + (i > 0));
}

int gperftools_cpu(const struct capture *c, const struct naming *n, struct bytes *ret)
{
	const uint64_t head[] = { 0, 3, 0, (uint64_t)(c->period + 500) / 1000, 0 },
		       end[] = { 0, 1, 0 };
	struct bytes out = { 0 };

	for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
		add_word(&out, head[i]);
	for (size_t i = 0; i < c->samples.n && out.n < TEXT_MAX_BYTES; i++)
		add_cpu_sample(&out, c, n, &c->samples.data[i]);
	add_ballast(&out, c, n);
	for (size_t i = 0; i < sizeof(end) / sizeof(end[0]); i++)
		add_word(&out, end[i]);
	add_maps(&out, n);
	return finish(&out, ret);
}
