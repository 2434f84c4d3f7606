/* SPDX-License-Identifier: Apache-2.0 */

/* memstats.c - heap?debug=1: the text of Go's runtime/pprof writeHeapInternal, with what a native process
 * has in place of runtime.MemStats. Legacy clients halve the rate in the head and scale the samples
 * themselves; so samples are as they were taken, and weighed ones say a rate of 1. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/core.h"
#include "daemon/serve/heap/heap.h"
#include "daemon/serve/legacy.h"
#include "daemon/serve/naming.h"
#include "daemon/serve/text.h"

struct status { /* of /proc/PID/status, in bytes */
	uint64_t data, stack, rss_anonymous, peak;
};

static void read_status(struct core *c, const struct target *t, struct status *ret)
{
	_cleanup_(closep) int fd = broker_open_proc(&c->broker, t->index, BROKER_PROC_STATUS);
	const struct {
		const char *name;
		uint64_t *to;
	} wanted[] = { { "\nVmData:", &ret->data },
		       { "\nVmStk:", &ret->stack },
		       { "\nRssAnon:", &ret->rss_anonymous },
		       { "\nVmHWM:", &ret->peak } };
	char text[8192];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	*ret = (struct status){ 0 };
	text[n > 0 ? n : 0] = '\0';
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		const char *at = strstr(text, wanted[i].name);

		if (at)
			*wanted[i].to = strtoull(at + strlen(wanted[i].name), NULL, 10) * 1024;
	}
}

uint64_t heap_resident(struct core *c, const struct target *t)
{
	struct status s;

	read_status(c, t, &s);
	return s.rss_anonymous;
}

static void zeros(struct bytes *out, const char *name)
{
	bytes_printf(out, "# %s = [", name);
	for (int i = 0; i < 256; i++)
		bytes_puts(out, i ? " 0" : "0");
	bytes_puts(out, "]\n");
}

/* In Go's order. What a native process has no counterpart of is 0. */
static void add_memstats(struct bytes *out, const struct status *s, const struct heap_totals *h)
{
	uint64_t resident = s->rss_anonymous < s->data ? s->rss_anonymous : s->data;
	const struct {
		const char *name;
		uint64_t value;
	} head[] = {
		{ "Alloc", h->live_space },	  { "TotalAlloc", h->alloc_space },
		{ "Sys", s->data + s->stack },	  { "Lookups", 0 },
		{ "Mallocs", h->alloc_objects },  { "Frees", h->alloc_objects - h->live_objects },
		{ "HeapAlloc", h->live_space },	  { "HeapSys", s->data },
		{ "HeapIdle", s->data - resident }, { "HeapInuse", resident },
		{ "HeapReleased", s->data - resident }, { "HeapObjects", h->live_objects },
	};

	bytes_puts(out, "\n# runtime.MemStats\n");
	for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
		bytes_printf(out, "# %s = %llu\n", head[i].name, (unsigned long long)head[i].value);
	bytes_printf(out, "# Stack = %llu / %llu\n", (unsigned long long)s->stack,
		     (unsigned long long)s->stack);
	bytes_puts(out, "# MSpan = 0 / 0\n# MCache = 0 / 0\n");
	bytes_printf(out, "# BuckHashSys = %llu\n", (unsigned long long)h->tables);
	bytes_puts(out, "# GCSys = 0\n# OtherSys = 0\n# NextGC = 0\n# LastGC = 0\n");
	zeros(out, "PauseNs");
	zeros(out, "PauseEnd");
	bytes_puts(out, "# NumGC = 0\n# NumForcedGC = 0\n# GCCPUFraction = 0\n# DebugGC = false\n");
	bytes_printf(out, "# MaxRSS = %llu\n", (unsigned long long)s->peak);
}

static int by_live_bytes(const void *a, const void *b)
{
	const struct capture_sample *x = a, *y = b;

	return (x->values[3] > y->values[3]) - (x->values[3] < y->values[3]); /* as Go sorts them */
}

static void add_head(struct bytes *out, const struct capture *c, uint64_t rate)
{
	int64_t v[4] = { 0 };

	for (size_t i = 0; i < c->samples.n; i++)
		for (int k = 0; k < 4; k++)
			v[k] += c->samples.data[i].values[k];
	if (v[3] == v[1])
		v[1]++; /* equal columns would make clients take it for a profile of two */
	bytes_printf(out, "heap profile: %lld: %lld [%lld: %lld] @ heap/%llu\n", (long long)v[2],
		     (long long)v[3], (long long)v[0], (long long)v[1], (unsigned long long)rate);
}

static void add_sample(struct bytes *out, const struct capture *c, const struct naming *n,
		       const struct capture_sample *s)
{
	struct capture_stack stack = c->stacks.data[s->stack];

	bytes_printf(out, "%lld: %lld [%lld: %lld] @", (long long)s->values[2],
		     (long long)s->values[3], (long long)s->values[0], (long long)s->values[1]);
	for (uint32_t i = 0; i < stack.n; i++) {
		uint32_t l = naming_find(n, c->words.data[stack.first + i]);

		/* the return address, as Go prints it: frames point into the call before it */
		bytes_printf(out, " 0x%llx",
			     l == UINT32_MAX ? 0ull : n->locations.data[l].address + 1ull);
	}
	bytes_puts(out, "\n");
	legacy_frames(c, n, stack, out);
	bytes_puts(out, "\n");
}

int heap_text(struct core *c, struct target *t, const struct heap_totals *totals,
	      const struct capture *capture, const struct naming *n, struct bytes *ret)
{
	uint64_t rate = heap_scales(t) ? 2 : 2 * PP_HEAP_RATE;
	_cleanup_(freep) struct capture_sample *sorted = NULL;
	struct bytes out = { 0 };
	struct status status;

	sorted = malloc((capture->samples.n + 1) * sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	if (capture->samples.n)
		memcpy(sorted, capture->samples.data, capture->samples.n * sizeof(*sorted));
	qsort(sorted, capture->samples.n, sizeof(*sorted), by_live_bytes);
	add_head(&out, capture, rate);
	for (size_t i = 0; i < capture->samples.n && out.n < TEXT_MAX_BYTES; i++)
		add_sample(&out, capture, n, &sorted[i]);
	/* in front of what ends as Go's text does: some look no further than for that */
	for (size_t i = 0; i < capture->comments.n; i++)
		bytes_printf(&out, "# pprofd: %s\n", capture->comments.data[i]);
	read_status(c, t, &status);
	add_memstats(&out, &status, totals);
	if (out.bad || out.n >= TEXT_MAX_BYTES) {
		bytes_deinit(&out);
		return out.bad ? -ENOMEM : -E2BIG;
	}
	*ret = out;
	return 0;
}
