/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as one message of a socketpair, with as many descriptors as the first byte says: what
 * is taken is well-formed, and no descriptor is left behind. */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void send_raw(int fd, const uint8_t *data, size_t n, unsigned n_fds)
{
	char control[CMSG_SPACE(sizeof(int) * 255)] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (void *)data, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c = (void *)control;

	if (n_fds) {
		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		for (unsigned i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(fd));
	}
	sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct record r, again;
	unsigned n_fds = n && data[0] < 80 ? data[0] : 0;
	int fds[2], next, before, err;

	if (!n || record_pair(fds) < 0)
		return 0;
	before = dup(fds[0]);
	close(before);
	send_raw(fds[0], data + 1, n - 1, n_fds);
	shutdown(fds[0], SHUT_WR);
	err = record_receive(fds[1], &r, 0);
	assert(r.n_fds <= RECORD_MAX_FDS && r.n <= RECORD_MAX);
	if (err == 0) {
		assert(r.n == n - 1 - 20 && r.n_fds == n_fds);
		assert(!memcmp(r.data, data + 21, r.n));
		record_close_fds(&r);
		assert(record_send(fds[1], &r) == 0);
		assert(record_receive(fds[0], &again, 0) == 0);
		assert(again.type == r.type && again.serial == r.serial &&
		       again.status == r.status && again.n == r.n);
	} else {
		assert(err == -EBADMSG || err == -EPIPE);
		assert(!r.n_fds && !r.n);
	}
	next = dup(fds[0]); /* the lowest number that is free */
	assert(next == before);
	close(next);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
