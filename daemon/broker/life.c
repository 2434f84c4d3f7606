/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/life.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>

#include "bpf_objects.h"
#include "daemon/broker/diagnose.h"
#include "daemon/broker/kernel.h"

static const char *const programs[] = { "pp_on_life_fork", "pp_on_life_exec", "pp_on_life_exit" };
#define N_PROGRAMS (sizeof(programs) / sizeof(programs[0]))

struct life {
	struct bpf_object *o;
	struct bpf_link *links[N_PROGRAMS];
	struct ring_buffer *ring;
	int lost; /* borrowed */
	life_fn *tell;
	void *context;
};

static int on_record(void *context, void *data, size_t n)
{
	struct life *l = context;

	if (n == sizeof(struct pp_life))
		l->tell(l->context, data);
	return 0;
}

static int load(struct life *l, const char *btf)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = btf);
	int r;

	l->o = bpf_object__open_mem(bpf_object_life, bpf_object_life_size, &options);
	if (!l->o)
		return -errno;
	r = bpf_object__load(l->o);
	if (r == 0)
		r = kernel_set_namespace(l->o);
	if (r < 0)
		return r;
	l->lost = bpf_object__find_map_fd_by_name(l->o, "pp_life_lost");
	l->ring = ring_buffer__new(bpf_object__find_map_fd_by_name(l->o, "pp_life_ring"), on_record, l, NULL);
	if (l->lost < 0 || !l->ring)
		return errno ? -errno : -EINVAL;
	for (size_t i = 0; i < N_PROGRAMS; i++) {
		l->links[i] = bpf_program__attach(bpf_object__find_program_by_name(l->o, programs[i]));
		if (!l->links[i])
			return -errno;
	}
	return 0;
}

int life_start(const char *btf, life_fn *tell, void *context, struct life **ret, char *error)
{
	_cleanup_(life_freep) struct life *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->tell = tell;
	l->context = context;
	r = load(l, btf);
	if (r < 0) {
		diagnose_load(btf, r, error, KERNEL_MAX_TEXT);
		return r;
	}
	*ret = TAKE_PTR(l);
	return 0;
}

void life_free(struct life *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < N_PROGRAMS; i++)
		bpf_link__destroy(l->links[i]);
	ring_buffer__free(l->ring);
	bpf_object__close(l->o);
	free(l);
}

int life_fd(const struct life *l)
{
	return ring_buffer__epoll_fd(l->ring);
}

void life_read(struct life *l)
{
	ring_buffer__consume(l->ring);
}

uint64_t life_lost(const struct life *l)
{
	uint64_t n = 0;
	uint32_t zero = 0;

	return bpf_map_lookup_elem(l->lost, &zero, &n) < 0 ? 0 : n;
}
