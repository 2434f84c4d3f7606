/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/door/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

struct tls {
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priorities;
	enum broker_client_auth client_auth;
	const char *const *sans;
	size_t n_sans;
};

static int __attribute__((format(printf, 3, 4))) say(char *to, size_t n, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(to, n, format, ap);
	va_end(ap);
	return -EINVAL;
}

static gnutls_datum_t datum(const struct tls_from *f, enum broker_pem which)
{
	return (gnutls_datum_t){ (unsigned char *)f->pem[which], (unsigned)f->n_pem[which] };
}

int tls_new(const struct tls_from *from, char *error, size_t n_error, struct tls **ret)
{
	_cleanup_(tls_freep) struct tls *t = calloc(1, sizeof(*t));
	gnutls_datum_t cert = datum(from, BROKER_PEM_CERT), key = datum(from, BROKER_PEM_KEY),
		       ca = datum(from, BROKER_PEM_CA);
	int r = t ? gnutls_certificate_allocate_credentials(&t->credentials) : GNUTLS_E_MEMORY_ERROR;

	if (r < 0)
		return say(error, n_error, "%s", gnutls_strerror(r));
	t->client_auth = from->client_auth;
	t->sans = from->sans;
	t->n_sans = from->n_sans;
	r = gnutls_priority_init(&t->priorities, from->priorities, NULL);
	if (r < 0)
		return say(error, n_error, "TLS cannot be spoken so: %s", gnutls_strerror(r));
	r = gnutls_certificate_set_x509_key_mem(t->credentials, &cert, &key, GNUTLS_X509_FMT_PEM);
	if (r < 0)
		return say(error, n_error, "certificate and key: %s", gnutls_strerror(r));
	if (!ca.size)
		goto done;
	r = gnutls_certificate_set_x509_trust_mem(t->credentials, &ca, GNUTLS_X509_FMT_PEM);
	if (r <= 0)
		return say(error, n_error, "CAs of clients: %s", r ? gnutls_strerror(r) : "there is none");
done:
	*ret = TAKE_PTR(t);
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->priorities)
		gnutls_priority_deinit(t->priorities);
	if (t->credentials)
		gnutls_certificate_free_credentials(t->credentials);
	free(t);
}

/* The client's own certificate, or NULL. */
static gnutls_x509_crt_t peer_certificate(gnutls_session_t session)
{
	unsigned n = 0;
	const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &n);
	gnutls_x509_crt_t crt = NULL;

	if (!list || !n || gnutls_x509_crt_init(&crt) < 0)
		return NULL;
	if (gnutls_x509_crt_import(crt, &list[0], GNUTLS_X509_FMT_DER) == 0)
		return crt;
	gnutls_x509_crt_deinit(crt);
	return NULL;
}

/* As Go compares them: names, addresses and URIs letter by letter. */
static bool san_is(unsigned type, const char *san, size_t n, const char *wanted)
{
	char address[INET6_ADDRSTRLEN];

	if (type == GNUTLS_SAN_IPADDRESS)
		return (n == 4 || n == 16) && inet_ntop(n == 4 ? AF_INET : AF_INET6, san, address, sizeof(address)) &&
		       !strcmp(address, wanted);
	return (type == GNUTLS_SAN_DNSNAME || type == GNUTLS_SAN_RFC822NAME || type == GNUTLS_SAN_URI) &&
	       strlen(wanted) == n && !memcmp(wanted, san, n);
}

static bool is_allowed(const struct tls *t, gnutls_x509_crt_t crt)
{
	char san[1024];

	for (unsigned i = 0; i < 1024; i++) {
		size_t n = sizeof(san);
		int type = gnutls_x509_crt_get_subject_alt_name(crt, i, san, &n, NULL);

		if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return false;
		if (type < 0)
			continue;
		if (type != GNUTLS_SAN_IPADDRESS)
			n = strnlen(san, n);
		for (size_t k = 0; k < t->n_sans; k++)
			if (san_is((unsigned)type, san, n, t->sans[k]))
				return true;
	}
	return false;
}

/* In the handshake, once the client's certificate has come, or not. 0: it may go on. */
static int verify(gnutls_session_t session)
{
	/* a server's certificate is no client's, as in Go */
	gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
					  .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT };
	const struct tls *t = gnutls_session_get_ptr(session);
	gnutls_x509_crt_t crt;
	unsigned status = ~0u, n = 0;
	bool fits;

	if (!gnutls_certificate_get_peers(session, &n) || !n)
		return 0; /* where one is needed, GnuTLS itself ends it */
	if (t->client_auth < BROKER_CLIENT_VERIFY)
		return 0;
	if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) < 0 || status)
		return -1;
	if (!t->n_sans)
		return 0;
	crt = peer_certificate(session);
	fits = crt && is_allowed(t, crt);
	if (crt)
		gnutls_x509_crt_deinit(crt);
	return fits ? 0 : -1;
}

void tls_begin(struct tls *t, void *session)
{
	gnutls_certificate_request_t how = t->client_auth == BROKER_CLIENT_NONE ? GNUTLS_CERT_IGNORE :
					   t->client_auth == BROKER_CLIENT_REQUIRE ||
							   t->client_auth == BROKER_CLIENT_BOTH ?
										  GNUTLS_CERT_REQUIRE :
										  GNUTLS_CERT_REQUEST;

	gnutls_session_set_ptr(session, t);
	gnutls_priority_set(session, t->priorities);
	gnutls_credentials_clear(session);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->credentials);
	gnutls_certificate_server_set_request(session, how);
	gnutls_session_set_verify_function(session, verify);
}

void tls_peer(const struct tls *t, void *session, char to[TLS_MAX_NAME])
{
	gnutls_x509_crt_t crt;
	char name[TLS_MAX_NAME];
	size_t n = sizeof(name);

	*to = '\0';
	if (!session || t->client_auth < BROKER_CLIENT_VERIFY)
		return;
	crt = peer_certificate(session);
	if (crt && gnutls_x509_crt_get_dn(crt, name, &n) == 0)
		utf8_copy(to, TLS_MAX_NAME, name, strnlen(name, sizeof(name)));
	if (crt)
		gnutls_x509_crt_deinit(crt);
}

bool tls_is_named(const struct tls *t, const char *host)
{
	gnutls_x509_crt_t *list = NULL;
	unsigned n = 0;
	bool named;

	if (gnutls_certificate_get_x509_crt(t->credentials, 0, &list, &n) < 0)
		return false;
	named = n && gnutls_x509_crt_check_hostname(list[0], host);
	for (unsigned i = 0; i < n; i++)
		gnutls_x509_crt_deinit(list[i]);
	gnutls_free(list);
	return named;
}
