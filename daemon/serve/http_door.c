/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/http_door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/door/audit.h"
#include "daemon/serve/door/rate.h"
#include "daemon/serve/door/web.h"

struct http_door {
	const struct http_peers *peers;
	struct rates *rates;	     /* NULL: any */
	struct passwords *passwords; /* NULL: there is no --web.config.file */
};

int http_door_new(const struct http_peers *peers, struct http_door **ret)
{
	_cleanup_(http_door_freep) struct http_door *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->peers = peers;
	r = peers->max_rate ? rates_new(peers->max_rate, &d->rates) : 0;
	if (r == 0 && peers->web)
		r = passwords_new(&d->passwords);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(d);
	return 0;
}

void http_door_free(struct http_door *d)
{
	if (!d)
		return;
	rates_free(d->rates);
	passwords_free(d->passwords);
	free(d);
}

bool http_door_wants_tls(struct http_door *d, int fd)
{
	_cleanup_(web_config_putp) struct web_config *web = d->peers->web ? web_get(d->peers->web) : NULL;
	int domain = AF_UNSPEC;
	socklen_t n = sizeof(domain);

	return web && web->tls && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain != AF_UNIX;
}

int http_door_no_certificate(void *session, const void *cas, int n, const void *algorithms, int n_algorithms,
			     void **chain, unsigned *n_chain, void **key)
{
	return -1;
}

int http_door_open(struct http_door *d, struct http_guard_client *c, void *session)
{
	if (!session)
		return 0;
	c->web = d->peers->web ? web_get(d->peers->web) : NULL;
	if (!c->web || !c->web->tls)
		return -EPROTO;
	tls_begin(c->web->tls, session);
	return 0;
}

void http_door_close(struct http_guard_client *c)
{
	web_config_put(c->web);
	c->web = NULL;
}

const struct tls *http_door_tls(const struct http_guard_client *c)
{
	return c->web ? c->web->tls : NULL;
}

/* Who has a network has all of its addresses: of IPv6 the first half counts. */
static uint64_t client_of(const struct http_guard_client *c)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (!c->is_ip)
		return hash_u64(HASH_SEED, c->uid);
	return hash_bytes(HASH_SEED, c->address, memcmp(c->address, mapped, sizeof(mapped)) ? 8 : 16);
}

static bool refuses_rate(struct http_door *d, const struct http_guard_client *c, struct http_response *ret)
{
	int64_t wait_ns;

	if (!d->rates || rates_take(d->rates, client_of(c), monotonic_ns(), &wait_ns))
		return false;
	http_error(ret, 429, "more than %u requests a second (--max-rate)", d->peers->max_rate);
	ret->retry_after_s = (unsigned)(wait_ns / NS_PER_S) + 1;
	return true;
}

static bool refuses_password(struct http_door *d, const struct http_peer_head *head, char *user,
			     struct http_response *ret)
{
	_cleanup_(web_config_putp) struct web_config *web = web_get(d->peers->web);
	char claimed[PASSWORD_MAX_USER];

	if (!web->n_users)
		return false;
	switch (password_check(d->passwords, web->users, web->n_users, head->authorization, claimed)) {
	case PASSWORD_OK:
		snprintf(user, HTTP_DOOR_MAX_USER, "%s", claimed);
		return false;
	case PASSWORD_WRONG:
		http_error(ret, 401, "Unauthorized");
		ret->kind = HTTP_TEXT;
		ret->challenge = true;
		return true;
	case PASSWORD_BUSY:
		break;
	}
	http_error(ret, 503, "too many passwords are being checked");
	ret->retry_after_s = 1;
	return true;
}

bool http_door_refuses(struct http_door *d, const struct http_guard_client *c, const struct http_peer_head *head,
		       void *session, char *user, struct http_response *ret)
{
	if (c->web && c->web->tls)
		tls_peer(c->web->tls, session, user);
	if (refuses_rate(d, c, ret))
		return true;
	return c->is_ip && d->peers->web && refuses_password(d, head, user, ret);
}

void http_door_headers(struct http_door *d, struct MHD_Response *to)
{
	_cleanup_(web_config_putp) struct web_config *web = d->peers->web ? web_get(d->peers->web) : NULL;

	for (size_t i = 0; web && i < web->n_headers; i++) {
		const char *there = MHD_get_response_header(to, web->headers[i].name);

		if (there)
			MHD_del_response_header(to, web->headers[i].name, there);
		MHD_add_response_header(to, web->headers[i].name, web->headers[i].value);
	}
}

static void show_client(const struct http_guard_client *c, char to[INET6_ADDRSTRLEN + 16])
{
	struct in6_addr a;

	memcpy(&a, c->address, sizeof(a));
	if (!c->is_ip)
		snprintf(to, INET6_ADDRSTRLEN + 16, "uid %u", (unsigned)c->uid);
	else if (IN6_IS_ADDR_V4MAPPED(&a))
		inet_ntop(AF_INET, c->address + 12, to, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, &a, to, INET6_ADDRSTRLEN);
}

void http_door_tell(const struct http_door *d, const struct http_guard_client *c, const struct http_door_told *t)
{
	const struct http_response *r = t->response;
	bool refused = r->status == 401 || r->status == 403 || r->status == 429;
	char client[INET6_ADDRSTRLEN + 16];
	struct audit_entry e = { .client = client,
				 .user = t->user,
				 .target = t->target,
				 .pid = r->pid,
				 .status = r->hang_up ? 0 : r->status,
				 .took_ns = monotonic_ns() - t->began_ns,
				 .n_bytes = r->stream.read ? t->n_streamed : r->body.n };

	if (!d->peers->audit || !(refused || r->capture))
		return;
	show_client(c, client);
	audit_tell(&e);
}
