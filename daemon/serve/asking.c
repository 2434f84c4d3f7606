/* SPDX-License-Identifier: Apache-2.0 */

/* asking.c - requests of other clients than Go's: what their paths mean, and how far who has read.
 */

#include "daemon/serve/asking.h"

#include <string.h>

#include "base/hash.h"
#include "daemon/serve/clock.h"

struct alias {
	const char *path, *profile;
};

static const char *find(const struct alias *aliases, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(aliases[i].path, path))
			return aliases[i].profile;
	return NULL;
}

/* contention: gperftools and its heirs (brpc, abseil) charge whoever releases a lock that others
 * waited for. */
const char *asking_gperftools(struct asking *s, const char *name)
{
	static const struct alias aliases[] = {
		{ "cmdline", "cmdline" }, { "contention", "mutex" }, { "growth", "growth" },
		{ "heap", "heap" },	  { "profile", "profile" },  { "symbol", "symbol" },
	};
	const char *profile = find(aliases, sizeof(aliases) / sizeof(aliases[0]), name);

	s->gperftools = profile != NULL;
	return profile;
}

const char *asking_godeltaprof(struct asking *s, const char *name)
{
	static const struct alias aliases[] = {
		{ "delta_block", "block" },
		{ "delta_heap", "heap" },
		{ "delta_mutex", "mutex" },
	};
	const char *profile = find(aliases, sizeof(aliases) / sizeof(aliases[0]), name);

	s->cursor = profile != NULL;
	return profile;
}

static void say(const struct cursors *all, const struct cursor_before *b, int64_t now_ns,
		struct capture *to)
{
	switch (b->was) {
	case CURSOR_KNOWN:
		to->duration_ns = now_ns - b->taken_ns;
		capture_comment(to,
				"since this client (address, User-Agent, ?cursor=) asked last, "
				"%.3f s ago",
				(double)to->duration_ns / 1e9);
		break;
	case CURSOR_FIRST:
		capture_comment(to, "the first request of this client (address, User-Agent, "
				    "?cursor=): all since "
				    "pprofd attached");
		break;
	case CURSOR_GIVEN_UP:
		capture_comment(to,
				"this client (address, User-Agent, ?cursor=) is not known: it "
				"begins now; %llu "
				"cursors have been given up, of more than %d clients",
				(unsigned long long)all->n_given_up, CURSORS_MAX);
		break;
	}
}

int asking_cursor(const struct asking *s, int64_t (*now)[2], size_t n, struct capture *capture,
		  struct cursor_before *ret)
{
	const char *own = query_get(&s->q->query, "cursor");
	struct cursors *all = &s->a->cursors;
	struct cursor_key key = { .target = s->target->serial, .profile = capture->profile->name };
	int64_t now_ns = monotonic_ns();
	int r;

	key.client = own ? hash_bytes(s->q->client, own, strlen(own)) : s->q->client;
	r = cursors_move(all, &key, now, n, now_ns, s->q->head, ret);
	if (r == 0)
		say(all, ret, now_ns, capture);
	return r;
}

int asking_spell(const struct asking *s, struct naming *n)
{
	return namer_spell(s->a->core, s->demangle, n);
}

bool asking_demangle(struct asking *s)
{
	static const char *const names[] = { [DEMANGLE_NONE] = "none",
					     [DEMANGLE_SIMPLE] = "simple",
					     [DEMANGLE_FULL] = "full" };
	const char *text = query_get(&s->q->query, "demangle");

	s->demangle = DEMANGLE_SIMPLE;
	for (unsigned i = 0; text && i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]))
			continue;
		s->demangle = (enum symbolizer_demangle)i;
		text = NULL;
	}
	if (text)
		http_error(s->ret, 400, "unknown demangle: none, simple and full are known");
	return !text;
}
