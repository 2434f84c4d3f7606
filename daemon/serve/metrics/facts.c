/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/metrics/facts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/answer.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/known.h"
#include "daemon/serve/pool.h"

const struct facts_why facts_lost[FACTS_N_LOST] = {
	[FACTS_SAMPLE_TABLE] = { "sample", "count_table_full" },
	[FACTS_SAMPLE_MEMORY] = { "sample", "no_memory" },
	[FACTS_STACK_TABLE] = { "stack", "stack_table_full" },
	[FACTS_STACK_SCRATCH] = { "stack", "no_scratch" },
	[FACTS_STACK_MERGED] = { "stack", "merged_into_other" },
	[FACTS_STACK_BAD] = { "stack", "bad_row" },
	[FACTS_LABELS_TABLE] = { "labels", "stack_table_full" },
	[FACTS_LABELS_MEMORY] = { "labels", "too_many" },
	[FACTS_LABEL_IDS] = { "trace_ids", "too_many" },
	[FACTS_LOCK_ROWS] = { "lock_name", "too_many" },
	[FACTS_NOTICE] = { "notice", "ring_full" },
	[FACTS_OBJECTS] = { "file", "too_many" },
	[FACTS_OBJECTS_DROPPED] = { "file", "unmapped_too_many" },
	[FACTS_UNWIND_TABLE] = { "unwind_table", "no_room" },
	[FACTS_CURSORS] = { "cursor", "too_many" },
	[FACTS_DEBUG_REFUSED] = { "debug_file", "does_not_fit" },
	[FACTS_DWO_MISSING] = { "dwo_file", "missing" },
	[FACTS_DWO_REFUSED] = { "dwo_file", "does_not_fit" },
	[FACTS_DEBUG_BOUND] = { "debug_information", "past_bound" },
	[FACTS_FETCH_REFUSED] = { "debuginfod_file", "does_not_fit" },
	[FACTS_FETCH_NONE] = { "debuginfod_file", "missing" },
	[FACTS_FETCH_FAILED] = { "debuginfod_file", "failed" },
	[FACTS_FETCH_QUEUE] = { "debuginfod_file", "too_many" },
	[FACTS_DUMP_LATE] = { "thread_stack", "memory_did_not_answer" },
	[FACTS_DUMP_DEEP] = { "thread_stack", "too_deep" },
	[FACTS_DUMP_LABELS] = { "thread_labels", "has_run" },
	[FACTS_DUMP_THREADS] = { "thread", "too_many" },
	[FACTS_TRACE_EVENTS] = { "trace_event", "no_room" },
	[FACTS_TRACE_STACKS] = { "trace_stack", "no_room" },
	[FACTS_HISTORY] = { "kept_capture", "no_room" },
};

const struct facts_why facts_target_lost[FACTS_N_TARGET_LOST] = {
	[FACTS_WAIT_ROOM] = { "wait", "no_room" },
	[FACTS_LOCK_ROOM] = { "lock_charge", "too_many" },
	[FACTS_LOCK_BUSY] = { "lock_charge", "busy" },
	[FACTS_WAIT_UNSEEN] = { "wait_end", "not_told" },
	[FACTS_LIVE_ROOM] = { "live_object", "no_room" },
	[FACTS_CALL_ROOM] = { "allocator_call", "no_room" },
	[FACTS_POINTER] = { "live_object", "pointer_unknown" },
	[FACTS_HELD_ROOM] = { "held_object", "no_room" },
	[FACTS_HELD_BLANK] = { "held_object", "all_zeros" },
	[FACTS_VALUE_ROOM] = { "custom_value", "no_room" },
	[FACTS_VALUE_TWICE] = { "custom_value", "held_already" },
	[FACTS_VALUE_ABSENT] = { "custom_value", "not_held" },
	[FACTS_NAME_ROOM] = { "custom_profile", "too_many" },
	[FACTS_NAME_BAD] = { "custom_profile", "bad_name" },
	[FACTS_CALL_EARLY] = { "custom_call", "before_seen" },
	[FACTS_CALL_PAUSED] = { "custom_call", "over_budget" },
	[FACTS_MAPPING_STALE] = { "mapping", "changing" },
};

const char *const facts_left_out[FACTS_N_LEFT_OUT] = {
	[FACTS_MAPPINGS] = "mappings",
	[FACTS_LABEL_VARIABLES] = "label_variables",
	[FACTS_JIT_LINES] = "jit_lines",
	[FACTS_LOCK_FILES] = "lock_data_files",
};

const char *const facts_tables[FACTS_N_TABLES] = {
	[FACTS_WINDOWS] = "window_counts",
	[FACTS_KEPT] = "kept_counts",
	[FACTS_FILES] = "files",
	[FACTS_CURSOR_ROWS] = "cursors",
	[FACTS_HISTORY_BYTES] = "history",
	[FACTS_NAMES] = "names",
	[FACTS_FUNCTIONS] = "functions",
	[FACTS_SYMBOLIZER] = "symbolizer",
};

#define load(v) ((uint64_t)__atomic_load_n((v), __ATOMIC_RELAXED)) /* of the kernel's types as well as ours */

/* Nanoseconds, all its threads, those that have ended too; the kernel's name for that clock (heap/govern.c). */
static double cpu_seconds(const struct target *t)
{
	return target_alive(t) ? (double)clock_ns((clockid_t)(~(unsigned)t->pid << 3 | 2)) / 1e9 : 0;
}

static void read_waits(const struct core *c, uint32_t slot, struct facts_target *ret)
{
	const struct pp_wait_state *s = &c->waits.states[slot];

	ret->lost[FACTS_WAIT_ROOM] = load(&s->n_full);
	ret->lost[FACTS_LOCK_ROOM] = load(&s->n_lock_full);
	ret->lost[FACTS_LOCK_BUSY] = load(&s->n_lock_busy);
	ret->lost[FACTS_WAIT_UNSEEN] = load(&s->n_unseen);
	for (uint32_t cpu = 0; cpu < c->waits.n_cpus; cpu++) {
		const struct pp_wait_cpu *w = &c->waits.cpus[cpu * PP_MAX_PROCESSES + slot];

		ret->wait_s += (double)load(&w->spent) / 1e9;
		ret->n_waits_seen += load(&w->n_seen);
		ret->n_waits_taken += load(&w->n_taken);
	}
}

static void read_heap(const struct core *c, const struct target *t, struct facts_target *ret)
{
	const struct pp_heap *s = &c->heap.states[t->index];
	struct heap_counters n;

	heap_count(c, t, &n);
	ret->heap_s = (double)load(&s->spent_ns) / 1e9;
	ret->n_heap_hits = n.n_hits; /* of all CPUs: what they tell comes in batches */
	ret->n_heap_forks = load(&s->n_forks);
	ret->lost[FACTS_LIVE_ROOM] = load(&s->n_live_full);
	ret->lost[FACTS_CALL_ROOM] = load(&s->n_pending_full);
	ret->lost[FACTS_POINTER] = load(&s->n_unknown);
	ret->lost[FACTS_HELD_ROOM] = load(&s->n_held_full);
	ret->lost[FACTS_HELD_BLANK] = load(&s->n_blank);
}

static void read_custom(const struct core *c, uint32_t slot, struct facts_target *ret)
{
	const struct pp_custom *s = &c->custom.states[slot];

	ret->n_custom_forks = load(&s->n_forks);
	ret->lost[FACTS_NAME_ROOM] = load(&s->n_profiles_full);
	ret->lost[FACTS_NAME_BAD] = load(&s->n_bad_names);
	ret->lost[FACTS_CALL_EARLY] = load(&s->n_early);
	ret->lost[FACTS_CALL_PAUSED] = load(&s->n_unseen);
	for (uint32_t i = 0; i < PP_MAX_CUSTOM; i++) {
		const struct pp_custom_profile *p = &c->custom.profiles[slot * PP_MAX_CUSTOM + i];

		if (!load(&p->hash))
			continue;
		ret->lost[FACTS_VALUE_ROOM] += load(&p->n_lost);
		ret->lost[FACTS_VALUE_TWICE] += load(&p->n_twice);
		ret->lost[FACTS_VALUE_ABSENT] += load(&p->n_absent);
		ret->n_custom_hits += load(&p->n_added) + load(&p->n_removed) + load(&p->n_twice) +
				      load(&p->n_absent) + load(&p->n_lost);
	}
	ret->custom_s = (double)load(&s->spent_ns) / 1e9;
}

void facts_target_read(const struct core *c, const struct target *t, struct facts_target *ret)
{
	const struct pp_process *p = &c->tables.processes[t->index];

	snprintf(ret->pid, sizeof(ret->pid), "%d", t->pid);
	memcpy(ret->comm, t->comm, sizeof(ret->comm));
	ret->comm[sizeof(ret->comm) - 1] = '\0';
	ret->alive = target_alive(t);
	ret->cpu_s = cpu_seconds(t);
	ret->left_out[FACTS_MAPPINGS] = t->n_left_out;
	ret->left_out[FACTS_LABEL_VARIABLES] = t->labels.n_left_out;
	ret->left_out[FACTS_JIT_LINES] = t->jit_left_out;
	ret->left_out[FACTS_LOCK_FILES] = t->wait_data.n_left_out;
	if (c->kernel != CORE_READY)
		return;
	ret->n_events = load(&p->n_events);
	ret->sample_s = (double)load(&p->spent_ns) / 1e9;
	ret->lost[FACTS_MAPPING_STALE] = load(&p->n_stale);
	if (c->waits.loaded)
		read_waits(c, t->index, ret);
	if (c->heap.loaded)
		read_heap(c, t, ret);
	if (c->custom.state == CUSTOM_READY)
		read_custom(c, t->index, ret);
}

/* The lock is held, and the programs are there. */
static void read_pool(struct core *c, struct facts *ret)
{
	struct pool *p = &c->pool;

	pool_fold(p, &c->totals, &c->kept);
	memcpy(ret->n_ends, p->n_ends, sizeof(ret->n_ends));
	ret->n_flips = p->n_flips;
	ret->n_duplicates = pool_statistic(p, PP_STAT_DUPLICATE);
	ret->n_spilled = pool_statistic(p, PP_STAT_SPILLED);
	ret->clock_stood_ns = pool_statistic(p, PP_STAT_CLOCK_NS);
	ret->lost[FACTS_SAMPLE_TABLE] = pool_statistic(p, PP_STAT_LOST_COUNT);
	ret->lost[FACTS_SAMPLE_MEMORY] = p->n_not_kept;
	ret->lost[FACTS_STACK_TABLE] = pool_statistic(p, PP_STAT_STACK_FULL);
	ret->lost[FACTS_STACK_SCRATCH] = pool_statistic(p, PP_STAT_NO_SCRATCH);
	ret->lost[FACTS_STACK_BAD] = p->n_bad;
	ret->lost[FACTS_LABELS_TABLE] = pool_statistic(p, PP_STAT_LABELS_FULL);
	ret->lost[FACTS_LABEL_IDS] = pool_statistic(p, PP_STAT_LABEL_IDS);
	ret->lost[FACTS_NOTICE] = pool_statistic(p, PP_STAT_NOTICE_LOST);
	ret->slab_bytes = (uint64_t)__atomic_load_n(&c->tables.n_slabs, __ATOMIC_RELAXED) << (PP_CHUNK_BITS + PP_SLAB_BITS + 2);
}

static void read_names(const struct core *c, struct facts *ret)
{
	ret->lost[FACTS_DEBUG_REFUSED] = c->sources.n_refused;
	ret->lost[FACTS_DWO_MISSING] = c->sources.n_dwos_missing;
	ret->lost[FACTS_DWO_REFUSED] = c->sources.n_dwos_refused;
	for (size_t i = 0; i < c->objects.all.n; i++)
		if (c->objects.all.data[i])
			ret->lost[FACTS_DEBUG_BOUND] += c->objects.all.data[i]->n_lost;
}

/* The lock is held. */
static void read_core(struct core *c, struct facts *ret)
{
	ret->kernel = c->kernel;
	if (c->kernel == CORE_READY)
		read_pool(c, ret);
	ret->n_rows = c->totals.rows.n + c->kept.rows.n;
	ret->n_objects = c->objects.n;
	ret->tables[FACTS_WINDOWS] = (struct facts_size){ totals_bytes(&c->totals), totals_fill(&c->totals) };
	ret->tables[FACTS_KEPT] = (struct facts_size){ totals_bytes(&c->kept), totals_fill(&c->kept) };
	ret->tables[FACTS_FILES] = (struct facts_size){ c->objects.n * sizeof(struct object) + c->objects.all.cap * sizeof(void *),
							(double)c->objects.n / OBJECT_MAX };
	ret->n_windows = core_n_windows(c);
	ret->lost[FACTS_STACK_MERGED] = c->totals.n_other + c->kept.n_other;
	ret->lost[FACTS_LABELS_MEMORY] = c->totals.n_unlabelled + c->kept.n_unlabelled;
	ret->lost[FACTS_LOCK_ROWS] = c->kept.n_plain;
	ret->lost[FACTS_OBJECTS] = c->objects.n_refused;
	ret->lost[FACTS_OBJECTS_DROPPED] = c->objects.n_dropped;
	ret->lost[FACTS_UNWIND_TABLE] = load(&c->tables.n_full);
	for (unsigned i = 0; i < PP_N_COLLECTORS; i++)
		ret->n_armed[i] = __atomic_load_n(&c->n_armed[i], __ATOMIC_RELAXED) ||
				  __atomic_load_n(&c->armed_ns[i], __ATOMIC_RELAXED);
	ret->n_armed[PP_WAIT] = c->waits.armed_ns != 0;
	ret->n_armed[PP_TRACE] = __atomic_load_n(&c->traces.n_windows, __ATOMIC_RELAXED);
	read_names(c, ret);
}

/* Those that have counters or locks of their own. */
static void read_tables(const struct answers *a, struct facts *ret)
{
	const struct tallies *t = &a->core->tally;
	uint64_t rows = load(&a->cursors.n_rows), functions = tally_get(t, TALLY_FUNCTIONS_BYTES),
		 symbolizer = tally_get(t, TALLY_SYMBOLIZER_BYTES);

	ret->tables[FACTS_CURSOR_ROWS] = (struct facts_size){ rows * sizeof(struct cursor_row), (double)rows / CURSORS_MAX_ROWS };
	ret->tables[FACTS_HISTORY_BYTES] = (struct facts_size){ ret->history.n_bytes, (double)ret->history.n_bytes / HISTORY_MAX_BYTES };
	ret->tables[FACTS_NAMES] =
		(struct facts_size){ tally_get(t, TALLY_NAMES_BYTES), (double)tally_get(t, TALLY_NAMES_FILL) / 1e6 };
	ret->tables[FACTS_FUNCTIONS] = (struct facts_size){ functions, (double)functions / SYMBOLIZER_MAX_OWN_BYTES };
	ret->tables[FACTS_SYMBOLIZER] = (struct facts_size){ symbolizer, (double)symbolizer / SYMBOLIZER_MAX_BYTES };
}

static void read_tally(const struct tallies *t, struct facts *ret)
{
	ret->lost[FACTS_DUMP_LATE] = tally_get(t, TALLY_DUMP_LATE);
	ret->lost[FACTS_DUMP_DEEP] = tally_get(t, TALLY_DUMP_DEEP);
	ret->lost[FACTS_DUMP_LABELS] = tally_get(t, TALLY_DUMP_UNLABELLED);
	ret->lost[FACTS_DUMP_THREADS] = tally_get(t, TALLY_DUMP_LEFT_OUT);
	ret->lost[FACTS_TRACE_EVENTS] = tally_get(t, TALLY_TRACE_EVENTS);
	ret->lost[FACTS_TRACE_STACKS] = tally_get(t, TALLY_TRACE_STACKS);
}

static void read_broker(struct core *c, struct facts *ret)
{
	struct broker_fetch q = { .what = BROKER_FETCH_COUNT };
	struct broker_fetched f;

	ret->has_usage = broker_usage(&c->broker, &ret->usage) == 0;
	ret->usage.version[sizeof(ret->usage.version) - 1] = '\0';
	if (!c->sources.servers || broker_fetch(&c->broker, &q, &f) < 0)
		return;
	ret->lost[FACTS_FETCH_REFUSED] = f.n_refused;
	ret->lost[FACTS_FETCH_NONE] = f.n_none;
	ret->lost[FACTS_FETCH_FAILED] = f.n_failed;
	ret->lost[FACTS_FETCH_QUEUE] = f.n_left_out;
}

int facts_read(const struct answers *a, struct facts *ret)
{
	struct core *c = a->core;

	*ret = (struct facts){ 0 };
	ret->targets = calloc(BROKER_MAX_TARGETS, sizeof(*ret->targets));
	if (!ret->targets)
		return -ENOMEM;
	pthread_mutex_lock(&c->lock);
	read_core(c, ret);
	for (uint32_t i = 0; i < c->n_targets; i++)
		if (c->targets[i].pid) /* else the slot is free */
			facts_target_read(c, &c->targets[i], &ret->targets[ret->n_targets++]);
	pthread_mutex_unlock(&c->lock);
	lease_count(c, &ret->leases);
	ret->n_known = known_count(&c->known, &ret->known);
	read_tally(&c->tally, ret);
	history_count(&c->history, &ret->history);
	ret->lost[FACTS_HISTORY] = ret->history.n_dropped;
	read_tables(a, ret);
	ret->lost[FACTS_CURSORS] = load(&a->cursors.n_given_up);
	read_broker(c, ret);
	return 0;
}

void facts_deinit(struct facts *f)
{
	free(f->targets);
	f->targets = NULL;
}
