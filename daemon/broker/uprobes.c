/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/uprobes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>

#include "base/emulated.h"
#include "base/vec.h"
#include "bpf_objects.h"
#include "daemon/broker/calibrate.h"
#include "daemon/broker/diagnose.h"
#include "daemon/broker/held.h"
#include "daemon/broker/uprobe_link.h"

#define MIN_HIT_NS 100
#define USUAL_HIT_NS 900 /* with a return probe on every call */

static const char *const map_names[PP_N_HEAP_MAPS] = {
	[PP_HEAP_MAP_PROBE] = "pp_probe", [PP_HEAP_MAP_STATE] = "pp_heap",
	[PP_HEAP_MAP_CPU] = "pp_heap_cpu", [PP_HEAP_MAP_KEY] = "pp_live_key",
	[PP_HEAP_MAP_LIVE] = "pp_live", [PP_HEAP_MAP_TURN] = "pp_turn",
};

struct link {
	uint32_t target, side;
	int fd;			/* of a multi link, or -1 */
	struct bpf_link *perf;	/* else */
};

struct links {
	VEC(struct link) all;
};

struct uprobes {
	struct bpf_object *o;
	bool sessions;
	int maps[PP_N_HEAP_MAPS]; /* borrowed from the object */
	struct bpf_link *on_fork; /* NULL: children keep their probes */
	struct links links;
	struct held held; /* once it has been asked for */
	uint32_t hit_ns[2]; /* alone; among others. 0: not measured yet */
	uint32_t next; /* number of the next probe: used again as late as can be */
};

uint32_t uprobes_n_cpus(void)
{
	return (uint32_t)libbpf_num_possible_cpus();
}

static int program(const struct uprobes *h, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(h->o, name));
}

static void choose_program(struct bpf_object *o, const char *name, bool load, int type)
{
	struct bpf_program *p = bpf_object__find_program_by_name(o, name);

	if (!p)
		return;
	bpf_program__set_autoload(p, load);
	if (type)
		bpf_program__set_expected_attach_type(p, (enum bpf_attach_type)type);
}

static int load(struct uprobes *h, const struct kernel *k)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = kernel_btf(k));
	int multi = h->sessions ? TRACE_UPROBE_MULTI : 0, r;
	struct bpf_map *m;

	h->o = bpf_object__open_mem(bpf_object_heap, bpf_object_heap_size, &options);
	if (!h->o)
		return -errno;
	choose_program(h->o, "pp_heap_session", h->sessions, TRACE_UPROBE_SESSION);
	choose_program(h->o, "pp_heap_enter", true, multi);
	choose_program(h->o, "pp_heap_return", !h->sessions, 0);
	choose_program(h->o, "pp_heap_free", true, multi);
	choose_program(h->o, "pp_heap_told", true, multi);
	r = kernel_adopt(k, h->o);
	m = bpf_object__find_map_by_name(h->o, map_names[PP_HEAP_MAP_CPU]);
	if (r == 0 && (!m || bpf_map__set_max_entries(m, uprobes_n_cpus() * PP_MAX_PROCESSES)))
		r = -EINVAL;
	if (r == 0)
		r = bpf_object__load(h->o);
	for (int i = 0; i < PP_N_HEAP_MAPS && r == 0; i++) {
		h->maps[i] = bpf_object__find_map_fd_by_name(h->o, map_names[i]);
		if (h->maps[i] < 0)
			r = -EINVAL;
	}
	return r;
}

static int create_link(int prog, int type, const char *path, const struct broker_probe *probes,
		       const uint64_t *cookies, uint32_t n, pid_t pid)
{
	struct uprobe_place places[BROKER_MAX_PROBES];

	_Static_assert(BROKER_MAX_PROBES <= UPROBE_LINK_MAX, "one link");
	for (uint32_t i = 0; i < n; i++)
		places[i] = (struct uprobe_place){ probes[i].offset, probes[i].semaphore, cookies[i] };
	return uprobe_link(prog, type, path, places, n, pid);
}

/* Asked of the kernel with a path that cannot be probed: without sessions it is the attach type that is
 * refused, before the path is looked at. */
static bool sessions_work(const struct uprobes *h)
{
	static const struct broker_probe nowhere;
	const uint64_t cookie = 0;
	int fd = create_link(program(h, "pp_heap_session"), TRACE_UPROBE_SESSION, "/", &nowhere,
			     &cookie, 1, 0);

	if (fd >= 0)
		close(fd);
	return fd == -EBADF; /* not a regular file */
}

int uprobes_load(const struct kernel *k, struct uprobes **ret, char *error)
{
	_cleanup_(uprobes_freep) struct uprobes *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->sessions = true;
	r = load(h, k);
	if (r < 0 || !sessions_work(h)) {
		bpf_object__close(h->o);
		h->o = NULL;
		h->sessions = false;
		r = load(h, k);
	}
	if (r < 0) {
		diagnose_load(kernel_btf(k), r, error, KERNEL_MAX_TEXT);
		return r;
	}
	if (h->sessions) /* perf's probes leave a child by themselves, at its first hit */
		h->on_fork = bpf_program__attach(bpf_object__find_program_by_name(h->o, "pp_on_fork"));
	*ret = TAKE_PTR(h);
	return 0;
}

struct uprobes_loading {
	pthread_t thread;
	struct kernel *kernel;
	struct uprobes *uprobes;
	bool several;
	int r;
	bool done; /* atomic: the others are set */
	char error[KERNEL_MAX_TEXT];
};

static void *load_later(void *context)
{
	struct uprobes_loading *l = context;

	kernel_prepare_growth(l->kernel); /* if it fails, it will fail again where it is armed */
	l->r = uprobes_load(l->kernel, &l->uprobes, l->error);
	if (l->r == 0)
		uprobes_hit_ns(l->uprobes, 0);
	if (l->r == 0 && l->several)
		uprobes_hit_ns(l->uprobes, BROKER_MAX_SHARERS - 1);
	__atomic_store_n(&l->done, true, __ATOMIC_RELEASE);
	return NULL;
}

int uprobes_begin(struct kernel *k, bool several, struct uprobes_loading **ret)
{
	struct uprobes_loading *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->kernel = k;
	l->several = several;
	r = -pthread_create(&l->thread, NULL, load_later, l);
	if (r < 0)
		free(l);
	else
		*ret = l;
	return r;
}

int uprobes_loaded(struct uprobes_loading *l, struct uprobes **ret, char *error)
{
	if (!__atomic_load_n(&l->done, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	if (l->uprobes)
		*ret = TAKE_PTR(l->uprobes);
	snprintf(error, KERNEL_MAX_TEXT, "%s", l->error);
	return l->r;
}

bool uprobes_are_loading(const struct uprobes_loading *l)
{
	return l && !__atomic_load_n(&l->done, __ATOMIC_ACQUIRE);
}

void uprobes_loading_free(struct uprobes_loading *l)
{
	if (!l)
		return;
	pthread_join(l->thread, NULL);
	uprobes_free(l->uprobes);
	free(l);
}

static void close_links(struct links *l)
{
	for (size_t i = 0; i < l->all.n; i++) {
		uprobe_link_close(l->all.data[i].fd);
		bpf_link__destroy(l->all.data[i].perf);
	}
	vec_deinit(&l->all);
}

void uprobes_free(struct uprobes *h)
{
	if (!h)
		return;
	close_links(&h->links);
	bpf_link__destroy(h->on_fork);
	bpf_object__close(h->o);
	free(h);
}

int uprobes_map(const struct uprobes *h, enum pp_heap_map map)
{
	return h->maps[map];
}

bool uprobes_has_sessions(const struct uprobes *h)
{
	return h->sessions;
}

/* Whoever asks may have been deceived by the file: what is there is looked at again. */
static int check(int fd, const struct broker_probe *p, uint32_t side)
{
	uint8_t code[16];
	unsigned length;
	ssize_t n = pread(fd, code, sizeof(code), (off_t)p->offset);
	bool told = p->probe.function == PP_FUNCTION_USDT_ALLOC ||
		    p->probe.function == PP_FUNCTION_USDT_FREE;

	if (p->offset % EMULATED_ALIGN || n <= 0 || emulated_here(code, (size_t)n, &length) == EMULATED_NOT)
		return -EINVAL;
	if (!p->probe.function || p->probe.function >= PP_N_FUNCTIONS ||
	    told != (side == BROKER_SIDE_TOLD) ||
	    (p->probe.function == PP_FUNCTION_FREE) != (side == BROKER_SIDE_FREE))
		return -EINVAL;
	return 0;
}

/* On sessions only: perf's probes are detached too slowly to try one. Those of others are the dearest: a session's return
 * probe is hit by whoever uses the file. */
static int attach_one(void *context, int file, uint64_t offset, pid_t pid)
{
	struct uprobes *h = context;
	struct broker_probe p = { .offset = offset };
	const uint64_t cookie = 0;
	bool other = pid == getpid();
	char path[32];

	if (!h->sessions)
		return -ENOTSUP;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return create_link(program(h, other ? "pp_heap_session" : "pp_heap_free"), other ? TRACE_UPROBE_SESSION : TRACE_UPROBE_MULTI,
			   path, &p, &cookie, 1, pid);
}

uint32_t uprobes_hit_ns(struct uprobes *h, uint32_t n_others)
{
	uint32_t *to = &h->hit_ns[n_others != 0];
	int ns;

	if (*to)
		return *to;
	ns = calibrate_hit(attach_one, h, n_others);
	*to = ns < MIN_HIT_NS ? ns < 0 ? USUAL_HIT_NS : MIN_HIT_NS : (uint32_t)ns;
	*to += *to / 8; /* what our programs do for a process that is a target */
	if (n_others && *to < h->hit_ns[0]) /* noise */
		*to = h->hit_ns[0];
	return *to;
}

static int keep(struct links *l, struct link link)
{
	if (vec_push(&l->all, link) == 0)
		return 0;
	uprobe_link_close(link.fd);
	bpf_link__destroy(link.perf);
	return -ENOMEM;
}

static int attach_perf(struct uprobes *h, struct links *to, const char *name, const char *path,
		       const struct broker_probes *q, const struct broker_probe *p, uint64_t cookie,
		       pid_t pid)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .bpf_cookie = cookie,
		    .ref_ctr_offset = (size_t)p->semaphore,
		    .retprobe = !strcmp(name, "pp_heap_return"));
	struct bpf_link *l = bpf_program__attach_uprobe_opts(
		bpf_object__find_program_by_name(h->o, name), pid, path, (size_t)p->offset,
		&options);

	if (!l)
		return -errno;
	return keep(to, (struct link){ q->target, q->side, -1, l });
}

/* What attaches to the entry of what has no return probe. */
static const char *const entries[] = { [BROKER_SIDE_ALLOC] = "pp_heap_enter",
				       [BROKER_SIDE_FREE] = "pp_heap_free",
				       [BROKER_SIDE_TOLD] = "pp_heap_told" };

static bool returns(const struct broker_probes *q, const struct broker_probe *p)
{
	return q->side == BROKER_SIDE_ALLOC && !(p->probe.flags & PP_PROBE_ENTRY_ONLY);
}

static int attach_each(struct uprobes *h, struct links *to, const char *path,
		       const struct broker_probes *q, const struct broker_probe *probes,
		       const uint64_t *cookies, pid_t pid)
{
	int r = 0;

	for (uint32_t i = 0; i < q->n && r == 0; i++) {
		if (returns(q, &probes[i])) /* first, so that no entry is without its return */
			r = attach_perf(h, to, "pp_heap_return", path, q, &probes[i], cookies[i],
					pid);
		if (r == 0)
			r = attach_perf(h, to, entries[q->side], path, q, &probes[i], cookies[i], pid);
	}
	return r;
}

/* Those that have a return probe, or those that have none. Never both by a session: the kernel runs a link's program in its
 * process alone, but puts the return probe of a session into every process that has a breakpoint there, and a throw through
 * it ends the program. */
static int attach_some(struct uprobes *h, struct links *to, const char *path, const struct broker_probes *q,
		       const struct broker_probe *probes, const uint64_t *cookies, pid_t pid, bool session)
{
	struct broker_probe some[BROKER_MAX_PROBES];
	uint64_t numbers[BROKER_MAX_PROBES];
	uint32_t n = 0;
	int fd;

	for (uint32_t i = 0; i < q->n; i++) {
		if (returns(q, &probes[i]) != session)
			continue;
		some[n] = probes[i];
		numbers[n++] = cookies[i];
	}
	if (!n)
		return 0;
	fd = create_link(program(h, session ? "pp_heap_session" : entries[q->side]),
			 session ? TRACE_UPROBE_SESSION : TRACE_UPROBE_MULTI, path, some, numbers, n, pid);
	return fd < 0 ? fd : keep(to, (struct link){ q->target, q->side, fd, NULL });
}

static int attach_together(struct uprobes *h, struct links *to, const char *path,
			   const struct broker_probes *q, const struct broker_probe *probes,
			   const uint64_t *cookies, pid_t pid)
{
	int r = attach_some(h, to, path, q, probes, cookies, pid, false);

	return r < 0 ? r : attach_some(h, to, path, q, probes, cookies, pid, true);
}

static int publish(struct uprobes *h, const struct broker_probes *q, const struct broker_probe *probes,
		   uint64_t *cookies)
{
	for (uint32_t i = 0; i < q->n; i++) {
		struct pp_probe p = probes[i].probe;
		uint32_t number = h->next++ % PP_MAX_PROBES;

		p.slot = q->target;
		cookies[i] = number;
		if (bpf_map_update_elem(h->maps[PP_HEAP_MAP_PROBE], &number, &p, BPF_ANY) < 0)
			return -errno;
	}
	return 0;
}

static void close_soon(struct links *l);

/* Whenever a program leaves a probe, the kernel takes its breakpoint out of every process that no other
 * program wants it for: out of the children that have inherited it. So one that does nothing comes, and
 * leaves. */
static int probe_again(struct uprobes *h, const char *path, const struct broker_probes *q,
		       const struct broker_probe *probes, pid_t pid)
{
	struct links made = { 0 };
	uint64_t cookies[BROKER_MAX_PROBES];
	int fd, r;

	if (!h->sessions)
		return 0;
	for (uint32_t i = 0; i < q->n; i++)
		cookies[i] = PP_MAX_PROBES; /* no probe's number */
	fd = create_link(program(h, "pp_heap_free"), TRACE_UPROBE_MULTI, path, probes, cookies, q->n, pid);
	if (fd < 0)
		return fd;
	r = keep(&made, (struct link){ q->target, q->side, fd, NULL });
	if (r == 0)
		close_soon(&made);
	return r;
}

int uprobes_probe(struct uprobes *h, const struct process *p, int fd, const struct broker_probes *q,
	       const struct broker_probe *probes, char *error)
{
	uint64_t cookies[BROKER_MAX_PROBES];
	uint32_t side = q->side & ~(uint32_t)BROKER_SIDE_AGAIN;
	struct links made = { 0 };
	char path[32];
	int r = 0;

	if (!q->n || q->n > BROKER_MAX_PROBES ||
	    (side != BROKER_SIDE_ALLOC && side != BROKER_SIDE_FREE && side != BROKER_SIDE_TOLD))
		return -EINVAL;
	for (uint32_t i = 0; i < q->n && r == 0; i++)
		r = check(fd, &probes[i], side);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (r == 0 && q->side != side)
		return probe_again(h, path, q, probes, p->pid);
	if (r == 0)
		r = publish(h, q, probes, cookies);
	if (r == 0)
		r = h->sessions ? attach_together(h, &made, path, q, probes, cookies, p->pid) :
				  attach_each(h, &made, path, q, probes, cookies, p->pid);
	if (r == 0)
		r = vec_reserve(&h->links.all, h->links.all.n + made.all.n);
	for (size_t i = 0; i < made.all.n && r == 0; i++)
		r = keep(&h->links, made.all.data[i]);
	if (r == 0)
		vec_deinit(&made.all);
	else
		close_links(&made);
	if (r < 0)
		diagnose_uprobe(r, error, KERNEL_MAX_TEXT);
	return r;
}

/* One for each target, for as long as we run: a reader may outlive everything else. */
static struct looking {
	struct held tables;
	struct process process; /* as it is named: its pidfd is borrowed */
	uint32_t slot;
	bool busy; /* atomic */
} lookings[BROKER_MAX_TARGETS];

static int read_ends(void *context, uint64_t pointer, uint64_t size, void *to, unsigned n)
{
	const struct looking *l = context;
	struct iovec here = { to, 2 * (size_t)n };
	struct iovec there[] = { { (void *)(uintptr_t)pointer, n },
				 { (void *)(uintptr_t)(pointer + size - n), n } };

	ssize_t got = process_vm_readv(l->process.pid, &here, 1, there, 2, 0);

	return got == 2 * (ssize_t)n ? 0 : got < 0 && errno == ESRCH ? -ESRCH : -EFAULT;
}

static void *look_later(void *context)
{
	struct looking *l = context;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (process_alive(&l->process))
		held_look(&l->tables, l->slot, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
			  read_ends, l);
	__atomic_store_n(&l->busy, false, __ATOMIC_RELEASE);
	return NULL;
}

static int start_detached(void *(*run)(void *), void *context)
{
	pthread_attr_t detached;
	pthread_t thread;
	int r;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	r = -pthread_create(&thread, &detached, run, context);
	pthread_attr_destroy(&detached);
	return r;
}

/* For as long as we run. */
static void *map_table(int fd, size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int map_tables(const struct uprobes *h, struct held *to)
{
	if (to->seed)
		return 0;
	to->heaps = map_table(h->maps[PP_HEAP_MAP_STATE], PP_MAX_PROCESSES * sizeof(*to->heaps));
	to->keys = map_table(h->maps[PP_HEAP_MAP_KEY], sizeof(*to->keys) << PP_LIVE_BUCKET_BITS);
	to->live = map_table(h->maps[PP_HEAP_MAP_LIVE],
			     (PP_LIVE_WAYS * sizeof(*to->live)) << PP_LIVE_BUCKET_BITS);
	to->turns = map_table(h->maps[PP_HEAP_MAP_TURN],
			      PP_MAX_PROCESSES * PP_N_TURNS * sizeof(*to->turns));
	if (!to->heaps || !to->keys || !to->live || !to->turns ||
	    getrandom(&to->seed, sizeof(to->seed), 0) != sizeof(to->seed))
		return -ENOMEM;
	to->seed |= 1;
	return 0;
}

int uprobes_look(struct uprobes *h, const struct process *p, uint32_t target)
{
	struct looking *l = &lookings[target];
	int r = map_tables(h, &h->held);

	if (r < 0)
		return r;
	if (__atomic_load_n(&l->busy, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	*l = (struct looking){ h->held, *p, target, true };
	r = start_detached(look_later, l);
	if (r < 0)
		l->busy = false;
	return r;
}

static void *close_later(void *links)
{
	close_links(links);
	free(links);
	uprobe_links_end();
	return NULL;
}

/* Those of perf, which are many, together. */
static void close_rest(struct links *l)
{
	struct links *gone = malloc(sizeof(*gone));

	if (!gone) {
		close_links(l);
		return;
	}
	*gone = *l;
	uprobe_links_begin();
	if (start_detached(close_later, gone))
		close_later(gone);
}

/* Each by itself: breakpoints go when a link begins to close, and then it waits for the kernel, during which
 * the next one's would still be hit. */
static void close_soon(struct links *l)
{
	for (size_t i = 0; i < l->all.n; i++) {
		struct links one = { 0 }, *gone = malloc(sizeof(*gone));

		if (!gone || l->all.data[i].perf || vec_push(&one.all, l->all.data[i]) < 0) {
			free(gone);
			continue;
		}
		l->all.data[i].fd = -1;
		*gone = one;
		uprobe_links_begin();
		if (start_detached(close_later, gone))
			close_later(gone);
	}
	close_rest(l);
}

void uprobes_unprobe(struct uprobes *h, uint32_t target, uint32_t sides)
{
	struct links gone = { 0 };
	size_t kept = 0;

	for (size_t i = 0; i < h->links.all.n; i++) {
		struct link l = h->links.all.data[i];

		if (l.target != target || !(l.side & sides) || vec_push(&gone.all, l) < 0)
			h->links.all.data[kept++] = l;
	}
	h->links.all.n = kept;
	if (gone.all.n)
		close_soon(&gone);
}
