/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/arming.h"

#include <malloc.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/log.h"

void arming_growth(struct core *c)
{
	pthread_mutex_lock(&c->arm_lock);
	if (broker_arm(&c->broker, PP_GROWTH, c->arm_error[PP_GROWTH]) == 0)
		c->armed_ns[PP_GROWTH] = realtime_ns();
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
	c->kept_armed = true;
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
		r = target_scan(c, t, true);
	pthread_mutex_unlock(&c->scan_lock);
	return r;
}

void arming_keep(struct core *c, struct target *t)
{
	pthread_mutex_lock(&c->arming_lock);
	if (!t->windows_only) {
		pthread_mutex_unlock(&c->arming_lock);
		return;
	}
	if (!c->kept_armed)
		start_all(c);
	pthread_mutex_lock(&c->scan_lock);
	t->windows_only = false;
	t->armed_ns = realtime_ns();
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
	pthread_mutex_unlock(&c->arming_lock);
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
