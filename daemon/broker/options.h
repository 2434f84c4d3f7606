/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* options.h - the command line and the configuration file, as values. Checks shapes only: whether the process exists or the
 * port is free is found out later, by whoever needs it. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/broker/describe.h"
#include "daemon/broker/listen.h"
#include "daemon/fetch_protocol.h"
#include "daemon/protocol.h"

#define OPTIONS_MAX_LISTENERS 16
#define OPTIONS_MAX_HOSTS 32
#define OPTIONS_MAX_SECONDS 3600
#define OPTIONS_CONFIG "/etc/pprofd.conf"

enum { EXIT_BAD_USAGE = 2 };

enum options_format { FORMAT_AUTO, FORMAT_PPROF, FORMAT_TOP, FORMAT_FOLDED, FORMAT_DUMP,
		      FORMAT_GO, FORMAT_PERFETTO };

struct options {
	pid_t pids[BROKER_MAX_TARGETS];
	unsigned n_pids;
	struct descriptions descriptions;
	const char *last_pid; /* what --name names, where it is that one */
	char **command;	      /* behind --: to be started and profiled; NULL: none */
	const char *listeners[OPTIONS_MAX_LISTENERS];
	unsigned n_listeners;
	bool default_listener; /* none was named: this is where one would be */
	const char *hosts[OPTIONS_MAX_HOSTS];
	unsigned n_hosts;
	unsigned hz;
	unsigned lease_s;
	bool insecure;
	const char *web_config; /* file, or NULL */
	uint32_t max_rate;	/* requests a second of one client; 0: any */
	uint32_t redact;	/* enum broker_redact, bits */
	bool audit;
	enum broker_heap_mode heap;
	enum broker_wait_mode wait;
	uint32_t max_overhead; /* millionths, or BROKER_NO_LIMIT */
	struct broker_track tracks[BROKER_MAX_TRACKS];
	unsigned n_tracks;
	const char *btf;
	const char *keep; /* directory, or NULL */
	const char *state; /* directory, "none", or NULL: the usual one */
	bool cleanup;
	const char *debuginfod[FETCH_MAX_URLS];
	unsigned n_debuginfod;
	const char *debuginfod_cache; /* directory, or NULL */
	const char *config; /* the file that has been read, if it is there; or "none" */
	bool check; /* of the processes: what works? */
	/* pprofd record */
	bool record;
	const char *profile;
	unsigned seconds;
	bool now; /* no window: the threads as they are */
	const char *output;
	enum options_format format;
	const char *remote; /* URL of a running pprofd, or NULL */
	bool seconds_given;
	unsigned debug; /* as ?debug=: 0 protobuf, 1 text, 2 more of it */
};

/* Never returns for --help, --version and bad usage (one line, exit status 2). */
void options_parse(int argc, char **argv, struct options *ret);

/* For messages about an option: "FILE:LINE: " or "", and the exit status. */
const char *options_where(void);
int options_bad_status(void);
