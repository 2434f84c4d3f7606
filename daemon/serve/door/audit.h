/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* audit.h - who has read what: one line on standard error for each capture, and for each request that was
 * turned away.
 *
 * What strangers wrote is in quotes, with everything but plain ASCII escaped, and cut. Bounded: a hundred
 * lines at once, twenty a second, of captures and of refusals apart; the next line says how
 * many were left out. */

#include <stdint.h>

#include "base/bytes.h"

struct audit_entry {
	const char *client; /* "127.0.0.1", "uid 1000" */
	const char *user;   /* who has shown who he is; "": nobody */
	const char *target; /* of the request line, undecoded */
	int32_t pid;	    /* 0: none */
	unsigned status;    /* 0: no answer, the client had gone */
	int64_t took_ns;
	uint64_t n_bytes; /* of the answer's body */
};

/* The line without its count of others. */
void audit_line(struct bytes *to, const struct audit_entry *e);
void audit_tell(const struct audit_entry *e);
