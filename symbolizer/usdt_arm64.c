/* SPDX-License-Identifier: Apache-2.0 */

/* usdt_arm64.c - one argument of a note as compilers for arm64 write it: N@x0, N@w0, N@sp, N@5, N@[x0], N@[sp, 16],
 * N@[x0, x1], N@[x0, x1, lsl 3]. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symbolizer/usdt.h"

#define SP 31

struct text {
	const char *p, *end;
};

static bool eat(struct text *t, const char *s)
{
	size_t n = strlen(s);

	if ((size_t)(t->end - t->p) < n || memcmp(t->p, s, n) != 0)
		return false;
	t->p += n;
	return true;
}

static bool eat_number(struct text *t, int64_t *ret)
{
	char digits[24];
	size_t n = (size_t)(t->end - t->p);
	char *end;

	eat(t, "#");
	n = (size_t)(t->end - t->p);
	if (!n || (*t->p != '-' && (*t->p < '0' || *t->p > '9')))
		return false;
	n = n < sizeof(digits) - 1 ? n : sizeof(digits) - 1;
	memcpy(digits, t->p, n);
	digits[n] = '\0';
	errno = 0;
	*ret = strtoll(digits, &end, 10);
	t->p += end - digits;
	return end != digits && !errno;
}

static bool eat_register(struct text *t, uint8_t *ret, unsigned *ret_bytes)
{
	int64_t number;

	if (eat(t, "sp")) {
		*ret = SP;
		*ret_bytes = 8;
		return true;
	}
	*ret_bytes = eat(t, "x") ? 8 : eat(t, "w") ? 4 : 0;
	if (!*ret_bytes || t->p == t->end || *t->p < '0' || *t->p > '9' || !eat_number(t, &number) || number >= SP)
		return false;
	*ret = (uint8_t)number;
	return true;
}

static bool eat_memory(struct text *t, struct symbolizer_argument *a)
{
	int64_t shift = 0;
	unsigned bytes;

	a->kind = SYMBOLIZER_MEMORY;
	a->index = SYMBOLIZER_NO_REGISTER;
	if (!eat_register(t, &a->reg, &bytes) || bytes != 8)
		return false;
	if (eat(t, "]"))
		return true;
	if (!eat(t, ","))
		return false;
	eat(t, " ");
	if (eat_number(t, &a->value))
		return a->value >= INT32_MIN && a->value <= INT32_MAX && eat(t, "]");
	if (!eat_register(t, &a->index, &bytes) || bytes != 8 || a->index == SP)
		return false;
	if (eat(t, ",")) {
		eat(t, " ");
		if (!eat(t, "lsl ") || !eat_number(t, &shift) || shift < 0 || shift > 3)
			return false;
	}
	a->scale = (uint8_t)(1u << shift);
	return eat(t, "]");
}

bool usdt_read_arm64(const char *from, const char *end, struct symbolizer_argument *ret)
{
	struct symbolizer_argument a = { 0 };
	struct text t = { from, end };
	int64_t size;
	unsigned bytes;

	if (!eat_number(&t, &size) || !eat(&t, "@"))
		return false;
	if (size != 1 && size != 2 && size != 4 && size != 8 && size != -1 && size != -2 && size != -4 && size != -8)
		return false;
	a.size = (int8_t)size;
	if (eat(&t, "[")) {
		if (!eat_memory(&t, &a))
			return false;
	} else if (eat_number(&t, &a.value)) {
		a.kind = SYMBOLIZER_CONSTANT;
	} else {
		a.kind = SYMBOLIZER_REGISTER;
		if (!eat_register(&t, &a.reg, &bytes) || (size < 0 ? -size : size) > bytes)
			return false;
	}
	if (t.p != t.end)
		return false;
	*ret = a;
	return true;
}
