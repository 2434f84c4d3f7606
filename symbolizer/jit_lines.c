/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/jit_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK (16 * 1024)
#define ELF_HEADER 0x40

struct entry {
	uint64_t address;
	uint32_t line, discriminator;
}; /* then the file's name and a NUL; "\xff": that of the entry before */

void jit_lines_deinit(struct jit_lines *l)
{
	vec_deinit(&l->all);
	vec_deinit(&l->paths);
	hash_deinit(&l->path_index);
	bytes_deinit(&l->text);
	*l = (struct jit_lines){ .plain = false };
}

static bool path_equal(uint32_t item, const void *key, const void *context)
{
	const struct jit_lines *l = context;

	return !strcmp(l->text.data + l->paths.data[item].at, key);
}

static int add_path(struct jit_lines *l, const char *path, size_t n, uint32_t *ret)
{
	uint64_t h = hash_bytes(HASH_SEED, path, n);
	int r;

	*ret = hash_get(&l->path_index, h, path_equal, path, l);
	if (*ret != HASH_NONE)
		return 0;
	if (l->text.n + n + 1 > JIT_MAX_PATHS)
		return -EBADMSG;
	*ret = (uint32_t)l->paths.n;
	r = vec_push(&l->paths, ((struct jit_path){ (uint32_t)l->text.n }));
	if (r == 0) {
		bytes_add(&l->text, path, n + 1);
		r = l->text.bad ? -ENOMEM : hash_put(&l->path_index, h, *ret);
	}
	return r;
}

/* What is left of the record, of which one block is in memory. */
struct reading {
	int fd;
	uint64_t offset, end; /* in the file: of the block, of the record */
	size_t at, n;	      /* in the block */
	uint32_t path;
	unsigned char block[BLOCK];
};

/* So many bytes, or fewer at the end of the record. */
static size_t look(struct reading *r, size_t n)
{
	uint64_t left;
	ssize_t got;

	if (r->n - r->at >= n || r->offset + r->n == r->end)
		return r->n - r->at;
	r->offset += r->at;
	left = r->end - r->offset;
	r->at = r->n = 0;
	do
		got = pread(r->fd, r->block, left < BLOCK ? (size_t)left : BLOCK, (off_t)r->offset);
	while (got < 0 && errno == EINTR);
	r->n = got > 0 ? (size_t)got : 0;
	if (r->n < BLOCK) /* the end, or cut short while we look */
		r->end = r->offset + r->n;
	return r->n;
}

static int read_entry(struct jit_lines *l, struct reading *r, uint64_t code)
{
	size_t n = look(r, sizeof(struct entry) + JIT_MAX_PATH), k;
	struct jit_line line = { 0 };
	const char *path;
	struct entry e;
	int err = 0;

	if (n <= sizeof(e))
		return -EBADMSG;
	memcpy(&e, r->block + r->at, sizeof(e));
	path = (const char *)r->block + r->at + sizeof(e);
	k = strnlen(path, n - sizeof(e));
	if (k == n - sizeof(e) || e.address < code || e.address - code > UINT32_MAX ||
	    l->all.n == JIT_MAX_LINES)
		return -EBADMSG;
	if (strcmp(path, "\xff"))
		err = add_path(l, path, k, &r->path);
	else if (r->path == HASH_NONE)
		err = -EBADMSG;
	r->at += sizeof(e) + k + 1;
	line = (struct jit_line){ (uint32_t)(e.address - code), e.line, r->path };
	return err < 0 ? err : vec_push(&l->all, line);
}

static int by_offset(const void *a, const void *b)
{
	const struct jit_line *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->line < y->line ? -1 : x->line > y->line;
}

int jit_lines_read(struct jit_lines *l, int fd, uint64_t offset, uint64_t size, uint64_t code, uint64_t n,
		   struct jit_run *ret)
{
	struct reading *r = calloc(1, sizeof(*r));
	struct jit_run run = { (uint32_t)l->all.n, 0 };
	int err = r ? 0 : -ENOMEM;

	if (r)
		*r = (struct reading){ .fd = fd, .offset = offset, .end = offset + size, .path = HASH_NONE };
	for (uint64_t i = 0; i < n && err == 0; i++)
		err = read_entry(l, r, code);
	free(r);
	if (err < 0) {
		l->all.n = run.first;
		return err;
	}
	run.n = (uint32_t)(l->all.n - run.first);
	for (uint32_t i = run.first + 1; i < l->all.n; i++)
		if (l->all.data[i].offset < l->all.data[i - 1].offset) {
			qsort(&l->all.data[run.first], run.n, sizeof(struct jit_line), by_offset);
			break;
		}
	l->plain |= run.n && l->all.data[run.first].offset < ELF_HEADER;
	*ret = run;
	return 0;
}

bool jit_lines_find(const struct jit_lines *l, const struct jit_run *run, uint64_t offset, struct jit_place *ret)
{
	const struct jit_line *rows;
	size_t low = 0, n = run->n;

	if (!n)
		return false;
	rows = l->all.data + run->first;
	offset += l->plain ? 0 : ELF_HEADER;
	if (rows[0].offset > offset)
		return false;
	while (n > 1) {
		size_t half = n / 2;

		if (rows[low + half].offset <= offset)
			low += half;
		n -= half;
	}
	*ret = (struct jit_place){ l->text.data + l->paths.data[rows[low].path].at, rows[low].line };
	return true;
}
