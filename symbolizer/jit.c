/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/jit.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/vec.h"
#include "symbolizer/jit_lines.h"
#include "symbolizer/symtab.h"

#define BLOCK (64 * 1024) /* a line that is longer is passed over in pieces */
#define MAX_LOOK_BACK 4096   /* entries, for the code that moves */

struct entry {
	uint64_t start, end;
	uint32_t name; /* in text */
	struct jit_run lines;
};

/* From this address to the next piece's it is this entry's, or NO_ITEM's. */
struct piece {
	uint64_t start;
	uint32_t entry;
};

struct jit {
	enum jit_format format;
	dev_t dev;
	ino_t ino;
	uint64_t at; /* read so far */
	unsigned char seen[64]; /* what stands before it: in a file that was written anew something else does */
	size_t n_seen;
	bool skip;   /* the line that begins there is the end of one that is too long */
	bool indexed;
	uint64_t n_left_out;
	VEC(struct entry) entries; /* as they were told */
	VEC(struct piece) pieces;
	struct bytes text;
	struct jit_lines lines;
	struct jit_run pending; /* lines that were told of code that comes next */
	uint64_t pending_code;
	unsigned char block[BLOCK];
};

/* struct jitheader and struct jr_prefix with struct jr_code_load, jr_code_move or jr_code_debug_info of perf's jitdump.h */
struct dump_header {
	uint32_t magic, version, total_size, elf_machine, pad, pid;
	uint64_t timestamp, flags;
};

struct dump_prefix {
	uint32_t id, total_size;
	uint64_t timestamp;
};

struct dump_load {
	struct dump_prefix prefix;
	uint32_t pid, tid;
	uint64_t vma, address, size, index;
}; /* then the name and a NUL, then the code */

struct dump_move {
	struct dump_prefix prefix;
	uint32_t pid, tid;
	uint64_t vma, from, to, size, index;
};

struct dump_lines {
	struct dump_prefix prefix;
	uint64_t address, n;
}; /* then the entries; the load of the code follows */

#define DUMP_MAGIC 0x4a695444u
enum { DUMP_LOAD, DUMP_MOVE, DUMP_LINES };

int jit_new(enum jit_format format, struct jit **ret)
{
	struct jit *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->format = format;
	*ret = j;
	return 0;
}

static void forget(struct jit *j)
{
	vec_deinit(&j->entries);
	vec_deinit(&j->pieces);
	bytes_deinit(&j->text);
	j->text = (struct bytes){ 0 };
	jit_lines_deinit(&j->lines);
	j->pending = (struct jit_run){ 0, 0 };
	j->at = j->n_left_out = 0;
	j->n_seen = 0;
	j->skip = j->indexed = false;
}

void jit_free(struct jit *j)
{
	if (!j)
		return;
	forget(j);
	free(j);
}

static int add(struct jit *j, uint64_t start, uint64_t size, const char *name, size_t n, struct jit_run lines)
{
	struct entry e = { start, start + size, (uint32_t)j->text.n, lines };

	if (!n || !size || e.end < start) {
		j->n_left_out++;
		return 0;
	}
	n = n < JIT_MAX_NAME ? n : JIT_MAX_NAME;
	if (j->entries.n == JIT_MAX_ENTRIES || j->text.n + n + 1 > JIT_MAX_TEXT) {
		j->n_left_out++;
		return 0;
	}
	bytes_add(&j->text, name, n);
	bytes_add(&j->text, "", 1);
	j->indexed = false;
	return j->text.bad ? -ENOMEM : vec_push(&j->entries, e);
}

/* A hexadecimal number, with or without 0x, and the blanks behind it. */
static bool take_hex(const char **at, const char *end, uint64_t *ret)
{
	const char *p = *at, *first;
	uint64_t v = 0;

	if (end - p > 2 && p[0] == '0' && (p[1] | 0x20) == 'x')
		p += 2;
	for (first = p; p < end && isxdigit((unsigned char)*p); p++) {
		unsigned char c = (unsigned char)*p;

		if (v >> 60)
			return false;
		v = v << 4 | (isdigit(c) ? c - (uint64_t)'0' : (c | 0x20u) - 'a' + 10u);
	}
	if (p == first || p == end || (*p != ' ' && *p != '\t'))
		return false;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	*at = p;
	*ret = v;
	return true;
}

static int take_line(struct jit *j, const char *line, size_t n)
{
	const char *end = line + n, *nul;
	uint64_t start, size;

	if (!n)
		return 0;
	if (!take_hex(&line, end, &start) || !take_hex(&line, end, &size)) {
		j->n_left_out++;
		return 0;
	}
	while (end > line && (end[-1] == '\r' || end[-1] == ' '))
		end--;
	nul = memchr(line, 0, (size_t)(end - line));
	return add(j, start, size, line, (size_t)((nul ? nul : end) - line), (struct jit_run){ 0, 0 });
}

static ssize_t read_at(struct jit *j, int fd)
{
	ssize_t got;

	do
		got = pread(fd, j->block, sizeof(j->block), (off_t)j->at);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* Whole lines only: the last one may be in the making. */
static int read_map(struct jit *j, int fd, uint64_t size)
{
	while (j->at < size && j->at < JIT_MAX_FILE) {
		ssize_t got = read_at(j, fd);
		const char *text = (const char *)j->block;
		size_t used = 0;
		int r = 0;

		if (got <= 0)
			return (int)got;
		for (const char *end; r == 0 && (end = memchr(text + used, '\n', (size_t)got - used));) {
			if (!j->skip)
				r = take_line(j, text + used, (size_t)(end - text) - used);
			j->skip = false;
			used = (size_t)(end - text) + 1;
		}
		if (r < 0)
			return r;
		if (!used && got < BLOCK)
			return 0;
		if (!used) { /* a line of a whole block */
			j->n_left_out += !j->skip;
			j->skip = true;
			used = (size_t)got;
		}
		j->at += used;
	}
	return 0;
}

static int take_load(struct jit *j, size_t n)
{
	struct dump_load l;
	const char *name = (const char *)j->block + sizeof(l);
	struct jit_run lines = j->pending;
	size_t n_name;

	j->pending = (struct jit_run){ 0, 0 };
	if (n <= sizeof(l)) {
		j->n_left_out++;
		return 0;
	}
	memcpy(&l, j->block, sizeof(l));
	n_name = strnlen(name, n - sizeof(l));
	if (j->pending_code != l.address)
		lines.n = 0;
	return add(j, l.address, l.size, name, n_name, lines);
}

static int take_move(struct jit *j, size_t n)
{
	char name[JIT_MAX_NAME + 1];
	struct dump_move m;

	if (n < sizeof(m)) {
		j->n_left_out++;
		return 0;
	}
	memcpy(&m, j->block, sizeof(m));
	for (size_t i = j->entries.n, k = 0; i-- > 0 && k < MAX_LOOK_BACK; k++) {
		const struct entry *e = &j->entries.data[i];
		size_t n_name;

		if (e->start != m.from)
			continue;
		n_name = strlen(j->text.data + e->name);
		memcpy(name, j->text.data + e->name, n_name + 1);
		return add(j, m.to, m.size, name, n_name, e->lines);
	}
	j->n_left_out++;
	return 0;
}

/* They wait for the code. */
static int take_lines(struct jit *j, int fd, size_t n)
{
	struct dump_lines l;
	int r = -EBADMSG;

	j->pending = (struct jit_run){ 0, 0 };
	if (n >= sizeof(l)) {
		memcpy(&l, j->block, sizeof(l));
		j->pending_code = l.address;
		r = jit_lines_read(&j->lines, fd, j->at + sizeof(l), l.prefix.total_size - sizeof(l), l.address, l.n,
				   &j->pending);
	}
	j->n_left_out += r == -EBADMSG;
	return r == -EBADMSG ? 0 : r;
}

static int read_dump_header(struct jit *j, int fd)
{
	ssize_t got = read_at(j, fd);
	struct dump_header h;

	if (got < (ssize_t)sizeof(h))
		return got < 0 ? (int)got : 0;
	memcpy(&h, j->block, sizeof(h));
	if (h.magic != DUMP_MAGIC || h.total_size < sizeof(h) || h.total_size > 4096)
		return -ENOEXEC;
	j->at = h.total_size;
	return 0;
}

/* Whole records only. Code is passed over unread. */
static int read_dump(struct jit *j, int fd, uint64_t size)
{
	int r = j->at ? 0 : read_dump_header(j, fd);

	while (r == 0 && j->at && j->at < size && j->at < JIT_MAX_FILE &&
	       j->entries.n < JIT_MAX_ENTRIES) {
		ssize_t got = read_at(j, fd);
		struct dump_prefix p;

		if (got < (ssize_t)sizeof(p))
			return got < 0 ? (int)got : 0;
		memcpy(&p, j->block, sizeof(p));
		if (p.total_size < sizeof(p)) {
			j->n_left_out++;
			j->at = JIT_MAX_FILE; /* nobody knows where the next one is */
			break;
		}
		if (p.total_size > size - j->at)
			break;
		if ((uint64_t)got > p.total_size)
			got = p.total_size;
		if (p.id == DUMP_LOAD)
			r = take_load(j, (size_t)got);
		else if (p.id == DUMP_MOVE)
			r = take_move(j, (size_t)got);
		else if (p.id == DUMP_LINES)
			r = take_lines(j, fd, (size_t)got);
		j->at += p.total_size;
	}
	return r;
}

static size_t read_seen(const struct jit *j, int fd, unsigned char to[sizeof(j->seen)])
{
	size_t n = j->at < sizeof(j->seen) ? j->at : sizeof(j->seen);
	ssize_t got = n ? pread(fd, to, n, (off_t)(j->at - n)) : 0;

	return got > 0 ? (size_t)got : 0;
}

static bool is_same(const struct jit *j, int fd, const struct stat *st)
{
	unsigned char now[sizeof(j->seen)];

	if (st->st_dev != j->dev || st->st_ino != j->ino)
		return false;
	if (j->at == JIT_MAX_FILE) /* given up */
		return true;
	return (uint64_t)st->st_size >= j->at && read_seen(j, fd, now) == j->n_seen &&
	       !memcmp(now, j->seen, j->n_seen);
}

int jit_update(struct jit *j, int fd)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC;
	if (!is_same(j, fd, &st))
		forget(j);
	j->dev = st.st_dev;
	j->ino = st.st_ino;
	r = j->format == JIT_DUMP ? read_dump(j, fd, (uint64_t)st.st_size) :
				    read_map(j, fd, (uint64_t)st.st_size);
	j->n_seen = read_seen(j, fd, j->seen);
	return r;
}

/* While the pieces are made: entries that have begun, as a heap with the one that was told last on top. */
struct heap {
	uint32_t *items;
	size_t n;
};

static void heap_push(struct heap *h, uint32_t item)
{
	size_t i = h->n++;

	for (; i && h->items[(i - 1) / 2] < item; i = (i - 1) / 2)
		h->items[i] = h->items[(i - 1) / 2];
	h->items[i] = item;
}

static void heap_pop(struct heap *h)
{
	uint32_t item = h->items[--h->n];
	size_t i = 0;

	for (size_t k; (k = 2 * i + 1) < h->n; i = k) {
		k += k + 1 < h->n && h->items[k + 1] > h->items[k];
		if (h->items[k] <= item)
			break;
		h->items[i] = h->items[k];
	}
	h->items[i] = item;
}

static int by_start(const void *a, const void *b, void *context)
{
	const struct entry *e = context;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	if (e[x].start != e[y].start)
		return e[x].start < e[y].start ? -1 : 1;
	return x < y ? -1 : x > y;
}

static int add_piece(struct jit *j, uint64_t start, uint32_t entry)
{
	if (j->pieces.n && j->pieces.data[j->pieces.n - 1].entry == entry)
		return 0;
	return vec_push(&j->pieces, ((struct piece){ start, entry }));
}

/* Of all that covers an address the one that was told last. Each step goes on to a beginning or an end. */
static int sweep(struct jit *j, const uint32_t *order, struct heap *open)
{
	const struct entry *e = j->entries.data;
	size_t n = j->entries.n, i = 0;
	uint64_t at = 0;
	int r = 0;

	while (r == 0 && (i < n || open->n)) {
		uint64_t next;

		if (!open->n)
			at = e[order[i]].start;
		while (i < n && e[order[i]].start <= at)
			heap_push(open, order[i++]);
		while (open->n && e[open->items[0]].end <= at)
			heap_pop(open);
		if (!open->n) {
			r = add_piece(j, at, NO_ITEM);
			continue;
		}
		r = add_piece(j, at, open->items[0]);
		next = e[open->items[0]].end;
		at = i < n && e[order[i]].start < next ? e[order[i]].start : next;
	}
	return r;
}

static int make_index(struct jit *j)
{
	size_t n = j->entries.n;
	_cleanup_(freep) uint32_t *order = malloc((n + 1) * sizeof(*order));
	_cleanup_(freep) uint32_t *items = malloc((n + 1) * sizeof(*items));
	struct heap open = { items, 0 };

	if (!order || !items)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	qsort_r(order, n, sizeof(*order), by_start, j->entries.data);
	j->pieces.n = 0;
	j->indexed = sweep(j, order, &open) == 0;
	return j->indexed ? 0 : -ENOMEM;
}

bool jit_find(struct jit *j, uint64_t address, struct jit_symbol *ret)
{
	struct jit_place place = { "", 0 };
	const struct entry *e;
	size_t low = 0, n;
	uint32_t entry;

	if (!j->entries.n || (!j->indexed && make_index(j) < 0))
		return false;
	n = j->pieces.n;
	if (!n || address < j->pieces.data[0].start)
		return false;
	while (n > 1) {
		size_t half = n / 2;

		if (j->pieces.data[low + half].start <= address)
			low += half;
		n -= half;
	}
	entry = j->pieces.data[low].entry;
	if (entry == NO_ITEM)
		return false;
	e = &j->entries.data[entry];
	jit_lines_find(&j->lines, &e->lines, address - e->start, &place);
	*ret = (struct jit_symbol){ j->text.data + e->name, place.path, e->start, place.line };
	return true;
}

uint64_t jit_left_out(const struct jit *j)
{
	return j->n_left_out;
}
