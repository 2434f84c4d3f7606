/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* usage.h - what pprofd itself takes: its processes' time and memory, and the memory of its programs and maps.
 *
 * Reads /proc of our own processes when it is asked, a millisecond or two; keeps nothing. */

#include "daemon/protocol.h"

struct broker;

/* What cannot be read is 0. */
void usage_read(const struct broker *b, struct broker_usage *ret);
