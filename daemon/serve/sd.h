/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sd.h - /sd: the targets in the form that Prometheus's http_sd takes, and with it Parca and Grafana Alloy.
 *
 * One entry a target, all at the address that we were asked at; what tells them apart is the path before
 * /debug/pprof (__profile_path_prefix__), and the label instance, so that two processes of one service are two series. Appends JSON and owns none. Names of processes are strangers' words: they come out
 * as UTF-8, escaped. */

#include <stdint.h>

#include "base/bytes.h"

/* Texts may be NULL or "": the label is left out. */
struct sd_target {
	int32_t pid;
	const char *name; /* of its description (/t/NAME) */
	const char *comm, *exe, *unit, *container, *pod, *cgroup;
};

void sd_begin(struct bytes *b);
/* host: as the Host header has it, let through by http_peer.h. n: how many were written before. */
void sd_add(struct bytes *b, const char *host, const char *scheme, const struct sd_target *t, size_t n);
void sd_end(struct bytes *b);
