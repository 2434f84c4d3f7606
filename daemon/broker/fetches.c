/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/fetches.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/record.h"

#define MINUTE 60
#define HOUR (60 * MINUTE)
#define GRACE_S 30 /* the child ends by itself before we end it */

_Static_assert(FETCH_MAX_ID == BROKER_MAX_BUILD_ID, "an id is handed through");

static int64_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

int fetches_init(struct fetches *f, const char *const *urls, unsigned n_urls, const char *cache)
{
	f->urls = urls;
	f->n_urls = n_urls;
	for (int i = 0; i < FETCHES_AT_ONCE; i++)
		f->children[i] = (struct fetch_child){ .child = CHILD_NONE, .file = -1 };
	return fetch_cache_open(cache, &f->cache);
}

static void end_child(struct fetch_child *c)
{
	child_stop(&c->child);
	close_fd(&c->file);
	c->item = NULL;
}

void fetches_deinit(struct fetches *f)
{
	for (int i = 0; f->n_urls && i < FETCHES_AT_ONCE; i++)
		end_child(&f->children[i]);
	if (f->n_urls)
		fetch_cache_close(&f->cache);
}

static bool pending(const struct fetch_item *x)
{
	return x->state == FETCH_WAITING || x->state == FETCH_RUNNING;
}

static struct fetch_item *find(struct fetches *f, const uint8_t *id, uint32_t n_id)
{
	for (int i = 0; i < FETCHES_MAX; i++) {
		struct fetch_item *x = &f->items[i];

		if (x->state && x->n_id == n_id && !memcmp(x->id, id, n_id))
			return x;
	}
	return NULL;
}

/* A free one, or the one that was of no interest for longest. */
static struct fetch_item *room(struct fetches *f)
{
	struct fetch_item *found = NULL;

	for (int i = 0; i < FETCHES_MAX; i++) {
		struct fetch_item *x = &f->items[i];

		if (!x->state)
			return x;
		if (!pending(x) && (!found || x->order < found->order))
			found = x;
	}
	return found;
}

enum broker_fetch_state fetches_want(struct fetches *f, const uint8_t *id, uint32_t n_id, int64_t now)
{
	struct fetch_item *x = find(f, id, n_id);

	if (x && pending(x))
		return BROKER_FETCH_PENDING;
	if (x && now < x->not_before)
		return BROKER_FETCH_NOT;
	if (f->counts.n_pending >= FETCHES_MAX_WAITING) {
		f->counts.n_left_out++;
		return BROKER_FETCH_NOT;
	}
	if (!x) {
		x = room(f); /* there is one: more are remembered than may wait */
		*x = (struct fetch_item){ .n_id = n_id };
		memcpy(x->id, id, n_id);
	}
	x->state = FETCH_WAITING;
	x->order = ++f->order;
	f->counts.n_pending++;
	return BROKER_FETCH_PENDING;
}

struct fetch_item *fetches_next(struct fetches *f)
{
	struct fetch_item *found = NULL;

	for (int i = 0; i < FETCHES_MAX; i++) {
		struct fetch_item *x = &f->items[i];

		if (x->state == FETCH_WAITING && (!found || x->order < found->order))
			found = x;
	}
	return found;
}

static int64_t back_off(uint32_t n_failures)
{
	return n_failures > 6 ? HOUR : (int64_t)MINUTE << (n_failures - 1);
}

void fetches_ended(struct fetches *f, struct fetch_item *item, int status, int64_t now)
{
	f->counts.n_pending--;
	item->order = ++f->order;
	if (status == 0) {
		f->counts.n_fetched++;
		item->state = FETCH_DONE;
		item->n_failures = 0;
		item->not_before = now + 10 * MINUTE; /* where it has gone from the cache by then */
	} else if (status == FETCH_NONE) {
		f->counts.n_none++;
		item->state = FETCH_ABSENT;
		item->not_before = now + HOUR;
	} else {
		f->counts.n_failed++;
		item->state = FETCH_FAILED;
		item->not_before = now + back_off(++item->n_failures);
	}
}

void fetches_refuse(struct fetches *f, const uint8_t *id, uint32_t n_id, int64_t now)
{
	struct fetch_item *x = find(f, id, n_id);

	f->counts.n_refused++;
	if (!x) { /* it was there before us */
		x = room(f);
		*x = (struct fetch_item){ .n_id = n_id };
		memcpy(x->id, id, n_id);
	}
	if (pending(x))
		return;
	x->state = FETCH_REFUSED;
	x->order = ++f->order;
	x->not_before = now + 24 * HOUR;
}

int fetches_answer(struct fetches *f, const struct broker_fetch *q, struct broker_fetched *ret)
{
	char hex[2 * BROKER_MAX_BUILD_ID + 1];
	enum broker_fetch_state state = BROKER_FETCH_NOT;

	if (!f->n_urls || (q->what != BROKER_FETCH_COUNT && !fetch_hex(q->id, q->n_id, hex)))
		return -EINVAL;
	if (q->what == BROKER_FETCH_WANT) {
		state = fetches_want(f, q->id, q->n_id, now_s());
	} else if (q->what == BROKER_FETCH_ASK) {
		const struct fetch_item *x = find(f, q->id, q->n_id);

		state = x && pending(x) ? BROKER_FETCH_PENDING : BROKER_FETCH_NOT;
	} else if (q->what == BROKER_FETCH_REFUSE) {
		fetch_cache_discard(&f->cache, hex);
		fetches_refuse(f, q->id, q->n_id, now_s());
	}
	*ret = f->counts;
	ret->state = state;
	return 0;
}

static int send_question(const struct fetches *f, struct fetch_child *c)
{
	static struct record r;
	struct fetch_question q = { .max_size = FETCH_MAX_SIZE, .seconds = FETCH_MAX_S, .n_id = c->item->n_id,
				    .n_urls = f->n_urls };
	char *to = (char *)r.data + sizeof(q);

	r = (struct record){ .type = FETCH_QUESTION, .n_fds = 1, .fds = { c->file } };
	memcpy(q.id, c->item->id, q.n_id);
	for (unsigned i = 0; i < f->n_urls; i++) {
		size_t n = strlen(f->urls[i]) + 1;

		memcpy(to + q.n_text, f->urls[i], n);
		q.n_text += (uint32_t)n;
	}
	memcpy(r.data, &q, sizeof(q));
	r.n = (uint32_t)sizeof(q) + q.n_text;
	return record_send(c->child.socket, &r);
}

/* Once, until it works again: the counters tell the rest. */
static void complain(struct fetches *f, const char *why, size_t n)
{
	char text[FETCH_MAX_TEXT];
	size_t i;

	if (f->complained)
		return;
	f->complained = true;
	for (i = 0; i < n && i + 1 < sizeof(text); i++)
		text[i] = why[i] >= ' ' && why[i] <= '~' ? why[i] : '?';
	text[i] = '\0';
	fprintf(stderr, "pprofd: debuginfod: a debug file was not fetched: %s\n", text);
}

static void start(struct fetches *f, struct fetch_child *c, struct fetch_item *x)
{
	int r;

	x->state = FETCH_RUNNING;
	c->item = x;
	c->deadline = now_s() + FETCH_MAX_S + GRACE_S;
	c->file = r = fetch_cache_create(&f->cache);
	if (r >= 0)
		r = child_start("pprofd-fetch", &c->child);
	if (r == 0)
		r = send_question(f, c);
	if (r == 0)
		return;
	complain(f, strerror(-r), strlen(strerror(-r)));
	fetches_ended(f, x, r, now_s());
	end_child(c);
}

/* The child's word, and what is in the file, which it cannot change any more once it has ended. */
static void finish(struct fetches *f, struct fetch_child *c, int status, const char *why, size_t n)
{
	char hex[2 * BROKER_MAX_BUILD_ID + 1];
	struct stat st;

	child_stop(&c->child);
	if (status == 0 && (fstat(c->file, &st) < 0 || !st.st_size || (uint64_t)st.st_size > FETCH_MAX_SIZE))
		status = -EIO;
	if (status == 0 && fetch_hex(c->item->id, c->item->n_id, hex)) {
		status = fetch_cache_publish(&f->cache, c->file, hex);
		if (status < 0)
			why = strerror(-status), n = strlen(why);
	}
	if (status > 0)
		status = status == FETCH_NONE ? FETCH_NONE : -EBADMSG;
	if (status < 0)
		complain(f, why, n);
	else
		f->complained = false;
	fetches_ended(f, c->item, status, now_s());
	end_child(c);
}

static void hear(struct fetches *f, struct fetch_child *c)
{
	static const char died[] = "pprofd-fetch has ended without a word";
	static struct record r;
	int err = record_receive(c->child.socket, &r, 0);

	if (err == -ETIMEDOUT)
		return;
	if (err == 0)
		record_close_fds(&r);
	if (err == 0 && r.type == FETCH_ANSWER)
		finish(f, c, r.status, (const char *)r.data, r.n);
	else
		finish(f, c, -EPIPE, died, sizeof(died) - 1);
}

int fetches_poll(struct fetches *f, struct pollfd to[FETCHES_AT_ONCE])
{
	int64_t now = f->counts.n_pending ? now_s() : 0, least = -1;

	for (int i = 0; i < FETCHES_AT_ONCE; i++) {
		const struct fetch_child *c = &f->children[i];
		int64_t left = c->deadline - now;

		to[i] = (struct pollfd){ .fd = c->item ? c->child.socket : -1, .events = POLLIN };
		if (c->item && (least < 0 || left < least))
			least = left > 0 ? left : 0;
	}
	return least < 0 ? -1 : (int)least * 1000 + 1000;
}

void fetches_run(struct fetches *f, const struct pollfd from[FETCHES_AT_ONCE])
{
	static const char late[] = "pprofd-fetch has had its time";

	if (!f->counts.n_pending)
		return;
	for (int i = 0; i < FETCHES_AT_ONCE; i++) {
		struct fetch_child *c = &f->children[i];

		if (c->item && from[i].revents)
			hear(f, c);
		else if (c->item && now_s() >= c->deadline)
			finish(f, c, -ETIMEDOUT, late, sizeof(late) - 1);
	}
	for (int i = 0; i < FETCHES_AT_ONCE; i++) {
		struct fetch_item *x = f->children[i].item ? NULL : fetches_next(f);

		if (x)
			start(f, &f->children[i], x);
	}
}
