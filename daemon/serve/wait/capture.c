/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "daemon/serve/ahead.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/lease.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/session.h"
#include "daemon/serve/wait/wait.h"

/* A window that begins so long before waits are counted is told of. */
#define LATE_NS (NS_PER_S / 10)

/* A row that has something to say, before names tell what it is. */
struct waiting {
	uint32_t item;
	uint32_t stack;	 /* of the capture */
	uint32_t waiter; /* likewise: the stack that tells the kind */
	uint64_t lock;	 /* an address with a name, or 0 */
	uint32_t image;	 /* that has it there */
	uint32_t object; /* the name: a string of the capture; 0: none */
	uint32_t labels; /* of the thread: a set of core.kept */
	int64_t v[2];
};

struct rows {
	VEC(struct waiting) all;
	int64_t n_broken, n_truncated, n;
	int64_t unknown[2];  /* releases of locks of unknown kind, which are not in the profile */
	int64_t runtime[2];  /* waits of a runtime's own scheduler */
};

static int64_t since(const struct wait_reading *before, const struct wait_reading *after, size_t i, int k)
{
	return after->v[i][k] - (before && i < before->n ? before->v[i][k] : 0);
}

/* Interns the stack of a row of core.kept. */
static uint32_t add_stack(const struct core *c, uint32_t row, struct capture *to)
{
	uint32_t n;
	const uint64_t *words = stacks_words(&c->kept.stacks, c->kept.rows.data[row].stack, &n);

	return capture_stack(to, words, n);
}

static int add_row(struct core *c, size_t i, struct waiting w, struct capture *to, struct rows *rows)
{
	const struct total *row = &c->kept.rows.data[i];
	uint64_t name[2]; /* the hash of a waiter's stack, the lock */
	const uint64_t *words;
	uint32_t n, known;

	memcpy(name, c->kept.names.data[row->name].text, sizeof(name));
	w.item = row->item; /* of a release: what the waiter does */
	w.lock = name[1];
	w.image = row->target;
	w.labels = c->kept.names.data[row->name].labels;
	w.stack = w.waiter = add_stack(c, (uint32_t)i, to);
	if (row->collector == PP_RELEASE) {
		known = totals_known(&c->kept, name[0]);
		w.waiter = known == HASH_NONE ? HASH_NONE : add_stack(c, known, to);
	}
	words = stacks_words(&c->kept.stacks, row->stack, &n);
	rows->n += w.v[0];
	if (n && frame_kind(words[n - 1]) == FRAME_MARKER && frame_end(words[n - 1]) != PP_END_ANOTHER)
		*(frame_end_truncated(frame_end(words[n - 1])) ? &rows->n_truncated : &rows->n_broken) += w.v[0];
	return w.stack == HASH_NONE ? -ENOMEM : vec_push(&rows->all, w);
}

static bool wanted(const struct profile *p, const struct total *row)
{
	if (row->collector != p->collector)
		return false;
	return row->collector == PP_RELEASE || p->n_values == 1 || wait_may_be_sync(row->item);
}

static int collect(struct core *c, const struct target *t, const struct wait_reading *before,
		   const struct wait_reading *after, struct capture *to, struct rows *rows)
{
	int r = 0;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < after->n && r == 0; i++) {
		const struct total *row = &c->kept.rows.data[i];
		struct waiting w = { .v = { since(before, after, i, 0), since(before, after, i, 1) } };

		if (wanted(to->profile, row) && (w.v[0] || w.v[1]) && target_has_image(t, row->target))
			r = add_row(c, i, w, to, rows);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* The names of locks that are variables. */
static int name_objects(struct core *c, const struct target *t, struct capture *to, struct rows *rows)
{
	_cleanup_(freep) uint64_t *words = calloc(rows->all.n + 1, sizeof(*words));
	_cleanup_(freep) char **names = calloc(rows->all.n + 1, sizeof(*names));
	unsigned held;
	int r;

	if (!words || !names)
		return -ENOMEM;
	held = session_keep(c);
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < rows->all.n; i++)
		if (rows->all.data[i].lock)
			words[i] = wait_data_word(t, rows->all.data[i].image, rows->all.data[i].lock);
	pthread_mutex_unlock(&c->lock);
	r = namer_variables(c, words, rows->all.n, names);
	session_let_go(c, held);
	for (size_t i = 0; i < rows->all.n && r == 0; i++) {
		struct waiting *w = &rows->all.data[i];

		w->object = names[i] ? capture_string(to, names[i], strlen(names[i])) : 0;
		if (w->object == HASH_NONE)
			r = -ENOMEM;
	}
	for (size_t i = 0; i < rows->all.n; i++)
		free(names[i]);
	return r;
}

static int put_label(struct capture *to, struct capture_label *l, const char *key, const char *value)
{
	l->key = capture_string(to, key, strlen(key));
	l->value = capture_string(to, value, strlen(value));
	return l->key == HASH_NONE || l->value == HASH_NONE ? -ENOMEM : 0;
}

static enum wait_kind kind_of(const struct capture *c, const struct waiting *w, const struct naming *n)
{
	struct capture_stack s;

	if (w->waiter == HASH_NONE)
		return WAIT_FUTEX;
	s = c->stacks.data[w->waiter];
	return wait_kind(w->item, c->words.data + s.first, s.n, n);
}

/* Asks whom the callers call, where names of frames do not tell the kind. */
static int name_callees(struct core *c, const struct capture *to, const struct rows *rows, struct naming *n)
{
	VEC(uint64_t) words = { 0 };
	int r = 0;

	for (size_t i = 0; i < rows->all.n && r == 0; i++) {
		const struct waiting *w = &rows->all.data[i];
		struct capture_stack s;
		uint32_t more;

		if (w->waiter == HASH_NONE)
			continue;
		s = to->stacks.data[w->waiter];
		r = vec_reserve(&words, words.n + WAIT_MAX_CALLERS);
		if (r < 0)
			break;
		more = wait_callers(w->item, to->words.data + s.first, s.n, n, words.data + words.n);
		words.n += more;
	}
	if (r == 0 && words.n)
		r = namer_callees(c, words.data, words.n, n);
	vec_deinit(&words);
	return r;
}

/* Whether a kind is in the profile; what is left out is counted. */
static bool belongs(const struct profile *p, enum wait_kind k, const struct waiting *w, struct rows *rows)
{
	int64_t *left = k == WAIT_RUNTIME ? rows->runtime : rows->unknown;

	if (p->collector == PP_RELEASE ? k == WAIT_MUTEX || k == WAIT_RWLOCK :
					 k != WAIT_NONE && k != WAIT_RUNTIME)
		return true;
	if (k == WAIT_RUNTIME || k == WAIT_FUTEX) {
		left[0] += w->v[0];
		left[1] += w->v[1];
	}
	return false;
}

/* Behind the n of our own, those of the thread. */
static uint32_t all_labels(struct core *c, const struct target *t, const struct waiting *w, struct capture *to,
			   struct capture_label l[CAPTURE_MAX_LABELS], uint32_t n)
{
	pthread_mutex_lock(&c->lock);
	n = label_list(to, &c->kept, w->labels, &t->labels, l, n);
	pthread_mutex_unlock(&c->lock);
	return n == HASH_NONE ? HASH_NONE : capture_label_set(to, l, n);
}

static int add_sample(struct core *c, const struct target *t, struct capture *to, const struct waiting *w,
		      enum wait_kind k)
{
	struct capture_sample s = { .stack = w->stack, .values = { w->v[0], w->v[1] } };
	struct capture_label l[CAPTURE_MAX_LABELS] = { 0 };
	int r;

	if (to->profile->n_values == 1) { /* offcpu */
		s.values[0] = w->v[1];
		s.values[1] = 0;
		r = put_label(to, &l[0], "reason", wait_reason(w->item));
	} else {
		r = put_label(to, &l[0], "lock", wait_kind_name(k));
	}
	if (r == 0 && w->object) {
		l[1].key = capture_string(to, "object", strlen("object"));
		l[1].value = w->object;
		r = l[1].key == HASH_NONE ? -ENOMEM : 0;
	}
	s.labels = r == 0 ? all_labels(c, t, w, to, l, w->object ? 2 : 1) : HASH_NONE;
	return s.labels == HASH_NONE ? -ENOMEM : capture_add(to, s);
}

/* The sampling of late, over all CPUs. */
struct pace {
	uint64_t n_seen, n_taken, spent;
	uint32_t shift, longest;
};

static struct pace pace_of(const struct core *c, const struct target *t)
{
	struct pace p = { 0 };

	for (uint32_t cpu = 0; cpu < c->waits.n_cpus; cpu++) {
		const struct pp_wait_cpu *w = &c->waits.cpus[cpu * PP_MAX_PROCESSES + t->index];

		p.n_seen += w->n_seen;
		p.n_taken += w->n_taken;
		p.spent += w->spent;
		p.shift = w->shift > p.shift ? w->shift : p.shift;
		p.longest = w->longest > p.longest ? w->longest : p.longest;
	}
	return p;
}

static void say_losses(const struct core *c, const struct target *t, const struct rows *rows,
		       struct capture *to)
{
	const struct pp_wait_state *s = &c->waits.states[t->index];

	capture_comment(to, "lost: %llu waits (no room for an open one), %llu (count table full), %llu (no "
			"memory); without a stack: %llu (stack table full), %llu (no scratch); not charged to "
			"a holder: %llu (too many locks), %llu (lock busy); merged into [other]: %llu",
			(unsigned long long)s->n_full,
			(unsigned long long)pool_statistic(&c->pool, PP_STAT_LOST_COUNT),
			(unsigned long long)(c->pool.n_not_kept + c->pool.n_bad),
			(unsigned long long)pool_statistic(&c->pool, PP_STAT_STACK_FULL),
			(unsigned long long)pool_statistic(&c->pool, PP_STAT_NO_SCRATCH),
			(unsigned long long)s->n_lock_full, (unsigned long long)s->n_lock_busy,
			(unsigned long long)c->kept.n_other);
	if (s->n_unseen)
		capture_comment(to, "%llu times the kernel did not tell that a thread was back on a CPU: known when it "
				"left it again", (unsigned long long)s->n_unseen);
	if (rows->unknown[0])
		capture_comment(to, "left out: %lld releases of futexes whose kind no name tells, %.3f s",
				(long long)rows->unknown[0], (double)rows->unknown[1] / 1e9);
	if (rows->runtime[0])
		capture_comment(to, "left out: %lld waits of idle threads of Go's scheduler, %.3f s: ask the "
				"program's own profiles", (long long)rows->runtime[0],
				(double)rows->runtime[1] / 1e9);
}

static void say(struct core *c, const struct target *t, const struct rows *rows, size_t n_open,
		struct capture *to)
{
	int64_t since_ns;
	struct pace p;

	pthread_mutex_lock(&c->lock);
	if (!c->waits.loaded) {
		capture_comment(to, "%s of process %d (%s): nothing is counted: %s", to->profile->name, t->pid,
				t->comm, c->waits.mode == BROKER_WAIT_OFF ? "--wait=off" :
				*c->waits.error ? c->waits.error : "pprofd has only just started");
		pthread_mutex_unlock(&c->lock);
		carry_say(t, to);
		return;
	}
	p = pace_of(c, t);
	since_ns = lease_since(t, c->waits.armed_ns);
	capture_comment(to, "%s of process %d (%s): since %.0f s; %lld waits or releases, of which %lld have "
			"stacks beyond %d frames and %lld broken ones; %zu waits are not over", to->profile->name,
			t->pid, t->comm, (double)(monotonic_ns() - since_ns) / 1e9, (long long)rows->n,
			(long long)rows->n_truncated, PP_WAIT_FRAMES, (long long)rows->n_broken, n_open);
	if (to->began_ns && since_ns - to->began_ns > LATE_NS)
		capture_comment(to, "the window began %.1f s before waits were counted: those of that time are not in it",
				(double)(since_ns - to->began_ns) / 1e9);
	capture_comment(to, "waits: %llu of %llu looked at, of late one of %u; %.3f s of CPU time spent on it, "
			"at most %.1f us at once",
			(unsigned long long)p.n_taken, (unsigned long long)p.n_seen, 1u << p.shift,
			(double)p.spent / 1e9, (double)p.longest / 1e3);
	say_losses(c, t, rows, to);
	pthread_mutex_unlock(&c->lock);
	carry_say(t, to);
	capture_comment(to, "not seen: spinning, sched_yield in a loop%s", c->waits.mode == BROKER_WAIT_STRICT ?
			"; --wait=strict: waits that are not over, and who releases a lock" :
			"; waits that began before pprofd attached count from then on, and nobody is charged with them");
}

static void say_objects(struct core *c, const struct target *t, struct capture *to)
{
	const struct wait_data *d = &t->wait_data;

	pthread_mutex_lock(&c->lock);
	capture_comment(to, "objects: locks in the data of %u files are told apart; of %u not (it is in more than "
			"%d places); forgotten: %llu files; too many locks: %llu rows",
			d->n_files - d->n_left_out, d->n_left_out, PP_WAIT_RANGES,
			(unsigned long long)d->n_forgotten, (unsigned long long)c->kept.n_plain);
	pthread_mutex_unlock(&c->lock);
}

static int add_samples(struct core *c, const struct target *t, struct capture *to, const struct naming *n,
		       struct rows *rows)
{
	int r = 0;

	for (size_t i = 0; i < rows->all.n && r == 0; i++) {
		const struct waiting *w = &rows->all.data[i];
		enum wait_kind k = to->profile->n_values == 1 ? WAIT_FUTEX : kind_of(to, w, n);

		if (to->profile->n_values == 1 || belongs(to->profile, k, w, rows))
			r = add_sample(c, t, to, w, k);
	}
	return r;
}

static void say_labels(struct core *c, const struct target *t, struct capture *to)
{
	pthread_mutex_lock(&c->lock);
	label_say(to, pool_statistic(&c->pool, PP_STAT_LABELS_FULL) + c->kept.n_unlabelled, 0, &t->labels);
	pthread_mutex_unlock(&c->lock);
}

int wait_capture(struct core *c, const struct target *t, const struct wait_reading *before,
		 const struct wait_reading *after, bool objects, struct capture *to, struct naming *names)
{
	struct naming n = { 0 };
	struct rows rows = { 0 };
	int r = collect(c, t, before, after, to, &rows);

	objects = objects && to->profile->n_values > 1;
	if (r == 0)
		r = namer_run(c, t, to, &n);
	if (r == 0 && objects)
		r = name_objects(c, t, to, &rows);
	if (r == 0 && to->profile->n_values > 1)
		r = name_callees(c, to, &rows, &n);
	if (r == 0)
		r = add_samples(c, t, to, &n, &rows);
	if (r == 0)
		say(c, t, &rows, after->n_open, to);
	if (r == 0)
		say_labels(c, t, to);
	if (r == 0 && objects)
		say_objects(c, t, to);
	if (r == 0)
		r = capture_merge(to);
	vec_deinit(&rows.all);
	if (r < 0)
		naming_free(&n);
	else
		*names = n;
	return r;
}

int wait_words(struct core *c, const struct target *t, const struct wait_reading *before, struct ahead_words *to)
{
	_cleanup_(wait_reading_deinit) struct wait_reading now = { 0 };
	int r = wait_read(c, t, &now);

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < now.n && r == 0; i++) {
		const struct total *row = &c->kept.rows.data[i];
		const uint64_t *words;
		uint32_t n;

		if (row->collector != PP_WAIT || !since(before, &now, i, 1) || !target_has_image(t, row->target))
			continue;
		words = stacks_words(&c->kept.stacks, row->stack, &n);
		r = ahead_add(to, words, n);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

int wait_add_wall(struct core *c, const struct target *t, const struct wait_reading *before,
		  const struct wait_reading *after, int64_t period, struct capture *to)
{
	struct capture_label l[CAPTURE_MAX_LABELS] = { 0 };
	struct rows rows = { 0 };
	int r = 0;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < after->n && r == 0; i++) {
		const struct total *row = &c->kept.rows.data[i];
		struct waiting w = { .v = { since(before, after, i, 0), since(before, after, i, 1) } };

		if (row->collector == PP_WAIT && w.v[1] && target_has_image(t, row->target))
			r = add_row(c, i, w, to, &rows);
	}
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < rows.all.n && r == 0; i++) {
		const struct waiting *w = &rows.all.data[i];
		struct capture_sample s = { .stack = w->stack,
					    .values = { (w->v[1] + period / 2) / period, w->v[1] } };

		r = put_label(to, &l[0], "state", wait_reason(w->item));
		s.labels = r == 0 ? all_labels(c, t, w, to, l, 1) : HASH_NONE;
		r = s.labels == HASH_NONE ? -ENOMEM : capture_add(to, s);
	}
	if (r == 0)
		say(c, t, &rows, after->n_open, to);
	vec_deinit(&rows.all);
	return r;
}
