/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

void log_line(const char *format, ...)
{
	char raw[1024], line[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(raw, sizeof(raw), format, ap);
	va_end(ap);
	utf8_copy(line, sizeof(line), raw, strlen(raw)); /* names in it are strangers' */
	fprintf(stderr, "pprofd: %s\n", line);
}
