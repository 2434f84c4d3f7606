/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/waits.h"

#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/vec.h"
#include "bpf_objects.h"
#include "daemon/broker/diagnose.h"

static const char *const map_names[PP_N_WAIT_MAPS] = {
	[PP_WAIT_MAP_KEY] = "pp_wait_key",
	[PP_WAIT_MAP_OPEN] = "pp_wait",
	[PP_WAIT_MAP_STATE] = "pp_wait_state",
	[PP_WAIT_MAP_CPU] = "pp_wait_cpu",
	[PP_WAIT_MAP_FILTER] = "pp_wait_filter",
};

static const char *const programs[] = { "pp_on_switch", "pp_on_waking" };
#define N_PROGRAMS (sizeof(programs) / sizeof(programs[0]))
static const char strict_program[] = "pp_on_leave";

#define MAX_LOOKS 8 /* at the list of threads, which may grow meanwhile */

struct event {
	pid_t pid, tid;
	int fd;
};

struct waits {
	const struct kernel *kernel;
	enum broker_wait_mode mode;
	pthread_t thread;
	bool done; /* atomic: what the thread writes is there */
	int r;
	char error[KERNEL_MAX_TEXT];
	struct bpf_object *o;
	int maps[PP_N_WAIT_MAPS]; /* borrowed from the object */
	struct bpf_link *links[N_PROGRAMS];
	VEC(struct event) events; /* BROKER_WAIT_STRICT: one a thread that was there */
};

uint32_t waits_n_cpus(void)
{
	return (uint32_t)libbpf_num_possible_cpus();
}

static int load(struct waits *w)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = kernel_btf(w->kernel));
	struct bpf_map *m;
	int r;

	w->o = bpf_object__open_mem(bpf_object_wait, bpf_object_wait_size, &options);
	if (!w->o)
		return -errno;
	for (size_t i = 0; i < N_PROGRAMS; i++)
		bpf_program__set_autoload(bpf_object__find_program_by_name(w->o, programs[i]),
					  w->mode != BROKER_WAIT_STRICT);
	bpf_program__set_autoload(bpf_object__find_program_by_name(w->o, strict_program),
				  w->mode == BROKER_WAIT_STRICT);
	r = kernel_adopt(w->kernel, w->o);
	m = bpf_object__find_map_by_name(w->o, map_names[PP_WAIT_MAP_CPU]);
	if (r == 0 && (!m || bpf_map__set_max_entries(m, waits_n_cpus() * PP_MAX_PROCESSES)))
		r = -EINVAL;
	if (r == 0)
		r = bpf_object__load(w->o);
	for (int i = 0; i < PP_N_WAIT_MAPS && r == 0; i++) {
		w->maps[i] = bpf_object__find_map_fd_by_name(w->o, map_names[i]);
		if (w->maps[i] < 0)
			r = -EINVAL;
	}
	return r;
}

static void *load_later(void *context)
{
	struct waits *w = context;

	w->r = load(w);
	if (w->r < 0)
		diagnose_load(kernel_btf(w->kernel), w->r, w->error, KERNEL_MAX_TEXT);
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	return NULL;
}

int waits_begin(struct kernel *k, enum broker_wait_mode mode, struct waits **ret)
{
	struct waits *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->kernel = k;
	w->mode = mode;
	r = -pthread_create(&w->thread, NULL, load_later, w);
	if (r < 0)
		free(w);
	else
		*ret = w;
	return r;
}

int waits_loaded(struct waits *w, char *error)
{
	if (!__atomic_load_n(&w->done, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	snprintf(error, KERNEL_MAX_TEXT, "%s", w->error);
	return w->r;
}

bool waits_are_loading(const struct waits *w)
{
	return w && !__atomic_load_n(&w->done, __ATOMIC_ACQUIRE);
}

int waits_map(const struct waits *w, enum pp_wait_map map)
{
	return w->maps[map];
}

/* Tells of each time that the thread, or one that it will create, leaves its CPU. */
static int open_event(struct waits *w, pid_t pid, pid_t tid)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = PERF_COUNT_SW_CONTEXT_SWITCHES,
		.sample_period = 1,
		.disabled = 1,
		.inherit = 1,
		.inherit_thread = 1, /* not its child processes */
	};
	int program = bpf_program__fd(bpf_object__find_program_by_name(w->o, strict_program));
	_cleanup_(closep) int fd = (int)syscall(SYS_perf_event_open, &a, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	struct event e = { pid, tid, fd };

	if (fd < 0)
		return errno == ESRCH ? 0 : -errno;
	if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, program) < 0 || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0)
		return -errno;
	if (vec_push(&w->events, e) < 0)
		return -ENOMEM;
	TAKE_FD(fd);
	return 0;
}

static bool has_event(const struct waits *w, pid_t tid)
{
	for (size_t i = 0; i < w->events.n; i++)
		if (w->events.data[i].tid == tid)
			return true;
	return false;
}

/* How many threads were new, or -errno. */
static int open_new(struct waits *w, const struct process *p)
{
	char path[64];
	struct dirent *e;
	int n = 0, r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)p->pid);
	d = opendir(path);
	if (!d)
		return 0; /* it has ended */
	while (r == 0 && (e = readdir(d))) {
		pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);

		if (tid <= 0 || has_event(w, tid))
			continue;
		r = open_event(w, p->pid, tid);
		n++;
	}
	closedir(d);
	return r < 0 ? r : n;
}

static int arm_strict(struct waits *w, const struct process *p, unsigned n, char *error)
{
	int r = 0;

	for (unsigned i = 0; i < n && r >= 0; i++)
		for (int k = 0; k < MAX_LOOKS; k++) {
			r = process_alive(&p[i]) ? open_new(w, &p[i]) : 0;
			if (r <= 0)
				break;
		}
	if (r >= 0)
		return 0;
	diagnose_perf(r, error, KERNEL_MAX_TEXT);
	waits_disarm(w);
	return r;
}

int waits_arm(struct waits *w, const struct process *processes, unsigned n, char *error)
{
	int r = 0;

	if (w->mode == BROKER_WAIT_STRICT)
		return arm_strict(w, processes, n, error);
	for (size_t i = 0; i < N_PROGRAMS && r == 0; i++) {
		if (w->links[i])
			continue;
		w->links[i] = bpf_program__attach(bpf_object__find_program_by_name(w->o, programs[i]));
		r = w->links[i] ? 0 : -errno;
	}
	if (r < 0) {
		diagnose_load(kernel_btf(w->kernel), r, error, KERNEL_MAX_TEXT);
		waits_disarm(w);
	}
	return r;
}

void waits_disarm(struct waits *w)
{
	for (size_t i = 0; i < N_PROGRAMS; i++) {
		bpf_link__destroy(w->links[i]);
		w->links[i] = NULL;
	}
	for (size_t i = 0; i < w->events.n; i++)
		close(w->events.data[i].fd);
	vec_deinit(&w->events);
}

void waits_release(struct waits *w, pid_t pid)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->events.n; i++) {
		if (w->events.data[i].pid == pid)
			close(w->events.data[i].fd);
		else
			w->events.data[kept++] = w->events.data[i];
	}
	w->events.n = kept;
}

void waits_free(struct waits *w)
{
	if (!w)
		return;
	pthread_join(w->thread, NULL);
	waits_disarm(w);
	bpf_object__close(w->o);
	free(w);
}
