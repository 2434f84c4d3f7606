/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* go_making.h - for tests with cmocka: a world's recording as a Go trace, and the reader's opinion of it. */

#include "daemon/serve/trace/go_model.h"
#include "trace_check.h"
#include "trace_world.h"

struct making {
	struct go_trace *g;
	struct bytes out;
	uint64_t n_generations, n_events, n_lost, ended;
};

static int make_generation(void *context, const struct trace_generation *generation)
{
	struct making *m = context;

	m->n_generations++;
	m->n_events += generation->n;
	m->n_lost += generation->n_lost;
	m->ended = generation->ended;
	return go_trace_generation(m->g, generation, &m->out);
}

/* The caller frees out and g. */
static void __attribute__((unused)) make(struct trace_world *w, unsigned version, const struct trace_harm *harm, uint64_t ns,
		 struct making *m)
{
	*m = (struct making){ 0 };
	assert_int_equal(go_trace_new(&w->start, version, &m->g), 0);
	assert_int_equal(trace_world_play(w, harm, ns, make_generation, m), 0);
	assert_int_equal(go_trace_end(m->g, NULL, &m->out), 0);
}

static void unmake(struct making *m)
{
	go_trace_free(m->g);
	bytes_deinit(&m->out);
}

static uint64_t __attribute__((unused)) all_repairs(const struct go_trace *g)
{
	uint64_t n = 0;

	for (int i = 0; i < GO_N_REPAIRS; i++)
		n += go_trace_repairs(g, i);
	return n;
}

static void check(const struct making *m, struct trace_check *c)
{
	if (!trace_check(m->out.data, m->out.n, c))
		fail_msg("%s", c->error);
	assert_int_equal(c->n_ties, 0);
	assert_int_equal(c->n_retries, 0);
	assert_int_equal(c->n_generations, m->n_generations + 1);
}
