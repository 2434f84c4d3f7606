/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/http_peer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "daemon/serve/door/tls.h"

#define NAME_MAX_LENGTH 255 /* RFC 1035, 2.3.4 */
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

void http_peer_names(struct http_peer_names *ret)
{
	struct utsname u;

	*ret = (struct http_peer_names){ 0 };
	gethostname(ret->host, sizeof(ret->host) - 1);
	if (uname(&u) == 0 && *u.domainname && strcmp(u.domainname, "(none)") != 0)
		snprintf(ret->full, sizeof(ret->full), "%s.%s", ret->host, u.domainname);
}

static bool is_port(const char *text)
{
	return !*text || (*text == ':' && strspn(text + 1, "0123456789") == strlen(text + 1));
}

/* "[::1]:80", "[fe80::1%eth0]" */
static bool is_ipv6_literal(const char *host)
{
	const char *end = strchr(host, ']');
	size_t n = strcspn(host + 1, "%]");
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;

	if (!end || !is_port(end + 1) || n >= sizeof(text))
		return false;
	memcpy(text, host + 1, n);
	text[n] = '\0';
	return inet_pton(AF_INET6, text, &a) == 1;
}

/* The name before the port, without the dot of a rooted name. */
static bool cut_name(const char *host, char ret[static NAME_MAX_LENGTH + 1])
{
	size_t n = strcspn(host, ":");

	if (n > NAME_MAX_LENGTH || !is_port(host + n) || strspn(host, NAME_CHARACTERS) < n)
		return false;
	if (n > 1 && host[n - 1] == '.')
		n--;
	memcpy(ret, host, n);
	ret[n] = '\0';
	return true;
}

static bool is_localhost(const char *name)
{
	const char *last = strrchr(name, '.');

	return !strcasecmp(last ? last + 1 : name, "localhost");
}

enum http_peer_verdict http_peer_host(const struct http_peer_names *own,
				      const struct http_peers *peers, const char *host)
{
	char name[NAME_MAX_LENGTH + 1];
	struct in_addr a;

	if (*host == '[')
		return is_ipv6_literal(host) ? HTTP_PEER_OK : HTTP_PEER_MALFORMED;
	if (!cut_name(host, name))
		return HTTP_PEER_MALFORMED;
	if (!strchr(name, '.') || is_localhost(name) || inet_pton(AF_INET, name, &a) == 1 ||
	    !strcasecmp(name, own->host) || !strcasecmp(name, own->full))
		return HTTP_PEER_OK;
	for (size_t i = 0; i < peers->n_hosts; i++) {
		if (!strcmp(peers->hosts[i], "*") || !strcasecmp(peers->hosts[i], name))
			return HTTP_PEER_OK;
	}
	return HTTP_PEER_FOREIGN;
}

bool http_peer_site(const char *site)
{
	return !strcasecmp(site, "none") || !strcasecmp(site, "same-origin");
}

bool http_peer_page(const char *path)
{
	size_t n = !strncmp(path, "/pid/", 5) ? 5 : !strncmp(path, "/t/", 3) ? 3 : 0, name;

	if (!n)
		return !strcmp(path, "/");
	name = strcspn(path + n, "/");
	return name && !strcmp(path + n + name, "/");
}

bool http_peer_origin(const char *origin, const char *host)
{
	const char *authority = strstr(origin, "://");

	/* Behind a proxy that speaks TLS the scheme is not ours. */
	return authority &&
	       (!strncasecmp(origin, "http:", 5) || !strncasecmp(origin, "https:", 6)) && *host &&
	       !strcasecmp(authority + 3, host);
}

bool http_peer_user(const struct http_peers *peers, int fd, uid_t *ret)
{
	struct ucred peer;
	int domain = AF_UNSPEC;
	socklen_t n_domain = sizeof(domain), n = sizeof(peer);

	*ret = (uid_t)-1;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n_domain) == 0 && domain != AF_UNIX)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		return false;
	*ret = peer.uid;
	if (peer.uid == 0)
		return true;
	for (size_t i = 0; i < peers->n_uids; i++) {
		if (peers->uids[i] == peer.uid)
			return true;
	}
	return peers->target && peer.uid == __atomic_load_n(peers->target, __ATOMIC_SEQ_CST);
}

void http_peer_again(const struct http_peers *peers, int fd, struct http_response *ret)
{
	uid_t uid;

	if (ret->hang_up || http_peer_user(peers, fd, &uid))
		return;
	http_response_deinit(ret);
	*ret = (struct http_response){ 0 };
	http_error(ret, 403, "user %u may not use this socket any more: the process has executed a program with other rights", uid);
}

static bool is_token(const char *text)
{
	/* RFC 9110, 5.6.2 */
	return *text && !text[strspn(text, "!#$%&'*+-.^_`|~0123456789"
					   "abcdefghijklmnopqrstuvwxyz"
					   "ABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

void http_peer_header(struct http_peer_head *d, const char *name, const char *value)
{
	if (!is_token(name)) {
		d->malformed = true;
	} else if (!strcasecmp(name, "Host")) {
		d->n_host++;
		d->host = value;
	} else if (!strcasecmp(name, "Content-Length")) {
		d->n_length++;
		d->length = value;
	} else if (!strcasecmp(name, "Transfer-Encoding")) {
		d->n_encoding++;
		d->encoding = value;
	} else if (!strcasecmp(name, "Connection")) {
		/* Several: the last might say less than the first. */
		d->connection = d->connection ? "several" : value;
	} else if (!strcasecmp(name, "Sec-Fetch-Site")) {
		d->foreign |= !http_peer_site(value);
	} else if (!strcasecmp(name, "Sec-Fetch-Mode")) {
		d->mode = d->mode ? "several" : value;
	} else if (!strcasecmp(name, "Sec-Fetch-Dest")) {
		d->dest = d->dest ? "several" : value;
	} else if (!strcasecmp(name, "Sec-Fetch-User")) {
		d->user = d->user ? "several" : value;
	} else if (!strcasecmp(name, "User-Agent")) {
		d->agent = value;
	} else if (!strcasecmp(name, "Accept")) {
		d->accept = value;
	} else if (!strcasecmp(name, "Accept-Encoding")) {
		d->accept_encoding = value;
	} else if (!strcasecmp(name, "Authorization")) {
		d->authorization = d->authorization ? "several" : value;
	} else if (!strcasecmp(name, "Origin")) {
		d->origin = d->origin ? "several" : value;
	}
}

static bool refuse(struct http_response *ret, unsigned status, const char *text)
{
	http_error(ret, status, "%s", text);
	ret->kind = HTTP_TEXT; /* of a broken request Go says no more than this either */
	return true;
}

/* What libmicrohttpd lets pass and others read differently: the stuff of request smuggling. */
static bool refuses_framing(const struct http_peer_head *d, bool old, struct http_response *ret)
{
	if (d->malformed || d->n_length > 1 || d->n_encoding > 1 || (d->n_length && d->n_encoding))
		return refuse(ret, 400, "400 Bad Request");
	if (d->n_encoding && (strcasecmp(d->encoding, "chunked") != 0 || old))
		return refuse(ret, 501, "Unsupported transfer encoding");
	if (!d->n_host && !old)
		return refuse(ret, 400, "400 Bad Request: missing required Host header");
	if (d->n_host > 1)
		return refuse(ret, 400, "400 Bad Request: too many Host headers");
	return false;
}

static bool is_certified(const struct tls *tls, const char *host)
{
	char name[NAME_MAX_LENGTH + 1];

	return tls && cut_name(host, name) && tls_is_named(tls, name);
}

static bool refuses_host(const struct http_peer_names *own, const struct http_peers *peers,
			 const char *host, const struct tls *tls, struct http_response *ret)
{
	switch (host ? http_peer_host(own, peers, host) : HTTP_PEER_OK) {
	case HTTP_PEER_OK:
		return false;
	case HTTP_PEER_MALFORMED:
		return refuse(ret, 400, "400 Bad Request: malformed Host header");
	case HTTP_PEER_FOREIGN:
		if (is_certified(tls, host))
			return false;
		break;
	}
	http_error(ret, 403,
		   "Host \"%s\" is not a name of this server: use its address, or start pprofd "
		   "with "
		   "--allow-host %.*s",
		   host, (int)strcspn(host, ":"), host);
	return true;
}

/* A person has clicked on a link to a page: the browser says so, no site can (W3C Fetch Metadata). */
static bool is_followed(const struct http_peer_head *d, const struct http_peer_asked *asked)
{
	return asked->page && d->mode && d->dest && d->user && !strcmp(d->mode, "navigate") &&
	       !strcmp(d->dest, "document") && !strcmp(d->user, "?1");
}

static bool refuses_sender(const struct http_peers *peers, const struct http_peer_head *d,
			   const struct http_peer_asked *asked, struct http_response *ret)
{
	const char *host = asked->authority ? asked->authority : d->host;
	uid_t uid;

	if (!http_peer_user(peers, asked->fd, &uid))
		http_error(ret, 403, "user %u may not use this socket", uid);
	else if (d->foreign && !is_followed(d, asked))
		http_error(ret, 403,
			   "a page of another site sent this request (Sec-Fetch-Site): open "
			   "the address itself");
	else if (d->origin && !http_peer_origin(d->origin, host ? host : ""))
		http_error(ret, 403,
			   "a page of another site sent this request (Origin): open the "
			   "address itself");
	else
		return false;
	return true;
}

bool http_peer_refuses(const struct http_peer_names *own, const struct http_peers *peers,
		       const struct http_peer_head *d, const struct http_peer_asked *asked,
		       struct http_response *ret)
{
	return refuses_framing(d, asked->old, ret) || refuses_host(own, peers, d->host, asked->tls, ret) ||
	       refuses_host(own, peers, asked->authority, asked->tls, ret) ||
	       refuses_sender(peers, d, asked, ret);
}
