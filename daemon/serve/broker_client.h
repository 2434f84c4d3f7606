/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* broker_client.h - asks the broker for what serve may not get itself (daemon/protocol.h).
 *
 * Owns our end of the socket. Safe from many threads; a call blocks until the broker has answered. */

#include <pthread.h>
#include <stdint.h>

#include "bpf/event.h"
#include "daemon/protocol.h"

struct broker_client {
	int fd;
	pthread_mutex_t lock; /* guards the conversation, serial and record */
	uint32_t serial;
	struct record record;
};

void broker_init(struct broker_client *b, int fd);

/* What the broker sends first; fds in r->fds are the caller's. 0 or -errno. */
int broker_hear(struct broker_client *b, enum broker_request type, struct record *r);

int broker_maps(struct broker_client *b, struct broker_maps *ret, int ret_fds[PP_N_MAPS]);
int broker_identify(struct broker_client *b, uint32_t target, struct broker_target *ret);
/* A known process gets this free slot: its pidfd. -ESRCH: it has ended. `error` (BROKER_MAX_TEXT) may say more. */
int broker_bind(struct broker_client *b, uint64_t known, uint32_t slot, struct broker_target *ret, char *error);
int broker_unbind(struct broker_client *b, uint32_t target);
int broker_open_proc(struct broker_client *b, uint32_t target, enum broker_proc_file file);
int broker_open_object(struct broker_client *b, uint32_t target, uint64_t start, uint64_t end,
		       struct broker_file *ret);
/* A file that may have been split off another, from place q->place on, and where it was found. */
int broker_open_debug(struct broker_client *b, const struct broker_debug *q, uint32_t *ret_place);
/* Of files over the network; only where there are servers. */
int broker_fetch(struct broker_client *b, const struct broker_fetch *q, struct broker_fetched *ret);
/* A .dwo, likewise. */
int broker_open_dwo(struct broker_client *b, const struct broker_dwo *q, uint32_t *ret_place);
int broker_open_perf_map(struct broker_client *b, uint32_t target);
int broker_open_context(struct broker_client *b, uint32_t target);
int broker_open_labels(struct broker_client *b, const struct broker_labels *q, const uint64_t *thread_pointers);
int broker_open_kallsyms(struct broker_client *b);
int broker_slab(struct broker_client *b, uint32_t index);
/* `error` (BROKER_MAX_TEXT) says why not. */
int broker_arm(struct broker_client *b, enum pp_collector c, char *error);
int broker_disarm(struct broker_client *b, enum pp_collector c);
/* Loads the heap's programs. `error` as above. */
int broker_heap(struct broker_client *b, struct broker_heap *ret, int ret_fds[PP_N_HEAP_MAPS],
		char *error);
/* Loads the programs that see threads wait. Likewise. */
int broker_wait(struct broker_client *b, struct broker_wait *ret, int ret_fds[PP_N_WAIT_MAPS], char *error);
/* Loads the programs that trace. Likewise. */
int broker_trace(struct broker_client *b, int ret_fds[PP_N_TRACE_MAPS], char *error);
/* The socket that gives the threads of the target. */
int broker_threads(struct broker_client *b, uint32_t target, enum broker_threads_what what);
/* Of the table of who created a thread. */
int broker_created(struct broker_client *b);
int broker_probe(struct broker_client *b, const struct broker_probes *q,
		 const struct broker_probe *probes, char *error);
int broker_unprobe(struct broker_client *b, uint32_t target, uint32_t sides);
/* Loads the programs of custom profiles. `error` as above. */
int broker_custom(struct broker_client *b, int ret_fds[PP_N_CUSTOM_MAPS], char *error);
int broker_custom_probe(struct broker_client *b, const struct broker_probes *q,
			const struct broker_custom_probe *probes, char *error);
/* Likewise, of a trace that is recorded. */
int broker_trace_probe(struct broker_client *b, const struct broker_probes *q,
		       const struct broker_custom_probe *probes, char *error);
int broker_custom_off(struct broker_client *b, uint32_t target);
/* The target's held objects are looked at, soon. */
int broker_look(struct broker_client *b, uint32_t target);
/* A file for the last word of a target; -ENOENT: none is wanted. */
int broker_keep(struct broker_client *b, uint32_t target);
/* What pprofd itself takes. */
int broker_usage(struct broker_client *b, struct broker_usage *ret);
/* What known processes take, at most BROKER_MAX_STATS at a time. */
int broker_stats(struct broker_client *b, const struct broker_who *who, uint32_t n, struct broker_stat *ret);
/* Of a known process, whether or not it has a slot. */
int broker_open_cmdline(struct broker_client *b, const struct broker_who *who);
/* The web configuration, where it is not that generation any more: 0 and a record of struct broker_web, whose
 * descriptors are the caller's; 1: it still is. */
int broker_web(struct broker_client *b, uint32_t generation, struct record *ret);
/* The two files in which its counts outlive us. 0 or -errno. */
int broker_carry(struct broker_client *b, uint32_t target, int ret_fds[2]);
int broker_symbolizer(struct broker_client *b);
/* Without an answer. */
int broker_tell(struct broker_client *b, enum broker_request type, int32_t status, const char *text);
