/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/lease.h"
#include "daemon/serve/log.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/session.h"
#include "daemon/serve/threads/threads.h"

#define MAX_ROUTINES 16 /* in the comment, and behind a group */

/* The record of a thread, as it was at one moment. */
static bool record_of(const struct core *c, const struct pp_thread *t, struct pp_created *ret)
{
	const struct pp_created *r = c->created.records;

	if (!r)
		return false;
	r += t->host_tid & (PP_N_CREATED - 1);
	if (__atomic_load_n(&r->tid, __ATOMIC_ACQUIRE) != t->host_tid)
		return false;
	*ret = *r;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&r->tid, __ATOMIC_RELAXED) == t->host_tid && ret->started == t->started;
}

struct created_by created_by(const struct core *c, const struct pp_thread *t)
{
	struct pp_created r;
	uint32_t row;

	if (!record_of(c, t, &r))
		return (struct created_by){ 0 };
	row = totals_known(&c->kept, r.stack);
	return (struct created_by){ r.by, row == HASH_NONE ? 0 : row + 1 };
}

static void count_before(struct core *c, struct target *t)
{
	struct dump d = { 0 };
	struct pp_created r;

	if (t->carry.restored) /* they are counted already */
		return;
	if (dump_read(c, t, BROKER_THREADS_LIST, &d) < 0)
		return;
	for (size_t i = 0; i < d.threads.n; i++)
		c->created.n_before[t->index] += !record_of(c, &d.threads.data[i].t, &r);
	dump_deinit(&d);
}

void created_before(struct core *c, struct target *t)
{
	if (c->created.records)
		count_before(c, t);
}

void created_start(struct core *c)
{
	char *error = c->arm_error[PP_CREATE];
	_cleanup_(closep) int fd = -1;
	void *p = MAP_FAILED;
	int r;

	pthread_mutex_lock(&c->arm_lock);
	r = broker_arm(&c->broker, PP_CREATE, error);
	if (r == 0 && c->created.records)
		p = (void *)c->created.records; /* as it was when it was armed before */
	else if (r == 0)
		r = fd = broker_created(&c->broker);
	if (r >= 0 && p == MAP_FAILED)
		p = mmap(NULL, PP_N_CREATED * sizeof(struct pp_created), PROT_READ, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED) {
		pthread_mutex_lock(&c->lock);
		c->created.records = p;
		pthread_mutex_unlock(&c->lock);
		for (uint32_t i = 0; i < c->n_named; i++)
			count_before(c, &c->targets[i]);
		c->armed_ns[PP_CREATE] = monotonic_ns();
	} else {
		log_line("the creation of threads cannot be seen: %s", *error ? error : strerror(r < 0 ? -r : errno));
	}
	pthread_mutex_unlock(&c->arm_lock);
}

uint64_t created_count(struct core *c, const struct target *t)
{
	uint64_t n = 0;

	pthread_mutex_lock(&c->lock);
	if (c->kernel == CORE_READY)
		pool_fold(&c->pool, &c->totals, &c->kept);
	for (size_t i = 0; i < c->kept.rows.n; i++)
		if (c->kept.rows.data[i].collector == PP_CREATE && target_has_image(t, c->kept.rows.data[i].target))
			n += (uint64_t)c->kept.rows.data[i].v[0];
	n += c->created.n_before[t->index];
	pthread_mutex_unlock(&c->lock);
	return n;
}

/* Where the threads of a creator's stack begin, of those that live. */
struct routine {
	uint32_t creator, function; /* stack of the capture; of the names */
	uint32_t n;
};

struct routines {
	VEC(struct routine) all;
	const struct naming *names;
};

/* What a thread begins in, in C libraries and languages' own. */
static bool begins(const char *name)
{
	static const char *const patterns[] = {
		"clone*", "__clone*", "start_thread", "thread_start", "start", "*execute_native_thread_routine*",
		"std::thread::_*", "std::__invoke*", "std::invoke*", "std::__1::__thread_*", "*__invoke*",
		"std::sys::*thread*", "*alloc::boxed::Box*", "core::ops::function::*", "std::panic*",
		"__rust_try", "std::thread::Builder::*", "std::thread::*spawn*", "std::sys*::backtrace::*",
		"core::panic::*", "[*", "*.so*+0x*",
	};

	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++)
		if (!fnmatch(patterns[i], name, 0))
			return true;
	return false;
}

static uint32_t routine_of(const struct dump *d, const struct dump_thread *t, const struct naming *named)
{
	for (uint32_t i = t->n; i > 0; i--) {
		uint32_t n;
		const struct naming_line *lines =
			naming_lines(named, naming_find(named, d->words.data[t->first + i - 1]), &n);

		for (uint32_t k = n; k > 0; k--)
			if (!begins(naming_function(named, lines[k - 1].function)->name))
				return lines[k - 1].function;
	}
	return UINT32_MAX;
}

static int add_routine(struct routines *r, uint32_t creator, uint32_t function)
{
	struct routine one = { creator, function, 1 };

	for (size_t i = 0; i < r->all.n; i++) {
		struct routine *k = &r->all.data[i];

		if (k->creator == creator && k->function == function) {
			k->n++;
			return 0;
		}
	}
	return vec_push(&r->all, one);
}

/* A group's: behind its frames. */
static void note_routines(void *context, const struct capture_sample *s, struct bytes *out)
{
	const struct routines *r = context;
	int n = 0;

	for (size_t i = 0; i < r->all.n && n < MAX_ROUTINES; i++) {
		const struct routine *k = &r->all.data[i];
		char name[256];

		if (k->creator != s->stack)
			continue;
		utf8_copy(name, sizeof(name), naming_function(r->names, k->function)->name,
			  strnlen(naming_function(r->names, k->function)->name, sizeof(name)));
		bytes_printf(out, n++ ? ", %s (%u live)" : "#\tstarts %s (%u live)", name, k->n);
	}
	bytes_puts(out, n ? "\n" : "");
}

static int add_rows(struct core *c, const struct target *t, const struct totals_before *before, bool delta,
		    struct capture *to)
{
	uint64_t marker = PP_MARKER(PP_END_CREATED_BEFORE, 0);
	struct capture_sample s = { .values = { (int64_t)c->created.n_before[t->index] } };
	int r = 0;

	if (!delta && s.values[0]) {
		s.stack = capture_stack(to, &marker, 1);
		r = s.stack == HASH_NONE ? -ENOMEM : capture_add(to, s);
	}
	for (size_t i = 0; i < c->kept.rows.n && r == 0; i++) {
		const struct total *row = &c->kept.rows.data[i];
		const uint64_t *words;
		uint32_t n;

		if (row->collector != PP_CREATE || !target_has_image(t, row->target))
			continue;
		words = stacks_words(&c->kept.stacks, row->stack, &n);
		s.values[0] = row->v[0] - (i < before->n ? before->v[i][0] : 0);
		s.stack = capture_stack(to, words, n);
		r = s.stack == HASH_NONE ? -ENOMEM : s.values[0] ? capture_add(to, s) : 0;
	}
	return r;
}

/* The threads that live: their stacks are to be named too. */
static int add_live(struct core *c, const struct dump *d, struct capture *to)
{
	int r = 0;

	for (size_t i = 0; i < d->threads.n && r == 0; i++) {
		const struct dump_thread *k = &d->threads.data[i];

		if (k->n && created_by(c, &k->t).row)
			r = capture_stack(to, d->words.data + k->first, k->n) == HASH_NONE ? -ENOMEM : 0;
	}
	return r;
}

static int list_routines(struct core *c, const struct dump *d, struct capture *in, struct routines *to)
{
	int r = 0;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < d->threads.n && r == 0; i++) {
		const struct dump_thread *k = &d->threads.data[i];
		struct created_by by = created_by(c, &k->t);
		uint32_t function = k->n && by.row ? routine_of(d, k, to->names) : UINT32_MAX, n;
		const uint64_t *words;

		if (function == UINT32_MAX)
			continue;
		words = stacks_words(&c->kept.stacks, c->kept.rows.data[by.row - 1].stack, &n);
		r = add_routine(to, capture_stack(in, words, n), function);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

static void say(struct core *c, const struct target *t, const struct routines *r, struct capture *to)
{
	struct bytes text = BYTES_INIT;

	if (!c->armed_ns[PP_CREATE]) {
		capture_comment(to, "threadcreate of process %d (%s): nothing is counted: %s", t->pid, t->comm,
				*c->arm_error[PP_CREATE] ? c->arm_error[PP_CREATE] : "pprofd has only just started");
		carry_say(t, to);
		return;
	}
	capture_comment(to, "threads created in process %d (%s): counted since %.0f s", t->pid, t->comm,
			(double)(monotonic_ns() - lease_since(t, c->armed_ns[PP_CREATE])) / 1e9);
	carry_say(t, to);
	for (size_t i = 0; i < r->all.n && i < MAX_ROUTINES; i++)
		bytes_printf(&text, "%s%s (%u)", i ? ", " : "", naming_function(r->names, r->all.data[i].function)->name,
			     r->all.data[i].n);
	if (text.n && bytes_text(&text))
		capture_comment(to, "those of them that live began in: %s%s", text.data,
				r->all.n > MAX_ROUTINES ? ", ..." : "");
	bytes_deinit(&text);
}

static int collect(struct core *c, struct target *t, const struct totals_before *before, bool delta,
		   const struct dump *d, struct capture *to)
{
	int r;

	pthread_mutex_lock(&c->lock);
	pool_fold(&c->pool, &c->totals, &c->kept);
	r = add_rows(c, t, before, delta, to);
	if (r == 0)
		r = add_live(c, d, to);
	pthread_mutex_unlock(&c->lock);
	return r;
}

int created_capture(struct core *c, struct target *t, const struct totals_before *before, bool delta,
		    struct capture *to, enum symbolizer_demangle how, struct naming *names,
		    struct bytes *ret_text)
{
	struct routines routines = { .names = names };
	struct dump d = { 0 };
	unsigned held;
	int r;

	held = session_keep(c); /* the objects, while they are named */
	r = dump_read(c, t, BROKER_THREADS_STACKS, &d);
	if (r == 0)
		r = collect(c, t, before, delta, &d, to);
	if (r == 0)
		r = namer_run(c, t, to, names);
	if (r == 0)
		r = list_routines(c, &d, to, &routines);
	session_let_go(c, held);
	if (r == 0)
		say(c, t, &routines, to);
	if (r == 0)
		r = capture_merge(to);
	if (r == 0 && ret_text)
		r = namer_spell(c, how, names);
	if (r == 0 && ret_text)
		r = count_text(to, names, note_routines, &routines, ret_text);
	vec_deinit(&routines.all);
	dump_deinit(&d);
	return r;
}
