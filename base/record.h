/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* record.h - one message of the socketpairs between our processes.
 *
 * A message is a fixed header, at most RECORD_MAX bytes of payload and at most RECORD_MAX_FDS
 * file descriptors, over SOCK_SEQPACKET: it arrives whole or not at all. The receiver treats the
 * sender as hostile: lengths are checked here, contents by whoever asked. */

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define RECORD_MAX (32 * 1024)
#define RECORD_MAX_FDS 64

struct record {
	uint32_t type;	 /* the protocol's own enum */
	uint32_t serial; /* of the request; an answer repeats it */
	int32_t status;	 /* an answer's: 0 or -errno, or a positive of the protocol */
	uint32_t n;	 /* bytes of payload */
	uint32_t n_fds;
	int fds[RECORD_MAX_FDS]; /* owned by the receiver */
	unsigned char data[RECORD_MAX] __attribute__((aligned(8)));
};

/* Both ends, close-on-exec. */
int record_pair(int ret_fds[2]);

/* Sends the header and r->n bytes of r->data; fds are duplicated by the kernel and stay the
 * caller's. Blocks while the peer's queue is full. -EPIPE when the peer is gone. */
int record_send(int fd, const struct record *r);

/* Waits at most timeout_ms (-1: for ever). 0; -ETIMEDOUT; -EPIPE at the end of the stream; -EBADMSG
 * for anything else than one well-formed message (its fds are closed). */
int record_receive(int fd, struct record *r, int timeout_ms);

void record_close_fds(struct record *r);

/* The payload as a struct of exactly this size, or NULL. */
#define record_payload(r, type) ((r)->n == sizeof(type) ? (const type *)(const void *)(r)->data : NULL)
