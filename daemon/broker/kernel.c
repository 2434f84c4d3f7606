/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "bpf/heap.h"
#include "bpf/identity.h"
#include "bpf/threads.h"
#include "bpf_objects.h"
#include "daemon/broker/clocks.h"
#include "daemon/broker/diagnose.h"

#define NS_PER_S 1000000000ull

static const char *const map_names[PP_N_MAPS] = {
	[PP_MAP_TARGETS] = "pp_targets", [PP_MAP_MAPPING] = "pp_mapping",
	[PP_MAP_RULE] = "pp_rule",	 [PP_MAP_STACK] = "pp_stack",
	[PP_MAP_WORD] = "pp_word",	 [PP_MAP_COUNT] = "pp_count",
	[PP_MAP_STATE] = "pp_state",	 [PP_MAP_RING] = "pp_ring",
	[PP_MAP_LABELS] = "pp_labels",
};

struct kernel {
	struct bpf_object *cpu, *task, *growth, *threads, *create; /* the last three: once they have been asked for */
	const char *btf;
	int maps[PP_N_MAPS], slabs, query; /* borrowed from the objects */
	uint64_t clock_period_ns;
	struct pp_config config;
	struct bpf_link *on_mmap, *identify, *on_fault, *on_create;
	struct clocks clocks; /* armed */
};

/* The clock runs at a prime rate about ten times the sampling rate, so that it beats with nothing
 * that the target does by the clock. */
static uint64_t clock_rate(unsigned hz)
{
	static const uint64_t primes[] = { 997, 1999, 4999, 9973 };

	for (size_t i = 0; i < sizeof(primes) / sizeof(primes[0]); i++)
		if (primes[i] >= 9 * hz)
			return primes[i];
	return 9973;
}

static uint32_t power_of_two(uint64_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static int configure(struct kernel *k, struct kernel_clock clock)
{
	int n_cpus = libbpf_num_possible_cpus();
	struct pp_config *c = &k->config;
	uint64_t keep;

	k->clock_period_ns = NS_PER_S / (clock.clock_hz ? clock.clock_hz : clock_rate(clock.hz));
	c->heap_rate = PP_HEAP_RATE;
	c->page = (uint64_t)sysconf(_SC_PAGESIZE);
	c->address_mask = address_mask();
	keep = (k->clock_period_ns << 32) / (NS_PER_S / clock.hz);
	c->keep = keep > UINT32_MAX ? UINT32_MAX : (uint32_t)keep;
	if (n_cpus < 4)
		n_cpus = 4;
	if (n_cpus > 16)
		n_cpus = 16;
	c->n_stacks = power_of_two(2048ull * (unsigned)n_cpus);
	c->n_counts = 2 * c->n_stacks;
	c->n_pool_chunks = c->n_stacks * 32 >> PP_POOL_BITS; /* 32 frames a stack on average */
	return getrandom(&c->seed, sizeof(c->seed), 0) == sizeof(c->seed) ? 0 : -EIO;
}

static int set_config(const struct kernel *k, struct bpf_object *o)
{
	struct bpf_map *m = bpf_object__find_map_by_name(o, ".rodata");

	/* the only constant of a program is `config`: it begins its section */
	if (!m || bpf_map__value_size(m) != sizeof(k->config) ||
	    bpf_map__set_initial_value(m, &k->config, sizeof(k->config)))
		return -EINVAL;
	return 0;
}

int kernel_adopt(const struct kernel *k, struct bpf_object *o)
{
	struct bpf_map *m, *ours;

	bpf_object__for_each_map(m, o)
	{
		if (bpf_map__is_internal(m))
			continue;
		ours = bpf_object__find_map_by_name(k->cpu, bpf_map__name(m));
		if (ours && bpf_map__reuse_fd(m, bpf_map__fd(ours)) < 0)
			return -EINVAL;
	}
	return set_config(k, o);
}

const char *kernel_btf(const struct kernel *k)
{
	return k->btf;
}

static int set_sizes(struct kernel *k, struct bpf_object *o)
{
	const struct pp_config *c = &k->config;
	const struct {
		enum pp_map map;
		uint32_t entries;
	} sizes[] = {
		{ PP_MAP_STACK, 2 * c->n_stacks },
		{ PP_MAP_WORD, 2 * c->n_pool_chunks },
		{ PP_MAP_COUNT, 2 * c->n_counts },
	};
	if (set_config(k, o) < 0)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct bpf_map *m = bpf_object__find_map_by_name(o, map_names[sizes[i].map]);
		if (!m || bpf_map__set_max_entries(m, sizes[i].entries))
			return -EINVAL;
	}
	return 0;
}

static int open_object(const struct kernel *k, const void *image, size_t n, struct bpf_object **ret)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = k->btf);

	*ret = bpf_object__open_mem(image, n, &options);
	return *ret ? 0 : -errno;
}

static int load_cpu(struct kernel *k)
{
	int r = open_object(k, bpf_object_cpu, bpf_object_cpu_size, &k->cpu);

	if (r < 0)
		return r;
	r = set_sizes(k, k->cpu);
	if (r < 0)
		return r;
	r = bpf_object__load(k->cpu);
	if (r < 0)
		return r;
	for (int i = 0; i < PP_N_MAPS; i++) {
		k->maps[i] = bpf_object__find_map_fd_by_name(k->cpu, map_names[i]);
		if (k->maps[i] < 0)
			return -EINVAL;
	}
	k->slabs = bpf_object__find_map_fd_by_name(k->cpu, "pp_slabs");
	return k->slabs < 0 ? -EINVAL : 0;
}

static int load_task(struct kernel *k)
{
	int r = open_object(k, bpf_object_task, bpf_object_task_size, &k->task);

	if (r < 0)
		return r;
	r = bpf_object__load(k->task);
	if (r < 0)
		return r;
	k->query = bpf_object__find_map_fd_by_name(k->task, "pp_query");
	k->identify = bpf_program__attach(
		bpf_object__find_program_by_name(k->task, "pp_identify"));
	return k->query < 0 ? -EINVAL : k->identify ? 0 : -errno;
}

int kernel_load(const char *btf, struct kernel_clock clock, struct kernel **ret, char *error)
{
	_cleanup_(kernel_freep) struct kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	k->btf = btf;
	libbpf_set_print(diagnose_libbpf);
	r = configure(k, clock);
	if (r == 0)
		r = load_cpu(k);
	if (r == 0)
		r = load_task(k);
	if (r < 0) {
		diagnose_load(btf, r, error, KERNEL_MAX_TEXT);
		return r;
	}
	*ret = TAKE_PTR(k);
	return 0;
}

void kernel_free(struct kernel *k)
{
	if (!k)
		return;
	kernel_disarm(k, PP_CPU);
	kernel_disarm(k, PP_GROWTH);
	kernel_disarm(k, PP_CREATE);
	bpf_object__close(k->growth);
	bpf_object__close(k->threads);
	bpf_link__destroy(k->identify);
	bpf_object__close(k->task);
	bpf_object__close(k->cpu);
	free(k);
}

void kernel_sizes(const struct kernel *k, struct kernel_sizes *ret)
{
	*ret = (struct kernel_sizes){ k->config.n_stacks, k->config.n_counts,
				      k->config.n_pool_chunks,
				      bpf_map__max_entries(bpf_object__find_map_by_name(
					      k->cpu, map_names[PP_MAP_RING])) };
}

int kernel_map(const struct kernel *k, enum pp_map map)
{
	return k->maps[map];
}

int kernel_slabs(const struct kernel *k)
{
	return k->slabs;
}

int kernel_slab(struct kernel *k, uint32_t index)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	_cleanup_(closep) int fd = -1;

	if (index >= PP_MAX_SLABS)
		return -EINVAL;
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "pp_slab", 4, 4u << PP_CHUNK_BITS,
			    1u << PP_SLAB_BITS, &options);
	if (fd < 0)
		return -errno;
	if (bpf_map_update_elem(k->slabs, &index, &fd, BPF_ANY) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int kernel_identify(struct kernel *k, struct process *p)
{
	struct pp_identity_query query = { .pid = (uint32_t)p->pid };
	_cleanup_(closep) int fd = -1;
	struct pp_identity found;
	struct stat st;
	uint32_t zero = 0;
	ssize_t n;

	if (stat("/proc/self/ns/pid", &st) < 0)
		return -errno;
	query.namespace_inode = (uint32_t)st.st_ino;
	if (bpf_map_update_elem(k->query, &zero, &query, BPF_ANY) < 0)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(k->identify));
	if (fd < 0)
		return -errno;
	n = read(fd, &found, sizeof(found));
	if (n < 0)
		return -errno;
	if (n != sizeof(found) || !process_alive(p))
		return -ESRCH;
	p->host_tgid = found.tgid;
	p->start_boottime = found.start_boottime;
	p->exec_id = found.exec_id;
	return 0;
}

void kernel_forget(struct kernel *k, uint32_t host_tgid, uint32_t slot)
{
	uint32_t now;

	if (bpf_map_lookup_elem(k->maps[PP_MAP_TARGETS], &host_tgid, &now) == 0 && now == slot)
		bpf_map_delete_elem(k->maps[PP_MAP_TARGETS], &host_tgid);
}

/* Whoever reads a thread's number reads it in our namespace. pp_query of the task object is another one. */
int kernel_set_namespace(struct bpf_object *o)
{
	struct pp_identity_query query = { 0 };
	uint32_t zero = 0;
	struct stat st;

	if (stat("/proc/self/ns/pid", &st) < 0)
		return -errno;
	query.namespace_inode = (uint32_t)st.st_ino;
	return bpf_map_update_elem(bpf_object__find_map_fd_by_name(o, "pp_query"), &zero, &query, BPF_ANY) < 0 ?
		       -errno : 0;
}

static int load_threads(struct kernel *k)
{
	int r;

	if (k->threads)
		return 0;
	r = open_object(k, bpf_object_threads, bpf_object_threads_size, &k->threads);
	if (r == 0)
		r = bpf_object__load(k->threads);
	if (r == 0)
		r = kernel_set_namespace(k->threads);
	if (r < 0) {
		bpf_object__close(k->threads);
		k->threads = NULL;
	}
	return r;
}

/* All threads of a process, or one thread: a link. */
static int link_iterator(int program, uint32_t pid, uint32_t tid)
{
	union bpf_iter_link_info info = { .task = { .pid = pid, .tid = tid } };
	LIBBPF_OPTS(bpf_link_create_opts, options, .iter_info = &info, .iter_info_len = sizeof(info));
	int fd = bpf_link_create(program, 0, BPF_TRACE_ITER, &options);

	return fd < 0 ? -errno : fd;
}

int kernel_threads(struct kernel *k, const struct process *p, struct kernel_threads *ret, char *error)
{
	int r = process_alive(p) ? load_threads(k) : -ESRCH, program = -1;

	if (r == 0) {
		program = fcntl(bpf_program__fd(bpf_object__find_program_by_name(k->threads, "pp_threads")),
				F_DUPFD_CLOEXEC, 3);
		r = program < 0 ? -errno : link_iterator(program, (uint32_t)p->pid, 0);
	}
	if (r < 0) {
		close_fd(&program);
		if (r != -ESRCH)
			diagnose_load(k->btf, r, error, KERNEL_MAX_TEXT);
		return r;
	}
	*ret = (struct kernel_threads){ .link = r, .program = program };
	return 0;
}

int kernel_iterate(const struct kernel_threads *t)
{
	int fd = bpf_iter_create(t->link);

	return fd < 0 ? -errno : fd;
}

int kernel_iterate_one(const struct kernel_threads *t, uint32_t tid, int ret_fds[2])
{
	_cleanup_(closep) int link = link_iterator(t->program, 0, tid), first = -1;
	int second;

	if (link < 0)
		return link;
	first = bpf_iter_create(link);
	if (first < 0)
		return -errno;
	second = bpf_iter_create(link);
	if (second < 0)
		return -errno;
	ret_fds[0] = TAKE_FD(first);
	ret_fds[1] = second;
	return 0;
}

int kernel_prepare_growth(struct kernel *k)
{
	int r = k->growth ? 0 : open_object(k, bpf_object_growth, bpf_object_growth_size, &k->growth);

	if (r == 0)
		r = kernel_adopt(k, k->growth);
	if (r == 0)
		r = bpf_object__load(k->growth);
	if (r < 0) {
		bpf_object__close(k->growth);
		k->growth = NULL;
	}
	return r;
}

static int arm_growth(struct kernel *k, char *error)
{
	int r = k->growth ? 0 : kernel_prepare_growth(k);

	if (r == 0 && !k->on_fault) {
		k->on_fault = bpf_program__attach(
			bpf_object__find_program_by_name(k->growth, "pp_on_fault"));
		r = k->on_fault ? 0 : -errno;
	}
	if (r < 0)
		diagnose_load(k->btf, r, error, KERNEL_MAX_TEXT);
	return r;
}

static int load_create(struct kernel *k)
{
	int r = open_object(k, bpf_object_create, bpf_object_create_size, &k->create);

	if (r == 0)
		r = kernel_adopt(k, k->create);
	if (r == 0)
		r = bpf_object__load(k->create);
	if (r == 0)
		r = kernel_set_namespace(k->create);
	if (r < 0) {
		bpf_object__close(k->create);
		k->create = NULL;
	}
	return r;
}

static int arm_create(struct kernel *k, char *error)
{
	int r = k->create ? 0 : load_create(k);

	if (r == 0 && !k->on_create) {
		k->on_create = bpf_program__attach(
			bpf_object__find_program_by_name(k->create, "pp_on_create"));
		r = k->on_create ? 0 : -errno;
	}
	if (r < 0)
		diagnose_load(k->btf, r, error, KERNEL_MAX_TEXT);
	return r;
}

int kernel_created(struct kernel *k)
{
	int fd;

	if (!k->create)
		return -EINVAL;
	fd = fcntl(bpf_object__find_map_fd_by_name(k->create, "pp_created"), F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

uint64_t kernel_clock_period_ns(const struct kernel *k)
{
	return k->clock_period_ns;
}

static int arm_cpu(struct kernel *k, char *error)
{
	int r = clocks_start(&k->clocks, libbpf_num_possible_cpus(), k->clock_period_ns,
			     bpf_program__fd(bpf_object__find_program_by_name(k->cpu, "pp_on_tick")));

	if (r < 0) {
		diagnose_perf(r, error, KERNEL_MAX_TEXT);
		return r;
	}
	/* only sharpens what exec_vm shows at each sample: absence is no failure */
	if (!k->on_mmap)
		k->on_mmap = bpf_program__attach(bpf_object__find_program_by_name(k->cpu, "pp_on_mmap"));
	return 0;
}

/* Among what the programs count; it is seldom. */
static void count_missed(const struct kernel *k, uint64_t ns)
{
	struct pp_state *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, kernel_map(k, PP_MAP_STATE), 0);

	if (s == MAP_FAILED)
		return;
	__atomic_fetch_add(&s->control.statistics[PP_STAT_CLOCK_NS], ns, __ATOMIC_SEQ_CST);
	munmap(s, sizeof(*s));
}

int kernel_look_at_clocks(struct kernel *k)
{
	uint64_t missed_ns = 0;
	int ms = clocks_look(&k->clocks, &missed_ns);

	if (missed_ns)
		count_missed(k, missed_ns);
	return ms;
}

int kernel_arm(struct kernel *k, enum pp_collector c, char *error)
{
	if (c == PP_CPU)
		return arm_cpu(k, error);
	if (c == PP_CREATE)
		return arm_create(k, error);
	return c == PP_GROWTH ? arm_growth(k, error) : -EINVAL;
}

void kernel_disarm(struct kernel *k, enum pp_collector c)
{
	if (c == PP_GROWTH) {
		bpf_link__destroy(k->on_fault);
		k->on_fault = NULL;
	}
	if (c == PP_CREATE) {
		bpf_link__destroy(k->on_create);
		k->on_create = NULL;
		bpf_object__close(k->create); /* its table is of no use to the next serve */
		k->create = NULL;
	}
	if (c != PP_CPU)
		return;
	bpf_link__destroy(k->on_mmap);
	k->on_mmap = NULL;
	clocks_stop(&k->clocks);
}
