/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fetch_protocol.h - between the broker and pprofd-fetch, which gets one file from the network and ends.
 *
 * The broker sends one record: struct fetch_question, then n_text bytes of NUL-terminated URLs; fd: an empty file to write
 * to. The child answers with one: status 0 (it is written), FETCH_NONE, or -errno, and a text that says why not. What it
 * wrote is a stranger's, and so is the text. */

#include <stdint.h>

#include "base/record.h"

enum fetch_record { FETCH_QUESTION = 1, FETCH_ANSWER };

#define FETCH_NONE 1 /* each of the servers says that it has none */

#define FETCH_MAX_ID 64
#define FETCH_MAX_URLS 8
#define FETCH_MAX_URL 512
#define FETCH_MAX_TEXT 160

#define FETCH_MAX_SIZE (2ull << 30) /* bytes of a file; also its RLIMIT_FSIZE */
#define FETCH_MAX_S 1200	    /* from all servers together */

struct fetch_question {
	uint64_t max_size;
	uint32_t seconds; /* in all */
	uint32_t n_id;
	uint32_t n_urls, n_text;
	uint8_t id[FETCH_MAX_ID];
};
