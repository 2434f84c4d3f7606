/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* demangle.h - from linkage names to what people write.
 *
 * C++ (Itanium ABI) and Rust (legacy and v0) by libiberty; other names pass as they are.
 * DEMANGLE_SIMPLE is what `go tool pprof` shows by default: no parameters, no template arguments.
 * Names come from strangers: recursion and length are bounded, a name that cannot be demangled
 * passes as it is. */

#include <stddef.h>

#include "symbolizer/protocol.h"

/* Writes at most SYMBOLIZER_MAX_NAME bytes and a NUL to `to`; valid UTF-8 without control
 * characters. Returns the length. */
size_t demangle(const char *system_name, enum symbolizer_demangle how,
		char to[SYMBOLIZER_MAX_NAME + 1]);
