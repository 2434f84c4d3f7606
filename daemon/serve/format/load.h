/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* load.h - a profile that we have written (encode.h), read again: as a named capture, so that it can be had in every format
 * later.
 *
 * Takes our own bytes, and yet nothing for granted: whatever they are, the answer is a profile or an error. */

#include "daemon/serve/format/format.h"
#include "daemon/serve/profile.h"

struct loaded {
	void *message; /* unpacked: all texts are in it */
	struct profile profile;
	struct capture *capture;
	struct naming naming;
};

/* loaded_deinit in any case. 0; -EBADMSG: it is no profile; -E2BIG; -ENOMEM. */
int load_pprof(const void *data, size_t n, struct loaded *ret);
/* The same of unpacked bytes. */
int load_plain(const void *data, size_t n, struct loaded *ret);
void loaded_deinit(struct loaded *l);

int load_and_write(const struct bytes *pprof, enum format f, const char *title, struct bytes *ret);
