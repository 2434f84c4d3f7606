/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/threads/dump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/threads/walk.h"

#define READ_SIZE (64 * 1024)

struct raw {
	VEC(uint8_t) data;
};

static int read_all(int fd, struct raw *to)
{
	const size_t most = (size_t)DUMP_MAX_THREADS * sizeof(struct pp_thread) + (256ul << 20);
	ssize_t n;

	do {
		if (to->data.n > most || vec_reserve(&to->data, to->data.n + READ_SIZE) < 0)
			return -ENOMEM;
		n = read(fd, to->data.data + to->data.n, READ_SIZE);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		to->data.n += n > 0 ? (size_t)n : 0;
	} while (n);
	return 0;
}

struct walking {
	struct core *c;
	const struct target *t;
};

static uint32_t more(void *context, const struct pp_thread *t, uint64_t from, uint64_t offset,
		     uint8_t to[PP_THREAD_STACK])
{
	const struct walking *w = context;
	struct broker_stack q = { w->t->index, t->tid, t->registers[7], offset, from };
	int n = broker_stack(&w->c->broker, &q, to);

	return n > 0 ? (uint32_t)n : 0;
}

static int add(struct walking *w, const struct pp_thread *t, const uint8_t *stack, bool stacks,
	       struct dump *to)
{
	struct walk_input in = { .tables = &w->c->tables, .list = w->t->list, .thread = t, .stack = stack,
				 .more = more, .context = w };
	struct dump_thread d = { .t = *t, .first = (uint32_t)to->words.n };
	uint64_t words[PP_MAX_WORDS];

	if (to->threads.n == DUMP_MAX_THREADS) {
		to->n_left_out++;
		return 0;
	}
	if (stacks && !t->running && t->exec_id == w->t->exec_id)
		d.n = walk_thread(&in, words);
	if (to->words.n + d.n > UINT32_MAX || vec_reserve(&to->words, to->words.n + d.n) < 0)
		return -ENOMEM;
	if (d.n)
		memcpy(to->words.data + to->words.n, words, d.n * sizeof(*words));
	to->words.n += d.n;
	return vec_push(&to->threads, d);
}

static int parse(struct walking *w, const struct raw *raw, bool stacks, struct dump *to)
{
	size_t at = 0;
	int r = 0;

	while (r == 0 && raw->data.n - at >= sizeof(struct pp_thread)) {
		struct pp_thread t;

		memcpy(&t, raw->data.data + at, sizeof(t));
		at += sizeof(t);
		if (t.n_stack > PP_THREAD_STACK || t.n_stack > raw->data.n - at)
			return -EBADMSG;
		r = add(w, &t, raw->data.data + at, stacks, to);
		at += t.n_stack;
	}
	return r;
}

/* What has been read is walked with the mappings as they are after it. */
static int walk_all(struct core *c, struct target *t, const struct raw *raw, bool stacks, struct dump *to)
{
	struct walking w = { c, t };
	int r = 0;

	pthread_mutex_lock(&c->scan_lock);
	if (stacks)
		r = target_scan(c, t, true) == TARGET_GONE ? -ESRCH : 0;
	if (r == 0)
		r = parse(&w, raw, stacks, to);
	pthread_mutex_lock(&c->lock);
	to->image = t->images.n ? t->images.data[t->images.n - 1] : 0;
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->scan_lock);
	return r;
}

int dump_read(struct core *c, struct target *t, bool stacks, struct dump *ret)
{
	_cleanup_(closep) int fd = -1;
	struct dump d = { 0 };
	struct raw raw = { 0 };
	int r;

	pthread_mutex_lock(&c->dump_lock);
	d.began_ns = monotonic_ns();
	r = fd = broker_threads(&c->broker, t->index);
	if (r >= 0)
		r = read_all(fd, &raw);
	d.took_ns = monotonic_ns() - d.began_ns;
	if (r == 0)
		r = walk_all(c, t, &raw, stacks, &d);
	vec_deinit(&raw.data);
	pthread_mutex_unlock(&c->dump_lock);
	if (r < 0)
		dump_deinit(&d);
	else
		*ret = d;
	return r;
}

void dump_deinit(struct dump *d)
{
	vec_deinit(&d->threads);
	vec_deinit(&d->words);
	*d = (struct dump){ 0 };
}
