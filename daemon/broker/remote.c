/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"

#define TREE "/debug/pprof/"
#define MAX_HEAD 16384
#define SLACK_S 60 /* beyond the window */
#define USUAL_S 10

/* The host and the port behind "http://", n bytes. */
static bool parse_host(const char *from, size_t n, struct remote_place *p)
{
	const char *colon, *end = from + n;

	if (n && *from == '[') {
		colon = memchr(from, ']', n);
		if (!colon || (colon + 1 != end && colon[1] != ':'))
			return false;
		n = (size_t)(colon - from) - 1;
		from++;
		colon = colon + 1 == end ? NULL : colon + 1;
	} else {
		colon = memchr(from, ':', n);
		n = colon ? (size_t)(colon - from) : n;
	}
	if (n >= sizeof(p->host) || (colon && (size_t)(end - colon) > sizeof(p->port)))
		return false;
	snprintf(p->host, sizeof(p->host), "%.*s", (int)n, n ? from : "");
	if (!n)
		snprintf(p->host, sizeof(p->host), "localhost");
	snprintf(p->port, sizeof(p->port), "%.*s", colon ? (int)(end - colon - 1) : 2, colon ? colon + 1 : "80");
	return *p->port && p->port[strspn(p->port, "0123456789")] == '\0';
}

int remote_parse(const char *url, struct remote_place *ret)
{
	struct remote_place p = { .base = TREE };
	const char *path, *tree;
	size_t n;

	if (!strncmp(url, "unix:", 5)) {
		if (!url[5] || strlen(url + 5) >= sizeof(p.socket))
			return -EINVAL;
		snprintf(p.socket, sizeof(p.socket), "%s", url + 5);
		*ret = p;
		return 0;
	}
	if (strncmp(url, "http://", 7) != 0)
		return -EPROTONOSUPPORT;
	url += 7;
	path = url + strcspn(url, "/");
	tree = strstr(path, "/debug/pprof");
	n = tree ? (size_t)(tree - path) : strlen(path);
	while (n && path[n - 1] == '/')
		n--;
	for (const char *s = url; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f || *s == '?' || *s == '#' || *s == '@')
			return -EINVAL;
	if (!parse_host(url, (size_t)(path - url), &p) || n + sizeof(TREE) > sizeof(p.base) ||
	    (tree && strcmp(tree, "/debug/pprof") != 0 && strcmp(tree, TREE) != 0))
		return -EINVAL;
	snprintf(p.base, sizeof(p.base), "%.*s" TREE, (int)n, path);
	*ret = p;
	return 0;
}

static bool stands_for_itself(char c)
{
	return c && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~", c);
}

void remote_target(const struct options *o, const char *base, bool terminal, char *to, size_t n)
{
	static const char *const formats[] = { [FORMAT_TOP] = "top",
					       [FORMAT_FOLDED] = "folded",
					       [FORMAT_DUMP] = "dump" };
	bool window = !strcmp(o->profile, "profile") || !strcmp(o->profile, "wall");
	enum options_format format = o->format;
	size_t at = (size_t)snprintf(to, n, "%s", base);
	char mark = '?';

	for (const char *s = o->profile; *s && at + 4 < n; s++)
		at += (size_t)snprintf(to + at, n - at, stands_for_itself(*s) ? "%c" : "%%%02X", (unsigned char)*s);
	if (format == FORMAT_AUTO && terminal && !o->debug)
		format = !strcmp(o->profile, "goroutine") ? FORMAT_DUMP : FORMAT_TOP;
	if ((window || o->seconds_given) && at < n) {
		at += (size_t)snprintf(to + at, n - at, "%cseconds=%u", mark, o->seconds_given ? o->seconds : USUAL_S);
		mark = '&';
	}
	if (o->debug && at < n) {
		at += (size_t)snprintf(to + at, n - at, "%cdebug=%u", mark, o->debug);
		mark = '&';
	}
	if (format > FORMAT_PPROF && at < n)
		snprintf(to + at, n - at, "%cformat=%s", mark, formats[format]);
}

static int connect_unix(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int connect_tcp(const struct remote_place *p)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all, *a;
	int fd = -1, r = -ECONNREFUSED;

	if (getaddrinfo(p->host, p->port, &hints, &all))
		return -EHOSTUNREACH;
	for (a = all; a; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0)
			break;
		r = -errno;
		close_fd(&fd);
	}
	freeaddrinfo(all);
	return fd >= 0 ? fd : r;
}

static int send_all(int fd, const char *text, size_t n)
{
	while (n) {
		ssize_t k = send(fd, text, n, MSG_NOSIGNAL);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		text += k;
		n -= (size_t)k;
	}
	return 0;
}

static int ask(int fd, const struct options *o, const struct remote_place *p)
{
	struct timeval patience = { .tv_sec = (o->seconds_given ? o->seconds : USUAL_S) + SLACK_S };
	char target[1024], text[1536];

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	remote_target(o, p->base, !o->output && isatty(STDOUT_FILENO), target, sizeof(target));
	snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\nHost: %s%s%s\r\nUser-Agent: pprofd\r\n\r\n", target,
		 *p->host ? p->host : "localhost", *p->host ? ":" : "", p->port);
	return send_all(fd, text, strlen(text));
}

/* What comes of the answer: its head, the beginning of its body, and how long that is. */
struct reply {
	char text[MAX_HEAD + 1];
	size_t n, body; /* bytes; where the body begins */
	int status;
	long long length; /* -1: not told */
};

static ssize_t receive(int fd, void *to, size_t n)
{
	ssize_t k;

	do
		k = recv(fd, to, n, 0);
	while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : k;
}

static int read_head(int fd, struct reply *r)
{
	char *end = NULL, *length;

	while (!end) {
		ssize_t k = r->n < MAX_HEAD ? receive(fd, r->text + r->n, MAX_HEAD - r->n) : -EBADMSG;

		if (k <= 0)
			return k < 0 ? (int)k : -EBADMSG;
		r->n += (size_t)k;
		r->text[r->n] = '\0';
		end = strstr(r->text, "\r\n\r\n");
	}
	r->body = (size_t)(end - r->text) + 4;
	if (strncmp(r->text, "HTTP/1.", 7) != 0 || sscanf(r->text + 7, "%*d %d", &r->status) != 1)
		return -EBADMSG;
	*end = '\0';
	length = strcasestr(r->text, "\r\nContent-Length:");
	r->length = length ? strtoll(length + strlen("\r\nContent-Length:"), NULL, 10) : -1;
	return 0;
}

static int write_all(int fd, const char *from, size_t n)
{
	while (n) {
		ssize_t k = write(fd, from, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		from += k;
		n -= (size_t)k;
	}
	return 0;
}

/* 0; -EPROTO: it was cut short; *ret_write: what writing it met with. */
static int copy_body(int from, const struct reply *r, int to, int *ret_write)
{
	long long n = (long long)(r->n - r->body);
	char buffer[65536];
	ssize_t k = 1;

	*ret_write = write_all(to, r->text + r->body, r->n - r->body);
	while (*ret_write == 0 && (r->length < 0 || n < r->length)) {
		k = receive(from, buffer, sizeof(buffer));
		if (k <= 0)
			break;
		n += k;
		*ret_write = write_all(to, buffer, (size_t)k);
	}
	if (k < 0)
		return (int)k;
	return *ret_write == 0 && r->length >= 0 && n != r->length ? -EPROTO : 0;
}

static int open_file(const struct options *o)
{
	int fd = o->output ? open(o->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) :
			     fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : fd;
}

/* The first line of what the server says instead of a profile. */
static void take_reason(int fd, struct reply *r, char *error)
{
	char clean[300];
	ssize_t k;
	size_t n;

	while (r->n < MAX_HEAD && (k = receive(fd, r->text + r->n, MAX_HEAD - r->n)) > 0)
		r->n += (size_t)k;
	r->text[r->n] = '\0';
	n = strcspn(r->text + r->body, "\r\n");
	utf8_copy(clean, sizeof(clean), r->text + r->body, n);
	snprintf(error, REMOTE_MAX_TEXT, "the server says %d: %s", r->status, clean);
}

static int record(int fd, const struct options *o, const struct remote_place *p, char *error)
{
	static struct reply reply;
	_cleanup_(closep) int out = -1;
	int r = ask(fd, o, p), written = 0;

	if (r == 0)
		r = read_head(fd, &reply);
	if (r == 0 && reply.status != 200) {
		take_reason(fd, &reply, error);
		return -EIO;
	}
	if (r == 0)
		written = out = open_file(o);
	if (r == 0 && out >= 0)
		r = copy_body(fd, &reply, out, &written);
	if (written < 0)
		snprintf(error, REMOTE_MAX_TEXT, "%s: %s", o->output ? o->output : "standard output",
			 strerror(-written));
	else if (r < 0)
		snprintf(error, REMOTE_MAX_TEXT, "%s: %s", o->remote,
			 r == -EPROTO ? "the answer is cut short" : r == -EAGAIN ? "no answer" :
			 r == -EBADMSG ? "no HTTP server" : strerror(-r));
	return written < 0 ? written : r;
}

int remote_record(const struct options *o, char error[REMOTE_MAX_TEXT])
{
	_cleanup_(closep) int fd = -1;
	struct remote_place p;
	int r = remote_parse(o->remote, &p);

	if (r < 0) {
		snprintf(error, REMOTE_MAX_TEXT, "--remote %.200s: http://HOST:PORT or unix:/PATH is wanted", o->remote);
		return r;
	}
	signal(SIGPIPE, SIG_IGN);
	fd = *p.socket ? connect_unix(p.socket) : connect_tcp(&p);
	if (fd < 0) {
		snprintf(error, REMOTE_MAX_TEXT, "%.200s: %s", o->remote, strerror(-fd));
		return fd;
	}
	return record(fd, o, &p, error);
}
