/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* password.h - HTTP's basic authentication against bcrypt hashes.
 *
 * A check costs some 50 ms of CPU, and strangers may ask for any number. So few run at a time, a bounded
 * number wait, what was found is remembered (under a key that is made at the start: a digest of user, hash and
 * password, never the password), and a name that does not exist costs what one that does exist costs. */

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

#define PASSWORD_MAX_USER 256
#define PASSWORD_MAX_WAITING 64

struct password_user {
	const char *name, *hash;
};

enum password_verdict {
	PASSWORD_OK,
	PASSWORD_WRONG, /* or none, or nonsense */
	PASSWORD_BUSY,	/* too many are being looked at */
};

struct passwords;

/* 0 or -errno. */
int passwords_new(struct passwords **ret);
void passwords_free(struct passwords *p);
DEFINE_CLEANUP(struct passwords, passwords_free)

/* authorization: the header's value, or NULL. n > 0 users. OK and WRONG: `user` is who it claims to be, "" if nobody.
 * May take a while. */
enum password_verdict password_check(struct passwords *p, const struct password_user *users, size_t n,
				     const char *authorization, char user[PASSWORD_MAX_USER]);

/* How many checks were not found remembered. */
unsigned long passwords_n_checked(struct passwords *p);
