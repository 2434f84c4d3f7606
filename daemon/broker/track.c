/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/track.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ready_made {
	const char *name, *function;
	enum pp_custom_kind kind;
	unsigned argument;
};

/* A descriptor that the C library closes for itself it closes without a cancellation point. */
static const struct ready_made ready_made[] = {
	{ "fd", "open", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "open64", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "__open_nocancel", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "__open64_nocancel", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "openat", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "openat64", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "creat", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "creat64", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "socket", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "accept", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "accept4", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "dup", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "dup2", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "dup3", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "epoll_create", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "epoll_create1", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "eventfd", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "timerfd_create", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "signalfd", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "inotify_init", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "inotify_init1", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "memfd_create", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "pidfd_open", PP_CUSTOM_DESCRIPTOR, 0 },
	{ "fd", "pipe", PP_CUSTOM_ENTER, 1 },
	{ "fd", "pipe", PP_CUSTOM_OUT_PAIR, 0 },
	{ "fd", "pipe2", PP_CUSTOM_ENTER, 1 },
	{ "fd", "pipe2", PP_CUSTOM_OUT_PAIR, 0 },
	{ "fd", "close", PP_CUSTOM_REMOVE, 1 },
	{ "fd", "__close_nocancel", PP_CUSTOM_REMOVE, 1 },
	{ "mmap", "mmap", PP_CUSTOM_RESULT, 0 },
	{ "mmap", "mmap64", PP_CUSTOM_RESULT, 0 },
	{ "mmap", "munmap", PP_CUSTOM_REMOVE, 1 },
	{ "thread", "pthread_create", PP_CUSTOM_ENTER, 1 },
	{ "thread", "pthread_create", PP_CUSTOM_OUT, 0 },
	{ "thread", "pthread_join", PP_CUSTOM_REMOVE, 1 },
	{ "thread", "pthread_detach", PP_CUSTOM_REMOVE, 1 },
};

static void __attribute__((noreturn)) refuse(const char *text, const char *why)
{
	fprintf(stderr, "pprofd: %s--track %s: %s\n", options_where(), text, why);
	exit(options_bad_status());
}

static void add(struct options *o, const char *text, const struct broker_track *t)
{
	if (o->n_tracks == BROKER_MAX_TRACKS)
		refuse(text, "too many functions in all");
	o->tracks[o->n_tracks++] = *t;
}

static bool add_ready_made(struct options *o, const char *text)
{
	bool found = false;

	for (size_t i = 0; i < sizeof(ready_made) / sizeof(ready_made[0]); i++) {
		const struct ready_made *m = &ready_made[i];
		struct broker_track t = { .kind = m->kind, .argument = m->argument };

		if (strcmp(m->name, text) != 0)
			continue;
		found = true;
		snprintf(t.name, sizeof(t.name), "%s", m->name);
		snprintf(t.function, sizeof(t.function), "%s", m->function);
		add(o, text, &t);
	}
	return found;
}

/* FUNCTION[:arg N|:ret|:fd], n bytes. */
static void parse_function(const char *text, const char *from, size_t n, struct broker_track *t)
{
	const char *colon = memchr(from, ':', n);
	size_t n_name = colon ? (size_t)(colon - from) : n, n_how = colon ? n - n_name - 1 : 0;
	const char *how = colon ? colon + 1 : "";

	if (!n_name || n_name >= sizeof(t->function))
		refuse(text, "a function's name is missing, or too long");
	memcpy(t->function, from, n_name);
	if (n_how == 3 && !memcmp(how, "ret", 3) && t->kind != PP_CUSTOM_REMOVE) {
		t->kind = PP_CUSTOM_RESULT;
	} else if (n_how == 2 && !memcmp(how, "fd", 2) && t->kind != PP_CUSTOM_REMOVE) {
		t->kind = PP_CUSTOM_DESCRIPTOR;
	} else if (n_how >= 4 && n_how <= 5 && !memcmp(how, "arg", 3) && (n_how == 4 || how[3] == ' ') &&
		   how[n_how - 1] >= '1' && how[n_how - 1] <= '3') {
		t->kind = t->kind == PP_CUSTOM_REMOVE ? PP_CUSTOM_REMOVE : PP_CUSTOM_ADD;
		t->argument = (uint32_t)(how[n_how - 1] - '0');
	} else if (colon) {
		refuse(text, "behind a function's name :arg 1, :arg 2, :arg 3, and of the first one :ret or :fd, is wanted");
	}
}

void track_parse(struct options *o, const char *text)
{
	const char *equals = strchr(text, '='), *comma = equals ? strchr(equals, ',') : NULL;
	struct broker_track in = { .kind = PP_CUSTOM_RESULT }, out = { .kind = PP_CUSTOM_REMOVE, .argument = 1 };
	size_t n = equals ? (size_t)(equals - text) : 0;

	if (add_ready_made(o, text))
		return;
	if (!comma || strchr(comma + 1, ','))
		refuse(text, "NAME=ADD,REMOVE, fd, mmap or thread is wanted");
	if (!n || n >= sizeof(in.name))
		refuse(text, "a profile's name has 1 to 63 bytes");
	memcpy(in.name, text, n);
	memcpy(out.name, text, n);
	parse_function(text, equals + 1, (size_t)(comma - equals - 1), &in);
	parse_function(text, comma + 1, strlen(comma + 1), &out);
	add(o, text, &in);
	add(o, text, &out);
}
