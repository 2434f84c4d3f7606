/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/carry.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cursor.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/core.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/log.h"

#define MAGIC 0x33797272616370ull /* "pcarry3" */
#define MAX_NAME 4096
#define MAX_STACK 1024 /* words */

struct head {
	uint64_t magic, n_written, n_bytes, hash;
};

/* What follows the head; then objects, stacks, sets of labels, rows. */
struct totals_head {
	int32_t pid;
	uint32_t n_gaps;
	uint64_t start_boottime;
	int64_t since_ns, written_ns, gap_ns;
	uint64_t allocs[4], n_threads_before;
	uint32_t n_objects, n_stacks, n_sets, n_rows;
};

struct object_head {
	uint32_t id, kind, n_name, pad;
	struct broker_file file;
};

struct row {
	uint32_t collector, item, stack, labels; /* labels: set + 1 */
	char name[TOTALS_NAME];
	uint32_t size, pad; /* as struct total_name has it */
	int64_t v[2];
};

/* ---- writing ---- */

struct writing {
	struct core *c;
	struct target *t;
	uint32_t *stacks, *sets; /* of core.kept -> number in the file + 1 */
	bool *objects;		 /* by id - 1 */
	struct totals_head head;
	struct bytes to_objects, to_stacks, to_sets, to_rows;
};

static void add_words(struct bytes *b, const struct stacks *s, uint32_t which)
{
	uint32_t n;
	const uint64_t *words = stacks_words(s, which, &n);

	bytes_add(b, &n, sizeof(n));
	bytes_add(b, words, n * sizeof(*words));
}

static void add_object(struct writing *w, uint32_t id)
{
	const struct object *x = objects_find(&w->c->objects, id);
	struct object_head h = { .id = id };

	if (!x || w->objects[id - 1])
		return;
	w->objects[id - 1] = true;
	h.kind = x->kind;
	h.file = x->file;
	h.n_name = (uint32_t)strnlen(x->name, MAX_NAME);
	bytes_add(&w->to_objects, &h, sizeof(h));
	bytes_add(&w->to_objects, x->name, h.n_name);
	w->head.n_objects++;
}

static uint32_t add_stack(struct writing *w, uint32_t stack)
{
	uint32_t n;
	const uint64_t *words = stacks_words(&w->c->kept.stacks, stack, &n);

	if (w->stacks[stack])
		return w->stacks[stack] - 1;
	for (uint32_t i = 0; i < n; i++) {
		if (frame_kind(words[i]) == FRAME_FILE)
			add_object(w, frame_object(words[i]));
		else if (frame_kind(words[i]) == FRAME_MARKER && frame_marker_object(words[i]))
			add_object(w, frame_marker_object(words[i]));
	}
	add_words(&w->to_stacks, &w->c->kept.stacks, stack);
	w->stacks[stack] = ++w->head.n_stacks;
	return w->stacks[stack] - 1;
}

static uint32_t add_set(struct writing *w, uint32_t set)
{
	if (!set)
		return 0;
	if (!w->sets[set - 1]) {
		add_words(&w->to_sets, &w->c->kept.label_sets, set - 1);
		w->sets[set - 1] = ++w->head.n_sets;
	}
	return w->sets[set - 1];
}

static void add_row(struct writing *w, size_t i)
{
	const struct totals *kept = &w->c->kept;
	const struct total *from = &kept->rows.data[i];
	const struct total_name *name = &kept->names.data[from->name];
	const struct waits *waits = &w->c->waits;
	struct row row = { .collector = from->collector, .item = from->item, .v = { from->v[0], from->v[1] } };

	if (from->collector == PP_CUSTOM || !target_has_image(w->t, from->target))
		return;
	for (int k = 0; k < 2 && i < waits->n_shown; k++)
		if (waits->shown[i].v[k] > row.v[k]) /* with a part of what was not over */
			row.v[k] = waits->shown[i].v[k];
	if (!row.v[0] && !row.v[1])
		return;
	memcpy(row.name, name->text, sizeof(row.name));
	row.size = name->size;
	row.stack = add_stack(w, from->stack);
	row.labels = add_set(w, name->labels);
	bytes_add(&w->to_rows, &row, sizeof(row));
	w->head.n_rows++;
}

static void fill_head(struct writing *w)
{
	struct core *c = w->c;
	struct heap_counters n = { 0 };

	if (c->heap.loaded)
		heap_count(c, w->t, &n);
	w->head.pid = w->t->pid;
	w->head.start_boottime = w->t->start_boottime;
	w->head.since_ns = w->t->carry.since_ns;
	w->head.written_ns = boottime_ns();
	w->head.n_gaps = w->t->carry.n_gaps;
	w->head.gap_ns = w->t->carry.gap_ns;
	w->head.allocs[0] = n.n_allocs;
	w->head.allocs[1] = n.n_frees;
	w->head.allocs[2] = n.n_bytes;
	w->head.allocs[3] = n.n_sampled;
	w->head.n_threads_before = c->created.n_before[w->t->index];
	if (w->head.n_threads_before < w->t->carry.n_threads_before) /* not taken over yet */
		w->head.n_threads_before = w->t->carry.n_threads_before;
}

/* The core's lock is held. */
static int collect(struct writing *w, struct bytes *to)
{
	const struct totals *kept = &w->c->kept;
	bool bad;

	w->stacks = calloc(kept->stacks.all.n + 1, sizeof(*w->stacks));
	w->sets = calloc(kept->label_sets.all.n + 1, sizeof(*w->sets));
	w->objects = calloc(w->c->objects.all.n + 1, sizeof(*w->objects));
	if (!w->stacks || !w->sets || !w->objects)
		return -ENOMEM;
	for (size_t i = 0; i < kept->rows.n; i++)
		add_row(w, i);
	fill_head(w);
	bytes_add(to, &w->head, sizeof(w->head));
	bytes_add(to, w->to_objects.data, w->to_objects.n);
	bytes_add(to, w->to_stacks.data, w->to_stacks.n);
	bytes_add(to, w->to_sets.data, w->to_sets.n);
	bytes_add(to, w->to_rows.data, w->to_rows.n);
	bad = w->to_objects.bad || w->to_stacks.bad || w->to_sets.bad || w->to_rows.bad || to->bad;
	return bad ? -ENOMEM : 0;
}

static void writing_deinit(struct writing *w)
{
	free(w->stacks);
	free(w->sets);
	free(w->objects);
	bytes_deinit(&w->to_objects);
	bytes_deinit(&w->to_stacks);
	bytes_deinit(&w->to_sets);
	bytes_deinit(&w->to_rows);
}

static int put(int fd, const void *data, size_t n)
{
	const char *from = data;

	while (n) {
		ssize_t k = write(fd, from, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		from += k;
		n -= (size_t)k;
	}
	return 0;
}

/* The head comes last: until then the file is none. */
static int write_file(struct carry *x, const struct bytes *b)
{
	static const struct head none;
	struct head h = { MAGIC, x->n_written + 1, b->n, hash_bytes(HASH_SEED, b->data, b->n) };
	int fd = x->fds[h.n_written & 1], r = 0;

	if (lseek(fd, 0, SEEK_SET) < 0 || ftruncate(fd, 0) < 0)
		return -errno;
	r = put(fd, &none, sizeof(none));
	if (r == 0)
		r = put(fd, b->data, b->n);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r == 0)
		r = put(fd, &h, sizeof(h));
	x->n_written += r == 0;
	return r;
}

void carry_save(struct core *c, struct target *t)
{
	struct writing w = { .c = c, .t = t };
	struct bytes b = BYTES_INIT;
	struct carry *x = &t->carry;
	int r;

	pthread_mutex_lock(&c->carry_lock);
	if (!x->there) {
		pthread_mutex_unlock(&c->carry_lock);
		return;
	}
	pthread_mutex_lock(&c->lock);
	r = collect(&w, &b);
	pthread_mutex_unlock(&c->lock);
	writing_deinit(&w);
	if (r == 0 && b.n > CARRY_MAX_BYTES)
		r = -EFBIG;
	if (r == 0)
		r = write_file(x, &b);
	bytes_deinit(&b);
	if (r < 0 && !x->problem)
		log_line("the counts of process %d are not kept for a later pprofd: %s", t->pid, strerror(-r));
	__atomic_store_n(&x->problem, r < 0 ? strerrordesc_np(-r) : NULL, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&c->carry_lock);
}

/* ---- reading ---- */

struct reading {
	struct core *c;
	struct target *t;
	uint32_t image;
	struct totals_head head;
	struct id {
		uint32_t was, is;
	} *ids;
	struct cursor *stacks, *sets; /* the words of each */
	uint64_t words[MAX_STACK];
};

static const void *take(struct cursor *from, size_t n)
{
	struct cursor c = cursor_sub(from, n);

	return from->bad ? NULL : c.p;
}

static int by_id(const void *a, const void *b)
{
	const struct id *x = a, *y = b;

	return x->was < y->was ? -1 : x->was > y->was;
}

static uint32_t now_called(const struct reading *r, uint32_t id)
{
	struct id key = { id, 0 }, *found = bsearch(&key, r->ids, r->head.n_objects, sizeof(key), by_id);

	return found ? found->is : 0;
}

/* A file that is mapped still is known already; one that is not has its name alone. */
static uint32_t get_object(struct core *c, const struct object_head *h, const char *name)
{
	enum symbolizer_kind kind = h->kind == SYMBOLIZER_VDSO ? SYMBOLIZER_VDSO : SYMBOLIZER_FILE;
	struct object *x = objects_get(&c->objects, kind, &h->file, -1, name);

	if (x && !x->slot && !x->n_users)
		objects_place_shown(&c->objects, x);
	return x ? x->id : 0;
}

static int read_objects(struct reading *r, struct cursor *from)
{
	r->ids = calloc(r->head.n_objects + 1ul, sizeof(*r->ids));
	if (!r->ids)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->head.n_objects; i++) {
		struct object_head h;
		const void *p = take(from, sizeof(h));
		char name[MAX_NAME + 1];

		if (!p)
			return -EBADMSG;
		memcpy(&h, p, sizeof(h));
		p = h.n_name <= MAX_NAME ? take(from, h.n_name) : NULL;
		if (!p)
			return -EBADMSG;
		memcpy(name, p, h.n_name);
		name[h.n_name] = '\0';
		r->ids[i] = (struct id){ h.id, get_object(r->c, &h, name) };
	}
	qsort(r->ids, r->head.n_objects, sizeof(*r->ids), by_id);
	return 0;
}

static struct cursor *read_words(struct cursor *from, uint32_t n)
{
	struct cursor *all = calloc(n + 1ul, sizeof(*all));

	for (uint32_t i = 0; all && i < n; i++) {
		uint32_t n_words = cursor_u32(from);

		all[i] = cursor_sub(from, n_words * 8ull);
		if (from->bad || n_words > MAX_STACK) {
			free(all);
			return NULL;
		}
	}
	return all;
}

/* The words of a stack, with the files as they are called now. */
static uint32_t translate(struct reading *r, struct cursor from)
{
	uint32_t n = 0;

	while (cursor_left(&from)) {
		uint64_t w = cursor_u64(&from);

		if (frame_kind(w) == FRAME_FILE)
			w = PP_FRAME(now_called(r, frame_object(w)), frame_address(w));
		else if (frame_kind(w) == FRAME_MARKER && frame_marker_object(w))
			w = (w & ~0xffffffffull) | now_called(r, frame_marker_object(w));
		r->words[n++] = w;
	}
	return n;
}

static int read_row(struct reading *r, const struct row *from)
{
	uint64_t labels[MAX_STACK];
	struct total_name *name;
	struct cursor set;
	uint32_t i, n, n_labels = 0;

	if (from->collector >= PP_N_COLLECTORS || from->collector == PP_CUSTOM || from->stack >= r->head.n_stacks ||
	    from->labels > r->head.n_sets || from->v[0] < 0 || from->v[1] < 0)
		return -EBADMSG;
	n = translate(r, r->stacks[from->stack]);
	set = from->labels ? r->sets[from->labels - 1] : (struct cursor){ 0 };
	while (from->labels && cursor_left(&set))
		labels[n_labels++] = cursor_u64(&set);
	i = totals_labelled_row(&r->c->kept, r->image, from->collector, from->item, r->words, n, from->name, labels,
				n_labels);
	if (i == HASH_NONE)
		r->t->carry.n_lost++;
	for (int k = 0; k < 2 && i != HASH_NONE; k++)
		if (__builtin_add_overflow(r->c->kept.rows.data[i].v[k], from->v[k], &r->c->kept.rows.data[i].v[k]))
			return -EBADMSG;
	name = i == HASH_NONE || from->collector != PP_HEAP ? NULL : &r->c->kept.names.data[r->c->kept.rows.data[i].name];
	if (name && !name->size)
		name->size = from->size;
	return 0;
}

static int read_all(struct reading *r, struct cursor *from)
{
	int err = read_objects(r, from);

	if (err < 0)
		return err;
	r->stacks = read_words(from, r->head.n_stacks);
	r->sets = r->stacks ? read_words(from, r->head.n_sets) : NULL;
	if (!r->sets || cursor_left(from) != r->head.n_rows * sizeof(struct row))
		return -EBADMSG;
	for (uint32_t i = 0; i < r->head.n_rows && err == 0; i++) {
		struct row row;

		memcpy(&row, take(from, sizeof(row)), sizeof(row));
		err = read_row(r, &row);
	}
	return err;
}

/* Ids of images are in order: this one is older than what the process runs now. */
static int begin_image(struct reading *r)
{
	struct core *c = r->c;
	struct target *t = r->t;
	int err = vec_push(&t->images, 0);

	if (err < 0)
		return err;
	memmove(t->images.data + 1, t->images.data, (t->images.n - 1) * sizeof(uint32_t));
	t->images.data[0] = r->image = c->next_image++;
	return 0;
}

static void take_over(struct reading *r)
{
	struct carry *x = &r->t->carry;
	int64_t away = boottime_ns() - r->head.written_ns;

	x->since_ns = r->head.since_ns;
	x->n_gaps = r->head.n_gaps + 1;
	x->gap_ns = r->head.gap_ns + (away > 0 ? away : 0);
	memcpy(x->allocs, r->head.allocs, sizeof(x->allocs));
	x->n_threads_before = r->head.n_threads_before;
	x->restored = true;
	r->c->created.n_before[r->t->index] = x->n_threads_before;
}

int carry_read(struct core *c, struct target *t, const void *data, size_t n)
{
	struct cursor from = cursor_over(data, n);
	struct reading r = { .c = c, .t = t };
	const void *p = take(&from, sizeof(r.head));
	int err;

	if (!p)
		return -EBADMSG;
	memcpy(&r.head, p, sizeof(r.head));
	if (r.head.pid != t->pid || r.head.start_boottime != t->start_boottime)
		return -ESTALE;
	if (r.head.n_objects > n || r.head.n_stacks > n || r.head.n_sets > n || r.head.n_rows > n)
		return -EBADMSG;
	pthread_mutex_lock(&c->lock);
	err = begin_image(&r);
	if (err == 0)
		err = read_all(&r, &from);
	if (err == 0)
		take_over(&r);
	else if (r.image) /* rows of an image that is nobody's are not seen */
		memmove(t->images.data, t->images.data + 1, --t->images.n * sizeof(uint32_t));
	pthread_mutex_unlock(&c->lock);
	free(r.ids);
	free(r.stacks);
	free(r.sets);
	return err;
}

/* The head of a file that is whole, and what it holds. */
static int read_file(int fd, struct head *ret, struct bytes *to)
{
	off_t n = lseek(fd, 0, SEEK_END);

	if (n < (off_t)sizeof(*ret) || n > (off_t)(CARRY_MAX_BYTES + sizeof(*ret)))
		return -ENODATA;
	if (pread(fd, ret, sizeof(*ret), 0) != sizeof(*ret) || ret->magic != MAGIC || ret->n_bytes != (uint64_t)n - sizeof(*ret))
		return -ENODATA;
	for (uint64_t at = 0; at < ret->n_bytes;) {
		char piece[1 << 16];
		ssize_t k = pread(fd, piece, sizeof(piece), (off_t)(sizeof(*ret) + at));

		if (k <= 0)
			return -EIO;
		bytes_add(to, piece, (size_t)k);
		at += (uint64_t)k;
	}
	if (to->bad)
		return -ENOMEM;
	return to->n == ret->n_bytes && hash_bytes(HASH_SEED, to->data, to->n) == ret->hash ? 0 : -EBADMSG;
}

static void restore(struct core *c, struct target *t)
{
	struct bytes b[2] = { BYTES_INIT, BYTES_INIT };
	struct head h[2];
	int r[2], newer;

	for (int i = 0; i < 2; i++)
		r[i] = read_file(t->carry.fds[i], &h[i], &b[i]);
	newer = r[0] < 0 || (r[1] == 0 && h[1].n_written > h[0].n_written);
	if (r[newer] == 0) {
		t->carry.n_written = h[newer].n_written;
		r[newer] = carry_read(c, t, b[newer].data, b[newer].n);
	}
	if (r[newer] == 0)
		log_line("process %d: counts of an earlier pprofd go on, after %.1f s", t->pid,
			 (double)t->carry.gap_ns / 1e9);
	else if (r[newer] != -ENODATA)
		log_line("process %d: what an earlier pprofd had counted is of no use: %s", t->pid, strerror(-r[newer]));
	bytes_deinit(&b[0]);
	bytes_deinit(&b[1]);
}

void carry_restore(struct core *c, struct target *t)
{
	struct carry *x = &t->carry;
	int r;

	if (x->asked)
		return;
	x->since_ns = boottime_ns();
	r = broker_carry(&c->broker, t->index, x->fds);
	if (r < 0 && r != -ENOENT) /* another pprofd has them */
		__atomic_store_n(&x->problem, strerrordesc_np(-r), __ATOMIC_RELAXED);
	if (r == 0) {
		restore(c, t);
		pthread_mutex_lock(&c->carry_lock);
		x->there = true;
		pthread_mutex_unlock(&c->carry_lock);
	}
	__atomic_store_n(&x->asked, true, __ATOMIC_RELEASE);
}

void carry_wait(struct core *c, struct target *t)
{
	if (__atomic_load_n(&t->carry.asked, __ATOMIC_ACQUIRE) || !core_wait_kernel(c))
		return;
	pthread_mutex_lock(&c->scan_lock);
	if (!t->carry.asked)
		target_settle(c, t);
	pthread_mutex_unlock(&c->scan_lock);
}

void carry_close(struct carry *x)
{
	if (x->there) {
		close_fd(&x->fds[0]);
		close_fd(&x->fds[1]);
	}
	*x = (struct carry){ 0 };
}

void carry_say(const struct target *t, struct capture *to)
{
	const struct carry *x = &t->carry;
	const char *problem = __atomic_load_n(&x->problem, __ATOMIC_RELAXED);

	if (x->restored)
		capture_comment(to, "goes on from an earlier pprofd: counted since %.0f s in all; %u times nobody counted, %.1f s "
				"together, and what happened then is not in here; what is in use is since the last",
				(double)(boottime_ns() - x->since_ns) / 1e9, x->n_gaps, (double)x->gap_ns / 1e9);
	if (x->n_lost)
		capture_comment(to, "lost: %llu rows of an earlier pprofd (no room)", (unsigned long long)x->n_lost);
	if (problem)
		capture_comment(to, "these counts would not survive pprofd: %s", problem);
}
