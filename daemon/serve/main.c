/* SPDX-License-Identifier: Apache-2.0 */

/* main.c - pprofd-serve: started by the broker with one socket as descriptor 3, and nothing else. */

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "daemon/serve/answer.h"
#include "daemon/serve/arming.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/door/web.h"
#include "daemon/serve/log.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/pulse.h"
#include "daemon/serve/sandbox.h"

#define SOCKET_FD 3
#define MAX_LISTENERS RECORD_MAX_FDS
#define MAX_HOSTS 64
#define LARGE_PIECE (128 << 10) /* bytes */

/* What the broker says first. */
struct orders {
	struct broker_start start;
	char text[RECORD_MAX]; /* NUL-terminated strings */
	int fds[MAX_LISTENERS];
	size_t n_fds;
	struct web *web; /* NULL: there is none */
	char web_error[WEB_MAX_ERROR + 32];
};

static int hear_start(struct core *c, struct record *r, struct orders *ret)
{
	int err = broker_hear(&c->broker, BROKER_START, r);

	if (err < 0)
		return err;
	if (r->n < sizeof(ret->start))
		return -EBADMSG;
	memcpy(&ret->start, r->data, sizeof(ret->start));
	if (ret->start.n_text != r->n - sizeof(ret->start) ||
	    ret->start.n_targets > BROKER_MAX_TARGETS)
		return -EBADMSG;
	memcpy(ret->text, r->data + sizeof(ret->start), ret->start.n_text);
	ret->text[ret->start.n_text < RECORD_MAX ? ret->start.n_text : RECORD_MAX - 1] = '\0';
	memcpy(ret->fds, r->fds, r->n_fds * sizeof(int));
	ret->n_fds = r->n_fds;
	c->hz = ret->start.hz;
	c->redact = ret->start.redact;
	c->period_ns = ret->start.period_ns;
	c->lease_ns = ret->start.lease_s * NS_PER_S;
	c->follow = ret->start.follow;
	c->waits.mode = (enum broker_wait_mode)ret->start.wait;
	c->sources.servers = ret->start.debuginfod;
	c->heap.mode = (enum broker_heap_mode)ret->start.heap;
	c->heap.budget = ret->start.max_overhead == BROKER_NO_LIMIT ? INFINITY :
								      ret->start.max_overhead / 1e6;
	return 0;
}

static int hear_target(struct core *c, struct record *r)
{
	struct target *t = &c->targets[c->n_targets];
	const struct broker_target *from;
	int err = broker_hear(&c->broker, BROKER_TARGET, r);

	if (err < 0)
		return err;
	from = record_payload(r, struct broker_target);
	if (!from || r->n_fds != 1)
		return -EBADMSG;
	*t = (struct target){ .index = c->n_targets,
			      .serial = ++c->next_serial,
			      .pid = from->pid,
			      .uid = from->uid,
			      .pidfd = r->fds[0],
			      .known = from->known,
			      .perf_map_fd = -1 };
	utf8_copy(t->comm, sizeof(t->comm), from->comm, strnlen(from->comm, sizeof(from->comm)));
	c->n_named = ++c->n_targets;
	return 0;
}

static int hear_tracks(struct core *c, struct record *r, uint32_t n)
{
	struct broker_track t;
	int err = broker_hear(&c->broker, BROKER_TRACKS, r);

	if (err < 0)
		return err;
	record_close_fds(r);
	if (n > BROKER_MAX_TRACKS || r->n != n * sizeof(t))
		return -EBADMSG;
	for (c->n_tracks = 0; c->n_tracks < n; c->n_tracks++) {
		memcpy(&t, r->data + c->n_tracks * sizeof(t), sizeof(t));
		c->tracks[c->n_tracks] = custom_track(&t);
	}
	return 0;
}

static int hear_news(struct core *c, struct record *r)
{
	int err = broker_hear(&c->broker, BROKER_NEWS, r);

	return err < 0 ? err : known_orders(&c->known, r);
}

/* What is wrong with the files of the operator's choice is his to know, and the end. */
static int hear_web(struct core *c, struct record *r, struct orders *ret)
{
	char error[WEB_MAX_ERROR];
	struct web_config *first;
	int err = broker_hear(&c->broker, BROKER_WEB, r);

	if (err < 0)
		return err;
	err = web_config_new(r, error, &first);
	if (err == 0)
		return web_new(&c->broker, first, &ret->web);
	snprintf(ret->web_error, sizeof(ret->web_error), "--web.config.file: %s", error);
	return 0;
}

static int hear_orders(struct core *c, struct orders *ret)
{
	_cleanup_(freep) struct record *r = calloc(1, sizeof(*r));
	int err = r ? hear_start(c, r, ret) : -ENOMEM;

	for (uint32_t i = 0; err == 0 && i < ret->start.n_targets; i++)
		err = hear_target(c, r);
	if (err == 0 && ret->start.n_tracks)
		err = hear_tracks(c, r, ret->start.n_tracks);
	if (err == 0 && !ret->start.one_shot)
		err = hear_news(c, r);
	if (err == 0 && ret->start.has_web)
		err = hear_web(c, r, ret);
	return err;
}

static int write_all(int fd, const struct bytes *b)
{
	for (size_t i = 0; i < b->n;) {
		ssize_t n = write(fd, b->data + i, b->n - i);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		i += (size_t)n;
	}
	return 0;
}

static void write_stream(struct core *c, int fd, const struct http_request *q, struct http_response *from)
{
	struct bytes b = { 0 };
	int r;

	if (ftruncate(fd, 0) < 0 && errno != EINVAL)
		log_line("cannot empty the output: %s", strerror(errno));
	do {
		bytes_clear(&b);
		r = from->stream.read(from->stream.context, q, &b);
		write_all(fd, &b);
	} while (r == 0 && b.n);
	bytes_deinit(&b);
	broker_tell(&c->broker, BROKER_RESULT, r < 0 ? -1 : 0, r < 0 ? strerror(-r) : "");
}

/* One request, asked by the command line instead of a client; its answer goes to a file. */
static void run_once(struct core *c, const struct orders *o)
{
	const char *name = o->text, *query = name + strlen(name) + 1;
	struct answers a = { .core = c, .finish_fd = o->fds[1], .cursors = CURSORS_INIT };
	struct http_request q = { .raw_query = query, .client_fd = -1, .stop_fd = c->stop_fd };
	struct http_response ret = { 0 };
	char error[BROKER_MAX_TEXT] = "no memory";
	_cleanup_(freep) char *path = NULL;
	int r;

	if (asprintf(&path, "/debug/pprof/%s", name) < 0)
		path = NULL;
	q.path = path;
	if (path && core_wait_kernel(c) && query_parse(query, &q.query) == 0)
		answer(&a, &q, &ret);
	if (ret.stream.read && ret.status == 200) {
		write_stream(c, o->fds[0], &q, &ret);
	} else if (ret.status == 200 && !ret.body.bad) {
		if (ftruncate(o->fds[0], 0) < 0 && errno != EINVAL)
			log_line("cannot empty the output: %s", strerror(errno));
		r = write_all(o->fds[0], &ret.body);
		if (r < 0)
			snprintf(error, sizeof(error), "cannot write the profile: %s", strerror(-r));
		broker_tell(&c->broker, BROKER_RESULT, r, r < 0 ? error : "");
	} else {
		if (ret.body.n)
			snprintf(error, sizeof(error), "%.*s", (int)ret.body.n - 1, ret.body.data);
		broker_tell(&c->broker, BROKER_RESULT, -1, error);
	}
	query_deinit(&q.query);
	http_response_deinit(&ret);
}

static void *watch(void *context)
{
	core_watch(context);
	return NULL;
}

static void *listen_to_news(void *context)
{
	struct core *c = context;

	known_listen(&c->known, c->stop_fd);
	return NULL;
}

/* The kernel's side is loaded while HTTP is already served: requests wait for it. */
static int start_watching(struct core *c, pthread_t *ret)
{
	int err = core_load(c);

	if (err < 0)
		return err;
	return -pthread_create(ret, NULL, watch, c);
}

static size_t host_list(const struct orders *o, const char *hosts[MAX_HOSTS])
{
	size_t n = 0;

	for (size_t i = 0; i < o->start.n_text && n < MAX_HOSTS; i += strlen(o->text + i) + 1)
		hosts[n++] = o->text + i;
	return n;
}

static void rows_moved(void *context, const uint32_t *map)
{
	cursors_moved(context, map);
}

static int give_up(int err)
{
	log_line("pprofd-serve cannot go on: %s", strerror(-err));
	return err;
}

static int serve(struct core *c, struct orders *o)
{
	const char *hosts[MAX_HOSTS];
	uid_t uids[1] = { o->start.owner_uid };
	struct http_peers peers = { .uids = uids, .n_uids = 1, .hosts = hosts };
	struct answers a = { .core = c, .finish_fd = -1, .cursors = CURSORS_INIT };
	_cleanup_(http_freep) struct http *h = NULL;
	pthread_t watcher, news;
	int err;

	if (*o->web_error) {
		broker_tell(&c->broker, BROKER_RESULT, -EINVAL, o->web_error);
		return -EINVAL;
	}
	err = -pthread_create(&news, NULL, listen_to_news, c);
	if (err < 0)
		return give_up(err);
	peers.n_hosts = host_list(o, hosts);
	peers.web = o->web;
	peers.max_rate = o->start.max_rate;
	peers.audit = o->start.audit;
	if (core_is_single(c))
		peers.target = &c->targets[0].uid; /* one's own process is one's own business */
	c->rows_moved = rows_moved;
	c->rows_context = &a.cursors;
	err = http_new(o->fds, o->n_fds, &http_default_limits, &peers, answer, &a, &h);
	if (err < 0) {
		log_line("cannot serve HTTP: %s", strerror(-err));
		return err;
	}
	broker_tell(&c->broker, BROKER_READY, 0, "");
	err = start_watching(c, &watcher);
	if (err == 0)
		err = pulse_start(c, o->start.alive_ms);
	if (err < 0)
		return give_up(err);
	arming_start(c);
	pthread_join(watcher, NULL);
	http_free(TAKE_PTR(h)); /* nobody asks any more */
	for (uint32_t i = 0; i < c->n_targets; i++)
		carry_save(c, &c->targets[i]);
	pthread_join(news, NULL);
	known_deinit(&c->known);
	web_free(o->web);
	cursors_deinit(&a.cursors);
	return 0;
}

/* What the one profile needs before its window. */
static void start_for(struct core *c, const char *name)
{
	const struct profile *p = profile_find(name);

	if (!p) {
		pthread_mutex_lock(&c->scan_lock);
		target_settle(c, &c->targets[0]);
		pthread_mutex_unlock(&c->scan_lock);
		custom_start(c);
	}
	if (!p || (p->arm != PROFILE_CUMULATIVE && p->arm != PROFILE_WALL))
		return;
	pthread_mutex_lock(&c->scan_lock);
	target_settle(c, &c->targets[0]);
	pthread_mutex_unlock(&c->scan_lock);
	if (p->collector == PP_HEAP)
		arming_heap(c);
	else if (p->collector == PP_CREATE)
		created_start(c);
	else if (p->collector != PP_GROWTH)
		wait_load(c);
	else
		arming_growth(c);
}

static void *seek(void *context)
{
	struct core *c = context;

	sources_seek_all(c, &c->targets[0]);
	return NULL;
}

/* There is no next answer, so what is to come over the network has to come during the window. */
static void start_seeking(struct core *c)
{
	pthread_t t;

	if (c->sources.servers && pthread_create(&t, NULL, seek, c) == 0)
		pthread_detach(t);
}

static int record(struct core *c, struct orders *o)
{
	pthread_t watcher;
	uint64_t one = 1;
	int err = o->n_fds == 2 ? start_watching(c, &watcher) : -EBADMSG;

	if (err < 0)
		return err;
	start_seeking(c);
	start_for(c, o->text);
	run_once(c, o);
	if (write(c->stop_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(watcher, NULL);
	return 0;
}

static int begin(void)
{
	struct rlimit files;
	sigset_t all;

	mallopt(M_ARENA_MAX, 2); /* a thread a connection must not mean an arena a thread */
	mallopt(M_MMAP_THRESHOLD, LARGE_PIECE); /* and it stays there: what is freed goes back */
	signal(SIGPIPE, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return sandbox_enter_serve();
}

int main(void)
{
	static struct core core;
	static struct orders orders;
	socklen_t n = sizeof(int);
	int type, err;

	if (getsockopt(SOCKET_FD, SOL_SOCKET, SO_TYPE, &type, &n) < 0) {
		fprintf(stderr, "pprofd-serve is started by pprofd\n");
		return 2;
	}
	prctl(PR_SET_NAME, "pprofd-serve"); /* it was executed by descriptor, which has no name */
	core_init(&core, SOCKET_FD);
	err = hear_orders(&core, &orders);
	if (err == 0)
		err = begin();
	if (err < 0) {
		log_line("pprofd-serve cannot start: %s", strerror(-err));
		return 1;
	}
	return (orders.start.one_shot ? record(&core, &orders) : serve(&core, &orders)) < 0;
}
