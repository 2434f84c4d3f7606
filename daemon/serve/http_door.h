/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* http_door.h - what a client passes besides http_peer.h: TLS, how often it asks, its password; and what is written
 * down of it.
 *
 * Unix sockets need neither TLS nor a password: the kernel says who is there. A connection keeps the
 * certificate that it began with; users, passwords and headers are those in force at each request. */

#include <microhttpd.h>

#include "daemon/serve/door/tls.h"
#include "daemon/serve/http_guard.h"
#include "daemon/serve/http_peer.h"

#define HTTP_DOOR_MAX_USER TLS_MAX_NAME

struct http_door;

/* peers: borrowed. 0 or -errno. */
int http_door_new(const struct http_peers *peers, struct http_door **ret);
void http_door_free(struct http_door *d);
DEFINE_CLEANUP(struct http_door, http_door_free)

/* Of a listening socket. */
bool http_door_wants_tls(struct http_door *d, int fd);
/* Never called by connections that http_door_open has seen. */
int http_door_no_certificate(void *session, const void *cas, int n, const void *algorithms, int n_algorithms,
			     void **chain, unsigned *n_chain, void **key);

/* A new connection, before its handshake; session: gnutls_session_t, or NULL. Negative: it has to end. */
int http_door_open(struct http_door *d, struct http_guard_client *c, void *session);
void http_door_close(struct http_guard_client *c);
/* NULL: it has none. */
const struct tls *http_door_tls(const struct http_guard_client *c);

/* Whether the request goes no further; then *ret says why. `user` (HTTP_DOOR_MAX_USER): who has shown who he is. May
 * take a while. */
bool http_door_refuses(struct http_door *d, const struct http_guard_client *c, const struct http_peer_head *head,
		       void *session, char *user, struct http_response *ret);

/* The operator's headers. */
void http_door_headers(struct http_door *d, struct MHD_Response *to);

struct http_door_told {
	const struct http_response *response;
	const char *user, *target;
	int64_t began_ns;
	uint64_t n_streamed;
};
/* At the end of a request: the audit's line, if there is to be one. */
void http_door_tell(const struct http_door *d, const struct http_guard_client *c, const struct http_door_told *t);
