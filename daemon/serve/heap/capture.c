/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/capture.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/heap/heap.h"

/* Whether a call came out of a function that is probed itself: it has been counted there. */
static bool inside_allocator(const struct target_heap *h, uint64_t word)
{
	if (frame_kind(word) != FRAME_FILE)
		return false;
	for (size_t i = 0; i < h->functions.n; i++) {
		const struct heap_function *f = &h->functions.data[i];

		if (f->probe.status == PROBE_FINE && f->probe.function < ALLOCATOR_USDT_ALLOC &&
		    f->object == frame_object(word) &&
		    frame_address(word) - f->probe.start < f->probe.size)
			return true;
	}
	return false;
}

/* The kernel's name[1]. */
static uint64_t item_of(const struct totals *t, const struct total *row)
{
	uint64_t item;

	memcpy(&item, t->names.data[row->name].text + 8, sizeof(item));
	return item;
}

/* The size that all objects of a row have, or the average of those that were there when it was first shown, or the
 * least of their class. It stays: whoever subtracts one answer from the next knows samples by stack and labels. */
static int64_t size_of(struct totals *t, const struct total *row, uint64_t item)
{
	struct total_name *name = &t->names.data[row->name];
	uint32_t class = (uint32_t)item;

	if (!name->size && !(item & PP_SIZE_WEIGHED) && row->v[0] > 0 && row->v[1] / row->v[0] <= UINT32_MAX)
		name->size = (uint32_t)(row->v[1] / row->v[0]);
	return name->size ? name->size : (int64_t)(class & 31) << (class >> 5 & 63);
}

static void fill(const struct heap_question *q, bool in_use, bool scaled, uint64_t item,
		 const struct heap_row *row, int64_t sign, int64_t values[CAPTURE_MAX_VALUES])
{
	double scale = row->allocs ? heap_scale((double)row->alloc_bytes / (double)row->allocs, item) : 0;
	bool weighed = item & PP_SIZE_WEIGHED, raw = q->raw && !weighed && !scaled;
	double objects = weighed ? (double)row->allocs / 65536 : (double)row->allocs * scale;
	double bytes = (double)row->alloc_bytes * (weighed ? 1 : scale);

	values[0] += sign * (raw ? row->allocs : (int64_t)objects);
	values[1] += sign * (raw ? row->alloc_bytes : (int64_t)bytes);
	if (!in_use)
		return;
	values[2] += sign * (raw ? row->live : (int64_t)row->live_objects);
	values[3] += sign * (raw ? row->live_bytes : (int64_t)row->live_space);
}

static int add_sample(struct capture *to, struct totals *totals, const struct total *row,
		      const struct target_labels *t, const int64_t values[CAPTURE_MAX_VALUES])
{
	struct capture_label labels[CAPTURE_MAX_LABELS] = { { .number = size_of(totals, row, item_of(totals, row)) } };
	struct capture_sample s = { 0 };
	const uint64_t *words;
	uint32_t n, n_labels;

	words = stacks_words(&totals->stacks, row->stack, &n);
	memcpy(s.values, values, sizeof(s.values));
	s.stack = capture_stack(to, words, n);
	labels->key = capture_string(to, "bytes", 5);
	if (s.stack == HASH_NONE || labels->key == HASH_NONE)
		return -ENOMEM;
	n_labels = label_list(to, totals, totals->names.data[row->name].labels, t, labels, 1);
	s.labels = n_labels == HASH_NONE ? HASH_NONE : capture_label_set(to, labels, n_labels);
	return s.labels == HASH_NONE ? -ENOMEM : capture_add(to, s);
}

static void say_source(const struct core *c, const struct target *t, struct capture *to)
{
	static const char *const sources[] = {
		[HEAP_NOT_YET] = "nothing yet: pprofd has only just started",
		[HEAP_NONE] = "nothing",
		[HEAP_PROBES] = "uprobes on the allocator's functions",
		[HEAP_TOLD] = "the process's own samples (otel_memory probes)",
	};
	const struct target_heap *h = &t->heap;
	double since = h->armed_ns ? (double)(monotonic_ns() - h->armed_ns) / 1e9 : 0;

	capture_comment(to, "heap of process %d (%s): source: %s%s%s", t->pid, t->comm,
			sources[h->source], *h->why ? "; " : "", h->why);
	if (h->source == HEAP_PROBES)
		capture_comment(to, "sampled every %u bytes on average, since %.0f s", PP_HEAP_RATE, since);
	if (h->source == HEAP_TOLD)
		capture_comment(to, "as the process weighs its samples, since %.0f s", since);
	if (h->source == HEAP_PROBES || h->source == HEAP_TOLD)
		capture_comment(to, "what was allocated before is not in here (%llu bytes of anonymous memory "
				"were resident; ?unseen=1 adds a row for them)",
				(unsigned long long)h->unseen);
	carry_say(t, to);
}

static int add_unseen(const struct target *t, struct capture *to)
{
	const uint64_t word = PP_MARKER(PP_END_BEFORE, 0);
	struct capture_sample s = { .values = { 0, 0, 0, (int64_t)t->heap.unseen } };

	s.stack = capture_stack(to, &word, 1);
	return s.stack == HASH_NONE ? -ENOMEM : capture_add(to, s);
}

static void say_held(const struct pp_heap *state, struct capture *to)
{
	capture_comment(to, "in use: objects that were sampled in windows (every %u bytes) at least %lld s ago, not "
			"freed while probes were on, and found unchanged since, at their first and last bytes: "
			"what is held and untouched. %llu are looked at; %llu have changed, %llu held nothing "
			"but zeros and are left out",
			PP_HEAP_WINDOW_RATE, (long long)(HEAP_HELD_NS / NS_PER_S),
			(unsigned long long)state->n_held, (unsigned long long)state->n_changed,
			(unsigned long long)state->n_blank);
	if (state->n_held_full)
		capture_comment(to, "lost: %llu objects of windows found no room: in use shows the older ones",
				(unsigned long long)state->n_held_full);
}

static void say_level(const struct core *c, const struct target *t, struct capture *to)
{
	const struct target_heap *h = &t->heap;
	int64_t now = monotonic_ns();
	struct heap_counters n;
	unsigned n_others;
	char shared[64];
	double hit_ns;
	double covered = (double)(h->covered_ns + (h->since_ns ? now - h->since_ns : 0)) / 1e9;

	if (h->source != HEAP_PROBES)
		return;
	if (h->level == HEAP_OFF)
		capture_comment(to, "limit: the process allocates too often to be watched all the time within "
				"--max-overhead; probes were on for %.1f s in all, in %u windows: read alloc_* "
				"as a shape, not as a level; %s", covered, h->n_windows,
				heap_holds(c, t) ? "so is what is in use" : "in use is not known");
	else if (h->level == HEAP_ALLOCS && c->heap.mode == BROKER_HEAP_INUSE)
		capture_comment(to, "limit: frees are too many to be watched within --max-overhead; in use "
				"is as it was when they were last seen");
	else if (c->heap.mode == BROKER_HEAP_ALLOCS)
		capture_comment(to, "in use is not looked at (--heap=allocs)");
	else if (h->n_gaps)
		capture_comment(to, "in use: objects allocated since %.0f s; frees of older ones went unseen",
				(double)(now - h->epoch_ns) / 1e9);
	if (heap_holds(c, t))
		say_held(&c->heap.states[t->index], to);
	heap_count(c, t, &n);
	hit_ns = heap_hit_ns(c, t, &n_others);
	snprintf(shared, sizeof(shared), " (%u other processes probe the same file)", n_others);
	capture_comment(to, "cost: %llu probe hits of some %.2f us%s; with their samples %.1f ms in all",
			(unsigned long long)n.n_hits, hit_ns / 1000,
			n_others ? shared : "", (double)c->heap.states[t->index].spent_ns / 1e6);
	if (!n.n_hits && h->level != HEAP_OFF && covered >= 1)
		capture_comment(to, "no call of these functions was seen; what a program takes from memory that it maps itself (the "
				"heaps of Go, Java, PHP and the like) is not in here: growth shows who touches it first");
	if (h->n_changes)
		capture_comment(to, "limit: what is probed was changed %u times to stay within "
				"--max-overhead", h->n_changes);
}

static void say_forks(const struct pp_heap *state, struct capture *to)
{
	if (state->n_forks)
		capture_comment(to, "cost: %llu children were forked while probes were on; the probes were taken out of "
				"those that lived on, soon after; what they have cost until then is not counted",
				(unsigned long long)state->n_forks);
}

/* Functions of the allocator that no probe stands on: their calls are not in the profile. */
static void say_refused(const struct target *t, struct capture *to)
{
	const struct target_heap *h = &t->heap;

	for (size_t i = 0; i < h->functions.n && h->source == HEAP_PROBES; i++) {
		const struct symbolizer_probe *p = &h->functions.data[i].probe;

		if (p->status != PROBE_FINE)
			capture_comment(to, "not probed: %s%s: %s",
					p->function >= ALLOCATOR_USDT_ALLOC ? "otel_memory:" : "", p->name,
					symbolizer_probe_text(p->status));
	}
}

static void say_unsure(const struct heap_reading *r, struct capture *to)
{
	if (r->unsure > 0)
		capture_comment(to, "in use: %.0f bytes are left out, of stacks whose old objects were seen freed "
				"oftener than their bytes had told", r->unsure);
}

static void say_losses(const struct core *c, const struct target *t, const struct heap_reading *r,
		       struct capture *to)
{
	const struct pp_heap *state = &c->heap.states[t->index];

	if (state->n_unknown)
		capture_comment(to, "in use is a lower bound: of %llu samples the pointer cannot be known "
				"(functions that may throw)", (unsigned long long)state->n_unknown);
	if (state->n_live_full || state->n_pending_full || r->lost)
		capture_comment(to, "lost: in use is a lower bound: %llu live samples found no room, %llu calls, "
				"%lld without a row", (unsigned long long)state->n_live_full,
				(unsigned long long)state->n_pending_full, (long long)r->lost);
}

static int add_rows(struct core *c, const struct target *t, const struct heap_question *q,
		    const struct heap_reading *before, const struct heap_reading *after,
		    struct capture *to)
{
	bool in_use = heap_knows_in_use(t) || heap_holds(c, t) || q->peak, scaled = heap_scales(t);
	struct totals *totals = &c->kept;
	int r = 0;

	for (size_t i = 0; i < after->n && r == 0; i++) {
		const struct total *row = &totals->rows.data[i];
		uint64_t item = item_of(totals, row);
		int64_t values[CAPTURE_MAX_VALUES] = { 0 };
		const uint64_t *words;
		uint32_t n;

		fill(q, in_use, scaled, item, &after->rows[i], 1, values);
		if (before && i < before->n)
			fill(q, in_use, scaled, item, &before->rows[i], -1, values);
		words = stacks_words(&totals->stacks, row->stack, &n);
		if ((values[0] || values[1] || values[2] || values[3]) &&
		    !(n && inside_allocator(&t->heap, words[0])))
			r = add_sample(to, totals, row, &t->labels, values);
	}
	return r;
}

int heap_capture(struct core *c, struct target *t, const struct heap_question *q,
		 const struct heap_reading *before, const struct heap_reading *after,
		 struct capture *to)
{
	int r;

	label_refresh(c, t);
	pthread_mutex_lock(&c->scan_lock);
	say_source(c, t, to);
	say_level(c, t, to);
	say_refused(t, to);
	pthread_mutex_lock(&c->lock);
	r = add_rows(c, t, q, before, after, to);
	pthread_mutex_unlock(&c->lock);
	if (c->heap.loaded && c->heap.states)
		say_losses(c, t, after, to);
	if (c->heap.loaded && c->heap.states)
		say_forks(&c->heap.states[t->index], to);
	say_unsure(after, to);
	if (q->peak && t->heap.peak.taken_ns)
		capture_comment(to, "in use as it was %.0f s ago, when it was most (within a sixteenth)",
				(double)(monotonic_ns() - t->heap.peak.taken_ns) / 1e9);
	if (r == 0 && q->unseen)
		r = add_unseen(t, to);
	pthread_mutex_unlock(&c->scan_lock);
	return r < 0 ? r : capture_merge(to);
}

/* Names, demangled, of functions that only stand between a program and its allocator. */
static bool is_allocator(const char *name)
{
	static const char *const patterns[] = {
		"malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc", "posix_memalign",
		"valloc", "pvalloc", "mallocx", "rallocx", "__libc_malloc", "__libc_calloc",
		"__libc_realloc", "__libc_memalign", "operator new*", "_Znwm*", "_Znam*", "je_*alloc*",
		"_rjem_*alloc*", "mi_*alloc*", "mi_new*", "tc_*alloc*", "tc_new*", "do_rust_*alloc*",
		"__rust_alloc*", "__rust_realloc", "__rdl_*alloc*", "__rg_*alloc*",
		"alloc::alloc::alloc*", "alloc::alloc::realloc", "alloc::alloc::exchange_malloc",
		"alloc::alloc::Global::*", "<alloc::alloc::Global>::*", "*alloc::alloc::Global as *::allocate*",
		"*alloc::alloc::Global as *::grow*", "std::sys::*::alloc::*", "std::alloc::__default_lib_allocator::*",
		"std::alloc::System::*", "*std::alloc::System as *",
	};

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (!fnmatch(patterns[i], name, 0))
			return true;
	return false;
}

/* The library that samples for its process: none of its code asked for memory. */
static bool is_sampler(const struct target *t, uint64_t word)
{
	if (t->heap.source != HEAP_TOLD || frame_kind(word) != FRAME_FILE ||
	    frame_object(word) == t->main_object)
		return false;
	for (size_t i = 0; i < t->heap.functions.n; i++) {
		const struct heap_function *f = &t->heap.functions.data[i];

		if (f->object == frame_object(word) && f->probe.function == ALLOCATOR_USDT_ALLOC)
			return true;
	}
	return false;
}

static bool is_allocator_frame(const struct target *t, const struct naming *n, uint64_t word)
{
	uint32_t n_lines;
	const struct naming_line *lines = naming_lines(n, naming_find(n, word), &n_lines);

	if (is_sampler(t, word))
		return true;
	for (uint32_t i = 0; i < n_lines; i++)
		if (!is_allocator(naming_function(n, lines[i].function)->name))
			return false;
	return true;
}

static int strip(const struct target *t, struct capture *to, const struct naming *n)
{
	for (size_t i = 0; i < to->samples.n; i++) {
		struct capture_stack s = to->stacks.data[to->samples.data[i].stack];
		uint64_t words[PP_MAX_WORDS];
		uint32_t k = 0, stack;

		while (k < s.n && is_allocator_frame(t, n, to->words.data[s.first + k]))
			k++;
		if (!k || k == s.n || s.n > PP_MAX_WORDS)
			continue;
		memcpy(words, to->words.data + s.first + k, (s.n - k) * sizeof(*words));
		stack = capture_stack(to, words, s.n - k);
		if (stack == HASH_NONE)
			return -ENOMEM;
		to->samples.data[i].stack = stack;
	}
	return capture_merge(to);
}

/* Where the allocator's code was inlined: its lines go, the function that it was inlined into stays. */
static void strip_inlined(struct naming *n)
{
	for (size_t i = 0; i < n->locations.n; i++) {
		struct naming_location *l = &n->locations.data[i];
		const struct naming_line *lines = n->lines.data + l->first_line;
		uint32_t k = 0;

		while (k + 1 < l->n_lines &&
		       is_allocator(naming_function(n, lines[k].function)->name))
			k++;
		l->first_line += k;
		l->n_lines -= k;
	}
}

int heap_strip(struct core *c, const struct target *t, struct capture *to, struct naming *n)
{
	int r;

	strip_inlined(n);
	pthread_mutex_lock(&c->scan_lock);
	r = strip(t, to, n);
	pthread_mutex_unlock(&c->scan_lock);
	return r;
}
