/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* Memory, processor time, descriptors, and bytes of a file: bounded from the start. */
void sandbox_limit_fetch(uint64_t max_size);
/* From here on: TCP connections, and the descriptors that are there; no file is opened, no process started. 0 or -errno. */
int sandbox_enter_fetch(void);
