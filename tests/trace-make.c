/* SPDX-License-Identifier: Apache-2.0 */

/* trace-make - the recorded input (tests/fixtures/recorded-trace.gz) as a trace file, for readers other than our own.
 *
 *   trace-make FORMAT FILE [name=value...]     FORMAT: 22, 23, 25, 26 (Go's), perfetto
 *     seed, lose, twice, late, skew, calls, first, n, ns: as struct trace_harm, and the length of a generation
 *     repeat: the recording so many times, for the speed
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "daemon/serve/trace/go_model.h"
#include "daemon/serve/trace/perfetto.h"
#include "trace_world.h"

struct making {
	struct go_trace *go; /* or */
	struct perfetto *perfetto;
	struct bytes out;
	uint64_t shift, n_events, cpu_ns;
};

static uint64_t cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int each(void *context, const struct trace_generation *from)
{
	_cleanup_(freep) struct trace_event *events = malloc((from->n + 1) * sizeof(*events));
	struct trace_generation g = *from;
	struct making *m = context;
	uint64_t before;
	int r;

	for (uint32_t i = 0; i < from->n; i++) {
		events[i] = from->events[i];
		events[i].time += m->shift;
	}
	g.events = events;
	g.began += m->shift;
	g.ended += m->shift;
	m->n_events += g.n;
	before = cpu_time();
	r = m->go ? go_trace_generation(m->go, &g, &m->out) : perfetto_generation(m->perfetto, &g, &m->out);
	m->cpu_ns += cpu_time() - before;
	return r;
}

static int open_format(struct making *m, const char *format, const struct trace_start *start)
{
	if (!strcmp(format, "perfetto"))
		return perfetto_new(start, &m->perfetto);
	return go_trace_new(start, (unsigned)atoi(format), &m->go);
}

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise)
{
	size_t n = strlen(name);

	for (int i = 3; i < argc; i++)
		if (!strncmp(argv[i], name, n) && argv[i][n] == '=')
			return strtoull(argv[i] + n + 1, NULL, 0);
	return otherwise;
}

static int write_all(const char *path, const struct bytes *b)
{
	FILE *f = fopen(path, "we");
	bool good = f && fwrite(b->data, 1, b->n, f) == b->n;

	if (!f || fclose(f) || !good)
		perror(path);
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct trace_harm h;
	struct trace_world w;
	struct making m = { 0 };
	uint64_t length, ns;
	int r;

	if (argc < 3) {
		fprintf(stderr, "trace-make FORMAT FILE [name=value...]\n");
		return 2;
	}
	h = (struct trace_harm){ .seed = option(argc, argv, "seed", 1),
				 .lose = (uint32_t)option(argc, argv, "lose", 0),
				 .twice = (uint32_t)option(argc, argv, "twice", 0),
				 .late = (uint32_t)option(argc, argv, "late", 0),
				 .skew_ns = (uint32_t)option(argc, argv, "skew", 0),
				 .calls = option(argc, argv, "calls", 0),
				 .first = (uint32_t)option(argc, argv, "first", 0),
				 .n = (uint32_t)option(argc, argv, "n", 0) };
	ns = option(argc, argv, "ns", 1000000000);
	r = trace_world_read(&w, TRACE_FIXTURES "/recorded-trace.gz");
	if (r < 0 || open_format(&m, argv[1], &w.start) < 0) {
		fprintf(stderr, "trace-make: no input, or no such format\n");
		return 2;
	}
	length = (w.events.data[w.events.n - 1].time - w.events.data[0].time + ns) / ns * ns;
	for (uint64_t i = option(argc, argv, "repeat", 1); i && !r; i--) {
		r = trace_world_play(&w, &h, ns, each, &m);
		m.shift += length;
		h.seed++;
	}
	if (!r)
		r = m.go ? go_trace_end(m.go, NULL, &m.out) : perfetto_end(m.perfetto, NULL, &m.out);
	printf("%" PRIu64 " events, %zu bytes, %.2f M events a second\n", m.n_events, m.out.n,
	       (double)m.n_events * 1e3 / (double)(m.cpu_ns + 1));
	r |= write_all(argv[2], &m.out);
	go_trace_free(m.go);
	perfetto_free(m.perfetto);
	bytes_deinit(&m.out);
	trace_world_free(&w);
	return r ? 1 : 0;
}
