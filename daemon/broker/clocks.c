/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/clocks.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* -ENODEV: the CPU is off. */
static int open_one(const struct clocks *c, int cpu)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = c->period_ns,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED,
		.disabled = 1,
		.exclude_idle = 1,
	};
	_cleanup_(closep) int fd = (int)syscall(SYS_perf_event_open, &a, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, c->program) < 0 || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int clocks_start(struct clocks *c, int n_cpus, uint64_t period_ns, int program)
{
	int n_on = 0, r = 0;

	if (c->all.n)
		return 0;
	c->period_ns = period_ns;
	c->program = program;
	c->looked_ns = now_ns();
	for (int cpu = 0; cpu < n_cpus && r == 0; cpu++) {
		struct clocks_one one = { .fd = open_one(c, cpu) };

		n_on += one.fd >= 0;
		if (one.fd < 0 && one.fd != -ENODEV)
			r = one.fd;
		else if (vec_push(&c->all, one) < 0) {
			close_fd(&one.fd);
			r = -ENOMEM;
		}
	}
	if (r == 0 && !n_on)
		r = -ENODEV;
	if (r < 0)
		clocks_stop(c);
	return r;
}

void clocks_stop(struct clocks *c)
{
	for (size_t i = 0; i < c->all.n; i++)
		close_fd(&c->all.data[i].fd);
	vec_deinit(&c->all);
}

/* Its CPU was not off since it was opened. */
static bool runs(struct clocks_one *one)
{
	uint64_t v[2]; /* the count, and how long it has been on */
	bool on;

	if (one->fd < 0 || read(one->fd, v, sizeof(v)) != sizeof(v))
		return false;
	on = v[1] != one->enabled;
	one->enabled = v[1];
	return on;
}

int clocks_look(struct clocks *c, uint64_t *missed_ns)
{
	int64_t since = now_ns() - c->looked_ns;

	if (!c->all.n)
		return -1;
	if (since < CLOCKS_LOOK_NS)
		return (int)((CLOCKS_LOOK_NS - since) / 1000000) + 1;
	for (size_t i = 0; i < c->all.n; i++) {
		struct clocks_one *one = &c->all.data[i];

		if (runs(one))
			continue;
		close_fd(&one->fd);
		*one = (struct clocks_one){ .fd = open_one(c, (int)i) };
		*missed_ns += one->fd >= 0 ? (uint64_t)since : 0;
	}
	c->looked_ns += since;
	return (int)(CLOCKS_LOOK_NS / 1000000) + 1;
}
