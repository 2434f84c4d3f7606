/* SPDX-License-Identifier: Apache-2.0 */
#include "base/record.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

struct wire_header {
	uint32_t type, serial;
	int32_t status;
	uint32_t n, n_fds;
};

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * RECORD_MAX_FDS)];
};

int record_pair(int ret_fds[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0)
		return -errno;
	return 0;
}

int record_send(int fd, const struct record *r)
{
	struct wire_header h = { r->type, r->serial, r->status, r->n, r->n_fds };
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)r->data, r->n } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	union control control;

	if (r->n > RECORD_MAX || r->n_fds > RECORD_MAX_FDS)
		return -EINVAL;
	if (r->n_fds) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * r->n_fds);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * r->n_fds);
		memcpy(CMSG_DATA(c), r->fds, sizeof(int) * r->n_fds);
	}
	for (;;) {
		if (sendmsg(fd, &m, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		return errno == ECONNRESET ? -EPIPE : -errno;
	}
}

void record_close_fds(struct record *r)
{
	for (uint32_t i = 0; i < r->n_fds; i++)
		close_fd(&r->fds[i]);
	r->n_fds = 0;
}

static void take_fds(struct record *r, struct msghdr *m)
{
	r->n_fds = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (r->n_fds < RECORD_MAX_FDS)
				r->fds[r->n_fds++] = fd;
			else
				close(fd);
		}
	}
}

static int wait_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (;;) {
		int n = poll(&p, 1, timeout_ms);

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

int record_receive(int fd, struct record *r, int timeout_ms)
{
	struct wire_header h;
	struct iovec iov[2] = { { &h, sizeof(h) }, { r->data, RECORD_MAX } };
	union control control;
	struct msghdr m = { .msg_iov = iov,
			    .msg_iovlen = 2,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	ssize_t got;
	int err = wait_readable(fd, timeout_ms);

	r->n = r->n_fds = 0;
	if (err < 0)
		return err;
	do {
		got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	take_fds(r, &m);
	if (got == 0)
		return record_close_fds(r), -EPIPE;
	if ((size_t)got < sizeof(h) || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    h.n != (size_t)got - sizeof(h) || h.n_fds != r->n_fds)
		return record_close_fds(r), -EBADMSG;
	r->type = h.type;
	r->serial = h.serial;
	r->status = h.status;
	r->n = h.n;
	return 0;
}
