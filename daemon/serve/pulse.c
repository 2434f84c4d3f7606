/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/pulse.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct pulse {
	struct core *core;
	int every_ms;
	struct record record; /* not the client's, whose lock is held for as long as a request takes */
};

static void *beat(void *context)
{
	_cleanup_(freep) struct pulse *p = context;
	struct pollfd f = { .fd = p->core->stop_fd, .events = POLLIN };

	for (;;) {
		int r = poll(&f, 1, p->every_ms);

		if (r > 0 || (r < 0 && errno != EINTR))
			return NULL;
		if (r < 0)
			continue;
		pthread_mutex_lock(&p->core->lock);
		pthread_mutex_unlock(&p->core->lock);
		if (record_send(p->core->broker.fd, &p->record) < 0)
			return NULL;
	}
}

int pulse_start(struct core *c, uint32_t every_ms)
{
	_cleanup_(freep) struct pulse *p = every_ms ? calloc(1, sizeof(*p)) : NULL;
	pthread_t t;
	int r;

	if (!every_ms)
		return 0;
	if (!p)
		return -ENOMEM;
	p->core = c;
	p->every_ms = every_ms < INT_MAX ? (int)every_ms : INT_MAX;
	p->record.type = BROKER_ALIVE;
	r = -pthread_create(&t, NULL, beat, p);
	if (r < 0)
		return r;
	TAKE_PTR(p);
	return -pthread_detach(t);
}
