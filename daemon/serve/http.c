/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>

#include "base/hash.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/http_door.h"
#include "daemon/serve/http_guard.h"
#include "daemon/serve/http_log.h"
#include "daemon/serve/http_peer.h"
#include "daemon/serve/http_response.h"
#include "daemon/serve/path.h"

#define STACK_SIZE ((size_t)512 * 1024) /* handlers encode protobuf and deflate on it */
#define FAREWELL_NS (NS_PER_S / 2)	/* for answers to the requests that a stop ends */
#define SLOWEST 16384			/* bytes a second that a client must take */
#define SMALL 16384 /* bytes of an answer that is not counted */
#define STREAM_BLOCK ((size_t)32 * 1024)

struct listener {
	int fd;
	bool tls;
	struct MHD_Daemon *daemon;
};

struct http {
	struct http_limits limits;
	const struct http_peers *peers;
	struct http_peer_names names;
	http_handler *handler;
	void *context;
	struct http_guard *guard;
	struct listener *listeners;
	size_t n_listeners;
	int stop_fd;
	pthread_cond_t ended;
	pthread_mutex_t lock;  /* guards n_open */
	unsigned n_open;       /* requests between their head and the end of their answer */
	struct http_tally tally; /* atomic */
	uint64_t n_held; /* atomic: bytes of bodies */
	struct http_log log;
	struct http_door *door;
};

/* One request and its answer. */
struct exchange {
	struct http *http;
	struct MHD_Connection *mhd;
	struct http_guard_client *client;
	char *target;
	const char *host, *accept, *accept_encoding; /* in MHD's memory, as long as the request lasts */
	uint64_t who;
	struct path path;
	struct bytes upload;
	uint64_t n_upload, n_held;
	struct http_response response;
	bool begun;
	bool refused; /* the answer stands before the handler was asked */
	bool close;   /* say so, and end the connection */
	bool unread;  /* the answer leaves before the body has come */
	bool keep;    /* surely MHD waits for another request on the connection */
	bool old;     /* HTTP/1.0 */
	bool post;
	bool head;
	struct bytes part; /* of a stream */
	size_t n_sent;	   /* of the part */
	uint64_t n_streamed;
	int64_t began_ns;
	char user[HTTP_DOOR_MAX_USER]; /* who has shown who he is */
};

static int64_t in_seconds(unsigned s)
{
	return monotonic_ns() + s * NS_PER_S;
}

static void refuse(struct exchange *x, enum http_kind kind, unsigned status, const char *text)
{
	x->refused = true;
	http_error(&x->response, status, "%s", text);
	x->response.kind = kind;
}

static void refuse_large(struct exchange *x)
{
	x->refused = true;
	http_error(&x->response, 413, "the body is larger than %zu bytes",
		   x->http->limits.max_body);
}

/* False: together with what others hold it is too much. */
static bool hold(struct exchange *x, size_t n)
{
	uint64_t all = __atomic_add_fetch(&x->http->n_held, n, __ATOMIC_RELAXED);

	x->n_held += n;
	return all <= x->http->limits.max_held || all == x->n_held;
}

static void refuse_crowd(struct exchange *x)
{
	bytes_deinit(&x->response.body);
	refuse(x, HTTP_ERROR, 503, "too much waits for slow clients");
}

static void refuse_method(struct exchange *x)
{
	refuse(x, HTTP_TEXT, 405, "Method Not Allowed");
	x->response.allow = "GET, HEAD";
}

/* MHD's reader: the next bytes of a stream. No deadline while nothing is there to be taken. */
static ssize_t read_stream(void *context, uint64_t at, char *to, size_t max)
{
	struct exchange *x = context;
	struct http *h = x->http;
	const struct http_request q = { .client_fd = x->client->fd, .stop_fd = h->stop_fd };
	size_t n;

	(void)at;
	if (x->n_sent == x->part.n) {
		bytes_clear(&x->part);
		x->n_sent = 0;
		http_guard_set(h->guard, x->client, 0);
		if (x->response.stream.read(x->response.stream.context, &q, &x->part) < 0)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (!x->part.n)
			return MHD_CONTENT_READER_END_OF_STREAM;
	}
	n = x->part.n - x->n_sent < max ? x->part.n - x->n_sent : max;
	memcpy(to, x->part.data + x->n_sent, n);
	x->n_sent += n;
	x->n_streamed += n;
	http_guard_set(h->guard, x->client, in_seconds(h->limits.idle_timeout_s + (unsigned)(n / SLOWEST)));
	return (ssize_t)n;
}

static struct MHD_Response *body_of(struct exchange *x)
{
	size_t n = x->response.body.n;

	if (x->response.stream.read && x->response.status == 200 && !x->head)
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, x, NULL);
	return MHD_create_response_from_buffer(n, n ? x->response.body.data : (void *)"", MHD_RESPMEM_PERSISTENT);
}

/* Queues the answer. The body stays ours until the exchange ends: MHD would keep it for as long as
 * an idle connection lasts. */
static enum MHD_Result answer(struct exchange *x)
{
	struct http *h = x->http;
	struct MHD_Response *r;
	enum MHD_Result done;
	size_t n;

	if (x->response.body.n > SMALL && !hold(x, x->response.body.n))
		refuse_crowd(x);
	http_response_finish(&x->response);
	n = x->response.body.n;
	r = body_of(x);
	if (!r)
		return MHD_NO;
	http_response_head(&x->response, x->close, r);
	http_door_headers(h->door, r);
	if (x->old)
		MHD_set_response_options(r, MHD_RF_HTTP_1_0_SERVER, MHD_RO_END);
	http_guard_set(h->guard, x->client,
		       in_seconds(h->limits.idle_timeout_s + (unsigned)(n / SLOWEST)));
	if (x->response.status < HTTP_MAX_CODE)
		__atomic_add_fetch(&h->tally.answers[x->response.status], 1, __ATOMIC_RELAXED);
	done = MHD_queue_response(x->mhd, x->response.status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result on_header(void *context, enum MHD_ValueKind kind, const char *name,
				 const char *value)
{
	http_peer_header(context, name, value ? value : "");
	return MHD_YES;
}

static void redirect(struct exchange *x)
{
	x->refused = true;
	x->response.status = 307;
	x->response.kind = HTTP_REDIRECT;
	bytes_puts(&x->response.location, x->path.location);
}

/* NULL: no TLS. */
static void *session_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	return i ? i->tls_session : NULL;
}

static void judge(struct exchange *x, const char *method, const struct http_peer_head *d)
{
	const union MHD_ConnectionInfo *size =
		MHD_get_connection_info(x->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	struct http_peer_asked asked = { .fd = x->client->fd, .old = x->old, .tls = http_door_tls(x->client) };
	bool known = x->post || !strcmp(method, "GET") || !strcmp(method, "HEAD");
	int r = path_parse(x->target, &x->path);

	asked.authority = x->path.authority;
	asked.page = r == PATH_OK && !x->post && http_peer_page(x->path.text);
	if (r < 0)
		refuse(x, HTTP_ERROR, 500, "out of memory");
	else if (size && size->header_size > x->http->limits.max_head)
		refuse(x, HTTP_TEXT, 431, "431 Request Header Fields Too Large");
	else if (!known || (x->post && r == PATH_REDIRECT))
		refuse_method(x);
	else if (r == PATH_MALFORMED)
		refuse(x, HTTP_TEXT, 400, "400 Bad Request");
	else if (http_peer_refuses(&x->http->names, x->http->peers, d, &asked, &x->response))
		x->refused = true;
	else if (http_door_refuses(x->http->door, x->client, d, session_of(x->mhd), x->user, &x->response))
		x->refused = true;
	else if (r == PATH_REDIRECT)
		redirect(x);
	else if (d->n_length && strtoull(d->length, NULL, 10) > x->http->limits.max_body)
		refuse_large(x);
	x->close = x->refused && (x->response.status == 400 || x->response.status == 501);
}

/* The same for all requests of one client, and seldom for those of two. */
static uint64_t who_asks(const struct http_guard_client *c, const struct http_peer_head *d)
{
	const char *agent = d->agent ? d->agent : "";
	uint64_t h = c->is_ip ? hash_bytes(HASH_SEED, c->address, sizeof(c->address)) : hash_u64(HASH_SEED, c->uid);

	return hash_bytes(h, agent, strlen(agent));
}

/* A body is announced; how large only MHD's own parse can say where it is chunked. */
static bool has_body(const struct http_peer_head *d)
{
	return d->n_encoding || (d->n_length && strspn(d->length, "0") != strlen(d->length));
}

static enum MHD_Result begin(struct exchange *x, const char *method, const char *version)
{
	struct http *h = x->http;
	struct http_peer_head d = { 0 };

	x->begun = true;
	x->began_ns = monotonic_ns();
	http_guard_set(h->guard, x->client, 0); /* the head is here, and a password may have to wait */
	x->old = !strcmp(version, "HTTP/1.0");
	x->post = !strcmp(method, "POST");
	pthread_mutex_lock(&h->lock);
	h->n_open++;
	__atomic_store_n(&h->tally.n_open, h->n_open, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&h->lock);
	MHD_get_connection_values(x->mhd, MHD_HEADER_KIND, on_header, &d);
	judge(x, method, &d);
	x->who = who_asks(x->client, &d);
	x->host = x->path.authority ? x->path.authority : d.host;
	x->accept = d.accept;
	x->accept_encoding = d.accept_encoding;
	x->unread = x->refused && has_body(&d);
	x->keep = !x->old && !x->close && !x->unread &&
		  (!d.connection || !strcasecmp(d.connection, "keep-alive"));
	http_guard_set(h->guard, x->client,
		       has_body(&d) ? in_seconds(h->limits.idle_timeout_s) : 0);
	/* To answer here is to refuse the body (and "Expect: 100-continue"): MHD closes then. So
	 * a request without a body is answered in its next call, and the connection stays. */
	return x->unread ? answer(x) : MHD_YES;
}

static enum MHD_Result take_body(struct exchange *x, const char *data, size_t n)
{
	size_t most = x->http->limits.max_body;

	x->n_upload += n;
	if (x->n_upload <= most) {
		if (x->post && !x->refused && !hold(x, n))
			refuse_crowd(x);
		else if (x->post && !x->refused)
			bytes_add(&x->upload, data, n);
		return MHD_YES;
	}
	/* MHD takes no answer in the middle of a chunked body: a somewhat longer one is read to
	 * its end to be refused, a much longer one is cut. */
	bytes_deinit(&x->upload);
	refuse_large(x);
	return x->n_upload <= 4 * (uint64_t)most ? MHD_YES : MHD_NO;
}

static void run(struct exchange *x, const char *method)
{
	struct http_request q = {
		.path = x->path.text,
		.raw_query = x->path.raw_query,
		.client = x->who,
		.host = x->host,
		.accept = x->accept,
		.gzip = x->accept_encoding && strcasestr(x->accept_encoding, "gzip") &&
			!strcasestr(x->accept_encoding, "gzip;q=0"), /* who says "gzip;q=0.5" gets it unpacked, too */
		.tally = &x->http->tally,
		.tls = http_door_tls(x->client) != NULL,
		.head = !strcmp(method, "HEAD"),
		.post = x->post,
		.client_fd = x->client->fd,
		.stop_fd = x->http->stop_fd,
	};

	if (q.post) {
		q.body = bytes_text(&x->upload);
		q.n_body = x->upload.n;
	}
	if (x->upload.bad || query_parse(q.raw_query, &q.query) < 0) {
		http_error(&x->response, 500, "out of memory");
		return;
	}
	x->head = q.head;
	x->http->handler(x->http->context, &q, &x->response);
	http_peer_again(x->http->peers, q.client_fd, &x->response);
	query_deinit(&q.query);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *c, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *n, void **state)
{
	struct exchange *x = *state;
	size_t n_data = *n;

	if (!x)
		return MHD_NO;
	if (!x->begun)
		return begin(x, method, version);
	*n = 0;
	if (n_data)
		return take_body(x, data, n_data);
	http_guard_set(x->http->guard, x->client, 0);
	if (!x->refused)
		run(x, method);
	if (x->response.hang_up)
		__atomic_add_fetch(&x->http->tally.n_hung_up, 1, __ATOMIC_RELAXED);
	return x->response.hang_up ? MHD_NO : answer(x);
}

/* The request line has come. The target is copied before MHD decodes it, and its query is cut off:
 * MHD would make a record of every pair, and when they do not fit its memory it goes on after
 * its own error (parse_initial_message_line in 0.9.75 sets the state anew). */
static void *on_target(void *context, const char *target, struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	_cleanup_(freep) struct exchange *x = calloc(1, sizeof(*x));
	char *query = target ? strchr(target, '?') : NULL;

	if (!x || !target || !i || !i->socket_context)
		return NULL;
	x->http = context;
	x->mhd = c;
	x->client = i->socket_context;
	x->target = strdup(target);
	if (!x->target)
		return NULL;
	if (query)
		query[1] = '\0'; /* in MHD's own buffer, which is not const */
	return TAKE_PTR(x);
}

static void exchange_free(struct exchange *x)
{
	__atomic_sub_fetch(&x->http->n_held, x->n_held, __ATOMIC_RELAXED);
	free(x->target);
	path_deinit(&x->path);
	bytes_deinit(&x->upload);
	bytes_deinit(&x->part);
	http_response_deinit(&x->response);
	free(x);
}

/* In the connection's thread, after the last byte of the answer or at its failure. */
static void on_completed(void *context, struct MHD_Connection *c, void **state,
			 enum MHD_RequestTerminationCode why)
{
	struct exchange *x = *state;
	struct http *h = context;
	const union MHD_ConnectionInfo *size =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	struct http_guard_client *client;
	bool keep, unread, tls;

	if (!x)
		return;
	client = x->client;
	tls = http_door_tls(client) != NULL;
	keep = x->keep && x->begun && why == MHD_REQUEST_TERMINATED_COMPLETED_OK;
	/* Not begun: MHD has refused the head by itself. */
	unread = (x->unread && why == MHD_REQUEST_TERMINATED_COMPLETED_OK) ||
		 (!x->begun && why == MHD_REQUEST_TERMINATED_WITH_ERROR);
	if (x->begun)
		http_door_tell(h->door, client, &(struct http_door_told){ &x->response, x->user, x->target, x->began_ns,
									  x->n_streamed });
	client->n_wanted += (size ? size->header_size : 0) + x->n_upload;
	*state = NULL;
	if (x->begun) {
		pthread_mutex_lock(&h->lock);
		h->n_open--;
		__atomic_store_n(&h->tally.n_open, h->n_open, __ATOMIC_RELAXED);
		pthread_cond_signal(&h->ended);
		pthread_mutex_unlock(&h->lock);
	}
	exchange_free(x);
	http_guard_set(h->guard, client, 0);
	if (unread)
		http_guard_drain(client, h->stop_fd);
	if (keep && !tls)
		http_guard_idle(client, h->stop_fd, in_seconds(h->limits.idle_timeout_s));
	/* what TLS has read cannot be counted, so there the next head may take as long as it may be awaited */
	http_guard_set(h->guard, client, in_seconds(tls && keep ? h->limits.idle_timeout_s : h->limits.head_timeout_s));
}

static void on_connection(void *context, struct MHD_Connection *c, void **state,
			  enum MHD_ConnectionNotificationCode what)
{
	struct http *h = context;
	const union MHD_ConnectionInfo *i;
	const struct sockaddr *from;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		/* MHD closes the socket after this. */
		if (*state) {
			http_door_close(*state);
			http_guard_drop(h->guard, *state);
		}
		*state = NULL;
		return;
	}
	i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	from = i->client_addr;
	i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	*state =
		http_guard_add(h->guard, i->connect_fd, from, in_seconds(h->limits.head_timeout_s));
	if (!*state || http_door_open(h->door, *state, session_of(c)) < 0)
		shutdown(i->connect_fd, SHUT_RDWR);
}

static enum MHD_Result on_accept(void *context, const struct sockaddr *from, socklen_t n)
{
	struct http *h = context;

	bool admitted = http_guard_admits(h->guard, from, n);

	__atomic_add_fetch(admitted ? &h->tally.n_connections : &h->tally.n_refused, 1, __ATOMIC_RELAXED);
	return admitted ? MHD_YES : MHD_NO;
}

/* Escapes are path.c's: MHD leaves the text as it came. */
static size_t on_unescape(void *context, struct MHD_Connection *c, char *text)
{
	return strlen(text);
}

static int start(struct http *h, struct listener *l)
{
	/* The door gives each connection its certificate; this only makes MHD start without one. */
	struct MHD_OptionItem tls[] = { { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, http_door_no_certificate },
					{ MHD_OPTION_END, 0, NULL } };
	struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };
	unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG;

	/* ITC: without it MHD would stop by a shutdown of the listening socket, which the
	 * broker holds too. No MHD timeout: http_guard.h says why. The logger comes first, or it
	 * misses what the other options have to say. */
	l->tls = http_door_wants_tls(h->door, l->fd);
	l->daemon = MHD_start_daemon(flags | (l->tls ? (unsigned)MHD_USE_TLS : 0), 0, on_accept, h, on_request, h,
				     MHD_OPTION_EXTERNAL_LOGGER, http_log_say, &h->log,
				     MHD_OPTION_LISTEN_SOCKET, l->fd,
				     MHD_OPTION_CONNECTION_LIMIT, h->limits.max_connections,
				     MHD_OPTION_CONNECTION_TIMEOUT, 0u,
				     MHD_OPTION_CONNECTION_MEMORY_LIMIT, 2 * h->limits.max_head,
				     MHD_OPTION_THREAD_STACK_SIZE, STACK_SIZE,
				     MHD_OPTION_URI_LOG_CALLBACK, on_target, h,
				     MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, h,
				     MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
				     MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
				     MHD_OPTION_ARRAY, l->tls ? tls : none, MHD_OPTION_END);
	if (l->daemon)
		return 0;
	l->fd = -1; /* closed after some failures only: rather leaked than closed twice */
	return -EIO;
}

static int start_all(struct http *h)
{
	sigset_t all, old;
	int r;

	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = http_guard_new(h->limits.max_connections, h->limits.max_per_address, &h->guard);
	if (!r)
		r = http_door_new(h->peers, &h->door);
	for (size_t i = 0; i < h->n_listeners && !r; i++)
		r = start(h, &h->listeners[i]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static struct http *http_empty(size_t n)
{
	struct http *h = calloc(1, sizeof(*h));
	pthread_condattr_t monotonic;

	if (!h)
		return NULL;
	h->stop_fd = -1;
	pthread_mutex_init(&h->lock, NULL);
	http_log_init(&h->log);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&h->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	h->listeners = calloc(n, sizeof(*h->listeners));
	return h;
}

int http_new(int *listen_fds, size_t n, const struct http_limits *limits,
	     const struct http_peers *peers, http_handler *handler, void *context,
	     struct http **ret)
{
	_cleanup_(http_freep) struct http *h = http_empty(n);
	int r;

	if (!h || !h->listeners) {
		for (size_t i = 0; i < n; i++)
			close_fd(&listen_fds[i]);
		return -ENOMEM;
	}
	for (; h->n_listeners < n; h->n_listeners++)
		h->listeners[h->n_listeners].fd = TAKE_FD(listen_fds[h->n_listeners]);
	h->limits = *limits;
	h->peers = peers;
	h->handler = handler;
	h->context = context;
	http_peer_names(&h->names);
	h->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->stop_fd < 0)
		return -errno;
	r = start_all(h);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(h);
	return 0;
}

/* Handlers see stop_fd and answer; what they say shall still arrive. */
static void wait_farewell(struct http *h)
{
	int64_t until_ns = monotonic_ns() + FAREWELL_NS;
	struct timespec t = { until_ns / NS_PER_S, until_ns % NS_PER_S };

	pthread_mutex_lock(&h->lock);
	while (h->n_open && pthread_cond_timedwait(&h->ended, &h->lock, &t) == 0)
		;
	pthread_mutex_unlock(&h->lock);
}

void http_free(struct http *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n_listeners; i++) {
		if (h->listeners[i].daemon)
			MHD_quiesce_daemon(h->listeners[i].daemon);
	}
	if (h->stop_fd >= 0)
		eventfd_write(h->stop_fd, 1);
	wait_farewell(h);
	for (size_t i = 0; i < h->n_listeners; i++) {
		if (h->listeners[i].daemon)
			MHD_stop_daemon(h->listeners[i].daemon);
		close_fd(&h->listeners[i].fd);
	}
	http_guard_free(h->guard);
	http_door_free(h->door);
	close_fd(&h->stop_fd);
	pthread_cond_destroy(&h->ended);
	pthread_mutex_destroy(&h->lock);
	free(h->listeners);
	free(h);
}
