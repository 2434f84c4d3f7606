/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* web_file.h - the file of --web.config.file, as values: who may read what we serve.
 *
 * Prometheus' exporter-toolkit has the format (its docs/web-configuration.md), in YAML. What is not
 * known, doubled or cannot be done is refused with its line, never left out: a lock that is spelt wrong
 * must not be an open door. Knows texts only: opens no file, does not know whether a key fits. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "daemon/protocol.h"

#define WEB_FILE_MAX ((size_t)256 * 1024) /* bytes of the file */
#define WEB_FILE_MAX_USERS 1024
#define WEB_FILE_MAX_SANS 256
#define WEB_FILE_MAX_COST 16 /* of a bcrypt hash: seconds of CPU time each check */
#define WEB_FILE_MAX_TEXT 512

/* A certificate, a key, CAs: named, or in the file itself. */
struct web_pem {
	char *file;   /* as written */
	char *inside;
	size_t line;
};

struct web_file {
	bool tls;
	struct web_pem pem[BROKER_N_PEM];
	enum broker_client_auth client_auth;
	char priorities[512]; /* for GnuTLS */
	struct bytes text;    /* NUL-terminated: n_headers of (name, value), n_users of (name, hash), n_sans */
	uint32_t n_headers, n_users, n_sans;
};

/* 0; -EINVAL, -ENOMEM: `error` (WEB_FILE_MAX_TEXT) says "NAME:LINE: what". */
int web_file_parse(const char *name, const void *data, size_t n, struct web_file *ret, char *error);
void web_file_deinit(struct web_file *f);

/* Nobody gets in without a password, or a certificate of the right CA. */
bool web_file_authenticates(const struct web_file *f);
