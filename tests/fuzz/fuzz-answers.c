/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as an ELF file: whatever a worker answers about it, the client takes. */

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "symbolizer/client.h"
#include "symbolizer/worker.h"

#define N_ADDRESSES 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct child {
	int fd;
	struct worker_vdso image;
};

static void *work(void *context)
{
	struct child *c = context;

	assert(worker_run(c->fd, c->image) == 0);
	close(c->fd);
	return NULL;
}

static void on_frame(void *context, const struct symbolizer_frame *f, const char *name,
		     const char *system_name, const char *file)
{
	assert(!memchr(name, 0, f->n_name) && !memchr(system_name, 0, f->n_system_name) &&
	       !memchr(file, 0, f->n_file));
}

static void check(int r)
{
	assert(r <= 0 && r != -EBADMSG && r != -EPIPE && r != -ETIMEDOUT);
}

static void ask(struct symbolizer *s)
{
	const struct symbolizer_object o = { .id = 1, .kind = SYMBOLIZER_VDSO, .fd = -1 };
	uint64_t addresses[N_ADDRESSES], low = 0, high = 0;
	struct symbolizer_probes probes;
	struct symbolizer_info info = { 0 };
	struct symbolizer_rows rows;
	int r;

	check(symbolizer_ask_info(s, &o, &info));
	r = symbolizer_ask_rows(s, &o, &rows);
	check(r);
	if (r == 0) {
		low = rows.end.low;
		high = rows.end.high;
		symbolizer_rows_deinit(&rows);
	}
	r = symbolizer_ask_probes(s, &o, &probes);
	check(r);
	if (r == 0)
		symbolizer_probes_deinit(&probes);
	for (uint64_t i = 0; i < N_ADDRESSES; i++)
		addresses[i] = low + (high - low) / N_ADDRESSES * i + i;
	check(symbolizer_ask_names(s, &o, DEMANGLE_FULL, addresses, N_ADDRESSES, on_frame, NULL));
	check(symbolizer_ask_callees(s, &o, DEMANGLE_FULL, addresses, N_ADDRESSES, on_frame, NULL));
	for (uint32_t i = 0; i < N_ADDRESSES && info.n_segments; i++) {
		const struct symbolizer_segment *g = &info.segments[i % info.n_segments];

		addresses[i] = g->vaddr + g->memsz / N_ADDRESSES * i;
	}
	check(symbolizer_ask_variables(s, &o, DEMANGLE_FULL, addresses, N_ADDRESSES, on_frame,
				       NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct symbolizer s;
	struct child child;
	pthread_t thread;
	int fds[2];

	if (!n || record_pair(fds) < 0)
		return 0;
	s = (struct symbolizer){ .fd = fds[0], .timeout_ms = 20000 };
	child = (struct child){ fds[1], { data, n } };
	if (pthread_create(&thread, NULL, work, &child))
		abort();
	ask(&s);
	symbolizer_replace(&s, -1);
	pthread_join(thread, NULL);
	return 0;
}
