/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* format.h - the formats that a trace can have, behind one face. */

#include "base/bytes.h"
#include "base/cleanup.h"
#include "daemon/serve/trace/event.h"

struct trace_format;

#define TRACE_PERFETTO 0 /* else a version of Go's format: 22, 23, 25, 26 */

/* What `start` points to is borrowed until this returns. 0 or -errno. */
int trace_format_new(const struct trace_start *start, unsigned version, struct trace_format **ret);
void trace_format_free(struct trace_format *f);
DEFINE_CLEANUP(struct trace_format, trace_format_free)

/* Both append to `to`. 0 or -errno, after which only trace_format_free may follow. */
int trace_format_generation(struct trace_format *f, const struct trace_generation *g, struct bytes *to);
/* note: what there is to know besides, or NULL. */
int trace_format_end(struct trace_format *f, const char *note, struct bytes *to);
