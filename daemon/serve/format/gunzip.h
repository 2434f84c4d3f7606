/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* gunzip.h - unpacks what we have packed ourselves, up to a bound. */

#include <stddef.h>

#include "base/bytes.h"

/* Appends; one gzip member. 0; -EBADMSG: it is none, or is not whole; -E2BIG; -ENOMEM. */
int gunzip(const void *data, size_t n, size_t max, struct bytes *to);
