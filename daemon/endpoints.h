/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* endpoints.h - the names behind /debug/pprof/, for who tells of them and does not answer them: the broker's --check. The
 * rows themselves are serve/profile.c's; tests/unit/test-check.c holds both against each other. */

static const char *const endpoint_names[] = {
	"allocs", "block",  "cmdline", "goroutine", "growth",	    "heap",  "mutex",
	"offcpu", "profile", "symbol", "threadcreate", "trace", "wall",
};

#define N_ENDPOINTS (sizeof(endpoint_names) / sizeof(endpoint_names[0]))
