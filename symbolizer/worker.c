/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/worker.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "symbolizer/allocators.h"
#include "symbolizer/answers.h"
#include "symbolizer/bounds.h"
#include "symbolizer/callees.h"
#include "symbolizer/cfi.h"
#include "symbolizer/jit.h"
#include "symbolizer/kernel.h"
#include "symbolizer/labels.h"
#include "symbolizer/links.h"
#include "symbolizer/objects.h"
#include "symbolizer/shown.h"
#include "symbolizer/variables.h"

/* Descriptors of a question; what is left is closed. */
struct files {
	int own, debug, alt, dwp;
};

struct worker {
	int socket;
	struct objects objects;
	struct shown shown;
	struct answers answers;
	uint64_t n_sent; /* records with frames */
	struct record in, out;
};

static void add_beside(struct worker *w, struct object *o, unsigned which, enum names_kind kind,
		       int *fd)
{
	struct elf_file *f = NULL;

	if (*fd < 0 || o->beside & which)
		return;
	o->beside |= which;
	o->generation = ++w->objects.clock;
	if (elf_file_open(TAKE_FD(*fd), &f) < 0 || names_add(o->names, kind, f) < 0)
		return;
	if (which == SYMBOLIZER_BESIDE_DEBUG)
		o->debug = f;
}

/* What the question's names come from, if it asks for any. */
static void take_beside(struct worker *w, struct object *o, struct files *files)
{
	if (!o->names || (w->in.type != SYMBOLIZER_NAMES && w->in.type != SYMBOLIZER_VARIABLES &&
			  w->in.type != SYMBOLIZER_CALLEES))
		return;
	add_beside(w, o, SYMBOLIZER_BESIDE_DEBUG, NAMES_DEBUG, &files->debug);
	add_beside(w, o, SYMBOLIZER_BESIDE_ALT, NAMES_ALT, &files->alt);
	add_beside(w, o, SYMBOLIZER_BESIDE_DWP, NAMES_DWO, &files->dwp);
}

static int flush(struct worker *w)
{
	int r = w->out.n ? record_send(w->socket, &w->out) : 0;

	w->n_sent++;
	w->out.n = 0;
	return r;
}

static int put(struct worker *w, uint32_t type, const void *data, size_t n)
{
	w->out.type = type;
	w->out.n = (uint32_t)n;
	memcpy(w->out.data, data, n);
	return flush(w);
}

static int answer_info(struct worker *w, const struct object *o)
{
	struct symbolizer_info info = { 0 };
	struct elf_file *f = o->elf;

	if (!f)
		return -ENOEXEC;
	info.type = f->type;
	info.machine = f->machine;
	info.n_segments = f->n_segments;
	for (unsigned i = 0; i < f->n_segments; i++)
		info.segments[i] = (struct symbolizer_segment){
			f->segments[i].vaddr, f->segments[i].offset, f->segments[i].filesz,
			f->segments[i].memsz, f->segments[i].flags,  0
		};
	info.n_build_id = f->n_build_id;
	memcpy(info.build_id, f->build_id, f->n_build_id);
	info.n_labels = labels_find(f, info.labels);
	return put(w, SYMBOLIZER_INFO, &info, sizeof(info));
}

static int answer_links(struct worker *w, const struct object *o, struct files *files)
{
	_cleanup_(elf_file_closep) struct elf_file *debug = NULL;
	struct symbolizer_links links;
	int r = o->elf ? 0 : -ENOEXEC;

	if (r == 0 && files->debug >= 0)
		r = elf_file_open(TAKE_FD(files->debug), &debug);
	if (r < 0)
		return r;
	links_read(debug ? debug : o->elf, &links);
	return put(w, SYMBOLIZER_LINKS, &links, sizeof(links));
}

static int answer_fits(const struct object *o, uint32_t how, struct files *files)
{
	_cleanup_(elf_file_closep) struct elf_file *debug = NULL, *alt = NULL, *dwp = NULL;
	int r = o->elf && (files->debug >= 0 || files->alt >= 0 || files->dwp >= 0) ? 0 : -EINVAL;
	bool fits;

	if (r == 0 && files->debug >= 0)
		r = elf_file_open(TAKE_FD(files->debug), &debug);
	if (r == 0 && files->alt >= 0)
		r = elf_file_open(TAKE_FD(files->alt), &alt);
	if (r == 0 && files->dwp >= 0)
		r = elf_file_open(TAKE_FD(files->dwp), &dwp);
	if (r < 0)
		return r;
	fits = dwp ? links_is_package(dwp) :
	       alt ? links_fit_alt(debug ? debug : o->elf, alt) :
		     links_fit_debug(o->elf, debug, how == SYMBOLIZER_FIT_LINK);
	return fits ? 0 : -ESTALE;
}

static int put_array(struct worker *w, uint32_t type, const void *data, size_t item, size_t n)
{
	size_t each = RECORD_MAX / item;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i += each)
		r = put(w, type, (const char *)data + i * item,
			item * (n - i < each ? n - i : each));
	return r;
}

static int answer_rows(struct worker *w, const struct object *o, struct symbolizer_rows_end *end)
{
	struct cfi c;
	int r;

	if (!o->elf)
		return -ENOEXEC;
	r = cfi_build(o->elf, &c);
	if (r < 0)
		return r;
	*end = (struct symbolizer_rows_end){ .low = c.low,
					     .high = c.high,
					     .n_rows = (uint32_t)c.rows.n,
					     .n_rules = (uint32_t)c.rules.n,
					     .n_fdes = c.n_fdes,
					     .n_bad_fdes = c.n_bad_fdes,
					     .n_unsupported = c.n_unsupported };
	r = put_array(w, SYMBOLIZER_RULE, c.rules.data, sizeof(*c.rules.data), c.rules.n);
	if (r == 0)
		r = put_array(w, SYMBOLIZER_ROW, c.rows.data, sizeof(*c.rows.data), c.rows.n);
	cfi_deinit(&c);
	malloc_trim(0);
	return r;
}

static int answer_probes(struct worker *w, const struct object *o,
			 struct symbolizer_probes_end *end)
{
	struct probe_list l;
	int r = o->elf ? allocators_find(o->elf, &l) : -ENOEXEC;

	if (r < 0)
		return r;
	r = put_array(w, SYMBOLIZER_PROBE, l.probes.data, sizeof(*l.probes.data), l.probes.n);
	*end = l.end;
	probe_list_deinit(&l);
	return r;
}

struct naming {
	struct worker *w;
	enum symbolizer_demangle how;
	uint32_t index, n_frames;
	uint64_t start; /* of the function; 0: unknown */
	int error;
};

static void put_frame(struct naming *n, const struct names_frame *frame, uint64_t shown)
{
	/* an empty name says: nameless */
	struct record *out = &n->w->out;
	struct symbolizer_frame f = { .index = n->index,
				      .line = frame->line,
				      .start_line = frame->start_line,
				      .shown = shown };
	struct shown_name name = shown_get(&n->w->shown, frame->system_name, n->how);
	char file[SYMBOLIZER_MAX_PATH];
	size_t n_text;

	n->n_frames++;
	f.n_name = name.n_name;
	f.n_system_name = name.n_system_name;
	f.n_file = (uint16_t)utf8_copy(file, sizeof(file), frame->file, strlen(frame->file));
	n_text = (size_t)f.n_name + f.n_system_name + f.n_file;
	if (out->n + sizeof(f) + n_text + 7 > RECORD_MAX && n->error == 0)
		n->error = flush(n->w);
	if (n->error < 0)
		return;
	out->type = SYMBOLIZER_FRAME;
	memcpy(out->data + out->n, &f, sizeof(f));
	out->n += sizeof(f);
	memcpy(out->data + out->n, name.name, f.n_name);
	memcpy(out->data + out->n + f.n_name, name.system_name, f.n_system_name);
	memcpy(out->data + out->n + f.n_name + f.n_system_name, file, f.n_file);
	memset(out->data + out->n + n_text, 0, ((n_text + 7) & ~7ul) - n_text);
	out->n += (uint32_t)((n_text + 7) & ~7ul);
}

static void on_frame(void *context, const struct names_frame *frame)
{
	struct naming *n = context;

	put_frame(n, frame, n->start);
}

static void name_kernel(struct naming *n, const struct kernel *k, uint64_t address)
{
	struct kernel_symbol s;
	char text[SYMBOLIZER_MAX_NAME];
	struct names_frame f = { .system_name = text, .file = "" };

	if (kernel_find(k, address, &s) < 0)
		return;
	if (*s.module)
		snprintf(text, sizeof(text), "%s [%s]", s.name, s.module);
	else
		snprintf(text, sizeof(text), "%s", s.name);
	put_frame(n, &f, s.shown);
}

static void name_jit(struct naming *n, struct jit *j, uint64_t address)
{
	struct jit_symbol s;

	if (jit_find(j, address, &s))
		put_frame(n, &(struct names_frame){ s.name, "", 0, 0 }, s.start);
}

/* What was said of the address before. */
static void put_known(struct naming *n, const struct answer *a)
{
	struct record *out = &n->w->out;

	if (out->n + a->n > RECORD_MAX)
		n->error = flush(n->w);
	if (n->error < 0 || !a->n)
		return;
	out->type = SYMBOLIZER_FRAME;
	memcpy(out->data + out->n, a->data, a->n);
	for (size_t at = out->n; at < out->n + a->n;) {
		struct symbolizer_frame *f = (void *)(out->data + at);

		f->index = n->index;
		at += sizeof(*f) +
		      (((size_t)f->n_name + f->n_system_name + f->n_file + 7) & ~7ul);
	}
	out->n += a->n;
}

static void name_address(struct naming *n, struct object *o, uint64_t address)
{
	static const struct names_frame nameless = { .system_name = "", .file = "" };

	n->n_frames = 0;
	if (!o->bounds)
		bounds_new(o->elf, &o->bounds);
	if (!o->bounds || !bounds_at(o->bounds, address, &n->start))
		n->start = 0;
	names_find(o->names, address, on_frame, n);
	if (!n->n_frames && n->start)
		put_frame(n, &nameless, n->start);
}

static void name_by_file(struct naming *n, struct object *o, uint64_t address)
{
	struct worker *w = n->w;
	struct answer_key key = { o->generation, address, n->how };
	const struct answer *known = answers_get(&w->answers, key);
	uint64_t n_sent = w->n_sent;
	uint32_t before = w->out.n;

	if (known) {
		put_known(n, known);
		return;
	}
	name_address(n, o, address);
	if (w->n_sent == n_sent && n->error == 0)
		answers_put(&w->answers, key, w->out.data + before, w->out.n - before);
}

static int answer_names(struct worker *w, struct object *o,
			const struct symbolizer_question *q, const uint64_t *addresses)
{
	struct naming n = { .w = w, .how = (enum symbolizer_demangle)q->demangle };

	w->out.n = 0;
	for (n.index = 0; n.index < q->n && n.error == 0; n.index++) {
		if (o->kernel)
			name_kernel(&n, o->kernel, addresses[n.index]);
		else if (o->jit)
			name_jit(&n, o->jit, addresses[n.index]);
		else
			name_by_file(&n, o, addresses[n.index]);
	}
	return n.error < 0 ? n.error : flush(w);
}

static int answer_callees(struct worker *w, struct object *o, const struct symbolizer_question *q,
			  const uint64_t *addresses)
{
	struct naming n = { .w = w, .how = (enum symbolizer_demangle)q->demangle };
	int r = o->elf ? 0 : -ENOEXEC;

	w->out.n = 0;
	if (r == 0 && !o->callees)
		r = callees_new(o->elf, o->names, &o->callees);
	if (r < 0)
		return r;
	for (n.index = 0; n.index < q->n && n.error == 0; n.index++) {
		struct names_frame f = { callees_find(o->callees, addresses[n.index]), "", 0, 0 };

		if (f.system_name)
			put_frame(&n, &f, 0);
	}
	return n.error < 0 ? n.error : flush(w);
}

static int answer_variables(struct worker *w, struct object *o, const struct symbolizer_question *q,
			    const uint64_t *addresses)
{
	struct naming n = { .w = w, .how = (enum symbolizer_demangle)q->demangle };
	int r = o->elf ? 0 : -ENOEXEC;

	w->out.n = 0;
	if (r == 0 && !o->variables)
		r = variables_new(o->elf, o->debug, &o->variables);
	if (r < 0)
		return r;
	for (n.index = 0; n.index < q->n && n.error == 0; n.index++) {
		struct variable v;

		if (variables_find(o->variables, addresses[n.index], &v))
			put_frame(&n, &(struct names_frame){ v.name, "", 0, 0 }, v.start);
	}
	return n.error < 0 ? n.error : flush(w);
}

/* What a question says about itself, checked. */
static const struct symbolizer_question *question(const struct record *r)
{
	const struct symbolizer_question *q = (const void *)r->data;
	uint32_t n;

	if (r->n < sizeof(*q))
		return NULL;
	n = r->type == SYMBOLIZER_FITS ? 0 : q->n;
	if (n > SYMBOLIZER_MAX_ADDRESSES || !q->object || q->beside > SYMBOLIZER_BESIDE_ALL ||
	    r->n != sizeof(*q) + n * sizeof(uint64_t) || q->demangle > DEMANGLE_FULL)
		return NULL;
	return q;
}

/* The vdso alone comes without a descriptor of its own. */
static struct files take_files(struct record *r, const struct symbolizer_question *q)
{
	struct files f = { -1, -1, -1, -1 };
	uint32_t at = 0;

	if (r->n_fds && q->kind != SYMBOLIZER_VDSO)
		f.own = TAKE_FD(r->fds[at++]);
	if (q->beside & SYMBOLIZER_BESIDE_DEBUG && at < r->n_fds)
		f.debug = TAKE_FD(r->fds[at++]);
	if (q->beside & SYMBOLIZER_BESIDE_ALT && at < r->n_fds)
		f.alt = TAKE_FD(r->fds[at++]);
	if (q->beside & SYMBOLIZER_BESIDE_DWP && at < r->n_fds)
		f.dwp = TAKE_FD(r->fds[at++]);
	return f;
}

static void close_files(struct files *f)
{
	close_fd(&f->own);
	close_fd(&f->debug);
	close_fd(&f->alt);
	close_fd(&f->dwp);
}

/* What the last record of an answer holds. */
union end {
	struct symbolizer_rows_end rows;
	struct symbolizer_probes_end probes;
	uint64_t left_out;
};

static int answer_question(struct worker *w, struct object *o,
			   const struct symbolizer_question *q, struct files *files,
			   union end *end, uint32_t *n_end)
{
	int r;

	take_beside(w, o, files);

	switch (w->in.type) {
	case SYMBOLIZER_ROWS:
		r = answer_rows(w, o, &end->rows);
		*n_end = sizeof(end->rows);
		return r;
	case SYMBOLIZER_PROBES:
		r = answer_probes(w, o, &end->probes);
		*n_end = sizeof(end->probes);
		return r;
	case SYMBOLIZER_NAMES:
		end->left_out = o->jit ? jit_left_out(o->jit) : 0;
		*n_end = o->jit ? sizeof(end->left_out) : 0;
		return answer_names(w, o, q, (const uint64_t *)(q + 1));
	case SYMBOLIZER_CALLEES:
		return answer_callees(w, o, q, (const uint64_t *)(q + 1));
	case SYMBOLIZER_VARIABLES:
		return answer_variables(w, o, q, (const uint64_t *)(q + 1));
	case SYMBOLIZER_FITS:
		return answer_fits(o, q->n, files);
	default:
		return -EINVAL;
	}
}

static int answer(struct worker *w)
{
	const struct symbolizer_question *q = question(&w->in);
	union end end = { 0 };
	uint32_t n_end = 0;
	struct object *o = NULL;
	struct files files = { -1, -1, -1, -1 };
	bool answered = false;
	int r = -EINVAL;

	if (q)
		files = take_files(&w->in, q);
	if (q)
		r = objects_find(&w->objects, q->object, q->kind, &files.own, &o);
	w->out.serial = w->in.serial;
	w->out.status = 0;
	w->out.n_fds = 0;
	if (r == 0 && (w->in.type == SYMBOLIZER_INFO || w->in.type == SYMBOLIZER_LINKS)) {
		r = w->in.type == SYMBOLIZER_INFO ? answer_info(w, o) :
						    answer_links(w, o, &files);
		answered = r == 0;
	} else if (r == 0) {
		r = answer_question(w, o, q, &files, &end, &n_end);
	}
	close_files(&files);
	if (answered)
		return 0;
	if (r == -EPIPE)
		return r;
	objects_make_room(&w->objects, o);
	w->out.type = SYMBOLIZER_END;
	w->out.status = r;
	w->out.n = r == 0 ? n_end : 0;
	memcpy(w->out.data, &end, w->out.n);
	return record_send(w->socket, &w->out);
}

int worker_run(int socket, struct worker_vdso vdso)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r = w ? 0 : -ENOMEM;

	if (w) {
		w->socket = socket;
		w->objects.vdso = vdso;
	}
	while (r == 0) {
		r = record_receive(socket, &w->in, -1);
		if (r < 0)
			break;
		r = answer(w);
		record_close_fds(&w->in);
	}
	if (w)
		objects_deinit(&w->objects);
	if (w) {
		shown_deinit(&w->shown);
		answers_deinit(&w->answers);
	}
	free(w);
	return r == -EPIPE ? 0 : r;
}
