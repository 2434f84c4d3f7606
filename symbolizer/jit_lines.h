/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* jit_lines.h - files and lines of code that a program makes while it runs: JIT_CODE_DEBUG_INFO of jitdump files.
 *
 * Owns rows of lines, a run of them for each piece of code, and the names of files. Bounded: past a bound the rest is left
 * out, and the caller told. Format: tools/perf/Documentation/jitdump-specification.txt in the kernel's tree. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/vec.h"

#define JIT_MAX_LINES (2u << 20)
#define JIT_MAX_PATHS (16u << 20) /* bytes of files' names */
#define JIT_MAX_PATH 1024	  /* bytes; a longer one is none */

/* The rows of one piece of code. */
struct jit_run {
	uint32_t first, n;
};

struct jit_line {
	uint32_t offset; /* in the code */
	uint32_t line, path;
};

struct jit_path {
	uint32_t at; /* in text */
};

struct jit_lines {
	VEC(struct jit_line) all;
	VEC(struct jit_path) paths;
	struct hash_index path_index;
	struct bytes text;
	bool plain; /* some line is of the first bytes of its code; else whoever wrote them adds the size of an ELF header to
		     * each address, as V8 does (which takes offsets of bytecode for baseline code besides) */
};

struct jit_place {
	const char *path; /* borrowed until more is read */
	uint32_t line;
};

void jit_lines_deinit(struct jit_lines *l);
/* Reads the entries behind the record's head, `size` bytes from this offset of the file. 0; -ENOMEM; -EBADMSG: it is not in
 * order, or past a bound, and nothing of it is kept. */
int jit_lines_read(struct jit_lines *l, int fd, uint64_t offset, uint64_t size, uint64_t code, uint64_t n,
		   struct jit_run *ret);
bool jit_lines_find(const struct jit_lines *l, const struct jit_run *run, uint64_t offset, struct jit_place *ret);
