/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* web.h - what the operator's --web.config.file says, as it is in force now.
 *
 * Owns the current configuration; whoever uses one holds it, so that a newer one disturbs nobody. Asks
 * the broker for a newer one when somebody asks for it here, once a second at most. One that is no good
 * changes nothing, and is told once. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/record.h"
#include "daemon/protocol.h"
#include "daemon/serve/door/password.h"
#include "daemon/serve/door/tls.h"

#define WEB_MAX_HEADERS 16
#define WEB_MAX_ERROR 300

struct broker_client;

struct web_header {
	const char *name, *value;
};

/* Never changes. */
struct web_config {
	int n_holders; /* atomic */
	uint32_t generation;
	char *text; /* all strings */
	struct web_header headers[WEB_MAX_HEADERS];
	size_t n_headers;
	struct password_user *users;
	size_t n_users;
	const char **sans;
	size_t n_sans;
	struct tls *tls; /* NULL: none */
};

struct web;

/* Takes the broker's record apart (its descriptors are closed). 0; negative: `error` (WEB_MAX_ERROR) says why. */
int web_config_new(struct record *r, char *error, struct web_config **ret);
void web_config_put(struct web_config *c);
DEFINE_CLEANUP(struct web_config, web_config_put)

/* Takes `first`. broker NULL: it never changes. */
int web_new(struct broker_client *broker, struct web_config *first, struct web **ret);
void web_free(struct web *w);
DEFINE_CLEANUP(struct web, web_free)

/* The one in force; the caller's until web_config_put. */
struct web_config *web_get(struct web *w);
