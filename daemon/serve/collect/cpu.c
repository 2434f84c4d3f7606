/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/collect/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/serve/frame.h"
#include "daemon/serve/label.h"

/* How the stacks of a window ended, by reason and file. */
#define MAX_REASONS 64

struct reason {
	uint64_t marker;
	int64_t n;
};

struct tally {
	int64_t n_samples, n_truncated, n_broken;
	struct reason reasons[MAX_REASONS];
	size_t n_reasons;
};

void cpu_figures(const struct session *s, struct cpu_figures *ret)
{
	const struct core *c = s->core;
	const struct pp_process *p = &c->tables.processes[s->target->index];

	for (int i = 0; i < PP_N_STATISTICS; i++)
		ret->statistics[i] = pool_statistic(&c->pool, (enum pp_statistic)i);
	ret->n_events = __atomic_load_n(&p->n_events, __ATOMIC_RELAXED);
	ret->n_stale = __atomic_load_n(&p->n_stale, __ATOMIC_RELAXED);
	ret->n_other = c->totals.n_other;
	ret->n_unlabelled = c->totals.n_unlabelled;
	ret->n_not_kept = c->pool.n_not_kept + c->pool.n_bad;
	ret->n_images = s->target->images.n;
	ret->cpu_ns = target_cpu_ns(s->target);
}

static void tally_stack(struct tally *t, const uint64_t *words, uint32_t n, int64_t samples)
{
	uint64_t last = n ? words[n - 1] : 0;

	t->n_samples += samples;
	if (frame_kind(last) != FRAME_MARKER)
		return;
	if (frame_end_truncated(frame_end(last)))
		t->n_truncated += samples;
	else
		t->n_broken += samples;
	for (size_t i = 0; i < t->n_reasons; i++) {
		if (t->reasons[i].marker != last)
			continue;
		t->reasons[i].n += samples;
		return;
	}
	if (t->n_reasons < MAX_REASONS)
		t->reasons[t->n_reasons++] = (struct reason){ last, samples };
}

/* Without its kernel frames a stack may have none left: then the kernel's entry is all there is. */
static void drop_kernel(const uint64_t **words, uint32_t *n)
{
	while (*n > 1 && frame_kind(**words) == FRAME_KERNEL) {
		++*words;
		--*n;
	}
}

static int add_sample(const struct session *s, struct capture *to, const struct total *row,
		      int64_t n_ticks)
{
	const struct totals *totals = &s->core->totals;
	const char *name = totals->names.data[row->name].text;
	int64_t ns = n_ticks * (int64_t)s->core->period_ns;
	struct capture_sample sample = { .values = { n_ticks, ns } };
	struct capture_label labels[CAPTURE_MAX_LABELS] = { 0 };
	const uint64_t *words;
	char shown[2 * TOTALS_NAME];
	uint32_t n, n_labels;

	words = stacks_words(&totals->stacks, row->stack, &n);
	if (!s->kernel)
		drop_kernel(&words, &n);
	sample.stack = capture_stack(to, words, n);
	utf8_copy(shown, sizeof(shown), name, strnlen(name, TOTALS_NAME));
	labels->key = capture_string(to, "thread", 6);
	labels->value = capture_string(to, shown, strlen(shown));
	if (sample.stack == HASH_NONE || labels->key == HASH_NONE || labels->value == HASH_NONE)
		return -ENOMEM;
	n_labels = label_list(to, totals, totals->names.data[row->name].labels, &s->target->labels, labels, 1);
	sample.labels = n_labels == HASH_NONE ? HASH_NONE : capture_label_set(to, labels, n_labels);
	return sample.labels == HASH_NONE ? -ENOMEM : capture_add(to, sample);
}

static void say_reasons(const struct session *s, struct capture *to, const struct tally *t)
{
	for (size_t i = 0; i < t->n_reasons; i++) {
		uint32_t id = frame_marker_object(t->reasons[i].marker);
		const struct object *x = objects_find(&s->core->objects, id);

		capture_comment(to, "%s: %lld samples%s%s",
				frame_end_text(frame_end(t->reasons[i].marker)),
				(long long)t->reasons[i].n, x ? " in " : "",
				x ? object_short_name(x) : "");
	}
}

static void say_losses(const struct session *s, struct capture *to, const struct cpu_figures *then, int64_t n_samples)
{
	struct cpu_figures now;
	const uint64_t *a = now.statistics, *b = then->statistics;

	cpu_figures(s, &now);
	capture_comment(to, "lost: %llu samples (count table full), %llu (no memory); "
			"without a stack: %llu (stack table full), %llu (no scratch); "
			"merged into [other]: %llu",
			(unsigned long long)(a[PP_STAT_LOST_COUNT] - b[PP_STAT_LOST_COUNT]),
			(unsigned long long)(now.n_not_kept - then->n_not_kept),
			(unsigned long long)(a[PP_STAT_STACK_FULL] - b[PP_STAT_STACK_FULL]),
			(unsigned long long)(a[PP_STAT_NO_SCRATCH] - b[PP_STAT_NO_SCRATCH]),
			(unsigned long long)(now.n_other - then->n_other));
	/* A timer's ticks fall beside short stretches of work in a kernel that has interrupts off: this shows it. */
	if (now.cpu_ns && then->cpu_ns)
		capture_comment(to, "cpu: %.3f s by the process's own clock, %.3f s in samples",
				(double)(now.cpu_ns - then->cpu_ns) / 1e9, (double)n_samples * (double)s->core->period_ns / 1e9);
	if (a[PP_STAT_CLOCK_NS] > b[PP_STAT_CLOCK_NS])
		capture_comment(to, "clock: %.3f s of the CPUs' time were not looked at: the kernel stopped the clock "
				"(kernel.perf_event_max_sample_rate), or a CPU came on",
				(double)(a[PP_STAT_CLOCK_NS] - b[PP_STAT_CLOCK_NS]) / 1e9);
	if (now.n_stale > then->n_stale)
		capture_comment(to, "mappings: %llu events of any kind (samples, allocations, waits, faults) came while the "
				"process was mapping or unmapping code",
				(unsigned long long)(now.n_stale - then->n_stale));
	label_say(to, a[PP_STAT_LABELS_FULL] - b[PP_STAT_LABELS_FULL] + now.n_unlabelled - then->n_unlabelled,
		  a[PP_STAT_LABEL_IDS] - b[PP_STAT_LABEL_IDS], &s->target->labels);
	if (s->target->n_left_out)
		capture_comment(to, "mappings: %llu beyond the limit are not followed",
				(unsigned long long)s->target->n_left_out);
	if (now.n_images > then->n_images && then->n_images)
		capture_comment(to, "the process executed a new program during the window");
}

/* Samples of the target in a row; 0 in those of others. */
static int64_t since(const struct session *s, const struct totals_before *before, size_t i)
{
	const struct total *row = &s->core->totals.rows.data[i];

	if (row->collector != PP_CPU || !target_has_image(s->target, row->target))
		return 0;
	return row->v[0] - (i < before->n ? before->v[i][0] : 0);
}

int cpu_words(const struct session *s, const struct totals_before *before, struct ahead_words *to)
{
	const struct totals *totals = &s->core->totals;
	int r = 0;

	for (size_t i = 0; i < totals->rows.n && r == 0; i++) {
		const uint64_t *words;
		uint32_t n;

		if (!since(s, before, i))
			continue;
		words = stacks_words(&totals->stacks, totals->rows.data[i].stack, &n);
		if (!s->kernel)
			drop_kernel(&words, &n);
		r = ahead_add(to, words, n);
	}
	return r;
}

int cpu_capture(const struct session *s, const struct totals_before *before,
		const struct cpu_figures *then, struct capture *to)
{
	const struct totals *totals = &s->core->totals;
	struct tally t = { 0 };
	int r = 0;

	for (size_t i = 0; i < totals->rows.n && r == 0; i++) {
		const struct total *row = &totals->rows.data[i];
		int64_t d = since(s, before, i);
		const uint64_t *words;
		uint32_t n;

		if (!d)
			continue;
		words = stacks_words(&totals->stacks, row->stack, &n);
		tally_stack(&t, words, n, d);
		r = add_sample(s, to, row, d);
	}
	if (r < 0)
		return r;
	capture_comment(to, "process %d (%s): %lld samples, %lld with complete stacks, %lld "
			"truncated at %d frames, %lld broken",
			s->target->pid, s->target->comm, (long long)t.n_samples,
			(long long)(t.n_samples - t.n_truncated - t.n_broken),
			(long long)t.n_truncated, PP_MAX_FRAMES, (long long)t.n_broken);
	say_reasons(s, to, &t);
	say_losses(s, to, then, t.n_samples);
	return 0;
}
