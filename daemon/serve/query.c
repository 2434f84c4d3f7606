/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/path.h"

static bool unescape(char *text)
{
	for (char *s = text; (s = strchr(s, '+')); s++)
		*s = ' ';
	return path_unescape(text);
}

static void add_pair(struct query *q, char *pair)
{
	char *value = strchr(pair, '=');

	if (!*pair || strchr(pair, ';'))
		return;
	if (value)
		*value++ = '\0';
	else
		value = pair + strlen(pair);
	if (!unescape(pair) || !unescape(value))
		return;
	q->pairs[q->n++] = (struct query_pair){ pair, value };
}

int query_parse(const char *raw, struct query *ret)
{
	char *s;

	ret->n = 0;
	ret->text = s = strdup(raw);
	if (!s)
		return -ENOMEM;
	while (s && ret->n < QUERY_MAX) {
		char *pair = strsep(&s, "&");

		add_pair(ret, pair);
	}
	return 0;
}

void query_deinit(struct query *q)
{
	free(q->text);
	*q = (struct query){ 0 };
}

const char *query_get(const struct query *q, const char *key)
{
	for (size_t i = 0; i < q->n; i++) {
		if (!strcmp(q->pairs[i].key, key))
			return *q->pairs[i].value ? q->pairs[i].value : NULL;
	}
	return NULL;
}

enum number { NUMBER_OK, NUMBER_NONE, NUMBER_RANGE };

/* strconv.ParseInt(s, 10, 64). Out of range, *ret is the nearest there is; and as in Go the text
 * is not read on once it has passed 64 bits, whatever follows. */
static enum number parse(const char *text, int64_t *ret)
{
	bool minus = *text == '-';
	const uint64_t most = minus ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	uint64_t v = 0, digit;

	if (*text == '-' || *text == '+')
		text++;
	if (!*text)
		return NUMBER_NONE;
	for (; *text; text++) {
		digit = (uint64_t)(unsigned char)*text - '0';
		if (digit > 9)
			return NUMBER_NONE;
		if (v > (UINT64_MAX - digit) / 10) {
			v = UINT64_MAX;
			break;
		}
		v = v * 10 + digit;
	}
	*ret = minus ? (int64_t)(0 - (v < most ? v : most)) : (int64_t)(v < most ? v : most);
	return v > most ? NUMBER_RANGE : NUMBER_OK;
}

bool query_int(const char *text, int64_t *ret)
{
	int64_t v;

	if (parse(text, &v) != NUMBER_OK)
		return false;
	*ret = v;
	return true;
}

int64_t query_number(const struct query *q, const char *key)
{
	const char *text = query_get(q, key);
	int64_t v = 0;

	/* Go's handlers ignore Atoi's error: 99999999999999999999 counts as the greatest int. */
	return text && parse(text, &v) != NUMBER_NONE ? v : 0;
}
