/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/format.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/serve/trace/go_model.h"
#include "daemon/serve/trace/perfetto.h"

struct trace_format { /* one of them */
	struct go_trace *go;
	struct perfetto *perfetto;
};

int trace_format_new(const struct trace_start *start, unsigned version, struct trace_format **ret)
{
	_cleanup_(trace_format_freep) struct trace_format *f = calloc(1, sizeof(*f));
	int r = f ? 0 : -ENOMEM;

	if (r == 0)
		r = version == TRACE_PERFETTO ? perfetto_new(start, &f->perfetto) : go_trace_new(start, version, &f->go);
	if (r == 0)
		*ret = TAKE_PTR(f);
	return r;
}

void trace_format_free(struct trace_format *f)
{
	if (!f)
		return;
	go_trace_free(f->go);
	perfetto_free(f->perfetto);
	free(f);
}

int trace_format_generation(struct trace_format *f, const struct trace_generation *g, struct bytes *to)
{
	return f->go ? go_trace_generation(f->go, g, to) : perfetto_generation(f->perfetto, g, to);
}

int trace_format_end(struct trace_format *f, const char *note, struct bytes *to)
{
	return f->go ? go_trace_end(f->go, note, to) : perfetto_end(f->perfetto, note, to);
}
