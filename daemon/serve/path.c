/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

/* What stands for itself in a path: RFC 3986 unreserved and most of its sub-delims (net/url's
 * table for encodePath), and what more Go leaves alone when it is already there (validEncoded). */
#define UNRESERVED "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~"
#define STANDS UNRESERVED "$&+,/:;=@"
#define STANDS_ENCODED STANDS "!'()*[]%"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte behind a '%', or -1. */
static int escaped_byte(const char *s)
{
	int high = hex(s[1]), low = high < 0 ? -1 : hex(s[2]);

	return low < 0 ? -1 : high << 4 | low;
}

static bool unescape(char *text, bool keep_slash)
{
	char *to = text;

	for (const char *s = text; *s;) {
		int byte = *s == '%' ? escaped_byte(s) : (unsigned char)*s;

		if (byte < 0)
			return false;
		if (*s != '%') {
			*to++ = *s++;
			continue;
		}
		if (byte == 0 || (byte == '/' && keep_slash)) {
			memcpy(to, byte ? "%2F" : "\xef\xbf\xbd", 3);
			to += 3;
		} else {
			*to++ = (char)byte;
		}
		s += 3;
	}
	*to = '\0';
	return true;
}

bool path_unescape(char *text)
{
	return unescape(text, false);
}

void path_escape(struct bytes *b, const char *text)
{
	for (const char *s = text; *s; s++) {
		if (strchr(STANDS, *s))
			bytes_add(b, s, 1);
		else
			bytes_printf(b, "%%%02X", (unsigned char)*s);
	}
}

void path_escape_name(struct bytes *b, const char *name)
{
	bool dots = name[strspn(name, ".")] == '\0'; /* no parent, and not this page */

	for (const char *s = name; *s; s++) {
		if (!dots && strchr(UNRESERVED, *s))
			bytes_add(b, s, 1);
		else
			bytes_printf(b, "%%%02X", (unsigned char)*s);
	}
}

void path_escape_html(struct bytes *b, const char *text)
{
	for (const char *s = text; *s; s++) {
		switch (*s) {
		case '&':
			bytes_puts(b, "&amp;");
			break;
		case '<':
			bytes_puts(b, "&lt;");
			break;
		case '>':
			bytes_puts(b, "&gt;");
			break;
		case '"':
			bytes_puts(b, "&#34;");
			break;
		case '\'':
			bytes_puts(b, "&#39;");
			break;
		default:
			bytes_add(b, s, 1);
		}
	}
}

void path_redirect_body(struct bytes *b, const char *location)
{
	bytes_puts(b, "<a href=\"");
	path_escape_html(b, location);
	bytes_puts(b, "\">Temporary Redirect</a>.\n\n");
}

/* net/url's EscapedPath: the path as it came where that is a valid encoding, else encoded anew. */
static int normal_form(const char *raw, struct bytes *ret)
{
	_cleanup_(freep) char *decoded = strdup(raw);

	if (!decoded)
		return -ENOMEM;
	if (!path_unescape(decoded))
		return PATH_MALFORMED;
	if (raw[strspn(raw, STANDS_ENCODED)] == '\0')
		bytes_puts(ret, raw);
	else
		path_escape(ret, decoded);
	return bytes_text(ret) ? PATH_OK : -ENOMEM;
}

/* path.Clean of a rooted path, with a slash at the end where there was one. */
static void clean(const char *path, struct bytes *ret)
{
	const char *s = path, *last = path;

	while (*s) {
		size_t n = strcspn(++s, "/");

		last = s;
		if (n == 2 && !memcmp(s, "..", 2))
			while (ret->n && ret->data[--ret->n] != '/')
				;
		else if (n && !(n == 1 && *s == '.'))
			bytes_printf(ret, "/%.*s", (int)n, s);
		s += n;
	}
	if (!ret->n || !*last)
		bytes_puts(ret, "/");
}

/* Whether the segment at *path, decoded, is `want` (NULL: a decimal number); steps past it. */
static bool segment_is(const char **path, const char *want)
{
	char text[64];
	size_t n;

	if (**path != '/')
		return false;
	n = strcspn(*path + 1, "/");
	if (!n || n >= sizeof(text))
		return false;
	memcpy(text, *path + 1, n);
	text[n] = '\0';
	if (!path_unescape(text) ||
	    (want ? strcmp(text, want) != 0 : text[strspn(text, "0123456789")] != '\0'))
		return false;
	*path += 1 + n;
	return true;
}

/* A segment, whatever it is; steps past it. */
static bool any_segment(const char **path)
{
	size_t n = **path == '/' ? strcspn(*path + 1, "/") : 0;

	*path += n ? 1 + n : 0;
	return n;
}

/* What follows /debug/pprof, /pid/PID/debug/pprof or /t/NAME/debug/pprof: "" or "/..."; NULL outside of them. */
static const char *behind_tree(const char *path)
{
	const char *s = path;

	if (segment_is(&s, "pid") ? !segment_is(&s, NULL) : segment_is(&s, "t") && !any_segment(&s))
		return NULL;
	return segment_is(&s, "debug") && segment_is(&s, "pprof") ? s : NULL;
}

static int decode(const char *path, struct path *ret)
{
	_cleanup_(freep) char *text = strdup(path);
	const char *name = behind_tree(path);
	_cleanup_(freep) char *rest = name ? strdup(name) : NULL;

	if (!text || (name && !rest))
		return -ENOMEM;
	if (name)
		text[name - path] = '\0';
	/* Escapes are good: normal_form has decoded them once. */
	unescape(text, true);
	if (rest) {
		path_unescape(rest);
		strcat(text, rest); /* decoding never makes text longer */
	}
	ret->text = TAKE_PTR(text);
	return PATH_OK;
}

/* Like Go's Redirect, encodes what is not ASCII, and loses a '?' with nothing behind. */
static int redirect(struct bytes *location, const char *query, struct path *ret)
{
	if (*query)
		bytes_puts(location, "?");
	for (const char *s = query; *s; s++) {
		if (*s & 0x80)
			bytes_printf(location, "%%%02x", (unsigned char)*s);
		else
			bytes_add(location, s, 1);
	}
	if (!bytes_text(location))
		return -ENOMEM;
	ret->location = TAKE_PTR(location->data);
	*location = (struct bytes)BYTES_INIT;
	return PATH_REDIRECT;
}

static int parse_path(const char *raw, const char *query, struct path *ret)
{
	_cleanup_(bytes_deinit) struct bytes normal = BYTES_INIT, cleaned = BYTES_INIT;
	const char *name;
	int r = normal_form(raw, &normal);

	if (r != PATH_OK)
		return r;
	clean(normal.data, &cleaned);
	if (!bytes_text(&cleaned))
		return -ENOMEM;
	name = behind_tree(cleaned.data);
	if (name && !*name) {
		if (strncmp(cleaned.data, "/t/", 3)) { /* the tree's own names and a number: plain ASCII */
			path_unescape(cleaned.data);
			cleaned.n = strlen(cleaned.data);
		}
		bytes_puts(&cleaned, "/");
		return redirect(&cleaned, query, ret);
	}
	/* Go would encode the escapes once more here ("%20" becomes "%2520"): we do not. */
	if (strcmp(cleaned.data, normal.data) != 0)
		return redirect(&cleaned, query, ret);
	return decode(normal.data, ret);
}

/* Behind "http://" or "https://", or NULL. */
static const char *behind_scheme(const char *target)
{
	if (!strncasecmp(target, "http://", 7))
		return target + 7;
	if (!strncasecmp(target, "https://", 8))
		return target + 8;
	return NULL;
}

int path_parse(const char *target, struct path *ret)
{
	const char *authority = behind_scheme(target);
	const char *query = target + strcspn(target, "?");
	const char *start = authority ? authority + strcspn(authority, "/?") : target;
	_cleanup_(path_deinit) struct path p = { .raw_query = *query ? query + 1 : query };
	_cleanup_(freep) char *raw = NULL;
	int r;

	for (const char *s = target; *s; s++) {
		if ((unsigned char)*s <= ' ' || *s == 0x7f)
			return PATH_MALFORMED;
	}
	if (!authority && *target != '/')
		return PATH_MALFORMED;
	if (authority) {
		p.authority = strndup(authority, (size_t)(start - authority));
		if (!p.authority)
			return -ENOMEM;
	}
	/* An absolute target without a path asks for "/"; Go sends a redirect first. */
	raw = start == query ? strdup("/") : strndup(start, (size_t)(query - start));
	if (!raw)
		return -ENOMEM;
	r = parse_path(raw, p.raw_query, &p);
	if (r != PATH_OK && r != PATH_REDIRECT)
		return r;
	*ret = p;
	p = (struct path){ 0 };
	return r;
}

void path_deinit(struct path *p)
{
	free(p->text);
	free(p->location);
	free(p->authority);
	*p = (struct path){ 0 };
}
