/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/maps.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* proc(5): longer lines do not exist (PATH_MAX, each byte escaped to four). */
#define MAX_LINE (4096 * 4 + 256)

struct text {
	const char *p, *end;
	bool bad;
};

static uint64_t number(struct text *t, unsigned base, char after)
{
	const char *start = t->p;
	uint64_t v = 0;

	for (; t->p < t->end; t->p++) {
		char c = *t->p;
		unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') :
				 c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) :
							99;

		if (digit >= base)
			break;
		if (v > (UINT64_MAX - digit) / base)
			t->bad = true;
		v = v * base + digit;
	}
	if (t->p == start || t->p == t->end || *t->p != after)
		t->bad = true;
	else
		t->p++;
	return v;
}

int maps_parse(const char *text, size_t n, struct maps_line *ret)
{
	static const char deleted[] = " (deleted)";
	struct text t = { text, text + n, false };
	struct maps_line l = { 0 };
	const char *permissions;
	uint64_t major, minor;
	size_t len;

	l.start = number(&t, 16, '-');
	l.end = number(&t, 16, ' ');
	if (t.bad || t.end - t.p < 5 || t.p[4] != ' ')
		return -EBADMSG;
	permissions = t.p;
	t.p += 5;
	if (permissions[2] != 'x')
		return -ENODATA;
	l.writable = permissions[1] == 'w';
	l.offset = number(&t, 16, ' ');
	major = number(&t, 16, ':');
	minor = number(&t, 16, ' ');
	l.dev = makedev((unsigned)major, (unsigned)minor);
	l.ino = number(&t, 10, ' ');
	if (t.bad || l.end <= l.start)
		return -EBADMSG;
	while (t.p < t.end && *t.p == ' ')
		t.p++;
	len = (size_t)(t.end - t.p);
	if (len > sizeof(deleted) - 1 &&
	    !memcmp(t.end - (sizeof(deleted) - 1), deleted, sizeof(deleted) - 1))
		len -= sizeof(deleted) - 1;
	if (memchr(t.p, '\0', len))
		return -EBADMSG;
	l.name = strndup(t.p, len);
	if (!l.name)
		return -ENOMEM;
	*ret = l;
	return 0;
}

static uint64_t pages(const struct maps_line *l)
{
	return (l->end - l->start) / (uint64_t)sysconf(_SC_PAGESIZE);
}

static int take_line(struct maps *m, const char *text, size_t n)
{
	struct maps_line l;
	int r = maps_parse(text, n, &l);

	if (r == -ENODATA || r == -EBADMSG)
		return 0;
	if (r < 0)
		return r;
	if (!l.writable) /* is_exec_mapping() of the kernel: executable, not writable, no stack */
		m->exec_vm += pages(&l);
	if (l.start >> 63 || !strcmp(l.name, "[vsyscall]")) { /* not the process's memory */
		m->exec_vm -= l.writable ? 0 : pages(&l);
		free(l.name);
		return 0;
	}
	if (m->lines.n >= MAPS_MAX) {
		m->n_left_out++;
		free(l.name);
		return 0;
	}
	r = vec_push(&m->lines, l);
	if (r < 0)
		free(l.name);
	return r;
}

/* Takes the whole lines of the buffer; what is left of the last one moves to its start. */
static int take_lines(struct maps *m, char *buffer, size_t *n)
{
	char *line = buffer, *end = buffer + *n, *newline;

	while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
		int r = take_line(m, line, (size_t)(newline - line));

		if (r < 0)
			return r;
		line = newline + 1;
	}
	*n = (size_t)(end - line);
	memmove(buffer, line, *n);
	return 0;
}

int maps_read(int fd, struct maps *ret)
{
	struct maps m = { 0 };
	size_t n = 0, total = 0, size = MAX_LINE + 65536;
	char *buffer = malloc(size);
	int r = buffer ? 0 : -ENOMEM;

	while (r == 0) {
		ssize_t got = read(fd, buffer + n, size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			r = -errno;
		if (got <= 0)
			break;
		n += (size_t)got;
		total += (size_t)got;
		r = take_lines(&m, buffer, &n);
		if (n > MAX_LINE)
			r = -EBADMSG;
		if (total > MAPS_MAX_BYTES) {
			m.n_left_out++;
			break;
		}
	}
	free(buffer);
	if (r < 0)
		maps_deinit(&m);
	else
		*ret = m;
	return r;
}

void maps_deinit(struct maps *m)
{
	for (size_t i = 0; i < m->lines.n; i++)
		free(m->lines.data[i].name);
	vec_deinit(&m->lines);
}
