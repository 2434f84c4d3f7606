/* SPDX-License-Identifier: Apache-2.0 */

/* walk-cost.c - what one sample costs in the kernel: walk-cost PID [SECONDS [HZ]]
 *
 * Every tick is kept; the kernel's own accounting (BPF_STATS_RUN_TIME) gives the time a run of the
 * program took. Prints: runs, ns a run, frames a stack, ns a frame. With STACKID=1 the program is
 * bpf_get_stackid on user frame pointers instead: the physical neighbour to compare with. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/harness/harness.h"

#define MISS_NS 80

struct runs {
	uint64_t ns, n;
};

static int find_program(const char *name)
{
	uint32_t id = 0;

	while (bpf_prog_get_next_id(id, &id) == 0) {
		struct bpf_prog_info info = { 0 };
		uint32_t n = sizeof(info);
		int fd = bpf_prog_get_fd_by_id(id);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &n) == 0 && !strcmp(info.name, name))
			return fd;
		close(fd);
	}
	return -1;
}

static struct runs runs_of(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t n = sizeof(info);

	bpf_obj_get_info_by_fd(fd, &info, &n);
	return (struct runs){ info.run_time_ns, info.run_cnt };
}

/* Stacks and frames that the pool holds, weighted by their counts. */
static double mean_frames(struct harness *h)
{
	struct core *c = &h->core;
	double frames = 0, samples = 0;

	pool_fold(&c->pool, &c->totals);
	for (size_t i = 0; i < c->totals.rows.n; i++) {
		const struct total *t = &c->totals.rows.data[i];

		frames += (double)t->v[0] * c->totals.stacks.all.data[t->stack].n;
		samples += (double)t->v[0];
	}
	printf("samples %.0f, distinct rows %zu\n", samples, c->totals.rows.n);
	return samples ? frames / samples : 0;
}

int main(int argc, char **argv)
{
	static struct harness h;
	unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 3, hz = argc > 3 ? (unsigned)atoi(argv[3]) : 2000;
	char error[KERNEL_MAX_TEXT];
	struct runs before, after;
	int program, stats;
	double frames, cost;
	uint64_t events;

	if (argc < 2)
		return 2;
	harness_open(&h, atoi(argv[1]), (struct kernel_clock){ hz, hz });
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	program = find_program("pp_on_tick");
	if (stats < 0 || program < 0 || kernel_arm(h.broker.kernel, PP_CPU, error) < 0)
		return 1;
	usleep(300000);
	before = runs_of(program);
	events = h.core.tables.processes[0].n_events;
	sleep(seconds);
	after = runs_of(program);
	kernel_disarm(h.broker.kernel, PP_CPU);
	frames = mean_frames(&h);
	after.n -= before.n;
	after.ns -= before.ns;
	/* ticks that met another process cost a look-up: taken off at MISS_NS each */
	events = h.core.tables.processes[0].n_events - events;
	cost = ((double)after.ns - (double)(after.n - events) * MISS_NS) / (double)events;
	printf("runs %llu of them the target's %llu, %.0f ns each, %.1f words a stack, %.1f ns a word\n",
	       (unsigned long long)after.n, (unsigned long long)events, cost, frames, cost / frames);
	harness_close(&h);
	return 0;
}
