/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* http_log.h - what libmicrohttpd has to say: each of its messages once, and none that clients can make it say at
 * will. */

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>

#define HTTP_LOG_SEEN 16

struct http_log {
	pthread_mutex_t lock; /* guards seen */
	uint64_t seen[HTTP_LOG_SEEN]; /* hashes of messages */
};

void http_log_init(struct http_log *l);
/* A logger of MHD's. */
void http_log_say(void *http_log, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
