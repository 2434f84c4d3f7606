/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/worker.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "symbolizer/allocators.h"
#include "symbolizer/answers.h"
#include "symbolizer/bounds.h"
#include "symbolizer/callees.h"
#include "symbolizer/cfi.h"
#include "symbolizer/files.h"
#include "symbolizer/jit.h"
#include "symbolizer/kernel.h"
#include "symbolizer/labels.h"
#include "symbolizer/links.h"
#include "symbolizer/objects.h"
#include "symbolizer/shown.h"
#include "symbolizer/track.h"
#include "symbolizer/told.h"
#include "symbolizer/variables.h"

struct worker {
	int socket;
	struct objects objects;
	struct shown shown;
	struct answers answers;
	struct told *told; /* NULL: of nothing yet */
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
	/* these may have been made without it */
	callees_free(o->callees);
	variables_free(o->variables);
	o->callees = NULL;
	o->variables = NULL;
}

/* What the question's names come from, if it asks for any. */
static void take_beside(struct worker *w, struct object *o, struct files *files)
{
	bool dwo = w->in.type == SYMBOLIZER_DWO; /* it stands where the package does */

	if (!o->names || (w->in.type != SYMBOLIZER_NAMES && w->in.type != SYMBOLIZER_VARIABLES &&
			  w->in.type != SYMBOLIZER_CALLEES && w->in.type != SYMBOLIZER_DWOS && !dwo))
		return;
	add_beside(w, o, SYMBOLIZER_BESIDE_DEBUG, NAMES_DEBUG, &files->debug);
	add_beside(w, o, SYMBOLIZER_BESIDE_ALT, NAMES_ALT, &files->alt);
	if (!dwo)
		add_beside(w, o, SYMBOLIZER_BESIDE_DWP, NAMES_DWO, &files->dwp);
}

/* Whatever goes wrong: who does not get it all does not know the functions that we think are known there. */
static int flush(struct worker *w)
{
	int r = w->out.n ? record_send(w->socket, &w->out) : 0;

	w->out.n = 0;
	return r < 0 ? -EPIPE : 0;
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

static bool copy_text(char to[SYMBOLIZER_MAX_DWO + 1], const char *from)
{
	size_t n = strlen(from);

	if (n > SYMBOLIZER_MAX_DWO)
		return false;
	memcpy(to, from, n);
	return true;
}

static int answer_dwos(struct worker *w, struct object *o, const struct symbolizer_question *q,
		       const uint64_t *addresses)
{
	int r = o->names ? 0 : -ENOEXEC;

	w->out.n = 0;
	for (uint32_t i = 0; i < q->n && r == 0; i++) {
		struct symbolizer_dwo dwo = { 0 };
		struct names_dwo found;

		if (!names_missing_dwo(o->names, addresses[i], &found) ||
		    !copy_text(dwo.name, found.name) || !copy_text(dwo.directory, found.directory))
			continue;
		if (w->out.n + sizeof(dwo) > RECORD_MAX)
			r = flush(w);
		w->out.type = SYMBOLIZER_DWOS;
		memcpy(w->out.data + w->out.n, &dwo, sizeof(dwo));
		w->out.n += sizeof(dwo);
	}
	return r < 0 ? r : flush(w);
}

static int answer_dwo(struct worker *w, struct object *o, struct files *files)
{
	struct elf_file *f = NULL;
	int r = o->names && files->dwp >= 0 ? 0 : -EINVAL;

	if (r == 0 && !objects_make_room_for_split(&w->objects, o))
		r = -EMFILE;
	if (r == 0)
		r = elf_file_open(TAKE_FD(files->dwp), &f);
	if (r == 0)
		r = names_add_dwo(o->names, f);
	if (r == 0)
		o->generation = ++w->objects.clock;
	return r;
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

static int answer_custom(struct worker *w, const struct object *o, const struct symbolizer_question *q,
			 struct symbolizer_probes_end *end)
{
	struct custom_list l;
	int r = o->elf ? track_answer(o->elf, w->in.type, q, &l) : -ENOEXEC;

	if (r < 0)
		return r;
	r = put_array(w, SYMBOLIZER_CUSTOM, l.all.data, sizeof(*l.all.data), l.all.n);
	*end = l.end;
	custom_list_deinit(&l);
	return r;
}

struct naming {
	struct worker *w;
	enum symbolizer_demangle how;
	uint32_t index;
	struct symbolizer_frame frames[SYMBOLIZER_MAX_INLINED + 1]; /* of the address, without texts */
	uint32_t n_frames;
	uint64_t start; /* of the function; 0: unknown */
	int error;
};

/* Room in the record for n bytes. */
static void *extend(struct naming *n, size_t size)
{
	struct record *out = &n->w->out;
	void *at;

	if (out->n + size > RECORD_MAX && n->error == 0)
		n->error = flush(n->w);
	if (n->error < 0)
		return NULL;
	out->type = SYMBOLIZER_FRAME;
	at = out->data + out->n;
	out->n += (uint32_t)size;
	return at;
}

/* For when the address is asked about again: the function has been told of by then. */
static void keep_frame(struct naming *n, const struct symbolizer_frame *f, bool has_text)
{
	if (n->n_frames <= SYMBOLIZER_MAX_INLINED)
		n->frames[n->n_frames] = (struct symbolizer_frame){ .line = f->line,
								    .told = has_text || f->told,
								    .function = f->function,
								    .shown = f->shown };
	n->n_frames++;
}

static void put_frame(struct naming *n, const struct names_frame *frame, uint64_t shown)
{
	/* an empty name says: nameless */
	struct symbolizer_frame f = { .index = n->index,
				      .line = frame->line,
				      .start_line = frame->start_line,
				      .shown = shown };
	const char *whole = frame->qualified ? frame->qualified : frame->system_name;
	struct shown_name name = shown_get(&n->w->shown, whole, n->how);
	char file[SYMBOLIZER_MAX_PATH], own[SYMBOLIZER_MAX_NAME + 1];
	size_t n_text;
	char *to;

	if (frame->qualified) {
		name.n_system_name = (uint16_t)utf8_copy(own, sizeof(own), frame->system_name,
							 strlen(frame->system_name));
		name.system_name = own;
	}
	f.n_name = name.n_name;
	f.n_system_name = name.n_system_name;
	f.n_file = (uint16_t)utf8_copy(file, sizeof(file), frame->file, strlen(frame->file));
	if (n->error < 0)
		return;
	told_frame(n->w->told, &f, name.name, name.system_name, file);
	n_text = (size_t)f.n_name + f.n_system_name + f.n_file;
	keep_frame(n, &f, n_text);
	to = extend(n, sizeof(f) + ((n_text + 7) & ~7ul));
	if (!to)
		return;
	memcpy(to, &f, sizeof(f));
	to += sizeof(f);
	memcpy(to, name.name, f.n_name);
	memcpy(to + f.n_name, name.system_name, f.n_system_name);
	memcpy(to + f.n_name + f.n_system_name, file, f.n_file);
	memset(to + n_text, 0, ((n_text + 7) & ~7ul) - n_text);
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
		put_frame(n, &(struct names_frame){ .system_name = s.name, .file = s.file, .line = s.line },
			  s.start);
}

/* What was said of the address before. False: of some function it would have to be told again. */
static bool put_known(struct naming *n, const struct answer *a)
{
	struct symbolizer_frame *f;

	if (a->n && a->has_functions && !functions_has(&n->w->told->functions, a->oldest))
		return false;
	f = extend(n, a->n * sizeof(*f));
	for (uint32_t i = 0; f && i < a->n; i++) {
		f[i] = a->frames[i];
		f[i].index = n->index;
	}
	return true;
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

	if (known && put_known(n, known))
		return;
	name_address(n, o, address);
	if (n->error == 0 && n->n_frames <= SYMBOLIZER_MAX_INLINED)
		answers_put(&w->answers, key, n->frames, n->n_frames);
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
		struct names_frame f = { .system_name = callees_find(o->callees, addresses[n.index]), .file = "" };

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
			put_frame(&n, &(struct names_frame){ .system_name = v.name, .file = "" }, v.start);
	}
	return n.error < 0 ? n.error : flush(w);
}

/* What the last record of an answer holds. */
union end {
	struct symbolizer_rows_end rows;
	struct symbolizer_probes_end probes;
	struct symbolizer_names_end names;
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
	case SYMBOLIZER_CUSTOM:
	case SYMBOLIZER_TRACK:
		*n_end = sizeof(end->probes);
		return w->in.type == SYMBOLIZER_PROBES ? answer_probes(w, o, &end->probes) :
							 answer_custom(w, o, q, &end->probes);
	case SYMBOLIZER_NAMES:
		r = answer_names(w, o, q, (const uint64_t *)(q + 1));
		end->names.left_out = o->jit ? jit_left_out(o->jit) : o->names ? names_lost(o->names) : 0;
		end->names.n_bytes = objects_bytes(&w->objects) + shown_bytes(&w->shown) + answers_bytes(&w->answers);
		*n_end = sizeof(end->names);
		return r;
	case SYMBOLIZER_CALLEES:
		return answer_callees(w, o, q, (const uint64_t *)(q + 1));
	case SYMBOLIZER_VARIABLES:
		return answer_variables(w, o, q, (const uint64_t *)(q + 1));
	case SYMBOLIZER_FITS:
		return answer_fits(o, q->n, files);
	case SYMBOLIZER_DWOS:
		return answer_dwos(w, o, q, (const uint64_t *)(q + 1));
	case SYMBOLIZER_DWO:
		return answer_dwo(w, o, files);
	default:
		return -EINVAL;
	}
}

/* Bytes that belong to no object. */
static size_t elsewhere(const struct worker *w)
{
	return (w->told ? sizeof(*w->told) : 0) + shown_bytes(&w->shown) + answers_bytes(&w->answers);
}

static bool has_frames(uint32_t type)
{
	return type == SYMBOLIZER_NAMES || type == SYMBOLIZER_CALLEES || type == SYMBOLIZER_VARIABLES;
}

/* Within the memory that there is. Where it is too little, what was parsed before is forgotten, and the file, which is
 * then alone, tried again: nothing has been sent until all is known. */
static int answer_bounded(struct worker *w, struct object *o, const struct symbolizer_question *q,
			  struct files *files, union end *end, uint32_t *n_end)
{
	int r = 0;

	if (has_frames(w->in.type) && !w->told) {
		w->told = calloc(1, sizeof(*w->told));
		r = w->told ? 0 : -ENOMEM;
	}
	objects_make_room(&w->objects, o, elsewhere(w));
	if (r == 0)
		r = answer_question(w, o, q, files, end, n_end);
	if (r == -ENOMEM && (w->in.type == SYMBOLIZER_ROWS || w->in.type == SYMBOLIZER_PROBES)) {
		r = objects_begin_anew(&w->objects, o);
		if (r == 0)
			r = answer_question(w, o, q, files, end, n_end);
	}
	if (o->id)
		objects_account(&w->objects, o, elsewhere(w));
	return r;
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
		r = answer_bounded(w, o, q, &files, &end, &n_end);
	}
	close_files(&files);
	if (answered)
		return 0;
	if (r == -EPIPE)
		return r;
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
	if (w) {
		objects_deinit(&w->objects);
		shown_deinit(&w->shown);
		answers_deinit(&w->answers);
		free(w->told);
	}
	free(w);
	return r == -EPIPE ? 0 : r;
}
