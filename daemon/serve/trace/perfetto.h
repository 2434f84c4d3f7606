/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* perfetto.h - a recording as a Perfetto trace: the scheduler's events as ftrace has them, and samples.
 *
 * Nothing is repaired: Perfetto makes states of threads out of the events itself. What is not a thread of the target is the
 * idle thread (0) there: an empty row. What was lost is said in each CPU's bundle and on a track of pprofd's.
 *
 * Bounded: names of PERFETTO_MAX_THREADS threads, further ones have none; the rest goes with a generation.
 *
 * Regions and log messages of the target would be track events, on a track for each thread. */

#include "base/bytes.h"
#include "base/cleanup.h"
#include "daemon/serve/trace/event.h"

#define PERFETTO_MAX_THREADS 65536

struct perfetto;

/* What `start` points to is borrowed until this returns. 0 or -ENOMEM. */
int perfetto_new(const struct trace_start *start, struct perfetto **ret);
void perfetto_free(struct perfetto *p);
DEFINE_CLEANUP(struct perfetto, perfetto_free)

/* As go_trace_generation() and go_trace_end(). */
int perfetto_generation(struct perfetto *p, const struct trace_generation *generation, struct bytes *out);
int perfetto_end(struct perfetto *p, const char *note, struct bytes *out);
