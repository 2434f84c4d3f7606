/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* broker.h - answers serve's requests with what it may not get itself.
 *
 * Serve is treated as hostile: whatever it asks, it gets nothing but maps of ours, files that one of
 * the processes that are named or described has mapped, or that may be split off such (debug_file.h, fetches.h), and a few files of /proc. */

#include "daemon/broker/carry.h"
#include "daemon/broker/census.h"
#include "daemon/broker/child.h"
#include "daemon/broker/command.h"
#include "daemon/broker/customs.h"
#include "daemon/broker/debug_file.h"
#include "daemon/broker/fetches.h"
#include "daemon/broker/uprobes.h"
#include "daemon/broker/kernel.h"
#include "daemon/broker/notify.h"
#include "daemon/broker/options.h"
#include "daemon/broker/traces.h"
#include "daemon/broker/waits.h"
#include "daemon/broker/web.h"

struct broker {
	const struct options *options;
	struct process *processes; /* slots; pid 0: free, and nothing is found of it */
	unsigned n_processes;	   /* slots that have been used */
	unsigned n_named;	   /* the first of them are --pid's, for as long as we run */
	struct census census;
	struct notify notify; /* systemd */
	struct listener listeners[OPTIONS_MAX_LISTENERS * 2];
	size_t n_listeners;
	char debug_cache[BROKER_MAX_PATH]; /* debuginfod's; "": none */
	struct fetches fetches;
	struct web web;
	struct carry_dir carry;
	int keep; /* directory for last words; -1: none */
	int output, finish; /* one-shot: where the profile goes; eventfd */
	struct kernel *kernel;
	struct uprobes_loading *loading; /* NULL: not asked for yet */
	struct uprobes *uprobes;	 /* NULL: not there yet */
	struct waits *waits;		 /* NULL: not asked for yet */
	struct customs *customs;	 /* likewise */
	struct traces *traces;		 /* NULL: nobody traces */
	struct child serve, symbolizer;
	uint64_t n_symbolizers; /* that were started */
	struct command command;
	bool ready, done;
	int status; /* of the one-shot run */
	char error[BROKER_MAX_TEXT];
};

/* The file of --web.config.file, unasked. */
int broker_send_web(struct broker *b);
/* Looks whether it has changed; says so if that is no good. */
void broker_look_web(struct broker *b, bool even_if_same);
/* Starts serve and tells it what it is to do. 0 or -errno. */
int broker_start_serve(struct broker *b);
/* All of a slot's that is not --pid's is taken off, and the slot is free. */
void broker_release(struct broker *b, uint32_t slot);
/* Answers one request of serve's; negative: serve is gone, or talks nonsense. */
int broker_answer(struct broker *b);
