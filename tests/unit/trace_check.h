/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* trace_check.h - reads a Go execution trace as Go's own reader does, and finds the first thing it would refuse.
 *
 * Knows the format only, nothing of what writes it: every batch and table, what each event needs and does, sequence
 * numbers, and in which order a reader takes the Ms (the earliest first, and another one where that cannot go on). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_CHECK_ARGS 5

struct trace_check_event {
	uint64_t time, generation, m, p, g; /* bound before it; UINT64_MAX: none */
	uint8_t type;
	uint8_t n_args;
	uint64_t args[TRACE_CHECK_ARGS];
	const char *string; /* the last argument that is one; not NUL-terminated; NULL: none */
	size_t string_len;
	const char *root; /* name of the root frame of the last argument that is a stack; the same */
	size_t root_len;
	uint32_t n_frames;
};

struct trace_check {
	/* what is asked */
	void (*event)(void *context, const struct trace_check_event *e); /* each, as a reader sees them; or NULL */
	void *context;
	/* what was found */
	unsigned version;
	uint64_t n_generations, n_batches, n_events, n_strings, n_stacks, n_samples;
	uint64_t n_type[64]; /* events */
	uint64_t n_ties;     /* events at the time of the one before, or before it */
	uint64_t n_retries;  /* times that the earliest M could not go on */
	char error[256];     /* "": a reader takes it */
};

/* Reads all of it; false: ret->error says where and what. */
bool trace_check(const void *data, size_t n, struct trace_check *ret);
const char *trace_check_type(uint8_t type);
