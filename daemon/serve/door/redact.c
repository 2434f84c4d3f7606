/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/door/redact.h"

#include <string.h>

char *redact_path(char *text)
{
	size_t n = strlen(text), first;

	while (n > 1 && text[n - 1] == '/')
		n--;
	for (first = n; first && text[first - 1] != '/'; first--)
		;
	if (first && first < n) {
		memmove(text, text + first, n - first);
		text[n - first] = '\0';
	}
	return text;
}

static bool is_letter(char c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool begins_path(const char *s)
{
	return (*s == '/' && s[1] && s[1] != ' ') || !strncmp(s, "./", 2) || !strncmp(s, "../", 3) ||
	       !strncmp(s, "file:", 5) || (is_letter(*s) && s[1] == ':' && s[2] == '\\');
}

/* The last part of the path that begins here; *ret_n: its length. */
static const char *last_part(const char *s, size_t *ret_n)
{
	const char *end = s + strcspn(s, " )"), *last = s;

	for (const char *c = s; c + 1 < end; c++)
		if (*c == '/' || *c == '\\')
			last = c + 1;
	*ret_n = (size_t)(end - last);
	return last;
}

char *redact_words(char *text)
{
	char before = ' ', *to = text;

	for (const char *s = text; *s;) {
		size_t n = 1;

		if ((before == ' ' || before == '(') && begins_path(s))
			s = last_part(s, &n);
		memmove(to, s, n);
		to += n;
		s += n;
		before = n ? to[-1] : ' ';
	}
	if (*to)
		*to = '\0';
	return text;
}

/* A text without a path is not written to: some are not ours. */
void redact_naming(struct naming *n)
{
	for (size_t i = 0; i < n->mappings.n; i++)
		redact_path((char *)n->mappings.data[i].file);
	for (size_t i = 0; i < n->functions.n; i++) {
		struct naming_function *f = &n->functions.data[i];

		redact_path((char *)f->file);
		if (strchr(f->name, '/') || strchr(f->name, '\\'))
			redact_words((char *)f->name);
		if (f->system_name != f->name && (strchr(f->system_name, '/') || strchr(f->system_name, '\\')))
			redact_words((char *)f->system_name);
	}
}

void redact_cmdline(struct bytes *b)
{
	if (!bytes_text(b))
		return;
	redact_path(b->data);
	b->n = strlen(b->data);
}
