/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/symbol.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/profile.h"
#include "daemon/serve/session.h"

#define MAX_WORD 4096 /* Go's bufio.Reader: longer ones end the answer */
#define MAX_DIGITS 128

static unsigned base_of(const char **word, size_t *n)
{
	unsigned base = 10;
	size_t skip = 0;

	if (*n < 2 || **word != '0')
		return base;
	switch ((*word)[1] | 0x20) {
	case 'x':
		base = 16;
		skip = 2;
		break;
	case 'b':
		base = 2;
		skip = 2;
		break;
	case 'o':
		base = 8;
		skip = 2;
		break;
	default:
		base = 8;
		skip = 1;
	}
	*word += skip;
	*n -= skip;
	return base;
}

static unsigned digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
}

/* One underscore may stand between digits, or between a prefix and a digit; in numbers with a prefix only,
 * a leading 0 being one. */
bool symbol_number(const char *word, size_t n, uint64_t *ret)
{
	const char *digits = word;
	unsigned base = base_of(&digits, &n);
	bool prefix = digits != word, under = !prefix;
	uint64_t v = 0;

	if (!n || n > MAX_DIGITS)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (digits[i] == '_') {
			if (under || !prefix || i + 1 == n)
				return false;
			under = true;
			continue;
		}
		if (digit(digits[i]) >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)digit(digits[i]), &v))
			return false;
		under = !prefix;
	}
	*ret = v;
	return true;
}

static bool holds(const struct object *x, uint64_t address)
{
	for (uint32_t i = 0; i < x->info.n_segments; i++) {
		const struct symbolizer_segment *s = &x->info.segments[i];

		if (s->flags & PF_X && address - s->vaddr < s->memsz)
			return true;
	}
	return false;
}

/* The frame that answers show at this address; 0: none. The lock is held. */
static uint64_t word_at(struct core *c, const struct target *t, uint64_t shown)
{
	for (size_t i = 0; i < c->objects.all.n; i++) {
		const struct object *x = c->objects.all.data[i];
		uint64_t base;

		if (!x)
			continue;
		base = x->fixed && x->id == t->main_object ? 0 : x->slot;
		if (shown >= base && holds(x, shown - base))
			return PP_FRAME(x->id, shown - base);
	}
	/* code without a file is shown where it is */
	return shown >> 47 ? 0 : PP_RAW(shown);
}

struct questions {
	VEC(struct namer_shown) all;
	bool cut; /* by a word that is too long */
};

/* Those that stand for nothing go. */
static void keep_known(struct questions *q)
{
	size_t n = 0;

	for (size_t i = 0; i < q->all.n; i++)
		if (q->all.data[i].word)
			q->all.data[n++] = q->all.data[i];
	q->all.n = n;
}

static int parse(struct core *c, const struct target *t, const char *input, size_t n,
		 struct questions *q)
{
	int r = 0;

	for (size_t at = 0; at < n && q->all.n < SYMBOL_MAX_WORDS && r == 0;) {
		const char *plus = memchr(input + at, '+', n - at);
		size_t len = plus ? (size_t)(plus - input) - at : n - at;
		struct namer_shown one = { 0 };

		q->cut = len >= MAX_WORD;
		if (q->cut)
			break;
		if (symbol_number(input + at, len, &one.shown) && one.shown)
			one.word = word_at(c, t, one.shown);
		if (one.shown)
			r = vec_push(&q->all, one);
		at += len + 1;
	}
	return r;
}

static int name_all(struct core *c, const struct target *t, const struct questions *q,
		    struct naming *ret)
{
	_cleanup_(capture_freep) struct capture *capture = NULL;
	int r = capture_new(profile_find("profile"), &capture);

	for (size_t i = 0; i < q->all.n && r == 0; i++) {
		struct capture_sample s = { .values = { 1 } };

		s.stack = capture_stack(capture, &q->all.data[i].word, 1);
		r = s.stack == HASH_NONE ? -ENOMEM : capture_add(capture, s);
	}
	return r < 0 ? r : namer_run(c, t, capture, ret);
}

static void print(const struct questions *q, const struct naming *n, struct bytes *out)
{
	for (size_t i = 0; i < q->all.n && out->n < SYMBOL_MAX_BYTES; i++) {
		uint32_t n_lines, at = naming_find(n, q->all.data[i].word);
		const struct naming_line *line = naming_lines(n, at, &n_lines);
		const char *name = naming_function(n, line->function)->name;

		if (strcmp(name, NAMING_NO_FILE) && strcmp(name, NAMING_NO_USER))
			bytes_printf(out, "0x%llx %s\n", (unsigned long long)q->all.data[i].shown, name);
	}
	if (out->n >= SYMBOL_MAX_BYTES)
		bytes_puts(out, "the answer is too long, and ends here\n");
}

int symbol_answer(struct core *c, struct target *t, const char *input, size_t n, struct bytes *out)
{
	struct questions q = { 0 };
	struct naming naming = { 0 };
	unsigned held;
	int r;

	bytes_puts(out, "num_symbols: 1\n");
	held = session_keep(c);
	pthread_mutex_lock(&c->lock);
	r = parse(c, t, input, n, &q);
	pthread_mutex_unlock(&c->lock);
	if (r == 0 && q.all.n)
		r = namer_words(c, q.all.data, q.all.n);
	keep_known(&q);
	if (r == 0 && q.all.n)
		r = name_all(c, t, &q, &naming);
	if (r == 0 && q.all.n)
		print(&q, &naming, out);
	if (q.cut)
		bytes_puts(out, "reading request: bufio: buffer full\n");
	session_let_go(c, held);
	naming_free(&naming);
	vec_deinit(&q.all);
	return r < 0 ? r : out->bad ? -ENOMEM : 0;
}
