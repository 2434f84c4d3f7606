/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/fetch/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define MAX_REDIRECTS 5
#define MAX_HEADERS (256u << 10) /* bytes, of all answers to one question */
#define CONNECT_S 15
#define SLOW_BYTES 1000 /* a second, over SLOW_S: given up. A server may unpack an archive before it says anything. */
#define SLOW_S 60
#define MAX_ADDRESSES 32
#define MAX_TRUST (8u << 20)

struct server {
	char url[FETCH_MAX_URL + 1];
	bool tls;
	char *resolved; /* what CURLOPT_RESOLVE wants; NULL: its name is not known */
};

struct fetch {
	struct fetch_question q;
	char hex[2 * FETCH_MAX_ID + 1];
	struct server servers[FETCH_MAX_URLS];
	struct sockaddr_storage addresses[MAX_ADDRESSES];
	unsigned n_addresses;
	void *trust; /* certificates, as PEM */
	size_t n_trust;
	struct timespec began;
	/* of one transfer */
	int fd;
	uint64_t n_written, n_headers;
	int error; /* ours: -errno */
};

/* One certificate file, wherever distributions have it. */
static void read_trust(struct fetch *f)
{
	static const char *const paths[] = { "/etc/ssl/certs/ca-certificates.crt",
					     "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
					     "/etc/ssl/cert.pem" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]) && !f->n_trust; i++) {
		_cleanup_(closep) int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		struct stat st;
		ssize_t n;

		if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > MAX_TRUST)
			continue;
		f->trust = malloc((size_t)st.st_size);
		n = f->trust ? read(fd, f->trust, (size_t)st.st_size) : -1;
		f->n_trust = n > 0 ? (size_t)n : 0;
		if (!f->n_trust) {
			free(f->trust);
			f->trust = NULL;
		}
	}
}

static void remember(struct fetch *f, const struct addrinfo *a)
{
	if (f->n_addresses == MAX_ADDRESSES || a->ai_addrlen > sizeof(f->addresses[0]))
		return;
	memcpy(&f->addresses[f->n_addresses++], a->ai_addr, a->ai_addrlen);
}

/* HOST:PORT:ADDRESS,ADDRESS; of a host that is an IPv6 address nothing, which is enough. NULL: its name is not known. */
static char *resolve(struct fetch *f, const char *host, const char *port)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list;
	bool v6 = strchr(host, ':');
	char text[2048];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s:%s:", host, port);
	bool any = false;

	if (n >= sizeof(text) || getaddrinfo(host, port, &hints, &list))
		return NULL;
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		char number[64];

		if (getnameinfo(a->ai_addr, a->ai_addrlen, number, sizeof(number), NULL, 0, NI_NUMERICHOST) ||
		    n + strlen(number) + 4 > sizeof(text))
			continue;
		n += (size_t)snprintf(text + n, sizeof(text) - n, strchr(number, ':') ? "%s[%s]" : "%s%s",
				      any ? "," : "", number);
		any = true;
		remember(f, a);
	}
	freeaddrinfo(list);
	return any ? strdup(v6 ? "" : text) : NULL;
}

static int open_server(struct fetch *f, struct server *s)
{
	CURLU *u = curl_url();
	char *host = NULL, *port = NULL, *scheme = NULL;
	int r = -EBADMSG;

	if (u && !curl_url_set(u, CURLUPART_URL, s->url, 0) && !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
	    !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
	    !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
	    (!strcmp(scheme, "http") || !strcmp(scheme, "https"))) {
		size_t n = strlen(host);

		s->tls = !strcmp(scheme, "https");
		if (*host == '[' && host[n - 1] == ']') { /* as curl gives an IPv6 address */
			memmove(host, host + 1, n - 2);
			host[n - 2] = '\0';
		}
		s->resolved = resolve(f, host, port);
		r = 0;
	}
	curl_free(host);
	curl_free(port);
	curl_free(scheme);
	curl_url_cleanup(u);
	return r;
}

static int take_urls(struct fetch *f, const char *text)
{
	const struct fetch_question *q = &f->q;
	size_t at = 0;

	if (!q->n_urls || q->n_urls > FETCH_MAX_URLS || q->n_id < 2 || q->n_id > FETCH_MAX_ID)
		return -EBADMSG;
	for (uint32_t i = 0; i < q->n_urls; i++) {
		size_t n = strnlen(text + at, q->n_text - at);

		if (at + n >= q->n_text || n > FETCH_MAX_URL)
			return -EBADMSG;
		memcpy(f->servers[i].url, text + at, n);
		at += n + 1;
	}
	for (uint32_t i = 0; i < q->n_id; i++)
		snprintf(f->hex + 2ul * i, 3, "%02x", q->id[i]);
	return at == q->n_text ? 0 : -EBADMSG;
}

void fetch_free(struct fetch *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < FETCH_MAX_URLS; i++)
		free(f->servers[i].resolved);
	free(f->trust);
	free(f);
}

int fetch_open(const struct fetch_question *q, const char *text, struct fetch **ret)
{
	struct fetch *f = calloc(1, sizeof(*f));
	int r = f ? 0 : -ENOMEM;

	if (r == 0) {
		f->q = *q;
		clock_gettime(CLOCK_MONOTONIC, &f->began);
		r = curl_global_init(CURL_GLOBAL_ALL) ? -ENOMEM : take_urls(f, text);
	}
	for (uint32_t i = 0; r == 0 && i < q->n_urls; i++)
		r = open_server(f, &f->servers[i]);
	if (r < 0) {
		fetch_free(f);
		return r;
	}
	read_trust(f);
	*ret = f;
	return 0;
}

static bool same_address(const struct sockaddr_storage *a, const struct curl_sockaddr *b)
{
	if (a->ss_family != b->family)
		return false;
	if (b->family == AF_INET) {
		const struct sockaddr_in *x = (const void *)a, *y = (const void *)&b->addr;

		return x->sin_port == y->sin_port && !memcmp(&x->sin_addr, &y->sin_addr, sizeof(x->sin_addr));
	}
	if (b->family == AF_INET6) {
		const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)&b->addr;

		return x->sin6_port == y->sin6_port &&
		       !memcmp(&x->sin6_addr, &y->sin6_addr, sizeof(x->sin6_addr));
	}
	return false;
}

/* The addresses of the servers that were named, whatever one of them redirects to. */
static curl_socket_t on_socket(void *context, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct fetch *f = context;

	for (unsigned i = 0; i < f->n_addresses; i++)
		if (same_address(&f->addresses[i], to))
			return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
	f->error = -EACCES;
	return CURL_SOCKET_BAD;
}

static size_t on_body(char *data, size_t one, size_t n, void *context)
{
	struct fetch *f = context;

	if (n > f->q.max_size - f->n_written) {
		f->error = -EFBIG;
		return 0;
	}
	for (size_t i = 0; i < n;) {
		ssize_t k = write(f->fd, data + i, n - i);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0) {
			f->error = -errno;
			return 0;
		}
		i += (size_t)k;
	}
	f->n_written += n;
	return n;
}

static size_t on_header(char *data, size_t one, size_t n, void *context)
{
	struct fetch *f = context;

	f->n_headers += n;
	if (f->n_headers > MAX_HEADERS)
		f->error = -EMSGSIZE;
	return f->error ? 0 : n;
}

static long seconds_left(const struct fetch *f)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long)f->q.seconds - (now.tv_sec - f->began.tv_sec);
}

static CURLcode set_bounds(CURL *c, const struct fetch *f)
{
	CURLcode r = curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);

	r |= curl_easy_setopt(c, CURLOPT_TIMEOUT, seconds_left(f));
	r |= curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
	r |= curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
	r |= curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
	r |= curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->q.max_size);
	return r;
}

/* No proxy, no cookies, no encodings that grow, no names that are looked up: HTTP/1.1 and nothing beside. */
static CURLcode set_up(CURL *c, struct fetch *f, const struct server *s, struct curl_slist *resolved)
{
	const char *protocols = s->tls ? "https" : "http,https";
	struct curl_blob trust = { f->trust, f->n_trust, CURL_BLOB_NOCOPY };
	char url[FETCH_MAX_URL + 2 * FETCH_MAX_ID + 32];
	CURLcode r = set_bounds(c, f);

	snprintf(url, sizeof(url), "%s/buildid/%s/debuginfo", s->url, f->hex);
	r |= curl_easy_setopt(c, CURLOPT_URL, url);
	r |= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, protocols);
	r |= curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
	r |= curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1l);
	r |= curl_easy_setopt(c, CURLOPT_FAILONERROR, 1l);
	r |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1l);
	r |= curl_easy_setopt(c, CURLOPT_PROXY, "");
	r |= curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	r |= curl_easy_setopt(c, CURLOPT_HTTP09_ALLOWED, 0l);
	r |= curl_easy_setopt(c, CURLOPT_USERAGENT, "pprofd");
	r |= curl_easy_setopt(c, CURLOPT_RESOLVE, resolved);
	r |= curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	r |= curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, f);
	r |= curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	r |= curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
	r |= curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	r |= curl_easy_setopt(c, CURLOPT_HEADERDATA, f);
	if (s->tls) {
		r |= curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
		r |= curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &trust);
	}
	return r;
}

static int perform(CURL *c, const struct fetch *f, char why[FETCH_MAX_TEXT])
{
	CURLcode r = curl_easy_perform(c);
	long status = 0;

	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	if (r == CURLE_HTTP_RETURNED_ERROR && (status == 404 || status == 410))
		return FETCH_NONE;
	if (r == CURLE_OK && status == 200 && f->n_written)
		return 0;
	if (r == CURLE_OK || r == CURLE_HTTP_RETURNED_ERROR)
		snprintf(why, FETCH_MAX_TEXT, "status %ld", status);
	else if (f->error == -EACCES)
		snprintf(why, FETCH_MAX_TEXT, "it redirects to another server");
	else if (f->error)
		snprintf(why, FETCH_MAX_TEXT, "%s", strerror(-f->error));
	else
		snprintf(why, FETCH_MAX_TEXT, "%s", curl_easy_strerror(r));
	return f->error ? f->error : -EIO;
}

/* One server. As fetch_run. */
static int ask(struct fetch *f, const struct server *s, char why[FETCH_MAX_TEXT])
{
	struct curl_slist *resolved = NULL;
	CURL *c;
	int r = -ENOMEM;

	if (!s->resolved)
		return snprintf(why, FETCH_MAX_TEXT, "no address is known by its name"), -EHOSTUNREACH;
	if (s->tls && !f->trust)
		return snprintf(why, FETCH_MAX_TEXT, "no certificates are installed (ca-certificates)"), -ENOKEY;
	if (seconds_left(f) <= 0)
		return snprintf(why, FETCH_MAX_TEXT, "out of time"), -ETIMEDOUT;
	f->n_written = f->n_headers = 0;
	f->error = 0;
	if (ftruncate(f->fd, 0) < 0 || lseek(f->fd, 0, SEEK_SET) < 0)
		return -errno;
	if (*s->resolved)
		resolved = curl_slist_append(NULL, s->resolved);
	c = curl_easy_init();
	if ((resolved || !*s->resolved) && c && !set_up(c, f, s, resolved))
		r = perform(c, f, why);
	curl_easy_cleanup(c);
	curl_slist_free_all(resolved);
	return r;
}

int fetch_run(struct fetch *f, int fd, char why[FETCH_MAX_TEXT])
{
	int r = FETCH_NONE;

	f->fd = fd;
	*why = '\0';
	for (uint32_t i = 0; i < f->q.n_urls; i++) {
		int one = ask(f, &f->servers[i], why);

		if (one == 0)
			return 0;
		if (one < 0)
			r = one; /* it may yet have it */
	}
	return r;
}
