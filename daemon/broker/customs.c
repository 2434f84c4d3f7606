/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/customs.h"

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
#include "daemon/broker/diagnose.h"
#include "daemon/broker/left.h"
#include "daemon/broker/uprobe_link.h"

static const char *const map_names[PP_N_CUSTOM_MAPS] = {
	[PP_CUSTOM_MAP_STATE] = "pp_custom",
	[PP_CUSTOM_MAP_PROFILE] = "pp_custom_name",
	[PP_CUSTOM_MAP_KEY] = "pp_held_key",
	[PP_CUSTOM_MAP_HELD] = "pp_held",
};


/* What a hit costs, about: a trap; and what the kernel steps over out of line. */
#define HIT_NS 1000
#define STEPPED_NS 7000

struct link {
	uint32_t target;
	uint32_t first, n;     /* numbers of its probes */
	int fd;		       /* of a multi link, or -1 */
	struct bpf_link *perf; /* else */
};

struct links {
	VEC(struct link) all;
};

struct customs {
	const struct kernel *kernel;
	pthread_t thread;
	bool done; /* atomic: what the thread writes is there */
	int r;
	char error[KERNEL_MAX_TEXT];
	struct bpf_object *o;
	bool sessions;
	int maps[PP_N_CUSTOM_MAPS], probes; /* borrowed from the object */
	struct bpf_link *on_fork;
	struct links links;
	uint32_t next; /* where to look for numbers: one is used again as late as can be */
	bool used[PP_MAX_CUSTOM_PROBES];
};

static int program(const struct customs *c, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(c->o, name));
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

static int load_object(struct customs *c)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = kernel_btf(c->kernel));
	int r;

	c->o = bpf_object__open_mem(bpf_object_custom, bpf_object_custom_size, &options);
	if (!c->o)
		return -errno;
	choose_program(c->o, "pp_custom_hit", true, c->sessions ? TRACE_UPROBE_MULTI : 0);
	choose_program(c->o, "pp_custom_session", c->sessions, TRACE_UPROBE_SESSION);
	choose_program(c->o, "pp_custom_fork", c->sessions, 0); /* perf's probes leave children by themselves */
	r = kernel_adopt(c->kernel, c->o);
	if (r == 0)
		r = bpf_object__load(c->o);
	for (int i = 0; i < PP_N_CUSTOM_MAPS && r == 0; i++) {
		c->maps[i] = bpf_object__find_map_fd_by_name(c->o, map_names[i]);
		if (c->maps[i] < 0)
			r = -EINVAL;
	}
	c->probes = bpf_object__find_map_fd_by_name(c->o, "pp_custom_probe");
	return r == 0 && c->probes < 0 ? -EINVAL : r;
}

/* As in uprobes.c: without sessions it is the attach type that is refused. */
static bool sessions_work(const struct customs *c)
{
	const struct uprobe_place nowhere = { 0 };
	int fd = uprobe_link(program(c, "pp_custom_session"), TRACE_UPROBE_SESSION, "/", &nowhere, 1, 0);

	if (fd >= 0)
		close(fd);
	return fd == -EBADF;
}

static int load(struct customs *c)
{
	int r;

	c->sessions = true;
	r = load_object(c);
	if (r < 0 || !sessions_work(c)) {
		bpf_object__close(c->o);
		c->o = NULL;
		c->sessions = false;
		r = load_object(c);
	}
	if (r == 0 && c->sessions)
		c->on_fork = bpf_program__attach(bpf_object__find_program_by_name(c->o, "pp_custom_fork"));
	return r;
}

static void *load_later(void *context)
{
	struct customs *c = context;

	c->r = load(c);
	if (c->r < 0)
		diagnose_load(kernel_btf(c->kernel), c->r, c->error, KERNEL_MAX_TEXT);
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
	return NULL;
}

int customs_begin(struct kernel *k, struct customs **ret)
{
	struct customs *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->kernel = k;
	r = -pthread_create(&c->thread, NULL, load_later, c);
	if (r < 0)
		free(c);
	else
		*ret = c;
	return r;
}

int customs_loaded(struct customs *c, char *error)
{
	if (customs_are_loading(c))
		return -EAGAIN;
	snprintf(error, KERNEL_MAX_TEXT, "%s", c->error);
	return c->r;
}

bool customs_are_loading(const struct customs *c)
{
	return c && !__atomic_load_n(&c->done, __ATOMIC_ACQUIRE);
}

int customs_map(const struct customs *c, enum pp_custom_map map)
{
	return c->maps[map];
}

static void close_link(struct link *l)
{
	uprobe_link_close(l->fd);
	bpf_link__destroy(l->perf);
}

static void close_links(struct links *l)
{
	for (size_t i = 0; i < l->all.n; i++)
		close_link(&l->all.data[i]);
	vec_deinit(&l->all);
}

static void *close_later(void *links)
{
	close_links(links);
	free(links);
	uprobe_links_end();
	return NULL;
}

/* The kernel waits a while for each. */
static void close_soon(struct links *l)
{
	struct links *gone = malloc(sizeof(*gone));
	pthread_attr_t detached;
	pthread_t thread;
	int r;

	if (!gone) {
		close_links(l);
		return;
	}
	*gone = *l;
	uprobe_links_begin();
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &detached, close_later, gone);
	pthread_attr_destroy(&detached);
	if (r)
		close_later(gone);
}

/* A function's result is read on its return instructions, which the kernel steps over out of line: dear, and safe
 * where a return probe is not (the function may be left by an exception or a cancellation). */
static bool is_safe(uint32_t kind, const uint8_t *code, size_t n, uint32_t *ret_cost_ns)
{
	unsigned length;
	enum emulated how = emulated_here(code, n, &length);

	*ret_cost_ns = how != EMULATED_NOT && how != EMULATED_STEPPED ? HIT_NS : STEPPED_NS;
	if (kind >= PP_CUSTOM_RESULT && kind <= PP_CUSTOM_OUT_PAIR)
		return emulated_is_return(code, n);
	return *ret_cost_ns == HIT_NS || emulated_is_stepped(code, n);
}

/* Whoever asks may have been deceived by the file: what is there is looked at again. */
static int check(int fd, struct broker_custom_probe *p)
{
	uint8_t code[16];
	ssize_t n = pread(fd, code, sizeof(code), (off_t)p->offset);

	if (p->offset % EMULATED_ALIGN || n <= 0 || !is_safe(p->probe.kind, code, (size_t)n, &p->probe.cost_ns))
		return -EINVAL;
	if (!p->probe.kind || p->probe.kind >= PP_N_CUSTOM_KINDS || p->probe.row > PP_MAX_CUSTOM)
		return -EINVAL;
	return 0;
}

/* n numbers in a row. */
static int take_numbers(struct customs *c, uint32_t n, uint32_t *ret)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < 2 * PP_MAX_CUSTOM_PROBES; i++) {
		uint32_t k = (c->next + i) % PP_MAX_CUSTOM_PROBES;

		run = c->used[k] ? 0 : k ? run + 1 : 1;
		if (run < n)
			continue;
		*ret = k + 1 - n;
		c->next = k + 1;
		return 0;
	}
	return -ENOSPC;
}

static int publish(struct customs *c, uint32_t number, const struct pp_custom_probe *p)
{
	c->used[number] = p->kind != PP_CUSTOM_NONE;
	return bpf_map_update_elem(c->probes, &number, p, BPF_ANY) < 0 ? -errno : 0;
}

static void retract(struct customs *c, uint32_t first, uint32_t n)
{
	static const struct pp_custom_probe none;

	for (uint32_t i = 0; i < n; i++)
		publish(c, first + i, &none);
}

static struct link make_multi(struct customs *c, const struct uprobe_place *places, uint32_t n,
			      const char *path, pid_t pid)
{
	return (struct link){ .fd = uprobe_link(program(c, "pp_custom_hit"), TRACE_UPROBE_MULTI, path, places, n,
						pid) };
}

static struct link make_perf(struct customs *c, const struct uprobe_place *place, const char *path, pid_t pid)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .bpf_cookie = place->cookie);
	struct link l = { .fd = -1 };

	l.perf = bpf_program__attach_uprobe_opts(bpf_object__find_program_by_name(c->o, "pp_custom_hit"), pid,
						 path, (size_t)place->offset, &options);
	if (!l.perf)
		l.fd = -errno;
	return l;
}

static int attach(struct customs *c, const struct uprobe_place *places, uint32_t first, uint32_t n,
		  uint32_t target, const char *path, pid_t pid)
{
	uint32_t step = c->sessions ? n : 1;
	int r = 0;

	for (uint32_t i = 0; i < n && r == 0; i += step) {
		struct link l = c->sessions ? make_multi(c, places, n, path, pid) :
					      make_perf(c, &places[i], path, pid);

		if (l.fd < 0 && !l.perf)
			return l.fd;
		l.target = target;
		l.first = first + i;
		l.n = step;
		r = vec_push(&c->links.all, l);
		if (r < 0)
			close_link(&l);
	}
	return r;
}

/* One that does nothing comes and leaves: then the kernel looks who else has the breakpoints (uprobes.c). */
static int probe_again(struct customs *c, struct uprobe_place *places, uint32_t n, const char *path, pid_t pid)
{
	struct links made = { 0 };
	struct link l;

	if (!c->sessions)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		places[i].cookie = PP_MAX_CUSTOM_PROBES; /* no probe's number */
	l = make_multi(c, places, n, path, pid);
	if (l.fd < 0)
		return l.fd;
	if (vec_push(&made.all, l) < 0)
		close_link(&l);
	close_soon(&made);
	return 0;
}

int customs_probe(struct customs *c, const struct process *p, int fd, const struct broker_probes *q,
		  struct broker_custom_probe *probes, char *error)
{
	struct uprobe_place places[BROKER_MAX_PROBES];
	size_t before = c->links.all.n;
	uint32_t first = 0;
	char path[32];
	int r;

	if (!q->n || q->n > BROKER_MAX_PROBES || q->side & ~(uint32_t)BROKER_SIDE_AGAIN)
		return -EINVAL;
	r = take_numbers(c, q->n, &first);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (uint32_t i = 0; i < q->n && r == 0; i++) {
		r = check(fd, &probes[i]);
		places[i] = (struct uprobe_place){ probes[i].offset, 0, first + i };
	}
	if (r == 0 && q->side)
		return probe_again(c, places, q->n, path, p->pid);
	for (uint32_t i = 0; i < q->n && r == 0; i++) {
		struct pp_custom_probe one = probes[i].probe;

		one.slot = q->target;
		r = publish(c, first + i, &one);
	}
	if (r == 0)
		r = attach(c, places, first, q->n, q->target, path, p->pid);
	if (r < 0)
		retract(c, first, q->n);
	while (r < 0 && c->links.all.n > before)
		close_link(&c->links.all.data[--c->links.all.n]);
	if (r < 0)
		diagnose_uprobe(r, error, KERNEL_MAX_TEXT);
	return r;
}

int customs_asked(struct customs *c, struct process *processes, uint32_t n_processes, const struct record *r,
		  char *error)
{
	struct broker_custom_probe probes[BROKER_MAX_PROBES];
	_cleanup_(left_closep) int fd = -1;
	struct broker_file file;
	struct broker_probes q;

	if (r->n < sizeof(q))
		return -EBADMSG;
	memcpy(&q, r->data, sizeof(q));
	if (q.target >= n_processes || q.n > BROKER_MAX_PROBES || r->n != sizeof(q) + q.n * sizeof(*probes) ||
	    customs_loaded(c, error) < 0)
		return -EBADMSG;
	memcpy(probes, r->data + sizeof(q), q.n * sizeof(*probes));
	fd = process_open_mapped(&processes[q.target], q.start, q.end, &file);
	if (fd < 0)
		return fd;
	return customs_probe(c, &processes[q.target], fd, &q, probes, error);
}

void customs_off(struct customs *c, uint32_t target)
{
	struct links gone = { 0 };
	size_t kept = 0;

	for (size_t i = 0; i < c->links.all.n; i++) {
		struct link l = c->links.all.data[i];

		if (l.target == target)
			retract(c, l.first, l.n);
		if (l.target != target || vec_push(&gone.all, l) < 0)
			c->links.all.data[kept++] = l;
	}
	c->links.all.n = kept;
	if (gone.all.n)
		close_soon(&gone);
}

void customs_free(struct customs *c)
{
	if (!c)
		return;
	pthread_join(c->thread, NULL);
	close_links(&c->links);
	bpf_link__destroy(c->on_fork);
	bpf_object__close(c->o);
	free(c);
}
