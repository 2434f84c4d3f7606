/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* usage.h - what processes take: of pprofd itself time, memory, and the memory of its programs and maps; of known ones less.
 *
 * Reads /proc when it is asked, a millisecond or two, of known processes no file that waits for them; keeps nothing. */

#include "daemon/protocol.h"

struct broker;

/* What cannot be read is 0. */
void usage_stat(const struct broker_known *k, struct broker_stat *ret);
void usage_read(const struct broker *b, struct broker_usage *ret);
