/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/custom/custom.h"
#include "daemon/serve/session.h"

#define MAX_REFUSED 8 /* that are named */

/* No frame of the kernel's side: what is left of a location whose innermost functions are left out. */
#define PART(location, skip) (0xa0ull << 56 | (uint64_t)(skip) << 32 | (location))

/* The word that stands for the location without its innermost `skip` lines; 0: no memory. */
static uint64_t part_of(struct naming *names, uint32_t location, uint32_t skip)
{
	struct naming_location l = names->locations.data[location];
	uint64_t word = PART(location, skip);

	if (naming_find(names, word) != UINT32_MAX)
		return word;
	l.first_line += skip;
	l.n_lines -= skip;
	if (vec_push(&names->locations, l) < 0)
		return 0;
	if (vec_push(&names->words, word) < 0) {
		names->locations.n--;
		return 0;
	}
	return hash_put(&names->word_index, hash_u64(HASH_SEED, word), (uint32_t)names->words.n - 1) < 0 ? 0 : word;
}

uint32_t custom_skip(struct capture *to, struct naming *names, uint32_t stack, uint32_t skip)
{
	struct capture_stack s = to->stacks.data[stack];
	uint64_t words[PP_MAX_WORDS];
	uint32_t k = 0, n_lines = 1;

	if (!skip || !s.n || s.n > PP_MAX_WORDS)
		return stack;
	memcpy(words, to->words.data + s.first, s.n * sizeof(*words));
	for (; k < s.n; k++) {
		naming_lines(names, naming_find(names, words[k]), &n_lines);
		if (skip < n_lines)
			break;
		skip -= n_lines;
	}
	if (k == s.n) { /* nothing would be left: the outermost function stays */
		k = s.n - 1;
		skip = n_lines - 1;
	}
	if (skip)
		words[k] = part_of(names, naming_find(names, words[k]), skip);
	return words[k] ? capture_stack(to, words + k, s.n - k) : HASH_NONE;
}

/* Their numbers in the capture's samples stay as they are until it is merged. */
static int add_groups(const struct core *c, const struct custom_reading *r, int64_t sign, struct capture *to)
{
	static const uint64_t unknown = PP_MARKER(PP_END_OTHER, 0);

	for (size_t i = 0; i < r->groups.n; i++) {
		const struct custom_group *g = &r->groups.data[i];
		struct capture_sample s = { .values = { sign * g->n } };
		const uint64_t *words = &unknown;
		uint32_t n = 1;
		int err;

		if (g->row != HASH_NONE)
			words = stacks_words(&c->kept.stacks, c->kept.rows.data[g->row].stack, &n);
		s.stack = capture_stack(to, words, n);
		err = s.stack == HASH_NONE ? -ENOMEM : capture_add(to, s);
		if (err < 0)
			return err;
	}
	return 0;
}

static int skip_groups(const struct custom_reading *r, size_t from, struct capture *to, struct naming *names)
{
	for (size_t i = 0; i < r->groups.n; i++) {
		struct capture_sample *s = &to->samples.data[from + i];

		s->stack = custom_skip(to, names, s->stack, r->groups.data[i].skip);
		if (s->stack == HASH_NONE)
			return -ENOMEM;
	}
	return 0;
}

static void say_errors(const struct custom_reading *r, struct capture *to)
{
	const struct pp_custom_profile *p = &r->counters;

	if (p->n_twice)
		capture_comment(to, "program error: %llu times a value was added that was held already",
				(unsigned long long)p->n_twice);
	if (p->n_lost)
		capture_comment(to, "lost: %llu values found no room (%u are held of a process at most)",
				(unsigned long long)p->n_lost, PP_MAX_HELD_VALUES);
	if (r->n_unknown)
		capture_comment(to, "lost: the stacks of %llu values", (unsigned long long)r->n_unknown);
}

/* Sites of this profile, or of any, that cannot be probed. */
static void say_refused(struct core *c, const struct target *t, struct capture *to)
{
	unsigned n = 0;

	for (size_t i = 0; i < t->custom.files.n; i++) {
		const struct object *x = objects_find(&c->objects, t->custom.files.data[i].object);

		for (size_t k = 0; x && k < x->custom.all.n; k++) {
			const struct symbolizer_custom *s = &x->custom.all.data[k];

			if (s->status == PROBE_FINE || s->kind >= CUSTOM_TASK_BEGIN ||
			    (s->n_name && strcmp(s->name, to->profile->name) != 0))
				continue;
			if (n++ < MAX_REFUSED)
				capture_comment(to, "not probed: %s, offset 0x%llx: %s", object_short_name(x),
						(unsigned long long)s->offset, symbolizer_probe_text(s->status));
		}
	}
	if (n > MAX_REFUSED)
		capture_comment(to, "not probed: %u more", n - MAX_REFUSED);
}

/* What concerns all of the target's own profiles. */
static void say_target(const struct core *c, const struct target *t, struct capture *to)
{
	const struct target_custom *x = &t->custom;
	const struct pp_custom *state = c->custom.state == CUSTOM_READY ? &c->custom.states[t->index] : NULL;
	uint32_t n_reserved = 0, n_full = 0;

	for (size_t i = 0; i < x->files.n; i++) {
		n_reserved += x->files.data[i].n_reserved;
		n_full += x->files.data[i].n_full;
	}
	if (*x->why)
		capture_comment(to, "limit: %s", x->why);
	if (x->n_lost)
		capture_comment(to, "limit: %u sites past the bound of a file", x->n_lost);
	if (n_reserved)
		capture_comment(to, "program error: %u sites add to profiles that have the name of one of pprofd's own: "
				"refused", n_reserved);
	if (n_full || (state && state->n_profiles_full))
		capture_comment(to, "limit: %u profiles of a process: %u sites and %llu calls named one more",
				PP_MAX_CUSTOM, n_full,
				state ? (unsigned long long)state->n_profiles_full : 0ull);
	if (state && state->n_bad_names)
		capture_comment(to, "program error: %llu calls had a name that is empty, longer than %d bytes, or "
				"nowhere", (unsigned long long)state->n_bad_names, PP_CUSTOM_NAME - 1);
	if (state && state->n_early)
		capture_comment(to, "lost: %llu calls came between an exec and our seeing it",
				(unsigned long long)state->n_early);
	if (state && state->n_forks)
		capture_comment(to, "cost: %llu children were forked while probes were on; the probes were taken out of "
				"those that lived on, soon after", (unsigned long long)state->n_forks);
}

/* The program adds and removes more often than may be looked at. */
static void say_paused(const struct core *c, const struct target *t, const struct custom_reading *r, struct capture *to)
{
	int64_t for_ns = monotonic_ns() - r->stopped_ns;

	capture_comment(to, "%s of process %d (%s): paused for %.1f s now. Values added in %.1f s before: %llu, removed: %llu, "
			"held then: %llu",
			to->profile->name, t->pid, t->comm, (double)for_ns / 1e9,
			(double)(monotonic_ns() - for_ns - r->armed_ns) / 1e9,
			(unsigned long long)r->counters.n_added, (unsigned long long)r->counters.n_removed,
			(unsigned long long)r->n_values);
	capture_comment(to, "limit: what is held now is not known: the process adds and removes more often than "
			"--max-overhead lets probes cost (calls that were met and not looked at: %llu; others were not met)",
			(unsigned long long)c->custom.states[t->index].n_unseen);
}

static void say(struct core *c, const struct target *t, const struct custom_reading *r, struct capture *to)
{
	pthread_mutex_lock(&c->scan_lock);
	if (t->custom.n_pauses)
		capture_comment(to, "limit: paused %u times by --max-overhead; after each all begins anew, and what was held "
				"before is not shown", t->custom.n_pauses);
	if (r->stopped_ns)
		say_paused(c, t, r, to);
	else if (r->armed_ns)
		capture_comment(to, "%s of process %d (%s): values added since %.0f s: %llu, removed: %llu, held: %llu",
				to->profile->name, t->pid, t->comm,
				(double)(monotonic_ns() - r->armed_ns) / 1e9,
				(unsigned long long)r->counters.n_added, (unsigned long long)r->counters.n_removed,
				(unsigned long long)r->n_values);
	else
		capture_comment(to, "%s of process %d (%s): nothing is seen: %s", to->profile->name, t->pid, t->comm,
				*t->custom.why ? t->custom.why : "pprofd has only just started");
	say_target(c, t, to);
	say_refused(c, t, to);
	pthread_mutex_unlock(&c->scan_lock);
	say_errors(r, to);
}

int custom_capture(struct core *c, struct target *t, const struct custom_reading *before,
		   const struct custom_reading *after, struct capture *to, struct naming *names)
{
	unsigned held;
	int r;

	if (before && before->epoch != after->epoch) {
		capture_comment(to, "limit: what was held when the window began is not known any more: these are the values that "
				"were added since");
		before = NULL;
	}
	held = session_keep(c);
	pthread_mutex_lock(&c->lock);
	r = add_groups(c, after, 1, to);
	if (r == 0 && before)
		r = add_groups(c, before, -1, to);
	pthread_mutex_unlock(&c->lock);
	if (r == 0)
		r = namer_run(c, t, to, names);
	session_let_go(c, held);
	if (r == 0)
		r = skip_groups(after, 0, to, names);
	if (r == 0 && before)
		r = skip_groups(before, after->groups.n, to, names);
	if (r == 0)
		say(c, t, after, to);
	return r < 0 ? r : capture_merge(to);
}
