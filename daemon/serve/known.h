/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* known.h - the processes that the broker knows of (daemon/protocol.h, BROKER_NEWS), and how they are called.
 *
 * Owns a copy of each, bounded by BROKER_MAX_KNOWN, and the thread that hears of them. Knows nothing of slots
 * and profiles: a process is known whether or not anybody has ever asked for it. All texts are strangers' words, made
 * UTF-8 without control characters here. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/record.h"
#include "base/vec.h"
#include "daemon/protocol.h"

/* One of them; a copy, for whoever asks. */
struct known_process {
	uint64_t id;	  /* never used again */
	uint64_t matches; /* 1 << i: struct known.descriptions[i] */
	uint64_t start;	  /* clock ticks since boot */
	int32_t pid, parent;
	uint32_t uid;
	uint32_t target;   /* + 1: the slot it has for ever (--pid); 0: none */
	bool followed;	   /* only because its parent is known */
	char comm[17];
	char exe[512], cgroup[512]; /* "": not known */
	char unit[128];		    /* X.service; "": none, as of the others */
	char container[72];
	char pod[40];
	/* What it is called where a service is meant: the first of its descriptions that has a name; its unit without
	 * .service; the first 12 digits of its container's id; its comm. Found by known_named. */
	char service[128];
};

/* Who comes to be called so, while an answer about those that are is in the making. The caller's, zeroed at first; what is in
 * it is this file's. */
struct known_watch {
	struct known_watch *next;
	char name[256];
	int by;
	uint64_t n;
	bool on;
};

struct known {
	pthread_mutex_t lock; /* guards what follows; never held while anything is waited for */
	pthread_cond_t changed;
	VEC(struct known_process *) all; /* by id, ascending */
	struct broker_counts counts;
	struct known_watch *watches;
	/* these never change once there is another thread */
	struct broker_description descriptions[BROKER_MAX_DESCRIPTIONS];
	uint32_t n_descriptions;
	int socket; /* -1: none: one-shot */
	bool wide;  /* others than those of --pid are described */
};

void known_init(struct known *k);
void known_deinit(struct known *k);
/* A record of type BROKER_NEWS; takes its descriptor. 0 or -EBADMSG. */
int known_orders(struct known *k, struct record *r);

/* Hears the news until stop_fd is readable, or the broker is gone. */
void known_listen(struct known *k, int stop_fd);
/* One record of the news, which may be anything. */
void known_hear(struct known *k, const struct record *r);
/* Waits until all that was there at the start is known, a few seconds at most. */
void known_wait(struct known *k);
/* It has ended: seen otherwise, where nothing tells the broker. */
void known_gone(struct known *k, uint64_t id);

/* Calls `each` for all, in the order in which they became known, until it returns false. The lock is held: `each` asks
 * nothing of this file. */
typedef bool known_fn(void *context, const struct known_process *p);
void known_each(struct known *k, known_fn *each, void *context);
size_t known_count(struct known *k, struct broker_counts *ret); /* `ret` may be NULL */
/* False: there is none. */
bool known_find(struct known *k, int32_t pid, struct known_process *ret);
bool known_find_id(struct known *k, uint64_t id, struct known_process *ret);

/* Those that are called so, at most `max`; how many there are in all. A name of a description counts first; if no
 * description is called so, it is a unit (with .service or without), or else a container (12 digits of its id, or more), or
 * else a comm. `watch` (or NULL) begins with the same look, if there is one, and counts whoever comes to be called so after it,
 * whether or not it lives on, until known_unwatch. */
size_t known_named(struct known *k, const char *name, struct known_process *ret, size_t max, struct known_watch *watch);
uint64_t known_watched(struct known *k, const struct known_watch *watch);
void known_unwatch(struct known *k, struct known_watch *watch); /* of one that never began, too */
