/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* context.h - what a process says of itself in OpenTelemetry's way (OTEP 4719).
 *
 * A mapping named OTEL_CTX has a header that says where the rest is. Of a target's memory this gives the one thing
 * that the target has published for others, and only what bears its signature; parses none of it. */

#include "daemon/broker/process.h"

#define CONTEXT_MAX (64u << 10) /* bytes */

/* A descriptor of a copy, to be read from its start; -ENOENT: the process has published none; -errno. Reading may block
 * where the page is the target's to provide: it happens in a child that can be killed. */
int context_open(struct process *p);
