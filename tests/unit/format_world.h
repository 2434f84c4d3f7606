/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* format_world.h - a named capture with all that formats have to get right: hostile names, inlined calls, frames of the
 * kernel and ones that nobody named, threads, what has become less, stacks without a frame. */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "bpf/event.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/naming.h"
#include "daemon/serve/profile.h"

struct format_world {
	struct capture *c;
	struct naming n;
};

static inline uint32_t world_function(struct format_world *w, const char *name, const char *file, uint32_t line)
{
	assert(vec_push(&w->n.functions, ((struct naming_function){ name, name, file, line })) == 0);
	return (uint32_t)w->n.functions.n - 1;
}

/* `n` functions from `function` on are at the word, the innermost first. */
static inline void world_location(struct format_world *w, uint64_t word, uint32_t mapping, uint32_t function, uint32_t n)
{
	struct naming_location l = { .address = (mapping ? w->n.mappings.data[mapping - 1].start : 0x7000000) + (word & 0xfff),
				     .mapping = mapping, .first_line = (uint32_t)w->n.lines.n, .n_lines = n };

	for (uint32_t i = 0; i < n; i++)
		assert(vec_push(&w->n.lines, ((struct naming_line){ function + i, 10 + i })) == 0);
	assert(hash_put(&w->n.word_index, hash_u64(HASH_SEED, word), (uint32_t)w->n.words.n) == 0);
	assert(vec_push(&w->n.words, word) == 0 && vec_push(&w->n.locations, l) == 0);
}

static inline void world_mapping(struct format_world *w, const char *file, const char *id)
{
	uint64_t start = (w->n.mappings.n + 1) << 20;

	assert(vec_push(&w->n.mappings, ((struct naming_mapping){ start, start + 0x10000, 0, file, id, true, true, true })) == 0);
}

static inline void world_sample(struct format_world *w, const char *thread, uint32_t n, const uint64_t *words, int64_t value)
{
	struct capture_label labels[2] = { { .key = capture_string(w->c, "thread", 6),
					     .value = capture_string(w->c, thread, strlen(thread)) },
					   { .key = capture_string(w->c, "bytes", 5), .number = 512 } };
	struct capture_sample s = { capture_stack(w->c, words, n), 0, { value, value * 10000000 } };

	s.labels = capture_label_set(w->c, labels, 2);
	assert(capture_add(w->c, s) == 0);
}

#define KERNEL_WORD (PP_FRAME_KERNEL << 56 | 5)

static inline void world_init(struct format_world *w, const char *profile, unsigned n_threads)
{
	static const uint64_t plain[] = { 3, 2, 1 }, nested[] = { 4, 1 }, kernel[] = { KERNEL_WORD, 2, 1 }, unnamed[] = { 99, 1 };
	char thread[32];

	memset(w, 0, sizeof(*w));
	assert(capture_new(profile_find(profile), &w->c) == 0);
	w->c->time_ns = 1700000000123456789;
	w->c->duration_ns = 2000000000;
	w->c->period = 10000000;
	assert(capture_comment(w->c, "a comment with <b>, \"quotes\" and \\") == 0);
	world_mapping(w, "/usr/bin/main", "0123456789abcdef0123456789abcdef01234567");
	world_mapping(w, "/lib/<script>.so\"'&", "");
	world_mapping(w, "[kernel.kallsyms]", "");
	world_location(w, 1, 1, world_function(w, "main", "/src/main.c", 3), 1);
	world_location(w, 2, 2, world_function(w, "<script>alert(\"1\")</script>&amp;'\\", "/src/<a>&\"b\".c", 7), 1);
	world_location(w, 3, 2, world_function(w, "odd \x01\x1b[2J\xff\xfe \xef\xbf\xbf ]]> --> \u2028", "", 0), 1);
	world_function(w, "innermost", "/src/main.c", 40);
	world_function(w, "between", "/src/main.c", 50);
	world_function(w, "really_there", "/src/main.c", 60);
	world_location(w, 4, 1, 3, 3);
	world_location(w, KERNEL_WORD, 3, world_function(w, "do_syscall_64", "", 0), 1);
	world_sample(w, "main;<thread>", 3, plain, 5);
	world_sample(w, "main;<thread>", 2, nested, 3);
	world_sample(w, "\xff\x02", 3, kernel, 2);
	world_sample(w, "", 2, unnamed, 1);
	world_sample(w, "", 0, NULL, 1);
	world_sample(w, "less", 2, nested, -4);
	for (unsigned i = 0; i < n_threads; i++) {
		snprintf(thread, sizeof(thread), "worker-%u", i);
		world_sample(w, thread, 3, plain, 1 + i % 3);
	}
}

static inline void world_deinit(struct format_world *w)
{
	capture_free(w->c);
	naming_free(&w->n);
}
