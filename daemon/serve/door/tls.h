/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* tls.h - our certificate, and what is asked of the clients'.
 *
 * Owns credentials that never change: a new certificate is a new struct tls, and connections keep the one they
 * began with. The private key is in this process, in GnuTLS' memory, and nowhere else of ours. The only file
 * besides door/password.c that sees GnuTLS. */

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "daemon/protocol.h"

#define TLS_MAX_NAME 256

struct tls;

struct tls_from {
	const char *priorities;
	enum broker_client_auth client_auth;
	const void *pem[BROKER_N_PEM]; /* borrowed; NULL: none */
	size_t n_pem[BROKER_N_PEM];
	const char *const *sans; /* borrowed for as long as the tls; one of them has to be in a client's certificate */
	size_t n_sans;
};

/* 0; negative: `error` says why in one line. */
int tls_new(const struct tls_from *from, char *error, size_t n_error, struct tls **ret);
void tls_free(struct tls *t);
DEFINE_CLEANUP(struct tls, tls_free)

/* session: a gnutls_session_t before its handshake. The tls has to outlive it. */
void tls_begin(struct tls *t, void *session);
/* Whom the client's certificate is of, if one was asked for and verified; "" otherwise. */
void tls_peer(const struct tls *t, void *session, char to[TLS_MAX_NAME]);
/* Whether our certificate is for the host of this name. */
bool tls_is_named(const struct tls *t, const char *host);
