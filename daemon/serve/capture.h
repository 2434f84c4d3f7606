/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* capture.h - what a profile answers with: samples under stacks, before names.
 *
 * Owns its stacks, strings and samples. Frames are the words of bpf/event.h, innermost first,
 * callers already pointing into their calls. Equal (stack, labels) may occur several times; they
 * are added up by capture_merge. */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/vec.h"

#define CAPTURE_MAX_VALUES 4
#define CAPTURE_MAX_LABELS 32 /* of one set */

struct profile;

struct capture_label {
	uint32_t key, value; /* strings; value 0 with number != 0: a numeric label */
	int64_t number;
};

struct capture_stack {
	uint32_t first, n; /* words */
};

struct capture_labels {
	uint32_t first, n; /* labels, sorted by key */
};

struct capture_sample {
	uint32_t stack, labels; /* labels: set + 1, 0 for none */
	int64_t values[CAPTURE_MAX_VALUES];
};

struct capture {
	const struct profile *profile;
	int64_t time_ns;     /* since 1970, of the start */
	int64_t duration_ns; /* measured; 0: a snapshot */
	int64_t began_ns;    /* monotonic, of the window; 0: none */
	int64_t period;
	bool delta;
	VEC(uint64_t) words;
	VEC(struct capture_stack) stacks;
	struct hash_index stack_index;
	VEC(char *) strings; /* [0] is "" */
	struct hash_index string_index;
	VEC(struct capture_label) labels;
	VEC(struct capture_labels) label_sets;
	struct hash_index label_index;
	VEC(struct capture_sample) samples;
	VEC(char *) comments; /* one line each */
};

int capture_new(const struct profile *p, struct capture **ret);
void capture_free(struct capture *c);
DEFINE_CLEANUP(struct capture, capture_free)

/* Intern; HASH_NONE: no memory. */
uint32_t capture_string(struct capture *c, const char *text, size_t n);
uint32_t capture_stack(struct capture *c, const uint64_t *words, uint32_t n);
/* A label set of at most CAPTURE_MAX_LABELS, as capture_sample.labels; HASH_NONE: no memory. */
uint32_t capture_label_set(struct capture *c, const struct capture_label *labels, uint32_t n);
int capture_add(struct capture *c, struct capture_sample s);
int capture_comment(struct capture *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Adds up samples of equal stack and labels, and drops those whose values are all 0. */
int capture_merge(struct capture *c);
