/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/sections.h"

#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define WINDOW 4096	/* bytes that a small read fetches */
#define SHORT_STRING 160
#define CHUNK (64u << 10)
#define MAX_SECTION (1ull << 40)
#define MAX_ZSTD_WINDOW 25 /* log2 of bytes */
#ifndef ELFCOMPRESS_ZSTD
#define ELFCOMPRESS_ZSTD 2
#endif

enum how { PLAIN, ZLIB, ZSTD, MISSING };

static const char *const names[N_SECTIONS] = {
	[SECTION_INFO] = "info",
	[SECTION_ABBREV] = "abbrev",
	[SECTION_LINE] = "line",
	[SECTION_LINE_STR] = "line_str",
	[SECTION_STR] = "str",
	[SECTION_STR_OFFSETS] = "str_offsets",
	[SECTION_ADDR] = "addr",
	[SECTION_RANGES] = "ranges",
	[SECTION_RNGLISTS] = "rnglists",
	[SECTION_CU_INDEX] = "cu_index",
};

/* Bytes of the file; how many there were. */
static size_t read_file(const struct elf_file *f, uint64_t offset, void *to, size_t n)
{
	size_t done = 0;

	if (offset > f->size)
		return 0;
	if (n > f->size - offset)
		n = (size_t)(f->size - offset);
	if (f->image) {
		memcpy(to, f->image + offset, n);
		return n;
	}
	while (done < n) {
		ssize_t got = pread(f->fd, (char *)to + done, n - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

/* What its head says: gABI's, or GNU's older one ("ZLIB" and eight bytes, the highest first). */
static void read_compression(const struct elf_file *f, struct section_bytes *b, bool gnu)
{
	unsigned char head[24];
	size_t n_head = gnu ? 12 : 24;
	struct cursor c;
	uint32_t type;

	b->how = MISSING;
	if (b->n_stored < n_head || read_file(f, b->offset, head, n_head) < n_head)
		return;
	c = cursor_over(head, n_head);
	type = cursor_u32(&c);
	b->n = 0;
	if (gnu) {
		for (int i = 4; i < 12; i++)
			b->n = b->n << 8 | head[i];
		type = memcmp(head, "ZLIB", 4) ? 0 : ELFCOMPRESS_ZLIB;
	} else {
		cursor_u32(&c);
		b->n = cursor_u64(&c);
	}
	b->offset += n_head;
	b->n_stored -= n_head;
	if (type == ELFCOMPRESS_ZLIB)
		b->how = ZLIB;
	else if (type == ELFCOMPRESS_ZSTD)
		b->how = ZSTD;
}

static bool name_is(const char *name, const char *wanted, bool dwo)
{
	size_t k = strlen(wanted);

	return !strncmp(name, wanted, k) && !strcmp(name + k, dwo ? ".dwo" : "");
}

static void note_section(struct sections *s, const char *name, const GElf_Shdr *h, bool dwo)
{
	bool gnu = !strncmp(name, ".zdebug_", 8);
	struct section_bytes b = { h->sh_offset, h->sh_size, h->sh_size, PLAIN, NULL, false };

	if (!gnu && strncmp(name, ".debug_", 7))
		return;
	for (int i = 0; i < N_SECTIONS; i++) {
		/* those of a .dwp's indexes have no suffix */
		if (!name_is(name + (gnu ? 8 : 7), names[i], dwo && i != SECTION_CU_INDEX) ||
		    s->all[i].how != MISSING)
			continue;
		if (b.offset > s->f->size || b.n_stored > s->f->size - b.offset || !b.n_stored)
			return;
		if (gnu || (h->sh_flags & SHF_COMPRESSED))
			read_compression(s->f, &b, gnu);
		if (b.n && b.n <= MAX_SECTION)
			s->all[i] = b;
	}
}

void sections_open(struct sections *s, struct elf_file *f, bool dwo, size_t *budget)
{
	Elf_Scn *scn = NULL;
	size_t strings;

	*s = (struct sections){ .f = f, .budget = budget };
	for (int i = 0; i < N_SECTIONS; i++)
		s->all[i].how = MISSING;
	if (elf_getshdrstrndx(f->elf, &strings) < 0)
		return;
	while ((scn = elf_nextscn(f->elf, scn))) {
		GElf_Shdr h;
		const char *name = NULL;

		if (gelf_getshdr(scn, &h) && h.sh_type != SHT_NOBITS)
			name = elf_strptr(f->elf, strings, h.sh_name);
		if (name)
			note_section(s, name, &h, dwo);
	}
}

void buffer_deinit(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){ 0 };
}

void sections_close(struct sections *s)
{
	for (int i = 0; i < N_SECTIONS; i++) {
		if (s->all[i].inflated)
			*s->budget += s->all[i].n;
		free(s->all[i].inflated);
		buffer_deinit(&s->windows[i]);
	}
	*s = (struct sections){ 0 };
}

static bool inflate_zlib(const struct elf_file *f, const struct section_bytes *b, uint8_t *to,
			 uint8_t *chunk)
{
	z_stream z = { .next_out = to, .avail_out = (uInt)b->n };
	uint64_t at = 0;
	int r = inflateInit(&z);

	if (r != Z_OK)
		return false;
	while (r == Z_OK && at < b->n_stored && z.avail_out) {
		size_t want = b->n_stored - at < CHUNK ? (size_t)(b->n_stored - at) : CHUNK;

		z.avail_in = (uInt)read_file(f, b->offset + at, chunk, want);
		z.next_in = chunk;
		at += z.avail_in;
		if (!z.avail_in)
			break;
		while (r == Z_OK && z.avail_in && z.avail_out) {
			r = inflate(&z, Z_NO_FLUSH);
			/* a section may be several streams in a row */
			if (r == Z_STREAM_END && z.avail_out)
				r = inflateReset(&z);
		}
	}
	inflateEnd(&z);
	return !z.avail_out;
}

static bool inflate_zstd(const struct elf_file *f, const struct section_bytes *b, uint8_t *to,
			 uint8_t *chunk)
{
	ZSTD_outBuffer out = { to, (size_t)b->n, 0 };
	ZSTD_DStream *z = ZSTD_createDStream();
	uint64_t at = 0;
	size_t r = 0;

	if (!z)
		return false;
	ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, MAX_ZSTD_WINDOW);
	while (!ZSTD_isError(r) && at < b->n_stored && out.pos < out.size) {
		size_t want = b->n_stored - at < CHUNK ? (size_t)(b->n_stored - at) : CHUNK;
		ZSTD_inBuffer in = { chunk, read_file(f, b->offset + at, chunk, want), 0 };

		at += in.size;
		if (!in.size)
			break;
		while (!ZSTD_isError(r) && in.pos < in.size && out.pos < out.size)
			r = ZSTD_decompressStream(z, &out, &in);
	}
	ZSTD_freeDStream(z);
	return out.pos == out.size;
}

static bool inflate_section(struct sections *s, struct section_bytes *b)
{
	bool zlib = b->how == ZLIB;
	uint8_t *to = NULL, *chunk = NULL;
	bool done = false;

	if (b->n <= *s->budget) {
		to = malloc(b->n);
		chunk = malloc(CHUNK);
	}
	if (to && chunk)
		done = (zlib ? inflate_zlib : inflate_zstd)(s->f, b, to, chunk);
	b->lost = !to || !chunk;
	free(chunk);
	if (!done) {
		free(to);
		b->how = MISSING;
		return false;
	}
	*s->budget -= b->n;
	b->inflated = to;
	return true;
}

static struct cursor nothing(void)
{
	static const uint8_t empty[1];

	return cursor_over(empty, 0);
}

struct cursor sections_read(struct sections *s, enum section which, uint64_t offset, uint64_t n,
			    struct buffer *to)
{
	struct section_bytes *b = &s->all[which];

	if (b->how == MISSING || offset >= b->n || !n)
		return nothing();
	if (n > b->n - offset)
		n = b->n - offset;
	if (b->how != PLAIN && !b->inflated && !inflate_section(s, b))
		return nothing();
	if (b->inflated)
		return cursor_over(b->inflated + offset, n);
	if (s->f->image)
		return cursor_over(s->f->image + b->offset + offset, n);
	if (to->of == b && offset >= to->offset && offset - to->offset <= to->n &&
	    n <= to->n - (offset - to->offset))
		return cursor_over(to->data + (offset - to->offset), n);
	to->of = NULL;
	if (n > to->cap) {
		uint8_t *p = realloc(to->data, n);

		if (!p)
			return nothing();
		to->data = p;
		to->cap = n;
	}
	to->of = b;
	to->offset = offset;
	to->n = read_file(s->f, b->offset + offset, to->data, n);
	return cursor_over(to->data, to->n);
}

/* fetch: how many bytes to read where they are not there yet. */
static struct cursor peek(struct sections *s, enum section which, uint64_t offset, size_t n,
			  size_t fetch)
{
	struct buffer *w = &s->windows[which];
	struct cursor c;

	if (w->of && offset >= w->offset && offset - w->offset <= w->n &&
	    n <= w->n - (offset - w->offset))
		return cursor_over(w->data + (offset - w->offset), n);
	c = sections_read(s, which, offset, fetch, w);
	if (cursor_left(&c) > n)
		c.end = c.p + n;
	return c;
}

struct cursor sections_peek(struct sections *s, enum section which, uint64_t offset, size_t n)
{
	return peek(s, which, offset, n, n > WINDOW ? n : WINDOW);
}

const char *sections_string(struct sections *s, enum section which, uint64_t offset, size_t max)
{
	for (size_t n = SHORT_STRING;; n *= 8) {
		struct cursor c = peek(s, which, offset, n < max ? n : max, n);
		bool none = !cursor_left(&c);
		const char *text = cursor_string(&c);

		if (text || n >= max || none || offset + n >= s->all[which].n)
			return text;
	}
}
