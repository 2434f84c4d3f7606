/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/namer.h"

#include <elf.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/serve/core.h"
#include "daemon/serve/door/redact.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/namer_ask.h"
#include "daemon/serve/session.h"
#include "daemon/serve/shown.h"
#include "daemon/serve/sources.h"

struct job {
	struct core *c;
	const struct target *t;
	struct naming *n;
	uint32_t fixed;	       /* the object that is shown at its own addresses */
	VEC(uint32_t) mapped;  /* object of each mapping */
	struct names_cache jit; /* of code without a file */
	int error;
};

static int by_word(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Each once and in ascending order: those of one object stand together. The number that is left. */
static size_t sort_words(uint64_t *words, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(words, n, sizeof(*words), by_word);
	for (size_t i = 0; i < n; i++)
		if (!i || words[i] != words[i - 1])
			words[kept++] = words[i];
	return kept;
}

static int collect(struct job *j, const struct capture *capture)
{
	struct naming *n = j->n;

	if (vec_reserve(&n->words, capture->words.n + 1) < 0)
		return -ENOMEM;
	if (capture->words.n)
		memcpy(n->words.data, capture->words.data, capture->words.n * sizeof(uint64_t));
	n->words.n = sort_words(n->words.data, capture->words.n);
	for (size_t i = 0; i < n->words.n; i++)
		if (hash_put(&n->word_index, hash_u64(HASH_SEED, n->words.data[i]), (uint32_t)i) < 0)
			return -ENOMEM;
	return 0;
}

static char *own(struct job *j, char *text)
{
	if (text && vec_push(&j->n->owned, text) == 0)
		return text;
	free(text);
	j->error = -ENOMEM;
	return (char *)"";
}

static const char *copy_text(struct job *j, const struct names_cache *from, struct cached_text t)
{
	return own(j, strndup(from->text.data + t.first, t.n));
}

/* cache's function -> index in the naming, + 1 */
static uint32_t take_function(struct job *j, const struct names_cache *from, uint32_t *taken,
			      uint32_t function)
{
	const struct cached_function *f = &from->functions.data[function];
	struct naming_function to;

	if (taken[function])
		return taken[function] - 1;
	to.name = copy_text(j, from, f->name);
	to.system_name = copy_text(j, from, f->system_name);
	to.file = copy_text(j, from, f->file);
	to.start_line = f->start_line;
	if (vec_push(&j->n->functions, to) < 0)
		j->error = -ENOMEM;
	taken[function] = (uint32_t)j->n->functions.n;
	return taken[function] - 1;
}

static void add_stub(struct job *j, struct naming_location *l, char *name)
{
	const char *shown = own(j, name);
	struct naming_function f = { shown, shown, "", 0 };
	uint32_t i;

	/* stubs of one function stand close together: the words are sorted */
	for (i = (uint32_t)j->n->functions.n; i > 0 && i + 8 > j->n->functions.n; i--)
		if (!strcmp(j->n->functions.data[i - 1].name, f.name) &&
		    !*j->n->functions.data[i - 1].file)
			break;
	if (i == 0 || i + 8 <= j->n->functions.n) {
		if (vec_push(&j->n->functions, f) < 0)
			j->error = -ENOMEM;
		i = (uint32_t)j->n->functions.n;
	}
	if (vec_push(&j->n->lines, ((struct naming_line){ i - 1, 0 })) < 0)
		j->error = -ENOMEM;
	l->n_lines = 1;
}

static char *__attribute__((format(printf, 1, 2))) text_of(const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	return text;
}

static void stub(struct job *j, struct naming_location *l, uint64_t word,
		 const struct cached_address *a)
{
	const struct object *x = NULL;

	switch (frame_kind(word)) {
	case FRAME_KERNEL:
		add_stub(j, l, strdup("[kernel]"));
		return;
	case FRAME_RAW:
		add_stub(j, l, strdup(word == PP_RAW(0) ? NAMING_NO_USER : NAMING_NO_FILE));
		return;
	case FRAME_MARKER:
		x = objects_find(&j->c->objects, frame_marker_object(word));
		add_stub(j, l, text_of("[%s%s%s]", frame_end_text(frame_end(word)), x ? " " : "",
				       x ? object_short_name(x) : ""));
		return;
	case FRAME_FILE:
		x = objects_find(&j->c->objects, frame_object(word));
		/* all code of one nameless function under one name, where its start is known */
		add_stub(j, l, text_of("%s+0x%lx", x ? object_short_name(x) : "[gone]",
				       (unsigned long)(a && a->shown ? a->shown :
								       frame_address(word))));
		return;
	}
}

static uint64_t shown_base(const struct job *j, const struct object *x)
{
	return x->fixed && x->id == j->fixed ? 0 : x->slot;
}

static uint64_t shown_address(const struct job *j, uint64_t word, const struct cached_address *a)
{
	const struct object *x;

	switch (frame_kind(word)) {
	case FRAME_KERNEL:
		if (a && a->n_lines)
			return shown_kernel(a->shown);
		/* hidden: told apart by a number that tells nothing */
		return shown_hidden(hash_u64(j->c->secret, word));
	case FRAME_RAW:
		return frame_pc(word);
	case FRAME_MARKER:
		x = objects_find(&j->c->objects, frame_marker_object(word));
		return shown_marker(frame_end(word), x ? x->slot : 0);
	case FRAME_FILE:
		x = objects_find(&j->c->objects, frame_object(word));
		return frame_address(word) + (x ? shown_base(j, x) : 0);
	}
	return 0;
}

static const char *hex(struct job *j, const uint8_t *bytes, uint32_t n)
{
	char *text = malloc(2ul * n + 1);

	for (uint32_t i = 0; text && i < n; i++)
		snprintf(text + 2ul * i, 3, "%02x", bytes[i]);
	if (text)
		text[2ul * n] = '\0';
	return own(j, text);
}

static void push_mapping(struct job *j, struct naming_mapping m, uint32_t object)
{
	if (vec_push(&j->n->mappings, m) < 0 || vec_push(&j->mapped, object) < 0)
		j->error = -ENOMEM;
}

/* One mapping for each executable segment. */
static void add_mappings(struct job *j, const struct object *x)
{
	uint64_t base = shown_base(j, x);
	char file[SYMBOLIZER_MAX_PATH];
	struct naming_mapping m = { .build_id = hex(j, x->info.build_id, x->info.n_build_id) };
	size_t before = j->n->mappings.n;

	utf8_copy(file, sizeof(file), x->name, strlen(x->name));
	m.file = own(j, strdup(file));
	for (uint32_t i = 0; i < x->info.n_segments; i++) {
		const struct symbolizer_segment *s = &x->info.segments[i];

		if (!(s->flags & PF_X))
			continue;
		m.start = base + (s->vaddr & ~4095ull);
		m.limit = base + ((s->vaddr + s->memsz + 4095) & ~4095ull);
		m.offset = s->offset & ~4095ull;
		push_mapping(j, m, x->id);
	}
	if (j->n->mappings.n > before)
		return;
	m.start = base;
	m.limit = base + (1ull << 34);
	push_mapping(j, m, x->id);
}

static uint32_t mapping_of(struct job *j, uint64_t word, uint64_t shown)
{
	uint32_t object = namer_object(word), any = 0;
	const struct object *x;

	if (frame_kind(word) == FRAME_RAW || frame_kind(word) == FRAME_MARKER)
		return 0;
	for (uint32_t pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < j->mapped.n; i++) {
			const struct naming_mapping *m = &j->n->mappings.data[i];

			if (j->mapped.data[i] != object)
				continue;
			any = i + 1;
			if (shown >= m->start && shown < m->limit)
				return i + 1;
		}
		if (any)
			return any;
		x = objects_find(&j->c->objects, object);
		if (object == NAMER_KERNEL)
			push_mapping(j, (struct naming_mapping){ .start = SHOWN_KERNEL,
								 .limit = SHOWN_MARKERS,
								 .file = "[kernel.kallsyms]",
								 .build_id = "" },
				     object);
		else if (x)
			add_mappings(j, x);
	}
	return any;
}

static void flag_mapping(struct job *j, const struct naming_location *l)
{
	struct naming_mapping *m;

	if (!l->mapping)
		return;
	m = &j->n->mappings.data[l->mapping - 1];
	m->has_inline_frames |= l->n_lines > 1;
	for (uint32_t i = 0; i < l->n_lines; i++) {
		const struct naming_line *line = &j->n->lines.data[l->first_line + i];

		m->has_line_numbers |= line->line != 0;
		m->has_file_names |= *j->n->functions.data[line->function].file != 0;
	}
}

static void add_location(struct job *j, uint64_t word, const struct names_cache *from, uint32_t *taken)
{
	const struct cached_address *a = names_cache_find(from, word);
	struct naming_location l = { .first_line = (uint32_t)j->n->lines.n };

	l.address = shown_address(j, word, a);
	if (a && a->shown && frame_kind(word) == FRAME_FILE && a->shown <= frame_address(word))
		l.entry = l.address - (frame_address(word) - a->shown);
	l.mapping = mapping_of(j, word, l.address);
	for (uint32_t i = 0; a && i < a->n_lines; i++) {
		struct cached_line line = from->lines.data[a->first_line + i];
		struct naming_line to = { take_function(j, from, taken, line.function), line.line };

		if (vec_push(&j->n->lines, to) < 0)
			j->error = -ENOMEM;
	}
	l.n_lines = (uint32_t)j->n->lines.n - l.first_line;
	if (!l.n_lines)
		stub(j, &l, word, a);
	if (vec_push(&j->n->locations, l) < 0)
		j->error = -ENOMEM;
	if (!j->error)
		flag_mapping(j, &l);
}

/* The cache and the objects, as they are now, to a naming of its own. Both locks are held. */
static int build(struct job *j)
{
	struct core *c = j->c;
	const struct names_cache *files = &c->namer.cache, *jit = &j->jit;
	_cleanup_(freep) uint32_t *taken = calloc(files->functions.n + 1, sizeof(*taken));
	_cleanup_(freep) uint32_t *taken_jit = calloc(jit->functions.n + 1, sizeof(*taken));
	const struct object *main = objects_find(&c->objects, j->t->main_object);

	if (!taken || !taken_jit)
		return -ENOMEM;
	if (main) {
		j->fixed = main->fixed ? main->id : 0;
		add_mappings(j, main);
	}
	for (size_t i = 0; i < j->n->words.n && !j->error; i++) {
		uint64_t word = j->n->words.data[i];
		bool raw = frame_kind(word) == FRAME_RAW;

		add_location(j, word, raw ? jit : files, raw ? taken_jit : taken);
	}
	if (c->redact & BROKER_REDACT_PATHS)
		redact_naming(j->n);
	return j->error;
}

/* What another is about to use is not thrown away; and while nobody names, names may become better ones. */
static void begin(struct core *c)
{
	struct namer *n = &c->namer;
	struct names_cache *const caches[] = { &n->cache, &n->full, &n->callees, &n->variables };
	bool other;

	pthread_mutex_lock(&c->lock);
	pthread_mutex_lock(&c->symbolizer_lock);
	other = !n->n_running && sources_take(c);
	for (size_t i = 0; i < sizeof(caches) / sizeof(caches[0]) && !n->n_running; i++) {
		if (other)
			names_cache_empty(caches[i]);
		names_cache_bound(caches[i]);
	}
	n->n_running++;
	pthread_mutex_unlock(&c->symbolizer_lock);
	pthread_mutex_unlock(&c->lock);
}

/* For whoever may not wait for the symbolizer_lock, which is held. */
static void note_size(struct core *c)
{
	const struct namer *n = &c->namer;
	const struct names_cache *const caches[] = { &n->cache, &n->full, &n->callees, &n->variables };
	uint64_t n_bytes = 0, n_addresses = 0, n_emptied = 0;
	double fill = 0;

	for (size_t i = 0; i < sizeof(caches) / sizeof(caches[0]); i++) {
		n_bytes += names_cache_bytes(caches[i]);
		n_addresses += caches[i]->addresses.n;
		n_emptied += caches[i]->n_emptied;
		fill = fmax(fill, names_cache_fill(caches[i]));
	}
	tally_set(&c->tally, TALLY_NAMES_BYTES, n_bytes);
	tally_set(&c->tally, TALLY_NAMES_ADDRESSES, n_addresses);
	tally_set(&c->tally, TALLY_NAMES_EMPTIED, n_emptied);
	tally_set(&c->tally, TALLY_NAMES_FILL, (uint64_t)(fill * 1e6));
	tally_set(&c->tally, TALLY_FUNCTIONS_BYTES, symbolizer_own_bytes(&c->symbolizer));
	tally_set(&c->tally, TALLY_SYMBOLIZER_BYTES, c->symbolizer.names_end.n_bytes);
}

static void end(struct core *c)
{
	pthread_mutex_lock(&c->symbolizer_lock);
	c->namer.n_running--;
	note_size(c);
	pthread_mutex_unlock(&c->symbolizer_lock);
}

int namer_run(struct core *c, const struct target *t, const struct capture *capture,
	      struct naming *ret)
{
	struct naming n = { 0 };
	struct job j = { .c = c, .t = t, .n = &n };
	int r;

	r = collect(&j, capture);
	if (r == 0)
		sources_seek_again(c, n.words.data, n.words.n);
	begin(c);
	if (r == 0)
		r = namer_ask(c, NAMER_NAMES, n.words.data, n.words.n);
	if (r == 0)
		r = namer_ask_jit(c, t, n.words.data, n.words.n, &j.jit);
	if (r == 0) {
		pthread_mutex_lock(&c->lock);
		pthread_mutex_lock(&c->symbolizer_lock);
		r = build(&j);
		pthread_mutex_unlock(&c->symbolizer_lock);
		pthread_mutex_unlock(&c->lock);
	}
	end(c);
	vec_deinit(&j.mapped);
	names_cache_deinit(&j.jit);
	if (r < 0)
		naming_free(&n);
	else
		*ret = n;
	return r;
}

size_t namer_unknown(struct core *c, uint64_t *words, size_t n)
{
	size_t kept = 0;

	n = sort_words(words, n);
	pthread_mutex_lock(&c->symbolizer_lock);
	for (size_t i = 0; i < n; i++) {
		enum frame_kind kind = frame_kind(words[i]);

		if ((kind == FRAME_FILE || (kind == FRAME_KERNEL && !c->namer.kernel_hidden)) &&
		    !names_cache_find(&c->namer.cache, words[i]))
			words[kept++] = words[i];
	}
	pthread_mutex_unlock(&c->symbolizer_lock);
	return kept;
}

int namer_ahead(struct core *c, const uint64_t *words, size_t n)
{
	int r;

	begin(c);
	r = namer_ask(c, NAMER_NAMES, words, n);
	end(c);
	return r;
}

/* The symbolizer_lock is held. */
static void take_callee(struct job *j, uint64_t word)
{
	const struct names_cache *from = &j->c->namer.callees;
	const struct cached_address *a = names_cache_find(from, word);
	uint32_t location = naming_find(j->n, word);
	struct cached_text t;

	if (!a || !a->n_lines || location == UINT32_MAX || j->n->locations.data[location].callee)
		return;
	t = from->functions.data[from->lines.data[a->first_line].function].name;
	j->n->locations.data[location].callee = own(j, strndup(from->text.data + t.first, t.n));
}

static uint64_t *sorted_copy(const uint64_t *words, size_t *n)
{
	uint64_t *sorted = malloc((*n + 1) * sizeof(*sorted));

	if (sorted && *n)
		memcpy(sorted, words, *n * sizeof(*sorted));
	if (sorted)
		*n = sort_words(sorted, *n);
	return sorted;
}

int namer_callees(struct core *c, const uint64_t *words, size_t n, struct naming *named)
{
	struct job j = { .c = c, .n = named };
	_cleanup_(freep) uint64_t *sorted = sorted_copy(words, &n);
	int r;

	if (!sorted)
		return -ENOMEM;
	begin(c);
	r = namer_ask(c, NAMER_CALLEES, sorted, n);
	pthread_mutex_lock(&c->symbolizer_lock);
	for (size_t i = 0; i < n && r == 0; i++) {
		take_callee(&j, sorted[i]);
		r = j.error;
	}
	pthread_mutex_unlock(&c->symbolizer_lock);
	end(c);
	return r;
}

/* The symbolizer_lock is held. NULL: nobody knows it, or no memory. */
static char *variable_text(const struct names_cache *from, uint64_t word)
{
	const struct cached_address *a = names_cache_find(from, word);
	struct cached_text t;

	if (!a || !a->n_lines || a->shown > frame_address(word))
		return NULL;
	t = from->functions.data[from->lines.data[a->first_line].function].name;
	if (a->shown == frame_address(word))
		return strndup(from->text.data + t.first, t.n);
	return text_of("%.*s+0x%llx", (int)t.n, from->text.data + t.first,
		       (unsigned long long)(frame_address(word) - a->shown));
}

int namer_variables(struct core *c, const uint64_t *words, size_t n, char **ret)
{
	size_t n_sorted = n;
	_cleanup_(freep) uint64_t *sorted = sorted_copy(words, &n_sorted);
	size_t none = sorted && n_sorted && !sorted[0];
	int r;

	if (!sorted)
		return -ENOMEM;
	begin(c);
	r = namer_ask(c, NAMER_VARIABLES, sorted + none, n_sorted - none);
	pthread_mutex_lock(&c->symbolizer_lock);
	for (size_t i = 0; i < n && r == 0; i++)
		ret[i] = words[i] ? variable_text(&c->namer.variables, words[i]) : NULL;
	pthread_mutex_unlock(&c->symbolizer_lock);
	end(c);
	return r;
}

static bool same_text(const struct names_cache *from, struct cached_text t, const char *text)
{
	return strlen(text) == t.n && !memcmp(from->text.data + t.first, text, t.n);
}

/* The symbolizer_lock is held. */
static void spell_location(struct job *j, uint32_t i, bool *spelled)
{
	const struct names_cache *from = &j->c->namer.full;
	const struct cached_address *a = names_cache_find(from, j->n->words.data[i]);
	const struct naming_location *l = &j->n->locations.data[i];

	for (uint32_t k = 0; a && a->n_lines == l->n_lines && k < a->n_lines; k++) {
		uint32_t at = j->n->lines.data[l->first_line + k].function;
		struct naming_function *f = &j->n->functions.data[at];
		const struct cached_function *full =
			&from->functions.data[from->lines.data[a->first_line + k].function];

		if (spelled[at] || !same_text(from, full->system_name, f->system_name))
			continue;
		spelled[at] = true;
		f->name = own(j, strndup(from->text.data + full->name.first, full->name.n));
	}
}

static int spell_full(struct core *c, struct naming *named)
{
	_cleanup_(freep) bool *spelled = calloc(named->functions.n + 1, sizeof(*spelled));
	struct job j = { .c = c, .n = named };
	unsigned held;
	int r;

	if (!spelled)
		return -ENOMEM;
	held = session_keep(c);
	begin(c);
	r = namer_ask(c, NAMER_FULL, named->words.data, named->words.n);
	pthread_mutex_lock(&c->symbolizer_lock);
	for (uint32_t i = 0; i < named->locations.n && r == 0; i++) {
		spell_location(&j, i, spelled);
		r = j.error;
	}
	pthread_mutex_unlock(&c->symbolizer_lock);
	end(c);
	session_let_go(c, held);
	return r;
}

int namer_spell(struct core *c, enum symbolizer_demangle how, struct naming *named)
{
	int r = how == DEMANGLE_FULL ? spell_full(c, named) : 0;

	if (c->redact & BROKER_REDACT_PATHS)
		redact_naming(named);
	for (size_t i = 0; how == DEMANGLE_NONE && i < named->functions.n; i++)
		named->functions.data[i].name = named->functions.data[i].system_name;
	return r;
}

void namer_deinit(struct namer *n)
{
	names_cache_deinit(&n->cache);
	names_cache_deinit(&n->full);
	names_cache_deinit(&n->callees);
	names_cache_deinit(&n->variables);
}
