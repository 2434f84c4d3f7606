/* SPDX-License-Identifier: Apache-2.0 */
/* labels_library.c - a library that sets labels for its caller. */
#include "preload/pprofd.h"

void library_set(const char *key, const char *value);
void library_clear(const char *key);

void library_set(const char *key, const char *value)
{
	PPROFD_LABEL_SET(key, value);
}

void library_clear(const char *key)
{
	PPROFD_LABEL_CLEAR(key);
}
