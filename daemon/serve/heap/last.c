/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "daemon/serve/capture.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/encode.h"
#include "daemon/serve/heap/heap.h"
#include "daemon/serve/log.h"
#include "daemon/serve/namer.h"
#include "daemon/serve/profile.h"

static int profile_of(struct core *c, struct target *t, struct bytes *ret)
{
	_cleanup_(heap_reading_deinit) struct heap_reading reading = { 0 };
	_cleanup_(capture_freep) struct capture *capture = NULL;
	_cleanup_(naming_free) struct naming n = { 0 };
	const struct heap_question q = { 0 };
	int r = capture_new(profile_find("heap"), &capture);

	if (r == 0)
		r = heap_read(c, t, &q, &reading);
	if (r == 0)
		r = heap_capture(c, t, &q, NULL, &reading, capture);
	if (r < 0)
		return r;
	capture->time_ns = realtime_ns();
	capture->period = heap_period(t);
	r = namer_run(c, t, capture, &n);
	if (r == 0)
		r = heap_strip(c, t, capture, &n);
	return r < 0 ? r : encode_pprof(capture, &n, ret);
}

static int write_all(int fd, const struct bytes *b)
{
	for (size_t i = 0; i < b->n;) {
		ssize_t n = write(fd, b->data + i, b->n - i);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		i += (size_t)n;
	}
	return 0;
}

/* Takes its probes off; whether there is anything to be kept. */
static bool let_go(struct core *c, struct target *t)
{
	bool watched;

	pthread_mutex_lock(&c->scan_lock);
	watched = c->heap.loaded && t->heap.source != HEAP_NOT_YET && t->heap.source != HEAP_NONE;
	if (watched && t->heap.sides)
		broker_unprobe(&c->broker, t->index, t->heap.sides);
	if (watched)
		t->heap.sides = 0;
	pthread_mutex_unlock(&c->scan_lock);
	return watched;
}

/* The tables of a process that has ended stay as they were: what it had not freed is its last word. */
void heap_last_word(struct core *c, struct target *t)
{
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
	_cleanup_(closep) int fd = -1;
	int r;

	if (!let_go(c, t))
		return;
	fd = broker_keep(&c->broker, t->index);
	if (fd < 0) {
		if (fd != -ENOENT) /* no --keep-dir */
			log_line("process %d: its heap cannot be kept: %s", t->pid, strerror(-fd));
		return;
	}
	r = profile_of(c, t, &b);
	if (r == 0)
		r = write_all(fd, &b);
	if (r < 0)
		log_line("process %d: its heap cannot be kept: %s", t->pid, strerror(-r));
}
