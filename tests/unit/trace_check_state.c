/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_check_state.h"

#include <string.h>

enum { RUNNABLE = 1, RUNNING, SYSCALL, WAITING };
enum { P_RUNNING = 1, P_IDLE, P_SYSCALL };

uint64_t *map_get(const struct map *m, uint64_t key)
{
	for (size_t i = hash_u64(HASH_SEED, key) & (m->n_slots - 1); m->n_slots; i = (i + 1) & (m->n_slots - 1)) {
		if (!m->items[i].used)
			return NULL;
		if (m->items[i].key == key)
			return &m->items[i].value;
	}
	return NULL;
}

void map_put(struct map *m, uint64_t key, uint64_t value)
{
	size_t i;

	if (m->n * 2 >= m->n_slots) {
		struct map to = { calloc(m->n_slots ? m->n_slots * 2 : 64, sizeof(*to.items)), 0,
				  m->n_slots ? m->n_slots * 2 : 64 };

		for (i = 0; i < m->n_slots; i++)
			if (m->items[i].used)
				map_put(&to, m->items[i].key, m->items[i].value);
		free(m->items);
		*m = to;
	}
	for (i = hash_u64(HASH_SEED, key) & (m->n_slots - 1); m->items[i].used; i = (i + 1) & (m->n_slots - 1))
		;
	m->items[i] = (struct map_item){ key, value, true };
	m->n++;
}

void map_clear(struct map *m)
{
	if (m->n)
		memset(m->items, 0, m->n_slots * sizeof(*m->items));
	m->n = 0;
}

void map_deinit(struct map *m)
{
	free(m->items);
	memset(m, 0, sizeof(*m));
}

/* Borrowed until the next one of the kind. */
static struct g *g_of(struct reader *r, uint64_t id)
{
	uint64_t *at = map_get(&r->g_index, id);

	if (!at) {
		vec_push(&r->gs, ((struct g){ .m = NONE }));
		map_put(&r->g_index, id, r->gs.n - 1);
		return &r->gs.data[r->gs.n - 1];
	}
	return &r->gs.data[*at];
}

static struct p *p_of(struct reader *r, uint64_t id)
{
	uint64_t *at = map_get(&r->p_index, id);

	if (!at) {
		vec_push(&r->ps, ((struct p){ .m = NONE }));
		map_put(&r->p_index, id, r->ps.n - 1);
		return &r->ps.data[r->ps.n - 1];
	}
	return &r->ps.data[*at];
}

static int refuse(struct reader *r, struct m *m, const char *why)
{
	return fail(r, "M %llu at %llu: %s(%llu, %llu): %s", (unsigned long long)m->id,
		    (unsigned long long)m->e.time, trace_check_type(m->e.type),
		    (unsigned long long)m->e.args[0], (unsigned long long)m->e.args[1], why);
}

/* What an event needs of its own M. */
enum { NO_P = 1, HAS_P = 2, NO_G = 4, HAS_G = 8, G_RUNNING = 16, P_RUNS = 32 };
static const uint8_t needs[64] = {
	[9] = HAS_P | HAS_G,
	[10] = NO_P,
	[11] = HAS_P,
	[14] = HAS_P,
	[16] = HAS_P | NO_G | P_RUNS,
	[17] = HAS_P | HAS_G | G_RUNNING,
	[19] = HAS_P | HAS_G | G_RUNNING,
	[20] = HAS_P | HAS_G | G_RUNNING,
	[22] = HAS_P | HAS_G | G_RUNNING,
	[23] = HAS_P | HAS_G,
	[24] = HAS_G,
	[37] = HAS_P,
	[38] = HAS_P,
	[39] = HAS_P | HAS_G,
	[40] = HAS_P | HAS_G,
	[41] = HAS_P | HAS_G,
	[42] = HAS_P | HAS_G,
	[43] = HAS_P | HAS_G,
	[44] = HAS_P | HAS_G,
};

static int check_needs(struct reader *r, struct m *m)
{
	uint8_t need = needs[m->e.type];

	if (need & NO_P && m->p != NONE)
		return refuse(r, m, "the M has a P");
	if (need & HAS_P && m->p == NONE)
		return refuse(r, m, "the M has no P");
	if (need & NO_G && m->g != NONE)
		return refuse(r, m, "the M has a G");
	if (need & HAS_G && m->g == NONE)
		return refuse(r, m, "the M has no G");
	if (need & G_RUNNING && g_of(r, m->g)->status != RUNNING)
		return refuse(r, m, "the G does not run");
	if (need & P_RUNS && p_of(r, m->p)->status != P_RUNNING)
		return refuse(r, m, "the P does not run");
	if (need && m->p != NONE && p_of(r, m->p)->generation != r->generation)
		return refuse(r, m, "the P was not told of in this generation");
	if (need && m->g != NONE && g_of(r, m->g)->generation != r->generation)
		return refuse(r, m, "the G was not told of in this generation");
	return 0;
}

static int proc_start(struct reader *r, struct m *m)
{
	struct p *p = p_of(r, m->e.args[0]);

	if (p->generation != r->generation || p->status != P_IDLE || p->sequence + 1 != m->e.args[1])
		return 0;
	p->sequence++;
	p->status = P_RUNNING;
	p->m = m->id;
	m->p = m->e.args[0];
	return 1;
}

static int proc_stop(struct reader *r, struct m *m)
{
	struct p *p = p_of(r, m->p);

	if (m->g != NONE && g_of(r, m->g)->status == RUNNING)
		return refuse(r, m, "its G still runs"); /* a reader takes it, and refuses what follows */
	p->status = P_IDLE;
	p->m = NONE;
	m->p = NONE;
	return 1;
}

static int proc_status(struct reader *r, struct m *m)
{
	uint64_t id = m->e.args[0], status = m->e.args[1];
	struct p *p = p_of(r, id);

	if (status < P_RUNNING || status > P_SYSCALL)
		return refuse(r, m, "no such status");
	if (p->status && p->status != status)
		return refuse(r, m, "the P has another status");
	if (status != P_IDLE) {
		if (p->m != NONE && p->m != m->id)
			return refuse(r, m, "the P is another M's");
		if (m->p != NONE && m->p != id)
			return refuse(r, m, "the M has another P");
		p->m = m->id;
		m->p = id;
	}
	p->status = status;
	p->sequence = 0;
	p->generation = r->generation;
	return 1;
}

static int go_status(struct reader *r, struct m *m)
{
	uint64_t id = m->e.args[0], on = m->e.args[1], status = m->e.args[2];
	struct g *g = g_of(r, id);
	bool bound = status == RUNNING || status == SYSCALL;

	if (status < RUNNABLE || status > WAITING)
		return refuse(r, m, "no such status");
	if (!g->status && r->generation != 1)
		return refuse(r, m, "an unknown G after the first generation");
	if (g->status && g->status != status)
		return refuse(r, m, "the G has another status");
	if (bound != (on != NONE) || (bound && on != m->id))
		return refuse(r, m, "the wrong M");
	if (bound && g->m != NONE && g->m != m->id)
		return refuse(r, m, "the G is another M's");
	if (bound && m->g != NONE && m->g != id)
		return refuse(r, m, "the M has another G");
	if (status == RUNNING && (m->p == NONE || p_of(r, m->p)->status != P_RUNNING))
		return refuse(r, m, "it runs without a P");
	if (bound) {
		g->m = m->id;
		m->g = id;
	}
	g->status = status;
	g->sequence = 0;
	g->generation = r->generation;
	return 1;
}

static int go_create(struct reader *r, struct m *m)
{
	struct g *g = g_of(r, m->e.args[0]);

	if (g->status)
		return refuse(r, m, "the G is there");
	if (m->g != NONE && g_of(r, m->g)->status != RUNNING)
		return refuse(r, m, "the creator does not run");
	g = g_of(r, m->e.args[0]);
	g->status = RUNNABLE;
	g->sequence = 0;
	g->m = NONE;
	g->generation = r->generation;
	g->regions.n = 0;
	return 1;
}

static int go_start(struct reader *r, struct m *m)
{
	struct g *g = g_of(r, m->e.args[0]);

	if (g->generation != r->generation || g->status != RUNNABLE || g->sequence + 1 != m->e.args[1])
		return 0;
	g->sequence++;
	g->status = RUNNING;
	g->m = m->id;
	m->g = m->e.args[0];
	return 1;
}

static int go_leave(struct reader *r, struct m *m)
{
	struct g *g = g_of(r, m->g);

	g->status = m->e.type == 17 ? 0 : m->e.type == 19 ? RUNNABLE : WAITING;
	g->m = NONE;
	m->g = NONE;
	return 1;
}

static int go_unblock(struct reader *r, struct m *m)
{
	struct g *g = g_of(r, m->e.args[0]);

	if (g->generation != r->generation || g->status != WAITING || g->sequence + 1 != m->e.args[1])
		return 0;
	g->sequence++;
	g->status = RUNNABLE;
	return 1;
}

static int syscall_begin(struct reader *r, struct m *m)
{
	struct p *p = p_of(r, m->p);

	if (p->sequence + 1 != m->e.args[0])
		return refuse(r, m, "the P's sequence number is wrong");
	if (p->status != P_RUNNING)
		return refuse(r, m, "the P does not run");
	p->sequence++;
	p->status = P_SYSCALL;
	g_of(r, m->g)->status = SYSCALL;
	return 1;
}

static int syscall_end(struct reader *r, struct m *m)
{
	if (g_of(r, m->g)->status != SYSCALL || p_of(r, m->p)->status != P_SYSCALL)
		return refuse(r, m, "it is in no system call");
	g_of(r, m->g)->status = RUNNING;
	p_of(r, m->p)->status = P_RUNNING;
	return 1;
}

static int syscall_end_blocked(struct reader *r, struct m *m)
{
	if (m->p != NONE && p_of(r, m->p)->status == P_SYSCALL)
		return 0;
	if (g_of(r, m->g)->status != SYSCALL)
		return refuse(r, m, "it is in no system call");
	g_of(r, m->g)->status = RUNNABLE;
	g_of(r, m->g)->m = NONE;
	m->g = NONE;
	return 1;
}

static int task(struct reader *r, struct m *m)
{
	size_t i = 0;

	while (i < r->tasks.n && r->tasks.data[i] != m->e.args[0])
		i++;
	if (m->e.type == 41) {
		if (i < r->tasks.n)
			r->tasks.data[i] = r->tasks.data[--r->tasks.n];
		return 1;
	}
	if (i < r->tasks.n)
		return refuse(r, m, "the task is active");
	vec_push(&r->tasks, m->e.args[0]);
	return 1;
}

static int region(struct reader *r, struct m *m)
{
	struct region x = { m->e.args[0], hash_bytes(HASH_SEED, m->e.string, m->e.string_len) };
	struct g *g = g_of(r, m->g);

	if (m->e.type == 42) {
		vec_push(&g->regions, x);
		return 1;
	}
	if (g->regions.n && memcmp(&g->regions.data[g->regions.n - 1], &x, sizeof(x)))
		return refuse(r, m, "it is not the innermost region");
	if (g->regions.n)
		g->regions.n--;
	return 1;
}

static int (*const steps[64])(struct reader *r, struct m *m) = {
	[10] = proc_start,   [11] = proc_stop,	   [13] = proc_status,	      [14] = go_create,
	[16] = go_start,     [17] = go_leave,	   [19] = go_leave,	      [20] = go_leave,
	[21] = go_unblock,   [22] = syscall_begin, [23] = syscall_end,	      [24] = syscall_end_blocked,
	[25] = go_status,    [40] = task,	   [41] = task,		      [42] = region,
	[43] = region,	     [48] = go_status,
};

int advance(struct reader *r, struct m *m)
{
	m->e.p = m->p;
	m->e.g = m->g;
	if (check_needs(r, m) < 0)
		return -1;
	return steps[m->e.type] ? steps[m->e.type](r, m) : 1;
}
