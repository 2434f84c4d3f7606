/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* rate.h - how many requests a second a client may send.
 *
 * A client may be ahead of its rate by a second's worth. Bounded: 2,048 clients; a new one takes the
 * place of one that has been idle longest (of four), so who floods us from many addresses gets some
 * of his requests back, and nobody else is turned away for it. */

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct rates;

/* per_second > 0. 0 or -errno. */
int rates_new(unsigned per_second, struct rates **ret);
void rates_free(struct rates *r);
DEFINE_CLEANUP(struct rates, rates_free)

/* Whether the client may send one more at now_ns; if not, *ret_wait_ns says when. */
bool rates_take(struct rates *r, uint64_t client, int64_t now_ns, int64_t *ret_wait_ns);
