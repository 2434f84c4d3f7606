/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/door/web.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "daemon/serve/broker_client.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/log.h"

#define LOOK_NS NS_PER_S
#define MAX_PAIRS 4096

struct web {
	struct broker_client *broker;
	int64_t next_ns; /* atomic: when to look again */
	pthread_mutex_t lock; /* guards current and asked */
	struct web_config *current;
	uint32_t asked; /* generation of what has come last, good or not */
};

struct pem {
	char *data;
	size_t n;
};

static void pem_deinit(struct pem *p)
{
	if (p->data)
		explicit_bzero(p->data, p->n);
	free(p->data);
}

/* The whole file, from its start, wherever others have read to. */
static int read_pem(int fd, struct pem *ret)
{
	off_t size = lseek(fd, 0, SEEK_END); /* the sandbox has no fstat of glibc's */
	size_t max;

	if (size < 0)
		return -errno;
	if (size > BROKER_MAX_WEB)
		return -EFBIG;
	max = (size_t)size + 1; /* a file that has grown is read as it was */
	ret->data = calloc(1, max);
	if (!ret->data)
		return -ENOMEM;
	while (ret->n < max - 1) {
		ssize_t n = pread(fd, ret->data + ret->n, max - 1 - ret->n, (off_t)ret->n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		ret->n += (size_t)n;
	}
	return 0;
}

static int take_texts(struct web_config *c, const struct broker_web *w, size_t n)
{
	struct cursor at = cursor_over(c->text, n);

	if (w->n_headers > WEB_MAX_HEADERS || w->n_users > MAX_PAIRS || w->n_sans > MAX_PAIRS)
		return -EBADMSG;
	c->users = calloc(w->n_users + 1, sizeof(*c->users));
	c->sans = calloc(w->n_sans + 1, sizeof(*c->sans));
	if (!c->users || !c->sans)
		return -ENOMEM;
	for (; c->n_headers < w->n_headers; c->n_headers++) {
		c->headers[c->n_headers].name = cursor_string(&at);
		c->headers[c->n_headers].value = cursor_string(&at);
	}
	for (; c->n_users < w->n_users; c->n_users++) {
		c->users[c->n_users].name = cursor_string(&at);
		c->users[c->n_users].hash = cursor_string(&at);
	}
	for (; c->n_sans < w->n_sans; c->n_sans++)
		c->sans[c->n_sans] = cursor_string(&at);
	return at.bad || cursor_left(&at) ? -EBADMSG : 0;
}

static int take_tls(struct web_config *c, const struct broker_web *w, const struct pem *pems, char *error)
{
	struct tls_from from = { .priorities = w->priorities,
				 .client_auth = (enum broker_client_auth)w->client_auth,
				 .sans = c->sans,
				 .n_sans = c->n_sans };

	for (int i = 0; i < BROKER_N_PEM; i++) {
		from.pem[i] = pems[i].data;
		from.n_pem[i] = pems[i].n;
	}
	return tls_new(&from, error, WEB_MAX_ERROR, &c->tls);
}

/* The text first, then those that w->has says. */
static int read_all(struct web_config *c, const struct broker_web *w, const struct record *r, struct pem *pems)
{
	struct pem text = { 0 };
	uint32_t fd = 0;
	int err;

	if (w->client_auth > BROKER_CLIENT_BOTH || w->has >> BROKER_N_PEM || !memchr(w->priorities, '\0', sizeof(w->priorities)) ||
	    r->n_fds != 1 + (uint32_t)__builtin_popcount(w->has))
		return -EBADMSG;
	err = read_pem(r->fds[fd++], &text);
	c->text = text.data;
	if (err == 0)
		err = text.n == w->n_text ? take_texts(c, w, text.n) : -EBADMSG;
	for (int i = 0; i < BROKER_N_PEM && err == 0; i++)
		if (w->has >> i & 1)
			err = read_pem(r->fds[fd++], &pems[i]);
	return err;
}

int web_config_new(struct record *r, char *error, struct web_config **ret)
{
	_cleanup_(web_config_putp) struct web_config *c = calloc(1, sizeof(*c));
	const struct broker_web *w = record_payload(r, struct broker_web);
	struct pem pems[BROKER_N_PEM] = { 0 };
	int err = !c ? -ENOMEM : !w ? -EBADMSG : 0;

	if (err == 0) {
		c->n_holders = 1;
		c->generation = w->generation;
		err = read_all(c, w, r, pems);
	}
	if (err < 0)
		snprintf(error, WEB_MAX_ERROR, "%s", strerror(-err));
	else if (w->tls)
		err = take_tls(c, w, pems, error);
	for (int i = 0; i < BROKER_N_PEM; i++)
		pem_deinit(&pems[i]);
	record_close_fds(r);
	if (err < 0)
		return err;
	*ret = TAKE_PTR(c);
	return 0;
}

void web_config_put(struct web_config *c)
{
	if (!c || __atomic_sub_fetch(&c->n_holders, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	tls_free(c->tls);
	free(c->users);
	free(c->sans);
	free(c->text);
	free(c);
}

int web_new(struct broker_client *broker, struct web_config *first, struct web **ret)
{
	struct web *w = calloc(1, sizeof(*w));

	if (!w) {
		web_config_put(first);
		return -ENOMEM;
	}
	w->broker = broker;
	w->current = first;
	w->asked = first->generation;
	w->next_ns = monotonic_ns() + LOOK_NS;
	pthread_mutex_init(&w->lock, NULL);
	*ret = w;
	return 0;
}

void web_free(struct web *w)
{
	if (!w)
		return;
	web_config_put(w->current);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* One thread at a time: next_ns says so. */
static void look(struct web *w)
{
	_cleanup_(freep) struct record *r = calloc(1, sizeof(*r));
	struct web_config *next = NULL, *old = NULL;
	char error[WEB_MAX_ERROR];

	if (!r || broker_web(w->broker, w->asked, r) != 0)
		return;
	w->asked = ((const struct broker_web *)(const void *)r->data)->generation;
	if (web_config_new(r, error, &next) < 0) {
		log_line("the new web configuration is no good, what was read before holds: %s", error);
		return;
	}
	pthread_mutex_lock(&w->lock);
	if (!w->current->tls == !next->tls) {
		old = w->current;
		w->current = next;
		next = NULL;
	}
	pthread_mutex_unlock(&w->lock);
	web_config_put(old);
	web_config_put(next);
	log_line("the web configuration has been read again");
}

struct web_config *web_get(struct web *w)
{
	int64_t now_ns = monotonic_ns(), next_ns = __atomic_load_n(&w->next_ns, __ATOMIC_ACQUIRE);
	struct web_config *c;

	/* while one looks, which may take a while, none of the others does */
	if (w->broker && now_ns >= next_ns &&
	    __atomic_compare_exchange_n(&w->next_ns, &next_ns, INT64_MAX, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		look(w);
		__atomic_store_n(&w->next_ns, monotonic_ns() + LOOK_NS, __ATOMIC_RELEASE);
	}
	pthread_mutex_lock(&w->lock);
	c = w->current;
	__atomic_add_fetch(&c->n_holders, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&w->lock);
	return c;
}
