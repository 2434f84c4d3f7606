/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/target_file.h"

#include <errno.h>
#include <string.h>

#include "daemon/serve/core.h"
#include "daemon/serve/log.h"
#include "daemon/serve/maps.h"

/* Not of the file: somebody has no room, or no time, now. -EBADMSG: no room for its descriptor. */
static bool may_pass(int err)
{
	static const int errors[] = { EAGAIN, EBADMSG, EINTR, EMFILE, ENFILE, ENOMEM, ENOTCONN, ESRCH, ETIMEDOUT };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (err == -errors[i])
			return true;
	return false;
}

struct object *target_file_open(struct core *c, struct target *t, const struct maps_line *l)
{
	struct broker_file file = { 0 };
	struct object *x;
	bool lacking;
	int fd = -1;

	if (!strcmp(l->name, "[vdso]")) {
		pthread_mutex_lock(&c->lock);
		x = objects_get(&c->objects, SYMBOLIZER_VDSO, &file, -1, l->name);
		pthread_mutex_unlock(&c->lock);
		return x;
	}
	if (!l->ino)
		return NULL;
	fd = broker_open_object(&c->broker, t->index, l->start, l->end, &file);
	if (fd == -EMEDIUMTYPE)
		return NULL;
	if (file.by_path && file.ino != l->ino) /* not the file that is mapped; its device may be
						 * shown otherwise, as btrfs does */
		close_fd(&fd);
	lacking = may_pass(fd);
	if (fd < 0) /* cannot be read: known by what the mapping says, its code is not followed */
		file = (struct broker_file){ .dev = l->dev, .ino = l->ino };
	pthread_mutex_lock(&c->lock);
	x = objects_get(&c->objects, SYMBOLIZER_FILE, &file, fd, l->name);
	if (x) {
		x->seen_target = t->index;
		x->seen_start = l->start;
		x->seen_end = l->end;
		if (fd < 0)
			x->lacking = lacking;
	}
	pthread_mutex_unlock(&c->lock);
	return x;
}

static void place(struct core *c, struct object *x, const struct symbolizer_info *info)
{
	pthread_mutex_lock(&c->lock);
	x->info = *info;
	objects_place_shown(&c->objects, x);
	pthread_mutex_unlock(&c->lock);
}

/* The file is blamed for the second child that is found dead. */
static int ask_rows(struct core *c, struct object *x, struct symbolizer_info *info,
		    struct symbolizer_rows *rows)
{
	struct symbolizer_object o = { .id = x->id, .kind = x->kind, .fd = x->fd };
	int r, tries = 0;

	do {
		r = symbolizer_ask_info(&c->symbolizer, &o, info);
		x->not_elf = r == -ENOEXEC;
		if (r == 0)
			r = symbolizer_ask_rows(&c->symbolizer, &o, rows);
	} while (!tries++ && core_symbolizer_again(c, r));
	return r;
}

void target_file_rows(struct core *c, struct object *x)
{
	struct symbolizer_info info = { 0 };
	struct symbolizer_rows rows = { 0 };
	int r;

	if (x->rows != OBJECT_ROWS_UNKNOWN)
		return;
	x->rows = OBJECT_ROWS_FAILED;
	if (x->kind == SYMBOLIZER_FILE && x->fd < 0) {
		place(c, x, &info);
		return;
	}
	pthread_mutex_lock(&c->symbolizer_lock);
	r = ask_rows(c, x, &info, &rows);
	if (core_symbolizer_failed(r)) {
		log_line("%s: the symbolizer failed on it (%s); it goes without unwind rows",
			 x->name, strerror(-r));
		core_restart_symbolizer(c);
		x->names_failed = true;
	}
	pthread_mutex_unlock(&c->symbolizer_lock);
	place(c, x, &info);
	if (r == -ENODATA)
		x->rows = OBJECT_ROWS_NONE;
	x->lacking = r == -ENOTCONN; /* that one has no memory is the file's fault */
	if (r == 0) {
		r = tables_place(&c->tables, &rows, &x->place);
		x->lacking = may_pass(r);
	}
	if (x->lacking)
		x->rows = OBJECT_ROWS_UNKNOWN;
	if (r == 0) {
		x->rows = OBJECT_ROWS_READY;
		x->n_bad_fdes = rows.end.n_bad_fdes;
		x->n_unsupported = rows.end.n_unsupported;
	}
	symbolizer_rows_deinit(&rows);
}
