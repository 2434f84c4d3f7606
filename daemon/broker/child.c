/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/record.h"
#include "daemon/broker/starter.h"

#define END_MS 5000 /* for one that only the end of its socket tells of it */

static struct {
	pid_t pid;
	int socket;
} starter = { 0, -1 };

int child_begin(void)
{
	int r = starter.socket >= 0 ? 0 : starter_begin(&starter.pid);

	if (r > 0)
		starter.socket = r;
	return r < 0 ? r : 0;
}

void child_end(void)
{
	close_fd(&starter.socket);
	if (starter.pid > 0)
		waitpid(starter.pid, NULL, 0);
	starter.pid = 0;
}

static int ask(struct record *r, struct starter_question q)
{
	int err = child_begin();

	memcpy(r->data, &q, sizeof(q));
	r->n = sizeof(q);
	if (err == 0)
		err = record_send(starter.socket, r);
	if (err == 0)
		err = record_receive(starter.socket, r, -1);
	return err < 0 ? err : r->status;
}

int child_start(const char *name, struct child *ret)
{
	_cleanup_(closep) int ours = -1, theirs = -1;
	static struct record r;
	int pair[2], pid, program = starter_program(name), err = program < 0 ? program : record_pair(pair);

	if (err < 0)
		return err;
	ours = pair[0];
	theirs = pair[1];
	r = (struct record){ .type = STARTER_START, .n_fds = 1, .fds = { theirs } };
	pid = ask(&r, (struct starter_question){ .program = (uint32_t)program });
	if (pid <= 0)
		return pid < 0 ? pid : -EBADMSG;
	*ret = (struct child){ .pid = pid, .socket = TAKE_FD(ours), .pidfd = r.n_fds ? r.fds[0] : -1 };
	return 0;
}

void child_stop(struct child *c)
{
	struct pollfd f = { .fd = c->pidfd, .events = POLLIN };
	static struct record r;

	if (c->pid > 0) {
		r = (struct record){ .type = STARTER_END };
		if (ask(&r, (struct starter_question){ .pid = c->pid }) < 0)
			kill(c->pid, SIGKILL);
		close_fd(&c->socket); /* where we may not signal it, this ends it */
		if (poll(&f, 1, END_MS) != 0)
			waitpid(c->pid, NULL, 0);
	}
	close_fd(&c->socket);
	close_fd(&c->pidfd);
	c->pid = 0;
}
