/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/traces.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/emulated.h"
#include "base/vec.h"
#include "bpf_objects.h"
#include "daemon/broker/clocks.h"
#include "daemon/broker/diagnose.h"
#include "daemon/broker/uprobe_link.h"

static const char *const map_names[PP_N_TRACE_MAPS] = {
	[PP_TRACE_MAP_RING] = "pp_trace_rings", /* here: the map that it is in */
	[PP_TRACE_MAP_STATE] = "pp_trace_state",
	[PP_TRACE_MAP_FILTER] = "pp_trace_filter",
};

/* Those who come are seen before those who go: no thread is known by its end alone. */
static const char *const programs[] = { "pp_trace_fork",   "pp_trace_exec",   "pp_trace_rename",
					"pp_trace_exit",   "pp_trace_waking", "pp_trace_switch" };
static const char *const calls[] = { "pp_trace_enter", "pp_trace_leave" };
#define N_PROGRAMS (sizeof(programs) / sizeof(programs[0]))
#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

struct traces {
	struct kernel *kernel;
	pthread_t thread;
	bool done; /* atomic: what the thread writes is there */
	int r;
	char error[KERNEL_MAX_TEXT];
	struct bpf_object *o;
	int maps[PP_N_TRACE_MAPS]; /* borrowed from the object */
	int ring; /* -1: none */
	struct bpf_link *links[N_PROGRAMS], *call_links[N_CALLS];
	struct clocks clocks;
	bool deaf;	/* the kernel does not take the program of what programs say */
	bool sessions;	/* the kernel has links of many uprobes */
	int sites;	/* the map of what is probed; borrowed */
	uint32_t n_sites;
	VEC(int) multi;
	VEC(struct bpf_link *) perf;
};

static int program(const struct traces *t, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(t->o, name));
}

static int load_object(struct traces *t)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = kernel_btf(t->kernel));
	struct bpf_program *said, *session;
	int r;

	t->o = bpf_object__open_mem(bpf_object_trace, bpf_object_trace_size, &options);
	if (!t->o)
		return -errno;
	said = bpf_object__find_program_by_name(t->o, "pp_trace_said");
	session = bpf_object__find_program_by_name(t->o, "pp_trace_session");
	bpf_program__set_autoload(said, !t->deaf);
	bpf_program__set_autoload(session, t->sessions);
	if (t->sessions) {
		bpf_program__set_expected_attach_type(said, (enum bpf_attach_type)TRACE_UPROBE_MULTI);
		bpf_program__set_expected_attach_type(session, (enum bpf_attach_type)TRACE_UPROBE_SESSION);
	}
	r = kernel_adopt(t->kernel, t->o);
	if (r == 0)
		r = bpf_object__load(t->o);
	if (r == 0)
		r = kernel_set_namespace(t->o);
	for (int i = 0; i < PP_N_TRACE_MAPS && r == 0; i++) {
		t->maps[i] = bpf_object__find_map_fd_by_name(t->o, map_names[i]);
		if (t->maps[i] < 0)
			r = -EINVAL;
	}
	t->sites = bpf_object__find_map_fd_by_name(t->o, "pp_trace_site");
	return r == 0 && t->sites < 0 ? -EINVAL : r;
}

/* As in customs.c. */
static bool sessions_work(const struct traces *t)
{
	const struct uprobe_place nowhere = { 0 };
	int fd = uprobe_link(program(t, "pp_trace_session"), TRACE_UPROBE_SESSION, "/", &nowhere, 1, 0);

	if (fd >= 0)
		close(fd);
	return fd == -EBADF;
}

static int load(struct traces *t)
{
	int r;

	t->sessions = true;
	r = load_object(t);
	if (r == 0 && sessions_work(t))
		return 0;
	bpf_object__close(t->o);
	t->o = NULL;
	t->sessions = false;
	r = load_object(t);
	if (r >= 0)
		return r;
	bpf_object__close(t->o);
	t->o = NULL;
	t->deaf = true;
	return load_object(t);
}

static void *load_later(void *context)
{
	struct traces *t = context;

	t->r = load(t);
	if (t->r < 0)
		diagnose_load(kernel_btf(t->kernel), t->r, t->error, KERNEL_MAX_TEXT);
	__atomic_store_n(&t->done, true, __ATOMIC_RELEASE);
	return NULL;
}

int traces_begin(struct kernel *k, struct traces **ret)
{
	struct traces *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->kernel = k;
	t->ring = -1;
	r = -pthread_create(&t->thread, NULL, load_later, t);
	if (r < 0)
		free(t);
	else
		*ret = t;
	return r;
}

int traces_loaded(struct traces *t, char *error)
{
	if (!__atomic_load_n(&t->done, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	snprintf(error, KERNEL_MAX_TEXT, "%s", t->error);
	return t->r;
}

bool traces_are_loading(const struct traces *t)
{
	return t && !__atomic_load_n(&t->done, __ATOMIC_ACQUIRE);
}

int traces_make_ring(struct traces *t)
{
	_cleanup_(closep) int fd = -1;
	uint32_t zero = 0;

	if (t->ring >= 0)
		return 0;
	fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "pp_trace_ring", 0, 0, PP_TRACE_RING, NULL);
	if (fd < 0)
		return -errno;
	if (bpf_map_update_elem(t->maps[PP_TRACE_MAP_RING], &zero, &fd, BPF_ANY) < 0)
		return -errno;
	t->ring = TAKE_FD(fd);
	return 0;
}

int traces_map(const struct traces *t, enum pp_trace_map map)
{
	return map == PP_TRACE_MAP_RING ? t->ring : t->maps[map];
}

static void detach(struct bpf_link **links, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bpf_link__destroy(links[i]);
		links[i] = NULL;
	}
}

static int attach(struct traces *t, const char *const *names, struct bpf_link **links, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (links[i])
			continue;
		links[i] = bpf_program__attach(bpf_object__find_program_by_name(t->o, names[i]));
		if (!links[i])
			return -errno;
	}
	return 0;
}

static int attach_sites(struct traces *t, const struct uprobe_place *places, uint32_t n, const char *path, pid_t pid)
{
	struct bpf_program *said = bpf_object__find_program_by_name(t->o, "pp_trace_said");
	int r = t->sessions ? uprobe_link(bpf_program__fd(said), TRACE_UPROBE_MULTI, path, places, n, pid) : 0;

	if (t->sessions && r >= 0 && vec_push(&t->multi, r) < 0) {
		uprobe_link_close(r);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n && r == 0 && !t->sessions; i++) {
		LIBBPF_OPTS(bpf_uprobe_opts, options, .bpf_cookie = places[i].cookie);
		struct bpf_link *l = bpf_program__attach_uprobe_opts(said, pid, path, (size_t)places[i].offset, &options);

		r = l ? vec_push(&t->perf, l) : -errno;
	}
	return r < 0 ? r : 0;
}

/* Whoever asks may have been deceived by the file. */
static int check_site(int fd, const struct broker_custom_probe *p)
{
	uint8_t code[16];
	ssize_t n = pread(fd, code, sizeof(code), (off_t)p->offset);
	unsigned length;

	if (p->offset % EMULATED_ALIGN || n <= 0 || emulated_here(code, (size_t)n, &length) == EMULATED_NOT)
		return -EINVAL;
	return p->probe.kind < PP_TRACE_TASK_BEGIN || p->probe.kind > PP_TRACE_LOG ? -EINVAL : 0;
}

int traces_probe(struct traces *t, const struct process *p, int fd, const struct broker_probes *q,
		 const struct broker_custom_probe *probes, char *error)
{
	struct uprobe_place places[BROKER_MAX_PROBES];
	char path[32];
	int r = 0;

	if (!q->n || q->n > BROKER_MAX_PROBES || t->ring < 0)
		return -EINVAL;
	if (t->deaf)
		return -EOPNOTSUPP;
	if (t->n_sites + q->n > PP_MAX_TRACE_SITES)
		return -ENOSPC;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (uint32_t i = 0; i < q->n && r == 0; i++) {
		struct pp_custom_probe one = probes[i].probe;
		uint32_t number = t->n_sites + i;

		one.slot = q->target;
		r = check_site(fd, &probes[i]);
		places[i] = (struct uprobe_place){ probes[i].offset, 0, number };
		if (r == 0 && bpf_map_update_elem(t->sites, &number, &one, BPF_ANY) < 0)
			r = -errno;
	}
	if (r == 0)
		r = attach_sites(t, places, q->n, path, p->pid);
	t->n_sites += q->n;
	if (r < 0)
		diagnose_uprobe(r, error, KERNEL_MAX_TEXT);
	return r;
}

static void detach_sites(struct traces *t)
{
	for (size_t i = 0; i < t->multi.n; i++)
		uprobe_link_close(t->multi.data[i]);
	for (size_t i = 0; i < t->perf.n; i++)
		bpf_link__destroy(t->perf.data[i]);
	vec_deinit(&t->multi);
	vec_deinit(&t->perf);
	t->n_sites = 0;
}

int traces_arm(struct traces *t, bool of_calls, char *error)
{
	int r = of_calls ? attach(t, calls, t->call_links, N_CALLS) : attach(t, programs, t->links, N_PROGRAMS);

	if (r < 0) {
		diagnose_load(kernel_btf(t->kernel), r, error, KERNEL_MAX_TEXT);
		detach(of_calls ? t->call_links : t->links, of_calls ? N_CALLS : N_PROGRAMS);
		return r;
	}
	r = of_calls ? 0 : clocks_start(&t->clocks, libbpf_num_possible_cpus(), kernel_clock_period_ns(t->kernel),
					program(t, "pp_trace_tick"));
	if (r < 0) {
		diagnose_perf(r, error, KERNEL_MAX_TEXT);
		traces_disarm(t, false);
	}
	return r;
}

int traces_look_at_clocks(struct traces *t)
{
	uint64_t missed_ns = 0;

	return clocks_look(&t->clocks, &missed_ns);
}

void traces_disarm(struct traces *t, bool of_calls)
{
	uint32_t zero = 0;

	detach(t->call_links, N_CALLS);
	if (of_calls)
		return;
	detach_sites(t);
	clocks_stop(&t->clocks);
	detach(t->links, N_PROGRAMS);
	if (t->ring >= 0)
		bpf_map_delete_elem(t->maps[PP_TRACE_MAP_RING], &zero);
	close_fd(&t->ring);
}

void traces_free(struct traces *t)
{
	if (!t)
		return;
	pthread_join(t->thread, NULL);
	traces_disarm(t, false);
	bpf_object__close(t->o);
	free(t);
}
