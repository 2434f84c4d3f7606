/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/collect/kept.h"

#include <errno.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/lease.h"
#include "daemon/serve/profile.h"

int kept_read(struct core *c, struct totals_before *ret)
{
	int r;

	pthread_mutex_lock(&c->lock);
	pool_fold(&c->pool, &c->totals, &c->kept);
	r = totals_snapshot(&c->kept, ret);
	pthread_mutex_unlock(&c->lock);
	return r;
}

uint64_t kept_count(struct core *c, const struct target *t, unsigned collector)
{
	uint64_t n = 0;

	pthread_mutex_lock(&c->lock);
	if (c->kernel == CORE_READY)
		pool_fold(&c->pool, &c->totals, &c->kept);
	for (size_t i = 0; i < c->kept.rows.n; i++)
		n += c->kept.rows.data[i].collector == collector &&
		     target_has_image(t, c->kept.rows.data[i].target);
	pthread_mutex_unlock(&c->lock);
	return n;
}

struct tally {
	int64_t n, n_broken;
};

static int add_row(struct core *c, const struct target *of, const struct total *row, const int64_t v[2],
		   struct tally *t, struct capture *to)
{
	struct capture_label labels[CAPTURE_MAX_LABELS];
	struct capture_sample s = { .values = { v[0], v[1] } };
	const uint64_t *words;
	uint32_t n;

	words = stacks_words(&c->kept.stacks, row->stack, &n);
	t->n += v[0];
	t->n_broken += n && frame_kind(words[n - 1]) == FRAME_MARKER ? v[0] : 0;
	s.stack = capture_stack(to, words, n);
	n = label_list(to, &c->kept, c->kept.names.data[row->name].labels, &of->labels, labels, 0);
	s.labels = n == HASH_NONE ? HASH_NONE : capture_label_set(to, labels, n);
	return s.stack == HASH_NONE || s.labels == HASH_NONE ? -ENOMEM : capture_add(to, s);
}

static int add_rows(struct core *c, const struct target *t, const struct totals_before *before,
		    struct tally *tally, struct capture *to)
{
	int r = 0;

	for (size_t i = 0; i < c->kept.rows.n && r == 0; i++) {
		const struct total *row = &c->kept.rows.data[i];
		int64_t v[2] = { row->v[0], row->v[1] };

		if (row->collector != to->profile->collector || !target_has_image(t, row->target))
			continue;
		for (int k = 0; k < 2 && i < before->n; k++)
			v[k] -= before->v[i][k];
		if (v[0] || v[1])
			r = add_row(c, t, row, v, tally, to);
	}
	return r;
}

static void say(const struct core *c, const struct target *t, const struct tally *tally,
		struct capture *to)
{
	unsigned which = to->profile->collector;

	if (!c->armed_ns[which]) {
		capture_comment(to, "%s of process %d (%s): nothing is counted: %s", to->profile->name, t->pid,
				t->comm, *c->arm_error[which] ? c->arm_error[which] :
								"pprofd has only just started");
		carry_say(t, to);
		return;
	}
	capture_comment(to, "%s of process %d (%s): counted since %.0f s, sampled: one of %d; %lld %s, of %lld "
			"the stack is not complete", to->profile->name, t->pid, t->comm,
			(double)(monotonic_ns() - lease_since(t, c->armed_ns[which])) / 1e9, PP_GROWTH_KEEP,
			(long long)tally->n, to->profile->values[0].type, (long long)tally->n_broken);
	carry_say(t, to);
	capture_comment(to, "a page counts for 4 KiB; of a huge page only the first fault is seen");
}

int kept_capture(struct core *c, const struct target *t, const struct totals_before *before,
		 struct capture *to)
{
	struct tally tally = { 0 };
	int r;

	pthread_mutex_lock(&c->lock);
	pool_fold(&c->pool, &c->totals, &c->kept);
	r = add_rows(c, t, before, &tally, to);
	pthread_mutex_unlock(&c->lock);
	say(c, t, &tally, to);
	return r < 0 ? r : capture_merge(to);
}
