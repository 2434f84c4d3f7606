/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* check.h - `pprofd --check`: what works here, and the one thing that is missing for what does not.
 *
 * Everything is tried with the rights that the daemon would have, by its own code: programs are loaded and attached,
 * probes are set on an instruction of ours. Nothing is told from a version. Starts no other process of ours. */

#include "daemon/broker/options.h"

/* A line on standard output for each process that was named, each endpoint, and what else may be missing. 0: all of it
 * works; 1: not all. */
int check_run(const struct options *o);
