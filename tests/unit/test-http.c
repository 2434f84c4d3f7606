/* SPDX-License-Identifier: Apache-2.0 */

/* Talks raw bytes to http_new over TCP and a Unix socket. "At once" is told from "at a deadline"
 * with room to spare on both sides, for machines that are busy: what should be at once takes less
 * than SOON, what waits takes LONG, and where a deadline should pass it is a second, and the other
 * one LONG. */

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cmocka.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/http.h"

#define HOST "Host: localhost\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define POST(path, n) "POST " path " HTTP/1.1\r\n" HOST "Content-Length: " n "\r\n\r\n"
#define CHUNKED "POST /post HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
#define TEXT "Content-Type: text/plain; charset=utf-8"
#define HTML "Content-Type: text/html; charset=utf-8"
#define MAX_CLIENTS 8
#define MAX_PER_ADDRESS 5
#define MAX_BODY 65536
#define NOBODY 65534
#define SOON_S 20
#define LONG_S 100
#define TRIES 20 /* of what must be fast when nothing keeps it from it */

struct world {
	struct http *http;
	char dir[64];
	struct sockaddr_in tcp;
	struct sockaddr_un local;
	pthread_mutex_t lock; /* guards the rest */
	unsigned n_calls, n_waiting;
	enum http_wait waited;
	int64_t waited_ns; /* when the last http_wait ended; 0: none has */
};

struct reply {
	unsigned status;
	char head[4096], body[16384];
};

static void wait_long(struct world *w, const struct http_request *q, struct http_response *ret)
{
	enum http_wait got;

	pthread_mutex_lock(&w->lock);
	w->n_waiting++;
	pthread_mutex_unlock(&w->lock);
	got = http_wait(q, monotonic_ns() + LONG_S * NS_PER_S, -1);
	pthread_mutex_lock(&w->lock);
	w->n_waiting--;
	w->waited = got;
	w->waited_ns = monotonic_ns();
	pthread_mutex_unlock(&w->lock);
	if (got == HTTP_CLIENT_GONE)
		ret->hang_up = true;
	else
		http_error(ret, 503, "pprofd is stopping");
}

static void handle(void *context, const struct http_request *q, struct http_response *ret)
{
	struct world *w = context;

	pthread_mutex_lock(&w->lock);
	w->n_calls++;
	pthread_mutex_unlock(&w->lock);
	ret->status = 200;
	ret->kind = HTTP_TEXT;
	if (q->post && strcmp(q->path, "/post") != 0) {
		ret->status = 405;
		ret->allow = "GET, HEAD";
		bytes_puts(&ret->body, "Method Not Allowed\n");
	} else if (!strcmp(q->path, "/wait") || !strcmp(q->raw_query, "wait")) {
		wait_long(w, q, ret);
	} else if (!strcmp(q->path, "/debug/pprof/binary")) {
		ret->kind = HTTP_BINARY;
		snprintf(ret->filename, sizeof(ret->filename), "a\"b\n");
		bytes_puts(&ret->body, "bin");
	} else if (!strcmp(q->path, "/error")) {
		http_error(ret, 404, "Unknown %s", "profile");
	} else {
		bytes_printf(&ret->body, "%s %s %zu", q->path, q->raw_query, q->n_body);
	}
}

static int listen_at(const struct sockaddr *a, socklen_t n)
{
	int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && bind(fd, a, n) == 0 && listen(fd, 16) == 0);
	return fd;
}

static int setup_with(void **state, unsigned idle_s, unsigned head_s)
{
	static const uid_t uids[] = { 1234567 };
	static const char *const hosts[] = { "profiles.example.org" };
	static const struct http_peers peers = { .uids = uids, .n_uids = 1, .hosts = hosts, .n_hosts = 1 };
	const struct http_limits limits = { MAX_CLIENTS, MAX_PER_ADDRESS, idle_s, head_s,
					    8192,	 MAX_BODY, 2 * MAX_BODY };
	struct world *w = calloc(1, sizeof(*w));
	socklen_t n = sizeof(w->tcp);
	int fds[2];

	*state = w;
	pthread_mutex_init(&w->lock, NULL);
	w->tcp = (struct sockaddr_in){ .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	fds[0] = listen_at((struct sockaddr *)&w->tcp, sizeof(w->tcp));
	assert_int_equal(getsockname(fds[0], (struct sockaddr *)&w->tcp, &n), 0);
	strcpy(w->dir, "/tmp/test-http.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	chmod(w->dir, 0755);
	w->local.sun_family = AF_UNIX;
	snprintf(w->local.sun_path, sizeof(w->local.sun_path), "%s/s", w->dir);
	fds[1] = listen_at((struct sockaddr *)&w->local, sizeof(w->local));
	chmod(w->local.sun_path, 0777);
	assert_int_equal(http_new(fds, 2, &limits, &peers, handle, w, &w->http), 0);
	assert_true(fds[0] == -1 && fds[1] == -1);
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, LONG_S, LONG_S);
}

static int setup_short_head(void **state)
{
	return setup_with(state, LONG_S, 1);
}

static int setup_short_idle(void **state)
{
	return setup_with(state, 1, LONG_S);
}

static int teardown(void **state)
{
	struct world *w = *state;

	http_free(w->http);
	unlink(w->local.sun_path);
	rmdir(w->dir);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return 0;
}

static int dial(const struct world *w, int family)
{
	bool local = family == AF_UNIX;
	const void *a = local ? (const void *)&w->local : (const void *)&w->tcp;
	struct timeval patience = { .tv_sec = SOON_S };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, a, local ? sizeof(w->local) : sizeof(w->tcp)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void say(int fd, const char *text)
{
	size_t n = strlen(text);

	assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), n);
}

/* At once (or dial's patience ends), and not by a reset. */
static bool is_over(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) == 0;
}

/* One answer, and not a byte more. */
static struct reply hear(int fd, bool no_body)
{
	struct reply r = { 0 };
	size_t n = 0, length = 0;
	const char *at;

	while (n < sizeof(r.head) - 1 && !strstr(r.head, "\r\n\r\n")) {
		if (recv(fd, r.head + n, 1, 0) != 1)
			return r;
		n++;
	}
	assert_int_equal(sscanf(r.head, "HTTP/1.%*c %u", &r.status), 1);
	at = strcasestr(r.head, "\r\nContent-Length: ");
	if (at && !no_body)
		assert_int_equal(sscanf(at + 18, "%zu", &length), 1);
	assert_true(length < sizeof(r.body));
	for (n = 0; n < length; n++)
		assert_int_equal(recv(fd, r.body + n, 1, 0), 1);
	return r;
}

static struct reply ask(const struct world *w, const char *text)
{
	_cleanup_(closep) int fd = dial(w, AF_INET);

	say(fd, text);
	return hear(fd, !strncmp(text, "HEAD", 4));
}

static void hear_body(int fd, const char *body)
{
	struct reply r = hear(fd, false);

	assert_string_equal(r.body, body);
}

/* A connection that has been served once. */
static int greet(const struct world *w, int family)
{
	int fd = dial(w, family);
	struct reply r;

	say(fd, GET("/x"));
	r = hear(fd, false);
	assert_int_equal(r.status, 200);
	return fd;
}

/* MHD joins a thread before its place is free. */
static int greet_when_there_is_room(const struct world *w, int family)
{
	for (int i = 0; i < SOON_S * 100; i++) {
		int fd = dial(w, family);

		if (send(fd, GET("/x"), strlen(GET("/x")), MSG_NOSIGNAL) > 0 &&
		    hear(fd, false).status == 200)
			return fd;
		close(fd);
		usleep(10000);
	}
	fail_msg("no room");
	return -1;
}

static bool has(const struct reply *r, const char *line)
{
	_cleanup_(freep) char *whole = NULL;

	assert_true(asprintf(&whole, "\r\n%s\r\n", line) > 0);
	return strstr(r->head, whole);
}

static unsigned calls(struct world *w)
{
	unsigned n;

	pthread_mutex_lock(&w->lock);
	n = w->n_calls;
	pthread_mutex_unlock(&w->lock);
	return n;
}

/* Requests on connections of their own, and lines that the answer has. */
struct claim {
	const char *request;
	unsigned status;
	const char *lines[3];
	const char *body;
};

static void check(struct world *w, const struct claim *claims, size_t n)
{
	static const char *const never[] = { "Server:", "ETag:", "Cache-Control:",
					     "Content-Encoding:", "Transfer-Encoding:" };

	for (size_t i = 0; i < n; i++) {
		struct reply r = ask(w, claims[i].request);

		if (r.status != claims[i].status)
			fail_msg("%s: %u", claims[i].request, r.status);
		for (size_t k = 0; k < 3 && claims[i].lines[k]; k++)
			if (!has(&r, claims[i].lines[k]))
				fail_msg("%s: no %s", claims[i].request, claims[i].lines[k]);
		if (claims[i].body)
			assert_string_equal(r.body, claims[i].body);
		assert_non_null(strstr(r.head, "\r\nDate: "));
		for (size_t k = 0; k < sizeof(never) / sizeof(*never); k++)
			assert_null(strcasestr(r.head, never[k]));
		/* Not in errors of HTTP itself, and in no good answer. */
		assert_true(has(&r, "X-Go-Pprof: 1") == (r.status == 403 || r.status == 404));
		assert_true(has(&r, "X-Content-Type-Options: nosniff") == (r.status != 307));
	}
}

#define CHECK(claims) check(*state, claims, sizeof(claims) / sizeof(*(claims)))

static void test_kinds_of_answers(void **state)
{
	static const struct claim claims[] = {
		{ GET("/a%20b?x=%zz"), 200, { TEXT }, "/a b x=%zz 0" },
		{ GET("/error"), 404, { TEXT, "Content-Length: 16" }, "Unknown profile\n" },
		{ GET("/debug/pprof/binary"),
		  200,
		  { "Content-Type: application/octet-stream",
		    "Content-Disposition: attachment; filename=\"a_b_\"" },
		  "bin" },
		{ GET("/debug/pprof?a=\"&b"),
		  307,
		  { HTML, "Location: /debug/pprof/?a=\"&b" },
		  "<a href=\"/debug/pprof/?a=&#34;&amp;b\">Temporary Redirect</a>.\n\n" },
		{ "HEAD //x/../y HTTP/1.1\r\n" HOST "\r\n", 307, { HTML, "Location: /y" }, "" },
		{ GET("/%zz"), 400, { TEXT, "Connection: close" }, "400 Bad Request\n" },
		{ POST("/x", "3") "abc", 405, { TEXT, "Allow: GET, HEAD" }, NULL },
		{ POST("/post", "3") "abc", 200, { TEXT }, "/post  3" },
		{ POST("/debug/pprof", "0"), 405, { "Allow: GET, HEAD" }, NULL },
		{ CHUNKED "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", 200, { TEXT }, "/post  4" }
	};

	CHECK(claims);
}

static void test_head_runs_the_handler(void **state)
{
	_cleanup_(closep) int fd = dial(*state, AF_INET);
	struct reply r;

	say(fd, "HEAD /abc HTTP/1.1\r\n" HOST "\r\n" GET("/next"));
	r = hear(fd, true);
	assert_true(has(&r, "Content-Length: 7"));
	hear_body(fd, "/next  0");
	assert_int_equal(calls(*state), 2);
}

static void test_other_methods_are_refused(void **state)
{
	static const char *const methods[] = { "DELETE", "PUT",	    "OPTIONS", "PATCH",
					       "TRACE",	 "CONNECT", "get",     "QUERY" };
	static const char *const paths[] = { "/debug/pprof/heap", "/debug/pprof", "/pid/1/x", "*" };
	_cleanup_(closep) int fd = dial(*state, AF_INET);
	char text[256];

	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods) * 4; i++) {
		struct reply r;

		snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n" HOST "\r\n", methods[i / 4],
			 paths[i % 4]);
		say(fd, text); /* on one connection: nothing here ends it */
		r = hear(fd, false);
		assert_int_equal(r.status, 405);
		assert_true(has(&r, "Allow: GET, HEAD") && has(&r, TEXT));
		assert_null(strstr(r.head, "X-Go-Pprof"));
		assert_string_equal(r.body, "Method Not Allowed\n");
	}
	assert_int_equal(calls(*state), 0);
}

/* Of an answer that was never sent: the bytes of a body end in nothing. */
static void test_what_an_error_said(void **state)
{
	struct http_response r = { 0 };
	char text[200];

	(void)state;
	assert_string_equal(http_said(&r), "no answer");
	for (int n = 1; n < 200; n++) {
		memset(text, 'x', sizeof(text));
		bytes_clear(&r.body);
		bytes_add(&r.body, text, sizeof(text)); /* what was there before */
		text[n] = '\0';
		http_error(&r, 503, "%s", text);
		assert_string_equal(http_said(&r), text);
		assert_string_equal(http_said(&r), text);
	}
	http_response_deinit(&r);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
	_cleanup_(closep) int fd = dial(*state, AF_INET);
	struct reply r;

	say(fd, GET("/1") GET("/error") GET("/3"));
	hear_body(fd, "/1  0");
	r = hear(fd, false);
	assert_int_equal(r.status, 404);
	hear_body(fd, "/3  0");
}

static void test_expect_continue(void **state)
{
	_cleanup_(closep) int fd = dial(*state, AF_INET);
	struct reply r;

	say(fd, POST("/post", "3\r\nExpect: 100-continue"));
	r = hear(fd, false);
	assert_int_equal(r.status, 100);
	say(fd, "abc");
	hear_body(fd, "/post  3");
}

static void test_large_bodies_are_refused(void **state)
{
	static char bytes[3 * MAX_BODY + 1];
	_cleanup_(closep) int fd = dial(*state, AF_INET), chunked = dial(*state, AF_INET);
	socklen_t n_error = sizeof(int);
	int error = 0;
	struct reply r = ask(*state, POST("/post", "65537\r\nExpect: 100-continue"));

	assert_int_equal(r.status, 413); /* and no 100 before it */
	memset(bytes, 'x', sizeof(bytes) - 1);
	say(fd, POST("/post", "196608"));
	say(fd, bytes);
	r = hear(fd, false);
	assert_int_equal(r.status, 413);
	assert_true(has(&r, "Connection: close") && is_over(fd));
	/* No reset follows, which might overtake the answer, though the body was not wanted. */
	usleep(100000);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n_error), 0);
	assert_int_equal(error, 0);
	say(chunked, CHUNKED "30000\r\n");
	say(chunked, bytes);
	say(chunked, "\r\n0\r\n\r\n");
	r = hear(chunked, false);
	assert_int_equal(r.status, 413);
	assert_int_equal(calls(*state), 0);
	bytes[MAX_BODY] = '\0';
	say(chunked, POST("/post", "65536"));
	say(chunked, bytes);
	hear_body(chunked, "/post  65536");
}

static void await_waiting(struct world *w, unsigned n)
{
	unsigned now = n + 1;

	for (int i = 0; i < SOON_S * 1000 && now != n; i++) {
		usleep(1000);
		pthread_mutex_lock(&w->lock);
		now = w->n_waiting;
		pthread_mutex_unlock(&w->lock);
	}
	assert_int_equal(now, n);
}

/* Until it is so; the thread that reads a connection may come late. */
static void ask_until(const struct world *w, const char *text, unsigned status)
{
	for (int i = 0; i < SOON_S * 100; i++) {
		if (ask(w, text).status == status)
			return;
		usleep(10000);
	}
	fail_msg("no %u", status);
}

static void test_all_bodies_together_are_bounded(void **state)
{
	static char bytes[60001], large[20000], small[20000];
	int fds[2] = { dial(*state, AF_INET), dial(*state, AF_INET) };

	memset(bytes, 'x', sizeof(bytes) - 1);
	snprintf(large, sizeof(large), "%s%0*d", POST("/post", "15000"), 15000, 0);
	snprintf(small, sizeof(small), "%s%0*d", POST("/post", "10000"), 10000, 0);
	for (int i = 0; i < 2; i++) {
		say(fds[i], POST("/post?wait", "60000"));
		say(fds[i], bytes);
	}
	await_waiting(*state, 2);
	assert_int_equal(ask(*state, large).status, 503);
	ask_until(*state, small, 200); /* there is room for that, once the other one has gone */
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	ask_until(*state, large, 200);
}

static void test_large_heads_are_refused(void **state)
{
	static const struct {
		unsigned size, status;
	} claims[] = { { 7000, 200 }, { 9000, 431 }, { 39000, 431 } };
	static char text[40000];
	struct reply r;

	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "GET /x HTTP/1.1\r\n" HOST "A: %0*d\r\n\r\n",
			 (int)claims[i].size, 0);
		r = ask(*state, text);
		assert_int_equal(r.status, claims[i].status);
	}
	/* Pairs of the query cost no room. */
	strcpy(text, "GET /x?");
	for (int i = 0; i < 1500; i++)
		strcat(text, "a=1&");
	strcat(text, " HTTP/1.1\r\n" HOST "\r\n");
	r = ask(*state, text);
	assert_int_equal(r.status, 200);
	assert_int_equal(calls(*state), 2);
}

/* Each line of `lines`, behind `before`, in a request of its own. */
static void check_lines(struct world *w, unsigned status, const char *before, const char *lines)
{
	char text[512];

	for (const char *line = lines; *line; line += strcspn(line, "\n") + 1) {
		struct reply r;

		snprintf(text, sizeof(text), "GET /x HTTP/1.1\r\n%s%.*s\r\n\r\n", before,
			 (int)strcspn(line, "\n"), line);
		/* '|' is a line end */
		for (char *s = strchr(text, '|'); s; s = strchr(s, '|'))
			memmove(s + 2, s + 1, strlen(s)), memcpy(s, "\r\n", 2);
		r = ask(w, text);
		if (r.status != status)
			fail_msg("%s: %u", text, r.status);
	}
}

static void test_foreign_hosts_are_refused(void **state)
{
	static const struct claim claims[] = {
		{ "GET /x HTTP/1.1\r\nHost: evil.example:1\r\n\r\n",
		  403,
		  { TEXT },
		  "Host \"evil.example:1\" is not a name of this server: use its address, or start "
		  "pprofd with --allow-host evil.example\n" },
		{ "GET http://evil.example/x HTTP/1.1\r\n" HOST "\r\n", 403, { TEXT }, NULL },
		{ "GET http://[::1]:1/x?y HTTP/1.1\r\n" HOST "\r\n", 200, { TEXT }, "/x y 0" }
	};

	check_lines(*state, 200, "Host: ",
		    "localhost\nLocalHost:6060\na.b.localhost.\n192.0.2.1\n192.0.2.1:80\n"
		    "[::1]:6060\n[fe80::1%eth0]\nmyserver:6060\nprofiles.example.org:1\n\n");
	check_lines(*state, 403, "Host: ",
		    "example.org\nevil.profiles.example.org\n127.0.0.1.evil.example:6060\n"
		    "localhost.evil.example\n127.1\n");
	check_lines(*state, 400,
		    "Host: ", "[::1\n[evil.example]\na@b\na:b\na b\na|Host: a\na|B : c\n");
	check_lines(*state, 400, "", "A: b\n");
	CHECK(claims);
}

static void test_other_sites_are_refused(void **state)
{
	check_lines(*state, 200, HOST,
		    "Sec-Fetch-Site: none\nSec-Fetch-Site: same-origin\nOrigin: http://localhost\n"
		    "Origin: https://localhost\n");
	check_lines(*state, 403, HOST,
		    "Sec-Fetch-Site: same-site\nSec-Fetch-Site: cross-site\n"
		    "Sec-Fetch-Site: none|Sec-Fetch-Site: cross-site\nOrigin: null\n"
		    "Origin: http://localhost:6060\nOrigin: http://evil.example\n"
		    "Origin: http://localhost|Origin: http://localhost\n");
	assert_int_equal(calls(*state), 4);
}

static void test_links_lead_to_pages(void **state)
{
#define CROSS HOST "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"
#define CLICK CROSS "Sec-Fetch-Dest: document\r\nSec-Fetch-User: ?1\r\n"
	static const struct claim claims[] = {
		{ "GET / HTTP/1.1\r\n" CLICK "\r\n", 200, { TEXT }, "/  0" },
		{ "GET /pid/12/ HTTP/1.1\r\n" CLICK "\r\n", 200, { TEXT }, "/pid/12/  0" },
		{ "GET /t/x%20y/ HTTP/1.1\r\n" CLICK "\r\n", 200, { TEXT }, "/t/x y/  0" },
		{ "GET /debug/pprof/ HTTP/1.1\r\n" CLICK "\r\n", 403, { TEXT }, NULL },
		{ "GET /pid/12/debug/pprof/profile HTTP/1.1\r\n" CLICK "\r\n", 403, { TEXT }, NULL },
		{ "GET /-/history HTTP/1.1\r\n" CLICK "\r\n", 403, { TEXT }, NULL },
		{ "GET /t// HTTP/1.1\r\n" CLICK "\r\n", 403, { TEXT }, NULL },
		{ "POST / HTTP/1.1\r\n" CLICK "Content-Length: 0\r\n\r\n", 403, { TEXT }, NULL },
		{ "GET / HTTP/1.1\r\n" CROSS "Sec-Fetch-Dest: document\r\n\r\n", 403, { TEXT }, NULL },
		{ "GET / HTTP/1.1\r\n" CROSS "Sec-Fetch-Dest: iframe\r\nSec-Fetch-User: ?1\r\n\r\n", 403, { TEXT }, NULL },
		{ "GET / HTTP/1.1\r\n" CLICK "Origin: http://evil.example\r\n\r\n", 403, { TEXT }, NULL },
		{ "GET / HTTP/1.1\r\n" CLICK "Sec-Fetch-User: ?1\r\n\r\n", 403, { TEXT }, NULL },
	};

	CHECK(claims);
}

static void test_ambiguous_framing_is_refused(void **state)
{
	check_lines(*state, 400, HOST,
		    "Content-Length: 0|Content-Length: 0\nContent-Length: x\nno colon\n"
		    "Content-Length: 1|Transfer-Encoding: chunked\nTransfer-Encoding : chunked\n");
	check_lines(*state, 501, HOST, "Transfer-Encoding: gzip, chunked\n");
	assert_int_equal(calls(*state), 0);
}

static void test_http_1_0(void **state)
{
	_cleanup_(closep) int fd = dial(*state, AF_INET);
	struct reply r;

	say(fd, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	r = hear(fd, false);
	assert_int_equal(strncmp(r.head, "HTTP/1.0 200 ", 13), 0);
	assert_null(strstr(r.head, "Transfer-Encoding"));
	say(fd, "GET /x HTTP/1.0\r\n\r\n");
	hear_body(fd, "/x  0");
	assert_true(is_over(fd));
}

static void test_users_of_the_unix_socket(void **state)
{
	_cleanup_(closep) int other = -1;
	struct reply r;

	if (geteuid() != 0)
		skip();
	close(greet(*state, AF_UNIX));
	/* The bare system call: glibc's would change all threads. */
	assert_int_equal(syscall(SYS_setresuid, -1, NOBODY, -1), 0);
	other = dial(*state, AF_UNIX);
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
	say(other, GET("/x"));
	r = hear(other, false);
	assert_int_equal(r.status, 403);
	assert_string_equal(r.body, "user 65534 may not use this socket\n");
}

/* How long it took until the handler knew. */
static int64_t hang_up(struct world *w, int family, bool whole)
{
	int fd = dial(w, family);
	int64_t start_ns;

	say(fd, GET("/wait"));
	await_waiting(w, 1);
	start_ns = monotonic_ns();
	if (whole)
		close(fd);
	else
		shutdown(fd, SHUT_WR);
	await_waiting(w, 0);
	assert_int_equal(w->waited, HTTP_CLIENT_GONE);
	if (!whole) {
		assert_true(is_over(fd));
		close(fd);
	}
	return w->waited_ns - start_ns;
}

/* At once, where the machine lets it: one that looks now and then would be late each time. */
static void test_hang_up_frees_the_handler(void **state)
{
	static const int families[] = { AF_INET, AF_UNIX };

	for (int i = 0; i < 4; i++) {
		int64_t ns = INT64_MAX;

		for (int k = 0; k < TRIES && ns >= 100 * NS_PER_MS; k++)
			ns = hang_up(*state, families[i / 2], i % 2);
		print_message("# hang-up seen after %lld us\n", (long long)ns / 1000);
		assert_true(ns < 100 * NS_PER_MS);
	}
}

/* How many of four open requests are answered. */
static unsigned free_under_handlers(struct world *w)
{
	int64_t start_ns;
	unsigned n = 0;
	int fds[4];

	for (int i = 0; i < 4; i++) {
		fds[i] = dial(w, i % 2 ? AF_INET : AF_UNIX);
		say(fds[i], GET("/wait"));
	}
	await_waiting(w, 4);
	start_ns = monotonic_ns();
	http_free(w->http);
	w->http = NULL;
	assert_true(monotonic_ns() - start_ns < SOON_S * NS_PER_S);
	assert_int_equal(w->waited, HTTP_STOPPING);
	for (int i = 0; i < 4; i++) {
		struct reply r = hear(fds[i], false);

		assert_true(!r.status || r.status == 503);
		assert_true(!r.status || is_over(fds[i]));
		close(fds[i]);
		n += r.status == 503;
	}
	return n;
}

/* All of them, where the machine lets them run in the time that a farewell may take. */
static void test_free_ends_running_handlers(void **state)
{
	unsigned n = free_under_handlers(*state);

	for (int i = 1; i < TRIES && n < 4; i++) {
		teardown(state);
		setup(state);
		n = free_under_handlers(*state);
	}
	assert_int_equal(n, 4);
}

static void test_connections_are_limited(void **state)
{
	int fds[MAX_CLIENTS], tcp = -1, local = -1;

	for (int i = 0; i < MAX_CLIENTS; i++) {
		if (i == MAX_PER_ADDRESS) {
			tcp = dial(*state, AF_INET);
			assert_true(is_over(tcp));
		}
		fds[i] = greet(*state, i < MAX_PER_ADDRESS ? AF_INET : AF_UNIX);
	}
	local = dial(*state, AF_UNIX);
	assert_true(is_over(local));
	close(tcp);
	close(local);
	close(fds[0]);
	fds[0] = greet_when_there_is_room(*state, AF_INET);
	for (int i = 0; i < MAX_CLIENTS; i++)
		close(fds[i]);
}

/* Who sends a byte now and then (trickle), and when his connection is cut. */
struct slow {
	const char *first, *trickle;
	int family;
	int fd;
	int64_t start_ms, end_ms;
};

static int64_t now_ms(void)
{
	return monotonic_ns() / NS_PER_MS;
}

static void trickle_until_cut(struct slow *s, size_t n)
{
	int64_t began = now_ms(), said = 0;

	for (size_t left = n; left && now_ms() < began + SOON_S * 1000; usleep(20000)) {
		bool say_more = now_ms() >= said + 200;

		if (say_more)
			said = now_ms();
		for (size_t i = 0; i < n; i++) {
			char bytes[512];
			ssize_t got;

			if (s[i].end_ms)
				continue;
			if (s[i].trickle && say_more)
				send(s[i].fd, s[i].trickle, 1, MSG_NOSIGNAL);
			got = recv(s[i].fd, bytes, sizeof(bytes), MSG_DONTWAIT);
			if (got > 0 || (got < 0 && errno != ECONNRESET && errno != EPIPE))
				continue;
			s[i].end_ms = now_ms();
			left--;
		}
	}
}

/* Each is cut, and not before a second is over: counted from before it came, which is the earliest
 * that its deadline may count from. */
static void check_cut(struct world *w, struct slow *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		s[i].start_ms = now_ms();
		s[i].fd = dial(w, s[i].family);
		if (s[i].first)
			say(s[i].fd, s[i].first);
	}
	trickle_until_cut(s, n);
	for (size_t i = 0; i < n; i++) {
		close(s[i].fd);
		print_message("# client %zu cut after %lld ms\n", i,
			      (long long)(s[i].end_ms - s[i].start_ms));
		assert_true(s[i].end_ms);
		assert_true(s[i].end_ms - s[i].start_ms >= 999);
	}
}

/* A whole request before: the deadline holds for the second head too. */
static void test_slow_heads_are_cut(void **state)
{
	struct slow s[] = {
		{ .family = AF_INET },
		{ .family = AF_INET, .first = "GET /", .trickle = "x" },
		{ .family = AF_UNIX, .first = "GET / HTTP/1.1\r\n", .trickle = "x" },
		{ .family = AF_UNIX, .first = GET("/x") "G", .trickle = "E" },
		{ .family = AF_INET, .first = GET("/x"), .trickle = "G" },
	};

	check_cut(*state, s, sizeof(s) / sizeof(*s));
}

static void test_idle_clients_are_cut(void **state)
{
	struct slow s[] = { { .family = AF_INET, .first = GET("/x") },
			    { .family = AF_UNIX, .first = GET("/x") },
			    { .family = AF_INET, .first = POST("/post", "100"), .trickle = "x" } };

	check_cut(*state, s, sizeof(s) / sizeof(*s));
}

static long n_sleeps(unsigned us)
{
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before); /* of all threads */
	usleep(us);
	getrusage(RUSAGE_SELF, &after);
	return after.ru_nvcsw - before.ru_nvcsw;
}

/* In one second of several, which a busy machine may need until all threads have gone to sleep. */
static void test_idle_connections_wake_nobody(void **state)
{
	long without = n_sleeps(1000000); /* sanitizers have threads of their own */
	long with = LONG_MAX;
	int fds[6];

	for (int i = 0; i < 6; i++)
		fds[i] = greet(*state, i % 2 ? AF_INET : AF_UNIX);
	for (int i = 0; i < TRIES && with > without + 2; i++)
		with = n_sleeps(1000000);
	assert_true(with <= without + 2);
	for (int i = 0; i < 6; i++)
		close(fds[i]);
}

static void test_wait_tells_what_happened(void **state)
{
	int64_t start_ns = monotonic_ns();
	struct http_request q = { 0 };
	int pair[2], extra = eventfd(0, EFD_CLOEXEC), stop = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	q.client_fd = pair[0];
	q.stop_fd = stop;
	assert_int_equal(http_wait(&q, start_ns + 50 * NS_PER_MS, -1), HTTP_WAITED);
	assert_true(monotonic_ns() - start_ns >= 50 * NS_PER_MS);
	assert_int_equal(http_wait(&q, 0, extra), HTTP_WAITED);
	assert_int_equal(send(pair[1], "next", 4, 0), 4); /* a pipelined request is no hang-up */
	assert_int_equal(http_wait(&q, 0, extra), HTTP_WAITED);
	eventfd_write(extra, 1);
	assert_int_equal(http_wait(&q, INT64_MAX, extra), HTTP_EXTRA);
	close(pair[1]);
	assert_int_equal(http_wait(&q, INT64_MAX, extra), HTTP_CLIENT_GONE);
	eventfd_write(stop, 1);
	assert_int_equal(http_wait(&q, INT64_MAX, extra), HTTP_STOPPING);
	close(pair[0]);
	close(extra);
	close(stop);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_kinds_of_answers),
		TEST(test_head_runs_the_handler),
		TEST(test_other_methods_are_refused),
		TEST(test_pipelined_requests_are_answered_in_order),
		TEST(test_expect_continue),
		TEST(test_large_bodies_are_refused),
		TEST(test_all_bodies_together_are_bounded),
		TEST(test_large_heads_are_refused),
		TEST(test_foreign_hosts_are_refused),
		TEST(test_other_sites_are_refused),
		TEST(test_links_lead_to_pages),
		TEST(test_ambiguous_framing_is_refused),
		TEST(test_http_1_0),
		TEST(test_users_of_the_unix_socket),
		TEST(test_hang_up_frees_the_handler),
		TEST(test_what_an_error_said),
		TEST(test_free_ends_running_handlers),
		TEST(test_connections_are_limited),
		cmocka_unit_test_setup_teardown(test_slow_heads_are_cut, setup_short_head,
						teardown),
		cmocka_unit_test_setup_teardown(test_idle_clients_are_cut, setup_short_idle,
						teardown),
		TEST(test_idle_connections_wake_nobody),
		cmocka_unit_test(test_wait_tells_what_happened)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
