/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* text.h - numbers for Prometheus: its text format (0.0.4) and OpenMetrics 1.0, which differ in little.
 *
 * Appends to bytes of somebody else's; knows no metric. A family is begun once, and its samples follow before the next
 * one begins. Label values are strangers' words (a process's name): they come out as UTF-8, escaped. */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define METRICS_MAX_LABELS 6
#define METRICS_MAX_VALUE 256 /* bytes of a label's value; the rest is cut off */

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

struct metrics_label {
	const char *name, *value;
};

struct metrics_labels {
	unsigned n;
	struct metrics_label all[METRICS_MAX_LABELS];
};
#define METRICS_NO_LABELS ((struct metrics_labels){ 0 })
/* One or several pairs of texts: METRICS_LABELS({ "code", "200" }, { ... }) */
#define METRICS_LABELS(...)                                                                        \
	((struct metrics_labels){ sizeof((struct metrics_label[]){ __VA_ARGS__ }) /                \
					  sizeof(struct metrics_label),                            \
				  { __VA_ARGS__ } })

struct metrics_text {
	struct bytes *to;
	bool open; /* OpenMetrics */
	const char *name; /* of the family, without the _total that a counter's samples have */
	enum metrics_type type;
};

/* name: without _total. help: one line of ours. */
void metrics_family(struct metrics_text *t, const char *name, enum metrics_type type, const char *help);
/* One sample of a counter or a gauge. */
void metrics_sample(struct metrics_text *t, struct metrics_labels labels, double value);
void metrics_count(struct metrics_text *t, struct metrics_labels labels, uint64_t value);
/* Of a histogram: counts[i] fell at or below bounds[i] and above bounds[i - 1], counts[n] above all. */
void metrics_histogram(struct metrics_text *t, struct metrics_labels labels, const double *bounds, const uint64_t *counts,
		       unsigned n, double sum);
void metrics_end(struct metrics_text *t);

/* Whether an Accept header (NULL: there is none) wants OpenMetrics. */
bool metrics_wants_open(const char *accept);
