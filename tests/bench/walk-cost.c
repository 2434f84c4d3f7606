/* SPDX-License-Identifier: Apache-2.0 */

/* walk-cost.c - what one sample costs in the kernel:
 *
 *   walk-cost walk PID [SECONDS [HZ]]     the product's program, every tick kept
 *   walk-cost turns PID [SECONDS [HZ]]    the same for each line of its input, the bare ns of a sample
 *   walk-cost stackid PID [SECONDS [HZ]]  bpf_get_stackid on user frame pointers, to compare with
 *
 * Times are the kernel's own accounting (BPF_STATS_RUN_TIME). One line: events of the target, ns
 * each, words a stack, ns a word. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackid_object.h"
#include "tests/harness/harness.h"

#define MISS_NS 80

struct runs {
	uint64_t ns, n;
};

/* The last one of that name is ours: others may be running. */
static int find_program(const char *name)
{
	int found = -1;
	uint32_t id = 0;

	while (bpf_prog_get_next_id(id, &id) == 0) {
		struct bpf_prog_info info = { 0 };
		uint32_t n = sizeof(info);
		int fd = bpf_prog_get_fd_by_id(id);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &n) == 0 && !strcmp(info.name, name)) {
			close(found);
			found = fd;
			continue;
		}
		close(fd);
	}
	return found;
}

static struct runs runs_of(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t n = sizeof(info);

	bpf_obj_get_info_by_fd(fd, &info, &n);
	return (struct runs){ info.run_time_ns, info.run_cnt };
}

/* Stacks and frames that the pool holds, weighted by their counts. */
static double mean_words(struct harness *h)
{
	struct core *c = &h->core;
	double frames = 0, samples = 0;

	pool_fold(&c->pool, &c->totals, &c->kept);
	for (size_t i = 0; i < c->totals.rows.n; i++) {
		const struct total *t = &c->totals.rows.data[i];

		frames += (double)t->v[0] * c->totals.stacks.all.data[t->stack].n;
		samples += (double)t->v[0];
	}
	return samples ? frames / samples : 0;
}

/* Ticks that met another process cost a look-up: taken off. */
static double cost(struct runs before, struct runs after, uint64_t events)
{
	uint64_t runs = after.n - before.n;

	return ((double)(after.ns - before.ns) - (double)(runs - events) * MISS_NS) / (double)events;
}

static int walk(pid_t pid, unsigned seconds, unsigned hz)
{
	static struct harness h;
	const struct pp_process *p;
	char error[KERNEL_MAX_TEXT];
	struct runs before, after;
	uint64_t events;
	double words, ns;
	int program;

	harness_open(&h, pid, (struct kernel_clock){ hz, hz });
	p = &h.core.tables.processes[0];
	program = find_program("pp_on_tick");
	if (program < 0 || kernel_arm(h.broker.kernel, PP_CPU, error) < 0)
		return 1;
	usleep(300000);
	before = runs_of(program);
	events = p->n_events;
	sleep(seconds);
	after = runs_of(program);
	events = p->n_events - events;
	kernel_disarm(h.broker.kernel, PP_CPU);
	words = mean_words(&h);
	ns = cost(before, after, events);
	printf("walk: %llu events, %.0f ns each, %.1f words a stack, %.1f ns a word\n",
	       (unsigned long long)events, ns, words, ns / words);
	harness_close(&h);
	return 0;
}

/* One process, one window after the other: whoever writes the lines changes what the target does between. */
static int turns(pid_t pid, unsigned seconds, unsigned hz)
{
	static struct harness h;
	char line[80], error[KERNEL_MAX_TEXT];
	struct runs before, after;
	uint64_t events;
	int program;

	harness_open(&h, pid, (struct kernel_clock){ hz, hz });
	program = find_program("pp_on_tick");
	while (program >= 0 && fgets(line, sizeof(line), stdin)) {
		if (kernel_arm(h.broker.kernel, PP_CPU, error) < 0)
			return 1;
		usleep(10000);
		before = runs_of(program);
		events = h.core.tables.processes[0].n_events;
		usleep(seconds * 50000);
		after = runs_of(program);
		events = h.core.tables.processes[0].n_events - events;
		kernel_disarm(h.broker.kernel, PP_CPU);
		printf("%.1f\n", events ? cost(before, after, events) : -1);
		fflush(stdout);
	}
	harness_close(&h);
	return 0;
}

static uint64_t stackid_events(struct bpf_object *o)
{
	int fd = bpf_object__find_map_fd_by_name(o, ".bss");
	uint32_t zero = 0;
	uint64_t n = 0;

	bpf_map_lookup_elem(fd, &zero, &n);
	return n;
}

static int stackid(pid_t pid, unsigned seconds, unsigned hz)
{
	struct bpf_object *o =
		bpf_object__open_mem(bpf_object_stackid, bpf_object_stackid_size, NULL);
	struct runs before, after;
	uint32_t tgid = (uint32_t)pid;
	uint64_t events;
	int program;

	if (!o ||
	    bpf_map__set_initial_value(bpf_object__find_map_by_name(o, ".rodata"), &tgid,
				       sizeof(tgid)) ||
	    bpf_object__load(o))
		return 1;
	program = bpf_program__fd(bpf_object__find_program_by_name(o, "stackid_tick"));
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
		struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE,
					     .size = sizeof(a),
					     .config = PERF_COUNT_SW_CPU_CLOCK,
					     .sample_period = 1000000000ull / hz,
					     .exclude_idle = 1 };
		int fd = (int)syscall(SYS_perf_event_open, &a, -1, cpu, -1, 0);

		if (fd >= 0 && (ioctl(fd, PERF_EVENT_IOC_SET_BPF, program) < 0 ||
				ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0))
			return 1;
	}
	usleep(300000);
	before = runs_of(program);
	events = stackid_events(o);
	sleep(seconds);
	after = runs_of(program);
	events = stackid_events(o) - events;
	printf("stackid: %llu events, %.0f ns each\n", (unsigned long long)events,
	       cost(before, after, events));
	return 0;
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 3 ? (unsigned)atoi(argv[3]) : 3;
	unsigned hz = argc > 4 ? (unsigned)atoi(argv[4]) : 2000;

	if (argc < 3 || bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		return 2;
	if (!strcmp(argv[1], "turns"))
		return turns(atoi(argv[2]), seconds, hz);
	return !strcmp(argv[1], "stackid") ? stackid(atoi(argv[2]), seconds, hz) :
					     walk(atoi(argv[2]), seconds, hz);
}
