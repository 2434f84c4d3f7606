/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* probe.h - the two USDT probes, otel_memory:alloc and otel_memory:free (probe_x86_64.S).
 *
 * Each site is a function of its own whose first instruction is the five-byte nop: elsewhere the
 * kernel's optimised uprobes write below rsp (hard rule 2). Arguments are where the ABI puts them.
 */

#include <stddef.h>
#include <stdint.h>

/* weight: bytes that this sample stands for, sampling.h. */
void pprofd_alloc_site(void *p, size_t size, uint64_t weight);
void pprofd_free_site(void *p);

/* Raised by the kernel for each reader that is attached. Exported, so that a test can raise it; of
 * the two only alloc's switches sampling. */
extern volatile uint16_t pprofd_alloc_semaphore, pprofd_free_semaphore;
