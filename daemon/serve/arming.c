/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/arming.h"

#include <malloc.h>
#include <stdlib.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/lease.h"
#include "daemon/serve/log.h"

#define PATIENCE_NS (7 * NS_PER_S)

void arming_growth(struct core *c)
{
	pthread_mutex_lock(&c->arm_lock);
	if (broker_arm(&c->broker, PP_GROWTH, c->arm_error[PP_GROWTH]) == 0)
		c->armed_ns[PP_GROWTH] = monotonic_ns();
	else
		log_line("%s", c->arm_error[PP_GROWTH]);
	pthread_mutex_unlock(&c->arm_lock);
}

/* After the first scans, so that CPU profiles need not wait for it. */
void arming_heap(struct core *c)
{
	int r;

	if (c->heap.mode == BROKER_HEAP_OFF)
		return;
	r = c->heap.loaded ? 0 : heap_load(c);
	if (r < 0)
		log_line("the heap cannot be profiled: %s", c->heap.error);
	pthread_mutex_lock(&c->scan_lock);
	pthread_mutex_lock(&c->lock);
	c->heap.loaded = r == 0;
	pthread_mutex_unlock(&c->lock);
	for (uint32_t i = 0; i < c->n_targets; i++)
		if (c->targets[i].pid)
			heap_follow(c, &c->targets[i], false);
	pthread_mutex_unlock(&c->scan_lock);
}

/* The arming_lock is held. */
static void start_all(struct core *c)
{
	wait_load(c);
	created_start(c);
	arming_heap(c);
	arming_growth(c);
	__atomic_store_n(&c->kept_armed, true, __ATOMIC_SEQ_CST);
}

void arming_start(struct core *c)
{
	pthread_mutex_lock(&c->arming_lock);
	for (uint32_t i = 0; i < c->n_named; i++) {
		pthread_mutex_lock(&c->scan_lock);
		target_scan(c, &c->targets[i], true);
		pthread_mutex_unlock(&c->scan_lock);
	}
	malloc_trim(0);
	custom_start(c);
	if (c->n_named)
		start_all(c);
	pthread_mutex_unlock(&c->arming_lock);
}

int arming_scan(struct core *c, struct target *t)
{
	int r = TARGET_OK;

	pthread_mutex_lock(&c->scan_lock);
	if (!t->published)
		r = target_settle(c, t);
	pthread_mutex_unlock(&c->scan_lock);
	return r;
}

static void keep_now(struct core *c, struct target *t)
{
	pthread_mutex_lock(&c->arming_lock);
	if (t->keeps) {
		pthread_mutex_unlock(&c->arming_lock);
		return;
	}
	if (!c->kept_armed)
		start_all(c);
	pthread_mutex_lock(&c->scan_lock);
	t->windows_only = false;
	t->armed_ns = monotonic_ns();
	if (c->waits.mapped) {
		wait_limit(c, t);
		wait_data_follow(c, t);
		wait_filter(c);
	}
	heap_follow(c, t, false);
	pthread_mutex_unlock(&c->scan_lock);
	if (c->waits.loaded && c->waits.mode == BROKER_WAIT_STRICT)
		broker_arm(&c->broker, PP_WAIT, c->waits.error); /* of its threads */
	else if (c->waits.loaded)
		wait_initial(c, t);
	created_before(c, t);
	__atomic_store_n(&t->keeps, true, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&c->arming_lock);
}

struct keeping {
	struct core *core;
	struct target *target; /* held */
};

static void *keep_later(void *context)
{
	struct keeping k = *(struct keeping *)context;

	free(context);
	keep_now(k.core, k.target);
	lease_end(k.core, k.target);
	return NULL;
}

static bool begin(struct core *c, struct target *t)
{
	struct keeping *k = malloc(sizeof(*k));
	pthread_attr_t detached;
	pthread_t thread;
	bool begun;

	if (!k)
		return false;
	*k = (struct keeping){ c, t };
	lease_hold(c, t);
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	begun = pthread_create(&thread, &detached, keep_later, k) == 0;
	pthread_attr_destroy(&detached);
	if (begun)
		return true;
	lease_end(c, t);
	free(k);
	return false;
}

/* The first time, programs are loaded and their cost is measured: seconds, which not every client has. Then it is answered
 * without what is not there yet. */
void arming_keep(struct core *c, struct target *t)
{
	const struct timespec pause = { .tv_nsec = 20 * NS_PER_MS };
	int64_t until = monotonic_ns() + PATIENCE_NS;

	if (__atomic_load_n(&t->keeps, __ATOMIC_ACQUIRE))
		return;
	if (__atomic_load_n(&c->kept_armed, __ATOMIC_ACQUIRE) || !begin(c, t)) {
		keep_now(c, t);
		return;
	}
	while (!__atomic_load_n(&t->keeps, __ATOMIC_ACQUIRE) && monotonic_ns() < until)
		nanosleep(&pause, NULL);
}

/* Whether none has wanted it in the meantime. */
static bool is_unwanted(struct core *c)
{
	bool wanted = false;

	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_targets; i++)
		wanted |= c->targets[i].pid && !c->targets[i].windows_only;
	pthread_mutex_unlock(&c->lease_lock);
	return !wanted;
}

void arming_stop(struct core *c)
{
	pthread_mutex_lock(&c->arming_lock);
	if (!c->kept_armed || !is_unwanted(c)) {
		pthread_mutex_unlock(&c->arming_lock);
		return;
	}
	pthread_mutex_lock(&c->lock);
	c->waits.loaded = false;
	c->waits.armed_ns = 0;
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_lock(&c->arm_lock);
	broker_disarm(&c->broker, PP_WAIT);
	broker_disarm(&c->broker, PP_CREATE);
	broker_disarm(&c->broker, PP_GROWTH);
	c->armed_ns[PP_CREATE] = c->armed_ns[PP_GROWTH] = 0;
	pthread_mutex_unlock(&c->arm_lock);
	c->kept_armed = false;
	pthread_mutex_unlock(&c->arming_lock);
}
