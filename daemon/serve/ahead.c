/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/ahead.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"

#define MIN_WINDOW (500 * NS_PER_MS)
#define PAUSE 4 /* for this part of what a batch took */
#define BUSY_PAUSE (20 * NS_PER_MS) /* while others ask */

/* When it looks, in sixteenths of the window: early, for files are opened then, and late, for little is left then. */
static const int64_t looks[] = { 1, 4, 8, 12, 14, 15 };

int ahead_add(struct ahead_words *to, const uint64_t *words, uint32_t n)
{
	if (vec_reserve(&to->all, to->all.n + n) < 0)
		return -ENOMEM;
	if (n)
		memcpy(to->all.data + to->all.n, words, n * sizeof(*words));
	to->all.n += n;
	return 0;
}

/* Until then, or until the window ends. False: it has ended. */
static bool pause_until(struct ahead *a, int64_t until_ns)
{
	struct timespec t = { until_ns / NS_PER_S, until_ns % NS_PER_S };
	bool stop;

	pthread_mutex_lock(&a->lock);
	while (!a->stop && pthread_cond_timedwait(&a->changed, &a->lock, &t) != ETIMEDOUT)
		;
	stop = a->stop;
	pthread_mutex_unlock(&a->lock);
	return !stop;
}

static bool others_ask(struct core *c)
{
	bool busy;

	pthread_mutex_lock(&c->symbolizer_lock);
	busy = c->namer.n_running;
	pthread_mutex_unlock(&c->symbolizer_lock);
	return busy;
}

/* False: the window has ended, or there is no memory. */
static bool ask(struct ahead *a, const uint64_t *words, size_t n)
{
	int64_t began, took;

	while (others_ask(a->core))
		if (!pause_until(a, monotonic_ns() + BUSY_PAUSE))
			return false;
	began = monotonic_ns();
	if (namer_ahead(a->core, words, n) < 0)
		return false;
	took = monotonic_ns() - began;
	return pause_until(a, began + took + took / PAUSE);
}

static bool look(struct ahead *a)
{
	struct ahead_words w = { 0 };
	bool go_on = a->collect(a->context, &w) == 0;
	size_t n = go_on ? namer_unknown(a->core, w.all.data, w.all.n) : 0;

	if (n > AHEAD_MAX_WORDS)
		n = AHEAD_MAX_WORDS;
	for (size_t i = 0; i < n && go_on; i += AHEAD_BATCH)
		go_on = ask(a, w.all.data + i, n - i < AHEAD_BATCH ? n - i : AHEAD_BATCH);
	vec_deinit(&w.all);
	return go_on;
}

static void *run(void *context)
{
	struct ahead *a = context;

	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
		if (!pause_until(a, a->began_ns + a->window_ns / 16 * looks[i]) || !look(a))
			break;
	return NULL;
}

static bool take_place(struct core *c, int n)
{
	bool taken;

	pthread_mutex_lock(&c->lock);
	taken = n < 0 || c->n_ahead < AHEAD_MAX;
	if (taken)
		c->n_ahead += (uint32_t)n;
	pthread_mutex_unlock(&c->lock);
	return taken;
}

void ahead_begin(struct ahead *a)
{
	pthread_condattr_t monotonic;

	if (a->window_ns < MIN_WINDOW || !take_place(a->core, 1))
		return;
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&a->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	a->running = pthread_create(&a->thread, NULL, run, a) == 0;
	if (!a->running)
		take_place(a->core, -1);
}

void ahead_end(struct ahead *a)
{
	if (!a->running)
		return;
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	a->running = false;
	take_place(a->core, -1);
}
