/* SPDX-License-Identifier: Apache-2.0 */

/* dump_text.c - goroutine?debug=2, as Go's runtime.Stack(all) writes it: panicparse and gostackparse read it. */

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/legacy.h"
#include "daemon/serve/target.h"
#include "daemon/serve/text.h"
#include "daemon/serve/threads/threads.h"

struct writing {
	const struct threads *t;
	const struct target *of;
	struct dump_style style;
	struct bytes *out;
};

/* Readers take a name apart at its parentheses, and know no nested ones. */
static void add_name(struct writing *w, const char *name)
{
	char text[LEGACY_MAX_NAME + 1];
	int depth = 0;

	utf8_copy(text, sizeof(text), name, strnlen(name, LEGACY_MAX_NAME));
	for (char *c = text; *c; c++) {
		if (*c == '(' && depth++)
			*c = '{';
		else if (*c == ')' && (depth <= 0 || --depth))
			*c = '}';
		else if (w->style.panicparse && (*c == '/' || *c == '%'))
			*c = '_'; /* it unescapes names, as if they were import paths */
	}
	if (depth > 0) { /* one that is not closed */
		for (char *c = strrchr(text, '('); c; c = NULL)
			*c = '{';
	}
	bytes_puts(w->out, text);
}

/* What panicparse takes for a file. */
static bool like_go(const char *file)
{
	const char *dot = strrchr(file, '.');

	return dot && (!strcmp(dot, ".c") || !strcmp(dot, ".go") || !strcmp(dot, ".s"));
}

static void add_place(struct writing *w, const struct naming_function *f, uint32_t line, uint64_t offset)
{
	char file[LEGACY_MAX_NAME + 1];

	utf8_copy(file, sizeof(file), f->file, strnlen(f->file, LEGACY_MAX_NAME));
	bytes_printf(w->out, "\t%s%s:%u", *file ? file : "??",
		     *file && w->style.panicparse && !like_go(file) ? " .c" : "", *file ? line : 0);
	if (offset)
		bytes_printf(w->out, " +0x%llx", (unsigned long long)offset);
	bytes_puts(w->out, "\n");
}

/* Of the return address, which is one behind what callers show. */
static uint64_t offset_of(const struct naming *n, uint32_t location, bool leaf)
{
	const struct naming_location *l = location == UINT32_MAX ? NULL : &n->locations.data[location];

	return l && l->entry ? l->address + !leaf - l->entry : 0;
}

static void add_frame(struct writing *w, uint64_t word, bool leaf)
{
	const struct naming *n = &w->t->names;
	uint32_t location = naming_find(n, word), n_lines;
	const struct naming_line *lines = naming_lines(n, location, &n_lines);

	for (uint32_t k = 0; k < n_lines; k++) {
		const struct naming_function *f = naming_function(n, lines[k].function);
		bool inlined = k + 1 < n_lines;

		add_name(w, f->name);
		bytes_puts(w->out, "(...)\n");
		add_place(w, f, lines[k].line, inlined ? 0 : offset_of(n, location, leaf));
	}
}

static bool creates(const char *name)
{
	static const char *const patterns[] = {
		"clone*", "__clone*", "*clone_internal*", "*pthread_create*", "create_thread", "thrd_create",
		"start_thread",
		"std::thread::_M_start_thread*", "std::thread::thread*", "std::jthread::jthread*",
		"std::__1::thread::thread*", "std::__1::__libcpp_thread_create*", "*__gthread_create*",
		"std::sys::*::thread::Thread::new", "std::thread::Builder::spawn*", "std::thread::spawn*",
		"std::thread::*spawn_unchecked*", "*::__allocator*", "*std::make_unique*",
	};

	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++)
		if (!fnmatch(patterns[i], name, 0))
			return true;
	return false;
}

/* The first frame that is not of the libraries' machinery, which stands in the leaf's file too. */
static void add_creator(struct writing *w, const struct thread_view *v)
{
	const struct capture *c = w->t->capture;
	const struct naming *n = &w->t->names;
	struct capture_stack s;
	uint32_t leaf;

	if (!v->creator_stack)
		return;
	s = c->stacks.data[v->creator_stack - 1];
	leaf = s.n && frame_kind(c->words.data[s.first]) == FRAME_FILE ?
		       frame_object(c->words.data[s.first]) : 0;
	for (uint32_t i = 0; i < s.n; i++) {
		uint64_t word = c->words.data[s.first + i];
		uint32_t location = naming_find(n, word), n_lines;
		const struct naming_line *lines = naming_lines(n, location, &n_lines);
		bool stub = leaf && frame_kind(word) == FRAME_FILE && frame_object(word) == leaf;

		for (uint32_t k = 0; k < n_lines; k++) {
			const struct naming_function *f = naming_function(n, lines[k].function);

			if (creates(f->name) || frame_kind(word) == FRAME_MARKER || (stub && strstr(f->name, ".so")))
				continue;
			bytes_puts(w->out, "created by ");
			add_name(w, f->name);
			if (v->creator)
				bytes_printf(w->out, " in goroutine %u", v->creator);
			bytes_puts(w->out, "\n");
			add_place(w, f, lines[k].line, offset_of(n, location, !i));
			return;
		}
	}
}

/* Go's form of labels; where it stands, readers that know no labels take it for a part of the state. Threads
 * that are called as the process is have none. */
static void add_label(struct writing *w, const struct pp_thread *t)
{
	char name[2 * sizeof(t->comm)];

	utf8_copy(name, sizeof(name), t->comm, strnlen(t->comm, sizeof(t->comm)));
	if (!w->style.labels || !*name || !strcmp(name, w->of->comm))
		return;
	bytes_puts(w->out, " labels:{\"thread\": \"");
	for (const char *c = name; *c; c++) {
		const char *special = strchr(",][", *c);

		if (*c == '"' || *c == '\\')
			bytes_puts(w->out, "\\");
		bytes_add(w->out, special ? "_" : c, 1);
	}
	bytes_puts(w->out, "\"}");
}

static uint32_t number(const struct pp_thread *t)
{
	return t->tid ? t->tid : t->host_tid;
}

static void add_header(struct writing *w, const struct thread_view *v)
{
	int64_t minutes = v->waited_ns / (60 * NS_PER_S);

	bytes_printf(w->out, "goroutine %u [%s", number(v->t), thread_state(v, &w->t->names));
	if (v->for_whom)
		bytes_printf(w->out, " (%s goroutine %u)", v->kind == WAIT_JOIN ? "of" : "held by",
			     number(w->t->all.data[v->for_whom - 1].t));
	add_label(w, v->t);
	if (minutes)
		bytes_printf(w->out, ", %lld minutes", (long long)minutes);
	bytes_puts(w->out, "]:\n");
}

static void add_thread(struct writing *w, const struct thread_view *v)
{
	add_header(w, v);
	if (!v->n)
		bytes_puts(w->out, "\tgoroutine running on other thread; stack unavailable\n");
	for (uint32_t i = 0; i < v->n; i++)
		add_frame(w, v->words[i], !i);
	add_creator(w, v);
}

static void add_cycles(struct writing *w)
{
	const struct threads *t = w->t;

	for (size_t i = 0; i < t->cycles.n; i++) {
		uint32_t first = t->cycles.data[i];

		bytes_printf(w->out, "# pprofd: deadlock: goroutine %u", number(t->all.data[first].t));
		for (i++; i < t->cycles.n && t->cycles.data[i] != UINT32_MAX; i++)
			bytes_printf(w->out, " waits for goroutine %u, which",
				     number(t->all.data[t->cycles.data[i]].t));
		bytes_printf(w->out, " waits for goroutine %u\n", number(t->all.data[first].t));
	}
	if (t->cycles.n)
		bytes_puts(w->out, "\n");
}

/* Behind everything, where no reader looks for a thread. */
static void add_comments(struct writing *w)
{
	const struct threads *t = w->t;

	for (size_t i = 0; i < t->capture->comments.n; i++)
		bytes_printf(w->out, "\n# pprofd: %s", t->capture->comments.data[i]);
	bytes_printf(w->out, "\n# pprofd: %zu threads, of which %llu ran and have no stack, and of %llu the stack is "
			     "not complete\n", t->all.n, (unsigned long long)t->n_running,
		     (unsigned long long)t->n_broken);
}

int dump_text(const struct threads *t, const struct target *of, struct dump_style style, struct bytes *ret)
{
	struct bytes out = { 0 };
	struct writing w = { t, of, style, &out };

	add_cycles(&w);
	for (size_t i = 0; i < t->all.n && out.n < TEXT_MAX_BYTES; i++) {
		if (i)
			bytes_puts(&out, "\n");
		add_thread(&w, &t->all.data[i]);
	}
	add_comments(&w);
	if (out.bad || out.n >= TEXT_MAX_BYTES) {
		bytes_deinit(&out);
		return out.bad ? -ENOMEM : -E2BIG;
	}
	*ret = out;
	return 0;
}
