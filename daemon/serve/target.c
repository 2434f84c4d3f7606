/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/target.h"

#include <elf.h>
#include <errno.h>
#include <fnmatch.h>
#include <linux/bpf.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/log.h"
#include "daemon/serve/maps.h"
#include "daemon/serve/target_file.h"

/* A process that maps code all the time (a JIT) is read again at most this often, and scans take at
 * most a tenth of a CPU. */
#define MIN_SCAN_NS (20 * NS_PER_MS)
#define MAX_SCAN_NS (5 * NS_PER_S)
#define MIN_RETRY_NS (2 * NS_PER_MS) /* of one that could not be looked at */
#define SETTLE_NS NS_PER_S	     /* an exec takes no longer */

bool target_alive(const struct target *t)
{
	struct pollfd f = { .fd = t->pidfd, .events = POLLIN };

	return poll(&f, 1, 0) == 0;
}

/* The kernel's name for the CPU clock of a process (posix-timers.h: MAKE_PROCESS_CPUCLOCK with
 * CPUCLOCK_SCHED): nanoseconds, all its threads, those that have ended too. */
int64_t target_cpu_ns(const struct target *t)
{
	clockid_t id = (clockid_t)(~(unsigned)t->pid << 3 | 2);

	return target_alive(t) ? clock_ns(id) : 0;
}

bool target_kept(struct core *c, const struct target *t)
{
	int64_t ended;

	pthread_mutex_lock(&c->lock);
	ended = t->ended_ns;
	pthread_mutex_unlock(&c->lock);
	return !ended || monotonic_ns() - ended < TARGET_KEPT_NS;
}

bool target_has_image(const struct target *t, uint32_t image)
{
	for (size_t i = 0; i < t->images.n; i++)
		if (t->images.data[i] == image)
			return true;
	return false;
}

static int update_targets_map(struct core *c, const struct target *t, uint32_t key)
{
	uint32_t value = t->index;
	union bpf_attr a = { .map_fd = (uint32_t)c->targets_fd,
			     .key = (uint64_t)(uintptr_t)&key,
			     .value = (uint64_t)(uintptr_t)&value };

	return syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &a, sizeof(a)) < 0 ? -errno : 0;
}

static struct pp_mapping kernel_mapping(const struct target_mapping *m, const struct object *x)
{
	struct pp_mapping k = { .start = m->start, .end = m->end, .kind = PP_MAPPING_ANONYMOUS };
	uint64_t address;

	if (!x || x->not_elf)
		return k;
	k.object = x->id;
	k.kind = PP_MAPPING_OPAQUE;
	k.bias = m->start - m->offset;
	if (x->kind == SYMBOLIZER_VDSO ? !object_address_at(x, 0, &address) :
					 !object_address_at(x, m->offset, &address))
		return k;
	k.bias = m->start - address;
	if (x->rows == OBJECT_ROWS_NONE)
		k.kind = PP_MAPPING_FRAME_POINTER;
	if (x->rows == OBJECT_ROWS_READY) {
		k.kind = PP_MAPPING_TABLE;
		k.base = k.bias + x->place.base;
		k.hint = x->place.words.first;
		k.n_granules = x->place.n_granules;
	}
	return k;
}

static bool same_mapping(const struct target_mapping *a, const struct maps_line *l)
{
	return a->start == l->start && a->end == l->end && a->offset == l->offset &&
	       a->dev == l->dev && a->ino == l->ino && !strcmp(a->name, l->name);
}

/* Both lists are sorted by address, so the old one is walked along. */
static const struct target_mapping *known_mapping(const struct target *t, size_t *at,
						   const struct maps_line *l)
{
	while (*at < t->mappings.n && t->mappings.data[*at].start < l->start)
		++*at;
	if (*at < t->mappings.n && same_mapping(&t->mappings.data[*at], l))
		return &t->mappings.data[*at];
	return NULL;
}

/* The address at which the program was entered: its mapping is the main executable's. 0: not known, or not yet. */
static uint64_t entry_address(struct core *c, const struct target *t)
{
	_cleanup_(closep) int fd = broker_open_proc(&c->broker, t->index, BROKER_PROC_AUXV);
	uint64_t pair[2];

	while (fd >= 0 && read(fd, pair, sizeof(pair)) == sizeof(pair) && pair[0] != AT_NULL)
		if (pair[0] == AT_ENTRY)
			return pair[1];
	return 0;
}

/* Files that cannot be had now are tried again, less and less often. */
#define MIN_FILES_NS NS_PER_S
#define MAX_FILES_NS (60 * NS_PER_S)

struct scan {
	struct broker_target now;
	struct maps maps;
	VEC(struct target_mapping) mappings;
	VEC(struct pp_mapping) list;
	uint64_t entry; /* of a new image, as entry_address */
	bool new_image, changed;
	bool again, lacking; /* files that could not be had are tried again; there are some */
};

static void scan_deinit(struct scan *s)
{
	for (size_t i = 0; i < s->mappings.n; i++)
		free(s->mappings.data[i].name);
	vec_deinit(&s->mappings);
	vec_deinit(&s->list);
	maps_deinit(&s->maps);
}

/* A JIT's neighbouring pieces of anonymous memory become one. */
static bool joins(const struct pp_mapping *a, const struct pp_mapping *b)
{
	return a->kind == PP_MAPPING_ANONYMOUS && b->kind == PP_MAPPING_ANONYMOUS &&
	       a->end == b->start;
}

static struct object *have_object(struct core *c, struct target *t, struct scan *s, const struct maps_line *l,
				  const struct target_mapping *known)
{
	struct object *x = known ? objects_find(&c->objects, known->object) : NULL;
	bool lacked = x && x->lacking;

	if (!known || (lacked && s->again)) {
		x = target_file_open(c, t, l);
		if (x)
			target_file_rows(c, x);
		s->changed |= !known || !x || x->id != known->object || !x->lacking;
	}
	s->lacking |= x && x->lacking;
	return x;
}

static int take_line(struct core *c, struct target *t, struct scan *s, struct maps_line *l, size_t *at)
{
	const struct target_mapping *known = s->new_image ? NULL : known_mapping(t, at, l);
	struct target_mapping m = { l->start, l->end, l->offset, l->dev, l->ino, 0, NULL };
	struct object *x;
	struct pp_mapping k;

	if (!strcmp(l->name, "[uprobes]"))
		return 0; /* left out: a walk that comes here asks the kernel for the caller */
	x = have_object(c, t, s, l, known);
	m.object = x ? x->id : 0;
	m.name = l->name;
	k = kernel_mapping(&m, x);
	if (s->list.n && joins(&s->list.data[s->list.n - 1], &k))
		s->list.data[s->list.n - 1].end = k.end;
	else if (vec_push(&s->list, k) < 0)
		return -ENOMEM;
	if (vec_push(&s->mappings, m) < 0)
		return -ENOMEM;
	l->name = NULL; /* taken */
	return 0;
}

static void use_objects(struct core *c, const struct scan *s, const struct target *t)
{
	for (size_t i = 0; i < s->mappings.n; i++) {
		struct object *x = objects_find(&c->objects, s->mappings.data[i].object);

		if (x)
			x->n_users++;
	}
	for (size_t i = 0; i < t->mappings.n; i++) {
		struct object *x = objects_find(&c->objects, t->mappings.data[i].object);

		if (x)
			x->n_users--;
	}
}

static uint32_t main_object(const struct scan *s, uint64_t entry)
{
	for (size_t i = 0; i < s->mappings.n; i++)
		if (entry >= s->mappings.data[i].start && entry < s->mappings.data[i].end)
			return s->mappings.data[i].object;
	for (size_t i = 0; i < s->mappings.n; i++)
		if (s->mappings.data[i].object)
			return s->mappings.data[i].object;
	return 0;
}

/* Whoever writes one maps it, so that it can be found (perf's jitdump-specification.txt). */
static uint32_t jitdump_object(const struct scan *s)
{
	for (size_t i = s->mappings.n; i-- > 0;)
		if (s->mappings.data[i].object && !fnmatch("*/jit-*.dump", s->mappings.data[i].name, 0))
			return s->mappings.data[i].object;
	return 0;
}

/* An id for what the process runs now. */
static int begin_image(struct core *c, struct target *t)
{
	int r;

	pthread_mutex_lock(&c->lock);
	if (t->images.n == TARGET_MAX_IMAGES) { /* one that executes without end: forget the oldest */
		memmove(t->images.data, t->images.data + 1, --t->images.n * sizeof(uint32_t));
		c->untidy = true; /* its counts go */
	}
	r = vec_push(&t->images, c->next_image);
	c->next_image += r == 0;
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* exec_id comes last: until it fits, programs take no stack. */
static int publish(struct core *c, struct target *t, struct scan *s)
{
	struct pp_process *p = &c->tables.processes[t->index];
	uint64_t list = 0, old = t->list;
	uint32_t image, main = main_object(s, s->new_image ? s->entry : t->entry);
	int r = tables_list(&c->tables, s->list.data, (uint32_t)s->list.n, &list);

	if (r == 0 && s->new_image)
		r = begin_image(c, t);
	if (r == 0 && !t->published)
		r = update_targets_map(c, t, s->now.host_tgid);
	if (r < 0) {
		tables_forget_list(&c->tables, list);
		return r;
	}
	if (s->new_image) {
		t->host_tgid = s->now.host_tgid;
		t->start_boottime = s->now.start_boottime;
		t->exec_id = s->now.exec_id;
		t->entry = s->entry;
		t->exec_vm_error = 0;
	}
	pthread_mutex_lock(&c->lock);
	use_objects(c, s, t);
	t->main_object = main;
	t->jitdump_object = jitdump_object(s);
	image = t->images.data[t->images.n - 1];
	pthread_mutex_unlock(&c->lock);
	__atomic_store_n(&p->list, list, __ATOMIC_SEQ_CST);
	__atomic_store_n(&p->start_boottime, t->start_boottime, __ATOMIC_SEQ_CST);
	__atomic_store_n(&p->target, image, __ATOMIC_SEQ_CST);
	__atomic_store_n(&p->exec_id, t->exec_id, __ATOMIC_SEQ_CST);
	t->published = true;
	wait_filter(c);
	t->list = list;
	tables_forget_list(&c->tables, old);
	return 0;
}

static int build(struct core *c, struct target *t, struct scan *s)
{
	size_t at = 0;
	int r = 0;

	s->changed = s->maps.lines.n != t->mappings.n;
	for (size_t i = 0; i < s->maps.lines.n && r == 0; i++)
		r = take_line(c, t, s, &s->maps.lines.data[i], &at);
	if (s->mappings.n != t->mappings.n)
		s->changed = true;
	return r;
}

/* When the kernel may make us look again. */
static void set_pace(struct target *t, int64_t began, bool changed)
{
	int64_t now = monotonic_ns(), pause = 10 * (now - began);

	t->unchanged = changed ? 0 : t->unchanged < 10 ? t->unchanged + 1 : 10;
	if (pause < MIN_SCAN_NS << t->unchanged)
		pause = MIN_SCAN_NS << t->unchanged;
	t->scanned_ns = now + (pause < MAX_SCAN_NS ? pause : MAX_SCAN_NS);
}

static int identify(struct core *c, struct target *t, struct scan *s)
{
	int r = broker_identify(&c->broker, t->index, &s->now);

	if (r < 0)
		return r;
	s->new_image = !t->published || s->now.exec_id != t->exec_id || s->now.start_boottime != t->start_boottime;
	__atomic_store_n(&t->uid, s->now.uid, __ATOMIC_SEQ_CST); /* before a stack of the new program can be had */
	return 0;
}

static int read_maps(struct core *c, const struct target *t, struct maps *ret)
{
	_cleanup_(closep) int fd = broker_open_proc(&c->broker, t->index, BROKER_PROC_MAPS);

	return fd < 0 ? fd : maps_read(fd, ret);
}

/* It could not be looked at for so long that it will not be. */
static bool settled(const struct target *t)
{
	return t->unsettled_ns && monotonic_ns() - t->unsettled_ns > SETTLE_NS;
}

/* What the process is now. In the middle of an exec it has a new number already, but not its mappings; the kernel
 * writes its auxiliary vector last (create_elf_tables() in fs/binfmt_elf.c). -EAGAIN: it is there, and yet cannot be
 * looked at, which will pass. */
static int look(struct core *c, struct target *t, struct scan *s, bool fresh)
{
	int r = fresh || t->unsettled_ns || !t->published ? identify(c, t, s) : 0;

	if (r == 0)
		r = read_maps(c, t, &s->maps);
	if (r == 0 && s->new_image)
		s->entry = entry_address(c, t);
	if (r == -ESRCH || (r == 0 && !s->maps.lines.n) || !target_alive(t))
		return target_alive(t) ? -EAGAIN : TARGET_GONE;
	if (r == 0 && s->new_image && !s->entry && !settled(t)) /* a process may have cleared its own */
		return -EAGAIN;
	return r;
}

/* The kernel has said what it had to say, and `noted` stays: it will say no more. So it is looked at again without
 * being asked, soon at first. */
static void try_again(struct core *c, struct target *t)
{
	int64_t now = monotonic_ns(), pause;

	if (!t->unsettled_ns)
		t->unsettled_ns = now;
	pause = (now - t->unsettled_ns) / 2;
	if (pause < MIN_RETRY_NS)
		pause = MIN_RETRY_NS;
	t->due_ns = now + (pause < MAX_SCAN_NS ? pause : MAX_SCAN_NS);
	core_wake(c);
}

static void plan_files(struct core *c, struct target *t, const struct scan *s)
{
	if (!s->lacking) {
		t->files_ns = t->files_pause_ns = 0;
		return;
	}
	if (t->files_ns)
		return;
	t->files_pause_ns = t->files_pause_ns ? 2 * t->files_pause_ns : MIN_FILES_NS;
	if (t->files_pause_ns > MAX_FILES_NS)
		t->files_pause_ns = MAX_FILES_NS;
	t->files_ns = monotonic_ns() + t->files_pause_ns;
	core_wake(c);
}

/* What hangs on the mappings. */
static void follow(struct core *c, struct target *t, bool new_image)
{
	custom_follow(c, t, new_image);
	heap_follow(c, t, new_image);
	label_follow(c, t, new_image);
	wait_data_follow(c, t);
}

static int take(struct core *c, struct target *t, struct scan *s)
{
	struct pp_process *p = &c->tables.processes[t->index];
	__typeof__(s->mappings) old;
	int r = build(c, t, s);

	if (r == 0 && (s->changed || s->new_image))
		r = publish(c, t, s);
	if (r < 0)
		return r;
	p->exec_vm = s->maps.exec_vm + t->exec_vm_error; /* after the list: until then samples are stale */
	memcpy(&old, &t->mappings, sizeof(old)); /* they go with the scan */
	memcpy(&t->mappings, &s->mappings, sizeof(old));
	memcpy(&s->mappings, &old, sizeof(old));
	pthread_mutex_lock(&c->lock);
	t->n_left_out = s->maps.n_left_out;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

int target_scan(struct core *c, struct target *t, bool fresh)
{
	struct pp_process *p = &c->tables.processes[t->index];
	int64_t began = monotonic_ns();
	uint32_t n_mapped = __atomic_load_n(&p->n_mapped, __ATOMIC_SEQ_CST);
	struct scan s = { 0 };
	int r;

	t->due_ns = 0;
	s.again = t->files_ns && t->files_ns <= began;
	if (s.again)
		t->files_ns = 0;
	r = look(c, t, &s, fresh);
	if (r == TARGET_OK)
		r = take(c, t, &s);
	if (r == TARGET_OK) {
		p->n_mapped_seen = n_mapped;
		t->unsettled_ns = 0;
		set_pace(t, began, s.changed || s.new_image);
		plan_files(c, t, &s);
		carry_restore(c, t);
		if (s.changed || s.new_image)
			follow(c, t, s.new_image);
		__atomic_store_n(&p->noted, 0, __ATOMIC_SEQ_CST);
	} else if (r < 0) {
		try_again(c, t);
	}
	scan_deinit(&s);
	return r;
}

int target_settle(struct core *c, struct target *t)
{
	const struct timespec pause = { .tv_nsec = MIN_RETRY_NS };
	int64_t end = monotonic_ns() + 2 * SETTLE_NS;
	int r;

	while ((r = target_scan(c, t, true)) == -EAGAIN && monotonic_ns() < end) {
		pthread_mutex_unlock(&c->scan_lock);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&c->scan_lock);
	}
	return r;
}

void target_unpublish(struct core *c, struct target *t)
{
	t->due_ns = t->files_ns = 0;
	if (t->published)
		__atomic_store_n(&c->tables.processes[t->index].target, 0, __ATOMIC_SEQ_CST);
	t->published = false;
	wait_filter(c);
}

/* Where the files that it had mapped are found from now on. */
static void hand_over(struct core *c, const struct target *t, struct object *x)
{
	x->seen_target = BROKER_NO_LIMIT; /* nowhere */
	for (uint32_t i = 0; i < c->n_targets; i++)
		for (size_t k = 0; k < c->targets[i].mappings.n; k++) {
			const struct target_mapping *m = &c->targets[i].mappings.data[k];

			if (m->object != x->id || &c->targets[i] == t)
				continue;
			x->seen_target = i;
			x->seen_start = m->start;
			x->seen_end = m->end;
			return;
		}
}

void target_clear(struct core *c, struct target *t)
{
	const struct scan none = { 0 };
	uint32_t index = t->index;

	use_objects(c, &none, t);
	for (size_t i = 0; i < c->objects.all.n; i++)
		if (c->objects.all.data[i] && c->objects.all.data[i]->seen_target == index)
			hand_over(c, t, c->objects.all.data[i]);
	for (size_t i = 0; i < t->mappings.n; i++)
		free(t->mappings.data[i].name);
	vec_deinit(&t->mappings);
	vec_deinit(&t->images);
	if (c->tables.processes) {
		tables_forget_list(&c->tables, t->list);
		memset(&c->tables.processes[index], 0, sizeof(c->tables.processes[index]));
	}
	close_fd(&t->pidfd);
	close_fd(&t->perf_map_fd);
	*t = (struct target){ .index = index, .pidfd = -1, .perf_map_fd = -1 };
}

void target_notice(struct core *c, struct target *t, const struct pp_notice *n)
{
	struct pp_process *p = &c->tables.processes[t->index];

	if (n->type == PP_NOTICE_EXEC) {
		target_scan(c, t, true);
		return;
	}
	if (monotonic_ns() < t->scanned_ns) {
		t->due_ns = t->scanned_ns; /* `noted` stays: no more notices until then */
		return;
	}
	/* the same list, and yet the kernel counts other pages than we do: believe the kernel */
	if (target_scan(c, t, false) == TARGET_OK && t->unchanged) {
		t->exec_vm_error += n->value - p->exec_vm;
		p->exec_vm = n->value;
	}
}
