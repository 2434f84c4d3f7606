/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/http_log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/log.h"

void http_log_init(struct http_log *l)
{
	*l = (struct http_log){ 0 };
	pthread_mutex_init(&l->lock, NULL);
}

/* What clients can make MHD say at will. */
static bool is_chatter(const char *text)
{
	static const char *const chatter[] = {
		"Application reported internal error", /* a handler's hang_up */
		"Connection ", /* was closed by the remote side, rejected by on_accept... */
		"Socket has been disconnected",
		"Error processing request",
		"Failed to send",
		"Failed to parse",
		"Too large value",
		"Not enough memory in pool",
		"Server reached connection limit",
		"Closing connection (",
		"Error: received handshake message", /* each that fails */
	};

	for (size_t i = 0; i < sizeof(chatter) / sizeof(*chatter); i++) {
		if (!strncmp(text, chatter[i], strlen(chatter[i])))
			return true;
	}
	return false;
}

/* Each of MHD's own messages once. */
static bool is_new(struct http_log *l, uint64_t hash)
{
	size_t i = 0;
	bool new;

	pthread_mutex_lock(&l->lock);
	while (i < HTTP_LOG_SEEN && l->seen[i] && l->seen[i] != hash)
		i++;
	new = i < HTTP_LOG_SEEN && !l->seen[i];
	if (new)
		l->seen[i] = hash;
	pthread_mutex_unlock(&l->lock);
	return new;
}

void http_log_say(void *context, const char *format, va_list ap)
{
	const struct timespec nap = { .tv_nsec = 100 * NS_PER_MS };
	char text[256];

	vsnprintf(text, sizeof(text), format, ap);
	text[strcspn(text, "\r\n")] = '\0';
	/* Out of descriptors, MHD's thread would spin: it forgets its at_limit in this mode. */
	if (!strncmp(text, "Error accepting", 15))
		nanosleep(&nap, NULL);
	if (!is_chatter(text) && is_new(context, hash_bytes(HASH_SEED, text, strlen(text))))
		log_line("http: %s", text);
}
