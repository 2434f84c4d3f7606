/* SPDX-License-Identifier: Apache-2.0 */

/* trace-check - says whether a reader would take a trace, Go's or Perfetto's, and what is in it.
 *
 *   trace-check [-d] FILE        -d: each event of Go's, in the reader's order
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "perfetto_check.h"
#include "trace_check.h"

static void id(const char *name, uint64_t v)
{
	if (v != UINT64_MAX)
		printf(" %s=%" PRIu64, name, v);
}

static void show(void *context, const struct trace_check_event *e)
{
	printf("%" PRIu64 " %" PRIu64, e->generation, e->time);
	id("M", e->m);
	id("P", e->p);
	id("G", e->g);
	printf(" %s", trace_check_type(e->type));
	for (int i = 0; i < e->n_args; i++)
		printf("%c%" PRId64, i ? ',' : ' ', (int64_t)e->args[i]);
	if (e->string)
		printf(" \"%.*s\"", (int)e->string_len, e->string);
	if (e->root)
		printf(" (%u frames, %.*s)", e->n_frames, (int)e->root_len, e->root);
	printf("\n");
}

static int read_all(const char *path, struct bytes *to)
{
	FILE *f = fopen(path, "re");
	char part[65536];
	size_t n;

	if (!f) {
		perror(path);
		return -1;
	}
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		bytes_add(to, part, n);
	fclose(f);
	return to->bad ? -1 : 0;
}

static bool check_go(const struct bytes *b, bool dump, const char *path)
{
	struct trace_check c = { .event = dump ? show : NULL };
	bool good = trace_check(b->data ? b->data : "", b->n, &c);

	printf("version 1.%u, %zu bytes, %" PRIu64 " generations, %" PRIu64 " batches, %" PRIu64 " events, %" PRIu64
	       " samples, %" PRIu64 " stacks, %" PRIu64 " strings, %" PRIu64 " ties, %" PRIu64 " retries\n",
	       c.version, b->n, c.n_generations, c.n_batches, c.n_events, c.n_samples, c.n_stacks, c.n_strings,
	       c.n_ties, c.n_retries);
	for (uint8_t i = 0; i < 64; i++)
		if (c.n_type[i])
			printf("%s %" PRIu64 "\n", trace_check_type(i), c.n_type[i]);
	if (!good)
		fprintf(stderr, "%s: %s\n", path, c.error);
	return good;
}

static bool check_perfetto(const struct bytes *b, const char *path)
{
	struct perfetto_check c;
	bool good = perfetto_check(b->data, b->n, &c);

	printf("Perfetto, %zu bytes, %" PRIu64 " packets, %" PRIu64 " samples, %" PRIu64 " stacks, %" PRIu64 " threads, \"%s\"\n",
	       b->n, c.n_packets, c.n_samples, c.n_stacks, c.n_threads, c.note);
	for (int i = 0; i < 512; i++)
		if (c.n_event[i])
			printf("FtraceEvent.%d %" PRIu64 "\n", i, c.n_event[i]);
	if (!good)
		fprintf(stderr, "%s: %s\n", path, c.error);
	return good;
}

int main(int argc, char **argv)
{
	bool dump = argc == 3 && !strcmp(argv[1], "-d");
	const char *path = argv[argc - 1];
	struct bytes b = BYTES_INIT;
	bool good;

	if (argc != 2 + dump || read_all(path, &b) < 0) {
		fprintf(stderr, "trace-check [-d] FILE\n");
		return 2;
	}
	if (b.n && b.data[0] == '\n') /* the tag of Trace.packet */
		good = check_perfetto(&b, path);
	else
		good = check_go(&b, dump, path);
	bytes_deinit(&b);
	return !good;
}
