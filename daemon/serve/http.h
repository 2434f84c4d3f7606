/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* http.h - HTTP/1.1 on the sockets that the broker bound.
 *
 * Owns the listeners and their connections: a thread a connection, with a blocking handler. Refuses
 * before the handler sees anything: methods, foreign Host headers (DNS rebinding), cross-site
 * browser requests, unknown peers of Unix sockets, clients without a password or a certificate where
 * there is to be one (http_door.h), too many connections and requests, slow or large request
 * heads and bodies. Knows no targets and no maps; the handler answers. libmicrohttpd is seen by
 * http.c alone. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "daemon/serve/query.h"

struct http_request {
	const char *path;  /* clean, then percent-decoded (path.h): for comparing, never for opening */
	const char *raw_query; /* behind the '?', undecoded; "" */
	struct query query;
	const char *host;   /* what we were called: a Host header that has been let through; NULL: HTTP/1.0 without */
	const char *accept; /* NULL: anything */
	bool gzip; /* the client takes it as Content-Encoding */
	const struct http_tally *tally; /* of the server that asks; NULL: there is none */
	uint64_t client; /* who asks: a hash of its address (of a Unix socket: the user) and User-Agent */
	bool head, post, tls;
	const void *body; /* POST */
	size_t n_body;
	int client_fd; /* poll it for POLLRDHUP while working; see http_wait */
	int stop_fd;   /* readable when the daemon stops */
};

/* What was answered since the start; read without a lock. */
#define HTTP_MAX_CODE 600
struct http_tally {
	uint64_t answers[HTTP_MAX_CODE]; /* by status */
	uint64_t n_hung_up;   /* the client had gone before there was an answer */
	uint64_t n_connections, n_refused; /* taken; of too many */
	unsigned n_open;      /* requests now */
};

enum http_kind {
	HTTP_TEXT,	/* text/plain; charset=utf-8, nosniff */
	HTTP_HTML,	/* text/html; charset=utf-8, nosniff */
	HTTP_BINARY,	/* application/octet-stream, nosniff, attachment; filename */
	HTTP_ERROR,	/* text, and X-Go-Pprof: 1 */
	HTTP_REDIRECT,	/* text/html; Location */
	HTTP_JSON,	/* application/json, nosniff */
	HTTP_METRICS,	/* text/plain; version=0.0.4: Prometheus's text */
	HTTP_OPENMETRICS,
	HTTP_PAGE,	/* text/html that may run scripts of ours alone */
	HTTP_FILE,	/* `type`; good for ever */
	HTTP_SVG,
};

/* An answer that is made while it is sent; in the connection's thread. */
struct http_stream {
	/* Appends to `to`; nothing: the end. Negative: the connection is cut. May wait (http_wait, with this q). */
	int (*read)(void *context, const struct http_request *q, struct bytes *to);
	void (*free)(void *context);
	void *context;
};

struct http_response {
	unsigned status;
	enum http_kind kind;
	struct bytes body;
	struct http_stream stream; /* `free` set: owned; its bytes are the body if the status is 200 */
	char filename[64];  /* HTTP_BINARY; of others "": none */
	const char *type;   /* HTTP_FILE */
	bool gzip;	    /* the body is */
	char kept[17];	    /* X-Pprofd-Capture; "": it is not */
	struct bytes location; /* HTTP_REDIRECT */
	const char *allow;  /* with 405 */
	bool hang_up;	    /* no answer: the client is gone */
	unsigned retry_after_s; /* Retry-After; 0: none */
	bool challenge;	    /* with 401 */
	bool capture;	    /* something of a process was read: for the audit */
	int32_t pid;	    /* which; 0: none */
	bool exited;	    /* X-Pprofd-Target: exited */
};

/* Fills the answer. Called from many threads. */
typedef void http_handler(void *context, const struct http_request *q, struct http_response *ret);

struct http_limits {
	unsigned max_connections, max_per_address;
	unsigned idle_timeout_s; /* between two bytes of a client */
	unsigned head_timeout_s; /* for a whole request head */
	size_t max_head, max_body; /* bytes */
	size_t max_held; /* bytes of all bodies, those that come and those that wait for slow clients; small ones always go */
};

extern const struct http_limits http_default_limits;

struct http_peers {
	const uid_t *uids; /* who may use Unix sockets, besides root */
	size_t n_uids;
	const uid_t *target; /* one more, atomic: it may change at any time; NULL: none */
	const char *const *hosts; /* more names that the Host header may bear; "*": any */
	size_t n_hosts;
	struct web *web; /* --web.config.file; NULL: there is none */
	unsigned max_rate; /* requests a second of one client; 0: any */
	bool audit; /* a line for each capture */
};

struct http;
struct web;

/* Takes the listening sockets (also on failure). Serves from before it returns. `peers` is
 * borrowed until http_free. 0 or -errno. */
int http_new(int *listen_fds, size_t n, const struct http_limits *limits,
	     const struct http_peers *peers, http_handler *handler, void *context,
	     struct http **ret);
/* Ends open requests (stop_fd becomes readable) and waits for them. */
void http_free(struct http *h);
DEFINE_CLEANUP(struct http, http_free)

/* What the answer owns. */
void http_response_deinit(struct http_response *r);

/* Answers of the contract: a status and one line of text. */
void http_error(struct http_response *ret, unsigned status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* That line of it, without its end. Borrowed. */
const char *http_said(struct http_response *r);

enum http_wait { HTTP_WAITED, HTTP_CLIENT_GONE, HTTP_STOPPING, HTTP_EXTRA };
/* Sleeps until the monotonic clock reads until_ns, the client hangs up, the daemon stops, or
 * extra_fd (-1: none) becomes readable. */
enum http_wait http_wait(const struct http_request *q, int64_t until_ns, int extra_fd);
