/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* web_ciphers.h - Go's names of cipher suites and curves, as GnuTLS' words.
 *
 * GnuTLS is told key exchanges and ciphers apart, so a list of suites can be had only if it is all
 * combinations of those. Suites without authenticated encryption or forward secrecy are not spoken.
 * Those of TLS 1.3 are no choice in Go either: named, they change nothing. */

#include <stdbool.h>
#include <stddef.h>

struct web_ciphers {
	unsigned suites; /* bits: key exchange * WEB_N_CIPHERS + cipher */
	int curves[4];	 /* in order */
	unsigned n_curves;
};

/* False: it is unknown. */
bool web_ciphers_add(struct web_ciphers *c, const char *name);
bool web_ciphers_add_curve(struct web_ciphers *c, const char *name);
/* A suite that would be allowed besides, or NULL. */
const char *web_ciphers_excess(const struct web_ciphers *c);
/* The priorities; min and max are of TLS 1.x. */
void web_ciphers_write(const struct web_ciphers *c, unsigned min, unsigned max, char *to, size_t n);
