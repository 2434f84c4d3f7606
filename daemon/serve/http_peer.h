/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* http_peer.h - who may ask: the names a request may call us by, the sites a browser may send it
 * from, the users of a Unix socket.
 *
 * Pure policy over text, but for the kernel's word on a socket's peer. A page on any site can make
 * a browser connect to a loopback port; what it cannot do is choose the Host header (DNS
 * rebinding: it is the page's own host name), Origin or Sec-Fetch-Site. No DNS look-ups: a
 * name that only DNS knows is exactly what an attacker brings. */

#include <limits.h>
#include <stdbool.h>

#include "daemon/serve/http.h"

struct http_peer_names {
	char host[HOST_NAME_MAX + 1];	  /* gethostname */
	char full[2 * HOST_NAME_MAX + 2]; /* with the kernel's domain name, or "" */
};

/* What the lines of a request head say of its sender and its framing. Borrowed texts. */
struct http_peer_head {
	unsigned n_host, n_length, n_encoding;
	const char *host, *length, *encoding, *connection;
	const char *origin, *agent, *accept, *accept_encoding, *authorization;
	bool foreign; /* a Sec-Fetch-Site of another site */
	const char *mode, *dest, *user; /* Sec-Fetch-Mode, -Dest, -User */
	bool malformed;
};

struct http_peer_asked {
	int fd;		       /* the connection */
	const char *authority; /* of an absolute target, or NULL */
	bool old;	       /* HTTP/1.0 */
	bool page;	       /* what is asked for is a page for people: http_peer_page, and no POST */
	const struct tls *tls; /* what the connection is under: its certificate's names are ours; or NULL */
};

enum http_peer_verdict { HTTP_PEER_OK, HTTP_PEER_MALFORMED, HTTP_PEER_FOREIGN };

/* What this machine is called now. */
void http_peer_names(struct http_peer_names *ret);

/* Takes one line of a head down. */
void http_peer_header(struct http_peer_head *d, const char *name, const char *value);

/* Whether the request is not for us to answer; then *ret says why. 400 and 501 mean that the
 * connection cannot go on. */
bool http_peer_refuses(const struct http_peer_names *own, const struct http_peers *peers,
		       const struct http_peer_head *d, const struct http_peer_asked *asked,
		       struct http_response *ret);

/* The single rules follow. */

/* A Host header, or the authority of an absolute target. */
enum http_peer_verdict http_peer_host(const struct http_peer_names *own,
				      const struct http_peers *peers, const char *host);

/* Sec-Fetch-Site (W3C Fetch Metadata): typed by the user, or from our own pages. */
bool http_peer_site(const char *site);

/* "/", "/pid/PID/", "/t/NAME/": what a link from elsewhere may lead a person to. Such a page cannot be framed or read by
 * the site that has the link; what it shows it asks for itself. */
bool http_peer_page(const char *path);

/* Origin (RFC 6454) against the host that was asked for. */
bool http_peer_origin(const char *origin, const char *host);

/* The user behind a Unix socket; any other socket is let through. false: *ret is who it is. */
bool http_peer_user(const struct http_peers *peers, int fd, uid_t *ret);
/* The same when the answer is there; it is let go where it may not be had any more. */
void http_peer_again(const struct http_peers *peers, int fd, struct http_response *ret);
