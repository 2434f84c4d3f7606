/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/format.h"

#include <errno.h>
#include <stdlib.h>

struct trace_format {
	unsigned version;
};

int trace_format_new(const struct trace_start *start, unsigned version, struct trace_format **ret)
{
	struct trace_format *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->version = version;
	*ret = f;
	(void)start;
	return 0;
}

void trace_format_free(struct trace_format *f)
{
	free(f);
}

int trace_format_generation(struct trace_format *f, const struct trace_generation *g, struct bytes *to)
{
	(void)f;
	bytes_printf(to, "generation %u events %llu..%llu lost %llu\n", g->n, (unsigned long long)g->began,
		     (unsigned long long)g->ended, (unsigned long long)g->n_lost);
	for (uint32_t i = 0; i < g->n; i++) {
		const struct trace_event *e = &g->events[i];
		const struct trace_frame *frames = NULL;
		uint32_t n = e->stack ? g->frames(g->context, e->stack, &frames) : 0;

		bytes_printf(to, "%llu cpu %u kind %u tid %u other %u why %u call %d flags %u name %.16s:",
			     (unsigned long long)e->time, e->cpu, e->kind, e->tid, e->other, e->why, e->call, e->flags, e->name);
		for (uint32_t k = 0; k < n; k++)
			bytes_printf(to, " %s", frames[k].function);
		bytes_puts(to, "\n");
	}
	return 0;
}

int trace_format_end(struct trace_format *f, const char *note, struct bytes *to)
{
	(void)f;
	bytes_printf(to, "end %s\n", note ? note : "");
	return 0;
}
