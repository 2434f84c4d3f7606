/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* heap_world.h - serve's heap without a kernel: its tables in ordinary memory, one target, which is the
 * test itself, and no broker. Included behind cmocka.h. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/heap/heap.h"
#include "daemon/serve/profile.h"

#define SLOT 3u /* of the target */
#define IMAGE 9u
#define N_CPUS 2u

struct world {
	struct core c;
	struct target *t;
	struct capture *capture;
	struct pp_state state;
	uint64_t next_pointer;
};

static inline int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct heap *h = &w->c.heap;
	uint32_t image = IMAGE;

	if (!w)
		return -1;
	*state = w;
	pthread_mutex_init(&w->c.lock, NULL);
	pthread_mutex_init(&w->c.scan_lock, NULL);
	broker_init(&w->c.broker, -1);
	w->c.wake_fd = -1;
	w->c.pool.state = &w->state;
	w->c.pool.control = &w->state.control;
	h->loaded = true;
	h->n_cpus = N_CPUS;
	h->hit_ns = h->shared_ns = 1000;
	h->budget = 0.02;
	h->states = calloc(PP_MAX_PROCESSES, sizeof(*h->states));
	h->cpus = calloc((size_t)N_CPUS * PP_MAX_PROCESSES, sizeof(*h->cpus));
	h->keys = calloc(1u << PP_LIVE_BUCKET_BITS, sizeof(*h->keys));
	h->turns = calloc((size_t)PP_MAX_PROCESSES * PP_N_TURNS, sizeof(*h->turns));
	h->live = calloc((size_t)PP_LIVE_WAYS << PP_LIVE_BUCKET_BITS, sizeof(*h->live));
	w->t = &w->c.targets[0];
	w->c.n_targets = 1;
	w->t->index = SLOT;
	w->t->pid = getpid();
	w->t->pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	snprintf(w->t->comm, sizeof(w->t->comm), "tested");
	w->t->heap.source = HEAP_PROBES;
	w->t->heap.level = HEAP_ALL;
	if (vec_push(&w->t->images, image) < 0 || capture_new(profile_find("heap"), &w->capture) < 0)
		return -1;
	return h->states && h->cpus && h->keys && h->live && h->turns ? 0 : -1;
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;
	struct heap *h = &w->c.heap;

	free(h->states);
	free(h->cpus);
	free(h->keys);
	free(h->live);
	free(h->turns);
	close(w->t->pidfd);
	vec_deinit(&w->t->images);
	vec_deinit(&w->t->heap.functions);
	vec_deinit(&w->t->mappings);
	objects_deinit(&w->c.objects);
	free(w->t->heap.peak.rows);
	totals_deinit(&w->c.kept);
	totals_deinit(&w->c.totals);
	capture_free(w->capture);
	free(w);
	return 0;
}

static inline struct pp_heap_cpu *on_cpu(struct world *w, uint32_t cpu)
{
	return &w->c.heap.cpus[cpu * PP_MAX_PROCESSES + SLOT];
}
