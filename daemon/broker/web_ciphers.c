/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/web_ciphers.h"

#include <stdio.h>
#include <string.h>

#define N_EXCHANGES 2
#define N_CIPHERS 3

static const char *const exchanges[N_EXCHANGES] = { "ECDHE-RSA", "ECDHE-ECDSA" };
static const char *const ciphers[N_CIPHERS] = { "AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305" };

static const struct suite {
	const char *name;
	int exchange, cipher;
} suites[] = {
	{ "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0, 0 },
	{ "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0, 1 },
	{ "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0, 2 },
	{ "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 1, 0 },
	{ "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 1, 1 },
	{ "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 1, 2 },
	{ "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", 0, 2 }, /* Go's older names */
	{ "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", 1, 2 },
	{ "TLS_AES_128_GCM_SHA256", -1, 0 },
	{ "TLS_AES_256_GCM_SHA384", -1, 1 },
	{ "TLS_CHACHA20_POLY1305_SHA256", -1, 2 },
};

static const struct curve {
	const char *name, *words;
} curves[] = {
	{ "X25519", "GROUP-X25519" },
	{ "CurveP256", "GROUP-SECP256R1" },
	{ "CurveP384", "GROUP-SECP384R1" },
	{ "CurveP521", "GROUP-SECP521R1" },
};

static unsigned bit(int exchange, int cipher)
{
	return 1u << (exchange * N_CIPHERS + cipher);
}

bool web_ciphers_add(struct web_ciphers *c, const char *name)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		if (strcmp(suites[i].name, name))
			continue;
		if (suites[i].exchange >= 0)
			c->suites |= bit(suites[i].exchange, suites[i].cipher);
		return true;
	}
	return false;
}

bool web_ciphers_add_curve(struct web_ciphers *c, const char *name)
{
	for (int i = 0; i < (int)(sizeof(curves) / sizeof(curves[0])); i++) {
		if (strcmp(curves[i].name, name))
			continue;
		for (unsigned k = 0; k < c->n_curves; k++)
			if (c->curves[k] == i)
				return true;
		c->curves[c->n_curves++] = i;
		return true;
	}
	return false;
}

static bool has_exchange(const struct web_ciphers *c, int exchange)
{
	return c->suites >> (exchange * N_CIPHERS) & ((1u << N_CIPHERS) - 1);
}

static bool has_cipher(const struct web_ciphers *c, int cipher)
{
	return c->suites & (bit(0, cipher) | bit(1, cipher));
}

const char *web_ciphers_excess(const struct web_ciphers *c)
{
	for (size_t i = 0; i < N_EXCHANGES * N_CIPHERS; i++)
		if (has_exchange(c, suites[i].exchange) && has_cipher(c, suites[i].cipher) &&
		    !(c->suites & bit(suites[i].exchange, suites[i].cipher)))
			return suites[i].name;
	return NULL;
}

static void add(char *to, size_t n, const char *prefix, const char *words)
{
	size_t used = strlen(to);

	snprintf(to + used, n - used, "%s%s", prefix, words);
}

void web_ciphers_write(const struct web_ciphers *c, unsigned min, unsigned max, char *to, size_t n)
{
	*to = '\0';
	add(to, n, "", "NORMAL:-VERS-ALL");
	for (unsigned v = max; v >= min && v >= 2; v--)
		add(to, n, ":+VERS-TLS1.", v == 3 ? "3" : "2");
	add(to, n, "", ":-KX-ALL");
	for (int i = 0; i < N_EXCHANGES; i++)
		if (!c->suites || has_exchange(c, i))
			add(to, n, ":+", exchanges[i]);
	add(to, n, "", ":-CIPHER-ALL");
	for (int i = 0; i < N_CIPHERS; i++)
		if (!c->suites || has_cipher(c, i))
			add(to, n, ":+", ciphers[i]);
	add(to, n, "", ":-MAC-ALL:+AEAD");
	if (c->n_curves)
		add(to, n, "", ":-GROUP-ALL");
	for (unsigned i = 0; i < c->n_curves; i++)
		add(to, n, ":+", curves[c->curves[i]].words);
	add(to, n, "", ":%SERVER_PRECEDENCE");
}
