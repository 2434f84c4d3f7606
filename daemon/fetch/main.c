/* SPDX-License-Identifier: Apache-2.0 */

/* main.c - pprofd-fetch: started by the broker with one socket as descriptor 3, for one file. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "daemon/fetch/fetch.h"
#include "daemon/fetch/sandbox.h"

#define SOCKET_FD 3

/* 0, FETCH_NONE or -errno. */
static int answer(struct record *r, char why[FETCH_MAX_TEXT])
{
	const struct fetch_question *q = (const void *)r->data;
	struct fetch *f = NULL;
	int err;

	if (r->type != FETCH_QUESTION || r->n < sizeof(*q) || q->n_text != r->n - sizeof(*q) || r->n_fds != 1)
		return -EBADMSG;
	sandbox_limit_fetch(q->max_size);
	err = fetch_open(q, (const char *)(q + 1), &f);
	if (err == 0)
		err = sandbox_enter_fetch();
	if (err == 0)
		err = fetch_run(f, r->fds[0], why);
	fetch_free(f);
	return err;
}

int main(void)
{
	static struct record r;
	char why[FETCH_MAX_TEXT] = "";
	int type;
	socklen_t n = sizeof(type);

	if (getsockopt(SOCKET_FD, SOL_SOCKET, SO_TYPE, &type, &n) < 0) {
		fprintf(stderr, "pprofd-fetch is started by pprofd\n");
		return 2;
	}
	prctl(PR_SET_NAME, "pprofd-fetch"); /* it was executed by descriptor, which has no name */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (record_receive(SOCKET_FD, &r, -1) < 0)
		return 1;
	r.status = answer(&r, why);
	if (r.status < 0 && !*why)
		snprintf(why, sizeof(why), "%s", strerror(-r.status));
	record_close_fds(&r);
	r.type = FETCH_ANSWER;
	r.n = (uint32_t)strlen(why);
	memcpy(r.data, why, r.n);
	return record_send(SOCKET_FD, &r) < 0;
}
