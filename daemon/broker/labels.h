/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* labels.h - labels of threads that do not run just now.
 *
 * The kernel's own reading of labels (bpf/label.bpf.h), of threads that it is not in. Reads what serve says where it
 * is, as the kernel side does; bounded by a set's size, for each thread that is asked about. */

#include "daemon/broker/process.h"

/* A descriptor of, for each thread pointer, uint64_t n and n words of a set (bpf/event.h); -errno. Reading may block where
 * memory is the target's to provide: it happens in a child that can be killed. Whether a thread has run meanwhile, the
 * caller has to ask. */
int labels_read(struct process *p, const struct pp_labels *labels, const uint64_t *thread_pointers, uint32_t n);
