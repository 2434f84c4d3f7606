/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness/harness.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *answer_requests(void *context)
{
	struct broker *b = context;
	struct pollfd f = { .fd = b->serve.socket, .events = POLLIN };

	while (poll(&f, 1, -1) >= 0)
		if (broker_answer(b) < 0)
			break;
	return NULL;
}

static void die(const char *text)
{
	fprintf(stderr, "harness: %s\n", text);
	exit(1);
}

void harness_open(struct harness *h, pid_t pid, struct kernel_clock clock)
{
	static const struct options options = { .hz = 100 };
	char error[KERNEL_MAX_TEXT] = "";
	struct target *t = &h->core.targets[0];
	int pair[2];

	memset(h, 0, sizeof(*h));
	h->broker = (struct broker){ .options = &options,
				     .processes = &h->process,
				     .n_processes = 1,
				     .serve = CHILD_NONE,
				     .symbolizer = CHILD_NONE };
	if (process_open(pid, &h->process) != PROCESS_OK)
		die("no such process");
	if (kernel_load(NULL, clock, &h->broker.kernel, error) < 0)
		die(error);
	if (record_pair(pair) < 0)
		die("socketpair");
	h->broker.serve.socket = pair[0];
	pthread_create(&h->thread, NULL, answer_requests, &h->broker);
	core_init(&h->core, pair[1]);
	h->core.hz = clock.hz;
	h->core.period_ns = 1000000000ull / clock.hz;
	*t = (struct target){ .pid = pid, .pidfd = dup(h->process.pidfd) };
	memcpy(t->comm, h->process.comm, sizeof(t->comm));
	h->core.n_targets = 1;
	if (core_load(&h->core) < 0)
		die("maps");
	pthread_mutex_lock(&h->core.scan_lock);
	if (target_scan(&h->core, t, true) != TARGET_OK)
		die("scan");
	pthread_mutex_unlock(&h->core.scan_lock);
}

void harness_close(struct harness *h)
{
	close(h->core.broker.fd);
	pthread_join(h->thread, NULL);
	child_stop(&h->broker.symbolizer);
	kernel_free(h->broker.kernel);
}
