/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/threads/dump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/threads/walk.h"

#define READ_SIZE (256 * 1024)
#define MAX_ROUNDS 8 /* of asking for more of the same thread's stack */
#define MAX_MORE (256ul << 20) /* bytes that are asked for in a dump */

/* An answer of the broker's, as it came. */
struct raw {
	VEC(uint8_t) data;
	VEC(size_t) at; /* of each thread's record; sorted by position */
	struct broker_threads_end end;
};

struct reading {
	struct core *c;
	struct target *t;
	enum broker_threads_what what;
	int fd;
	struct raw raw;
	VEC(struct broker_more) wants;
	unsigned round;
	uint64_t asked; /* bytes */
	struct dump *to;
};

/* One record of the answer that begins at `at`: its size, 0: it is not all there yet, -EBADMSG. */
static ssize_t take(struct raw *raw, size_t at, bool *ret_end)
{
	size_t n = raw->data.n - at, size;
	struct pp_thread t;

	if (n < sizeof(t))
		return 0;
	memcpy(&t, raw->data.data + at, sizeof(t));
	size = sizeof(t) + (!t.host_tid ? sizeof(raw->end) : (size_t)t.n_stack + t.n_other);
	if (t.n_stack > BROKER_MAX_STACK || t.n_other > BROKER_MAX_STACK || t.position >= DUMP_MAX_THREADS)
		return -EBADMSG;
	if (n < size)
		return 0;
	*ret_end = !t.host_tid;
	if (*ret_end)
		memcpy(&raw->end, raw->data.data + at + sizeof(t), sizeof(raw->end));
	else if (raw->at.n == DUMP_MAX_THREADS)
		return -EBADMSG;
	else if (vec_push(&raw->at, at) < 0)
		return -ENOMEM;
	return (ssize_t)size;
}

/* One answer, up to its end; -ESRCH: there is none. */
static int read_answer(int fd, struct raw *raw)
{
	const size_t most = DUMP_MAX_THREADS * (sizeof(struct pp_thread) + BROKER_FIRST_STACK) + BROKER_MAX_MORE;
	bool end = false;
	size_t at = 0;

	raw->data.n = raw->at.n = 0;
	while (!end) {
		ssize_t n;

		if (raw->data.n > most)
			return -EBADMSG;
		if (vec_reserve(&raw->data, raw->data.n + READ_SIZE) < 0)
			return -ENOMEM;
		n = recv(fd, raw->data.data + raw->data.n, READ_SIZE, 0);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			return -ESRCH;
		raw->data.n += n > 0 ? (size_t)n : 0;
		while (!end && (n = take(raw, at, &end)) > 0)
			at += (size_t)n;
		if (n < 0)
			return (int)n;
	}
	return 0;
}

static struct pp_thread record_at(const struct raw *raw, size_t i)
{
	struct pp_thread t;

	memcpy(&t, raw->data.data + raw->at.data[i], sizeof(t));
	return t;
}

struct place {
	uint32_t position;
	size_t at;
};

static int by_position(const void *x, const void *y)
{
	const struct place *a = x, *b = y;

	return (a->position > b->position) - (a->position < b->position);
}

/* What has moved while it was read comes later; the order is that of the first look. */
static int sort(struct raw *raw)
{
	_cleanup_(freep) struct place *all = malloc((raw->at.n + 1) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < raw->at.n; i++)
		all[i] = (struct place){ record_at(raw, i).position, raw->at.data[i] };
	qsort(all, raw->at.n, sizeof(*all), by_position);
	for (size_t i = 0; i < raw->at.n; i++)
		raw->at.data[i] = all[i].at;
	return 0;
}

/* In steps, so that few questions do. */
static uint32_t step(uint32_t n)
{
	static const uint32_t steps[] = { 0, 16 * 1024, 128 * 1024, 1u << 20 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (n <= steps[i])
			return steps[i];
	n = (n + 256 * 1024 - 1) & ~(256u * 1024 - 1);
	return n < BROKER_MAX_STACK ? n : BROKER_MAX_STACK;
}

/* What the walk of it would have needed; what there is already is read again with it, as of the same moment. */
static int want(struct reading *r, const struct pp_thread *t, const struct walk_more *more)
{
	struct broker_more q = { .position = t->position,
				 .n_stack = step(more->n_stack > t->n_stack ? more->n_stack : t->n_stack),
				 .n_other = step(more->n_other > t->n_other ? more->n_other : t->n_other),
				 .from = more->from };

	return more->n_stack || more->n_other ? vec_push(&r->wants, q) : 0;
}

/* Its stack, of which `words` may get another copy later. from: where the other stack that has been read was found
 * to begin. */
static int walk(struct reading *r, size_t i, uint64_t from, struct dump_thread *d)
{
	const uint8_t *stack = r->raw.data.data + r->raw.at.data[i] + sizeof(d->t);
	struct walk_input in = { .tables = &r->c->tables, .list = r->t->list, .thread = &d->t, .stack = stack,
				 .other = from ? stack + d->t.n_stack : NULL, .from = from };
	struct dump *to = r->to;
	uint64_t words[PP_MAX_WORDS];
	struct walk_more more;

	d->first = (uint32_t)to->words.n;
	d->n = 0;
	if (r->what != BROKER_THREADS_STACKS || d->t.running || d->t.exec_id != r->t->exec_id)
		return 0;
	d->n = walk_thread(&in, words, &more);
	if (to->words.n + d->n > UINT32_MAX || vec_reserve(&to->words, to->words.n + d->n) < 0)
		return -ENOMEM;
	memcpy(to->words.data + to->words.n, words, d->n * sizeof(*words));
	to->words.n += d->n;
	return r->round < MAX_ROUNDS ? want(r, &d->t, &more) : 0;
}

static int walk_first(struct reading *r)
{
	int err = sort(&r->raw);

	for (size_t i = 0; i < r->raw.at.n && err == 0; i++) {
		struct dump_thread d = { .t = record_at(&r->raw, i) };

		err = walk(r, i, 0, &d);
		if (err == 0)
			err = vec_push(&r->to->threads, d);
	}
	return err;
}

static struct dump_thread *find(struct dump *d, uint32_t position)
{
	size_t low = 0, high = d->threads.n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		struct dump_thread *t = &d->threads.data[mid];

		if (t->t.position == position)
			return t;
		if (t->t.position < position)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static int ask(struct reading *r, const struct broker_more *q, uint32_t n)
{
	struct iovec parts[] = { { &n, sizeof(n) }, { (void *)q, n * sizeof(*q) } };
	struct msghdr m = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t sent = sendmsg(r->fd, &m, MSG_NOSIGNAL);

	if (sent != (ssize_t)(sizeof(n) + n * sizeof(*q)))
		return sent < 0 ? -errno : -EPIPE;
	return read_answer(r->fd, &r->raw);
}

/* Those that were asked for, as they are now; who is not among them has ended. */
static int walk_again(struct reading *r, const struct broker_more *q, uint32_t n)
{
	int err = sort(&r->raw);

	for (uint32_t k = 0, i = 0; k < n && err == 0; k++) {
		struct dump_thread *d = find(r->to, q[k].position);

		while (i < r->raw.at.n && record_at(&r->raw, i).position < q[k].position)
			i++;
		if (!d)
			return -EBADMSG;
		if (i == r->raw.at.n || record_at(&r->raw, i).position != q[k].position) {
			d->t.exit_state = 1;
			continue;
		}
		d->t = record_at(&r->raw, i);
		err = walk(r, i, q[k].n_other ? q[k].from : 0, d);
	}
	return err;
}

/* As many at a time as the broker allows. */
static int ask_more(struct reading *r)
{
	VEC(struct broker_more) all = { 0 };
	uint32_t n;
	int err = 0;

	all.data = r->wants.data;
	all.n = r->wants.n;
	memset(&r->wants, 0, sizeof(r->wants));
	for (size_t first = 0; first < all.n && err == 0; first += n) {
		uint64_t bytes = 0;

		for (n = 0; first + n < all.n && n < BROKER_MAX_QUESTIONS; n++) {
			const struct broker_more *q = &all.data[first + n];

			bytes += (uint64_t)q->n_stack + q->n_other;
			if (bytes > BROKER_MAX_MORE)
				break;
			r->asked += (uint64_t)q->n_stack + q->n_other;
		}
		if (r->asked > MAX_MORE) {
			r->to->n_deep += all.n - first;
			break;
		}
		err = ask(r, all.data + first, n);
		if (err < 0 && err != -ENOMEM)
			break; /* what there is, is shown as far as it goes */
		if (err == 0)
			err = walk_again(r, all.data + first, n);
	}
	vec_deinit(&all);
	return err == -ENOMEM || err == -EBADMSG ? err : 0;
}

/* What has been read is walked with the mappings as they are after it. */
static int walk_all(struct reading *r)
{
	struct core *c = r->c;
	struct target *t = r->t;
	int err = 0;

	pthread_mutex_lock(&c->scan_lock);
	if (r->what == BROKER_THREADS_STACKS)
		err = target_settle(c, t);
	err = err == TARGET_GONE ? -ESRCH : err == -EAGAIN ? err : 0; /* else by the mappings that are known */
	if (err == 0)
		err = walk_first(r);
	while (err == 0 && r->wants.n) {
		r->round++;
		err = ask_more(r);
		r->to->took_ns = monotonic_ns() - r->to->began_ns;
	}
	pthread_mutex_lock(&c->lock);
	r->to->image = t->images.n ? t->images.data[t->images.n - 1] : 0;
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->scan_lock);
	return err;
}

/* Until the broker has ended, too: it does this for a few at once. */
static void hang_up(int fd)
{
	char rest[4096];
	ssize_t n;

	shutdown(fd, SHUT_WR);
	do
		n = recv(fd, rest, sizeof(rest), 0);
	while (n > 0 || (n < 0 && errno == EINTR));
	close(fd);
}

int dump_read(struct core *c, struct target *t, enum broker_threads_what what, struct dump *ret)
{
	struct dump d = { 0 };
	struct reading r = { .c = c, .t = t, .what = what, .to = &d };
	int err;

	pthread_mutex_lock(&c->dump_lock);
	d.began_ns = monotonic_ns();
	err = r.fd = broker_threads(&c->broker, t->index, what);
	if (err >= 0)
		err = read_answer(r.fd, &r.raw);
	d.took_ns = monotonic_ns() - d.began_ns;
	if (err == 0)
		err = walk_all(&r);
	if (err == -ESRCH && target_alive(t))
		err = -EIO; /* it is the broker that has had enough */
	d.n_left_out = r.raw.end.n_left_out;
	d.n_late = r.raw.end.n_late;
	if (r.fd >= 0)
		hang_up(r.fd);
	vec_deinit(&r.raw.data);
	vec_deinit(&r.raw.at);
	vec_deinit(&r.wants);
	pthread_mutex_unlock(&c->dump_lock);
	if (err == 0 && what == BROKER_THREADS_STACKS)
		dump_add_labels(c, t, &d);
	if (err < 0)
		dump_deinit(&d);
	else
		*ret = d;
	return err;
}

void dump_deinit(struct dump *d)
{
	vec_deinit(&d->threads);
	vec_deinit(&d->words);
	*d = (struct dump){ 0 };
}
