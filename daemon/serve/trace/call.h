/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* call.h - names of system calls. */

#include <stddef.h>

/* "futex", or "call 1234" where it has none. */
void call_name(int call, char *to, size_t n);
