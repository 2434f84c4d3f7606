/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* json.h - texts for JSON (RFC 8259, 7). */

#include "base/bytes.h"

/* A string of whatever bytes, in quotes: UTF-8, without control characters. */
void json_string(struct bytes *b, const char *text);
