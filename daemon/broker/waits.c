/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/waits.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bpf_objects.h"
#include "daemon/broker/diagnose.h"

static const char *const map_names[PP_N_WAIT_MAPS] = {
	[PP_WAIT_MAP_KEY] = "pp_wait_key",
	[PP_WAIT_MAP_OPEN] = "pp_wait",
	[PP_WAIT_MAP_STATE] = "pp_wait_state",
	[PP_WAIT_MAP_CPU] = "pp_wait_cpu",
};

static const char *const programs[] = { "pp_on_switch", "pp_on_waking" };
#define N_PROGRAMS (sizeof(programs) / sizeof(programs[0]))

struct waits {
	const struct kernel *kernel;
	pthread_t thread;
	bool done; /* atomic: what the thread writes is there */
	int r;
	char error[KERNEL_MAX_TEXT];
	struct bpf_object *o;
	int maps[PP_N_WAIT_MAPS]; /* borrowed from the object */
	struct bpf_link *links[N_PROGRAMS];
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

int waits_begin(struct kernel *k, struct waits **ret)
{
	struct waits *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->kernel = k;
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

int waits_map(const struct waits *w, enum pp_wait_map map)
{
	return w->maps[map];
}

int waits_arm(struct waits *w, char *error)
{
	int r = 0;

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
