/* SPDX-License-Identifier: Apache-2.0 */

/* Notes of profiles of a program's own: what is read and refused; the client's checks of them; how functions are
 * left out of a stack; how a name is written into a link. */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/serve/custom/custom.h"
#include "daemon/serve/path.h"
#include "base/emulated_x86.h"
#include "symbolizer/custom.h"
#include "symbolizer/track.h"
#include "symbolizer/usdt.h"
#include "tests/unit/elf_image.h"

#define TEXT_AT 0x1000
#define BASE 0x700000ull
#define NAMES (IMAGE_DATA + 0x100)

struct world {
	struct image m;
	struct bytes sites, names;
	struct elf_file *f;
	struct custom_list l;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	memset(w->m.text, 0x90, sizeof(w->m.text));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	custom_list_deinit(&w->l);
	elf_file_close(w->f);
	bytes_deinit(&w->sites);
	bytes_deinit(&w->names);
	image_deinit(&w->m);
	free(w);
	return 0;
}

static void pad(struct bytes *b)
{
	while (b->n % 4)
		bytes_add(b, "", 1);
}

static void site(struct world *w, uint64_t at, const char *name, const char *arguments)
{
	uint64_t numbers[] = { IMAGE_TEXT + at, BASE, 0 };
	uint32_t head[] = { 8, (uint32_t)(24 + 7 + strlen(name) + strlen(arguments) + 2), 3 };

	bytes_add(&w->sites, head, sizeof(head));
	bytes_add(&w->sites, "stapsdt", 8);
	bytes_add(&w->sites, numbers, sizeof(numbers));
	bytes_add(&w->sites, "pprofd", 7);
	bytes_add(&w->sites, name, strlen(name) + 1);
	bytes_add(&w->sites, arguments, strlen(arguments) + 1);
	pad(&w->sites);
}

static void note(struct world *w, uint32_t type, const void *data, size_t n)
{
	uint32_t head[] = { 7, (uint32_t)n, type };

	bytes_add(&w->names, head, sizeof(head));
	bytes_add(&w->names, "pprofd\0", 8);
	bytes_add(&w->names, data, n);
	pad(&w->names);
}

static void literal(struct world *w, uint64_t at, uint64_t text)
{
	uint64_t numbers[] = { IMAGE_TEXT + at, text };

	note(w, 2, numbers, sizeof(numbers));
}

static void find(struct world *w)
{
	if (w->sites.n)
		image_section(&w->m, ".note.stapsdt", 0, w->sites.data, w->sites.n);
	if (w->names.n)
		image_section(&w->m, ".note.pprofd", 0, w->names.data, w->names.n);
	image_finish(&w->m);
	assert_int_equal(elf_file_open_memory(w->m.file.data, w->m.file.n, &w->f), 0);
	assert_int_equal(custom_find(w->f, &w->l), 0);
	assert_int_equal(w->l.end.n_probes, w->l.all.n);
}

static void test_names_and_sites(void **state)
{
	struct world *w = *state;
	const struct symbolizer_custom *c;

	memcpy(w->m.text + 0x800, "conns", 6);
	note(w, 1, "declared", 9);
	literal(w, 0x300, IMAGE_TEXT + 0x800);
	site(w, 0x300, "add", "8@%rdi -4@$2");
	site(w, 0x310, "remove", "8@%rbx -4@$0 8@%r12");
	site(w, 0x320, "a later one", "8@%rdi");
	find(w);
	assert_int_equal(w->l.all.n, 3);
	c = w->l.all.data;
	assert_int_equal(c[0].kind, CUSTOM_PROFILE);
	assert_string_equal(c[0].name, "declared");
	assert_int_equal(c[1].kind, CUSTOM_ADD);
	assert_int_equal(c[1].status, PROBE_FINE);
	assert_string_equal(c[1].name, "conns");
	assert_int_equal(c[1].n_name, 5);
	assert_int_equal(c[1].offset, TEXT_AT + 0x300);
	assert_int_equal(c[1].arguments[1].value, 2);
	assert_int_equal(c[1].arguments[2].kind, SYMBOLIZER_NOTHING);
	assert_int_equal(c[2].kind, CUSTOM_REMOVE);
	assert_int_equal(c[2].n_name, 0);
	assert_int_equal(c[2].arguments[2].reg, 12);
}

static void test_what_traces_show(void **state)
{
	static const char *const names[] = { "task_begin", "task_end", "region_begin", "region_end", "log" };
	struct world *w = *state;

	memcpy(w->m.text + 0x800, "part", 5);
	for (uint64_t i = 0; i < 5; i++) {
		site(w, 0x300 + i, names[i], i % 2 ? "8@%rdi 8@$0 8@%rsi" : "8@%rdi 8@-8(%rbp)");
		if (i % 2 == 0)
			literal(w, 0x300 + i, IMAGE_TEXT + 0x800);
	}
	find(w);
	assert_int_equal(w->l.all.n, 5);
	for (uint32_t i = 0; i < 5; i++) {
		const struct symbolizer_custom *c = &w->l.all.data[i];

		assert_int_equal(c->kind, CUSTOM_TASK_BEGIN + i);
		assert_int_equal(c->status, PROBE_FINE);
		assert_int_equal(c->n_name, i % 2 ? 0 : 4);
		assert_int_equal(c->arguments[1].kind, i % 2 ? SYMBOLIZER_CONSTANT : SYMBOLIZER_MEMORY);
		assert_int_equal(c->arguments[2].kind, i % 2 ? SYMBOLIZER_REGISTER : SYMBOLIZER_NOTHING);
	}
}

static void test_a_moved_file_is_corrected(void **state)
{
	struct world *w = *state;

	memcpy(w->m.text + 0x800, "conns", 6);
	literal(w, 0x300, IMAGE_TEXT + 0x7f0);
	site(w, 0x300, "add", "8@%rdi -4@$2");
	image_section(&w->m, ".stapsdt.base", BASE + 0x10, "", 1);
	find(w);
	assert_int_equal(w->l.all.n, 1);
	assert_int_equal(w->l.all.data[0].offset, TEXT_AT + 0x310);
	assert_string_equal(w->l.all.data[0].name, "conns");
}

static void test_what_is_refused(void **state)
{
	struct world *w = *state;
	static const uint8_t statuses[] = { PROBE_BAD_NAME, PROBE_BAD_NAME, PROBE_BAD_NAME, PROBE_BAD_NAME,
					    PROBE_BAD_NAME, PROBE_NOP5, PROBE_NOT_EMULATED,
					    PROBE_MISSING_ARGUMENT, PROBE_UNREADABLE_ARGUMENT };
	char name[70];

	memset(name, 'x', sizeof(name));
	name[64] = '\0';
	note(w, 1, "", 1);
	note(w, 1, "no end", 6);
	note(w, 1, name, 65);
	memcpy(w->m.text + 0x100, "\x0f\x1f\x44\0\0", 5);
	memcpy(w->m.text + 0x110, "\x48\x85\xff", 3);
	memset(w->m.text + 0x900, 'x', 64);
	literal(w, 0x10, IMAGE_TEXT + 0x900);
	literal(w, 0x20, 0x10); /* nowhere */
	site(w, 0x10, "add", "8@%rdi -4@$2");
	site(w, 0x20, "add", "8@%rdi -4@$2");
	site(w, 0x100, "add", "8@%rdi -4@$2 8@%rsi");
	site(w, 0x110, "add", "8@%rdi -4@$2 8@%rsi");
	site(w, 0x30, "add", "8@%rdi -4@$2");
	site(w, 0x40, "add", "8@%xmm0 -4@$2 8@%rsi");
	site(w, 0x90000, "add", "8@%rdi -4@$2 8@%rsi"); /* of a function that is not there: no loss */
	find(w);
	assert_int_equal(w->l.all.n, sizeof(statuses));
	for (size_t i = 0; i < sizeof(statuses); i++) {
		assert_int_equal(w->l.all.data[i].status, statuses[i]);
		assert_int_equal(w->l.all.data[i].arguments[0].kind, SYMBOLIZER_NOTHING);
	}
}

static void test_sites_are_bounded(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < SYMBOLIZER_MAX_CUSTOM + 5; i++)
		site(w, i, "remove", "8@%rdi -4@$2 8@%rsi");
	find(w);
	assert_int_equal(w->l.all.n, SYMBOLIZER_MAX_CUSTOM);
	assert_int_equal(w->l.end.n_lost, 5);
}

static void test_malformed_notes_are_counted(void **state)
{
	struct world *w = *state;
	uint32_t head[] = { 7, 0x7fffffff, 1 };

	note(w, 2, "short", 5);
	note(w, 77, "later", 5);
	bytes_add(&w->names, head, sizeof(head));
	find(w);
	assert_int_equal(w->l.all.n, 0);
	assert_int_equal(w->l.end.n_bad_notes, 2);
}

static void function(Elf64_Sym *to, uint32_t name, uint64_t at, uint64_t size)
{
	*to = (Elf64_Sym){ .st_name = name, .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), .st_shndx = 1,
			   .st_value = IMAGE_TEXT + at, .st_size = size };
}

/* What stands for Add and Remove: results at every return, arguments at the entry, aliases once. */
static void test_functions_are_tracked(void **state)
{
	static const char strings[] = "\0make\0alias\0drop\0jumps\0stub";
	static const struct symbolizer_track tracks[] = {
		{ "p", "make", CUSTOM_RESULT, 0 },	   { "p", "alias", CUSTOM_RESULT, 0 },
		{ "p", "drop", CUSTOM_REMOVE, 2 },	   { "q", "jumps", CUSTOM_DESCRIPTOR, 0 },
		{ "r", "stub", CUSTOM_ENTER, 3 },	   { "r", "nosuch", CUSTOM_OUT, 0 },
	};
	static const struct {
		uint8_t kind, status, reg;
		uint64_t offset;
	} claims[] = {
		{ CUSTOM_RESULT, PROBE_FINE, 0, 0x103 },    { CUSTOM_RESULT, PROBE_FINE, 0, 0x107 },
		{ CUSTOM_REMOVE, PROBE_FINE, 4, 0x201 },    { CUSTOM_DESCRIPTOR, PROBE_FINE, 0, 0x302 },
		{ CUSTOM_DESCRIPTOR, PROBE_RESULT_JUMPS, 0, 0x300 }, { CUSTOM_ENTER, PROBE_FINE, 1, 0x400 },
	};
	struct world *w = *state;
	Elf64_Sym symbols[6] = { 0 };

	memcpy(w->m.text + 0x100, "\x31\xc0\x90\xc3\x31\xc0\x90\xc3", 8);	 /* two ways out */
	memcpy(w->m.text + 0x200, "\x53\x90\xc3", 3); /* push */
	memcpy(w->m.text + 0x300, "\x74\x01\xc3\xe9\0\x10\0\0", 8);
	memcpy(w->m.text + 0x400, "\xb8\x16\0\0\0\x0f\x05\xc3", 8);	 /* mov $22, %eax; syscall */
	function(&symbols[1], 1, 0x100, 8);
	function(&symbols[2], 6, 0x100, 8);
	function(&symbols[3], 12, 0x200, 3);
	function(&symbols[4], 17, 0x300, 8);
	function(&symbols[5], 23, 0x400, 8);
	image_section(&w->m, "strings", 0, strings, sizeof(strings));
	image_section(&w->m, "symbols", 0, symbols, sizeof(symbols));
	image_finish(&w->m);
	image_shdr(&w->m, "symbols")->sh_type = SHT_SYMTAB;
	image_shdr(&w->m, "symbols")->sh_entsize = sizeof(symbols[0]);
	for (unsigned i = 0; i < 16; i++) /* whichever number the strings have */
		if ((Elf64_Shdr *)(w->m.file.data + image_ehdr(&w->m)->e_shoff) + i == image_shdr(&w->m, "strings"))
			image_shdr(&w->m, "symbols")->sh_link = i;
	image_shdr(&w->m, "strings")->sh_type = SHT_STRTAB;
	assert_int_equal(elf_file_open_memory(w->m.file.data, w->m.file.n, &w->f), 0);
	assert_int_equal(track_find(w->f, tracks, sizeof(tracks) / sizeof(tracks[0]), &w->l), 0);
	assert_int_equal(w->l.all.n, sizeof(claims) / sizeof(claims[0]));
	for (size_t i = 0; i < w->l.all.n; i++) {
		const struct symbolizer_custom *c = &w->l.all.data[i];

		assert_int_equal(c->kind, claims[i].kind);
		assert_int_equal(c->status, claims[i].status);
		if (claims[i].reg)
			assert_int_equal(c->arguments[0].reg, claims[i].reg);
		if (c->kind != CUSTOM_REMOVE)
			assert_int_equal(c->offset, TEXT_AT + claims[i].offset);
	}
}

static void test_bad_tracks(void **state)
{
	struct symbolizer_track t = { "p", "make", CUSTOM_RESULT, 0 };
	struct world *w = *state;

	find(w);
	t.kind = CUSTOM_PROFILE;
	assert_int_equal(track_find(w->f, &t, 1, &w->l), -EINVAL);
	t.kind = CUSTOM_N_KINDS;
	assert_int_equal(track_find(w->f, &t, 1, &w->l), -EINVAL);
	t.kind = CUSTOM_ADD; /* and no argument */
	assert_int_equal(track_find(w->f, &t, 1, &w->l), -EINVAL);
	t.argument = 4;
	assert_int_equal(track_find(w->f, &t, 1, &w->l), -EINVAL);
	t.argument = 1;
	memset(t.function, 'x', sizeof(t.function));
	assert_int_equal(track_find(w->f, &t, 1, &w->l), -EINVAL);
}

static void test_what_is_stepped_over(void **state)
{
	static const char *const good[] = { "\xc3", "\xf3\x0f\x1e\xfa", "\xb8\1\2\3\4", "\x41\xb8\1\2\3\4",
					    "\x48\x83\xec\x08", "\x48\x89\xf7", "\x89\xf8", "\x31\xc0" };
	static const char *const bad[] = { "\xe8", "\xeb\xfe", "\x0f\x05", "\x48\x8b\x05", "\x89\x07", "\xff\xe0",
					   "\xf3\x0f\x1e\xfb", "\xcc", "\xc2\x08" };
	uint8_t code[16];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		memset(code, 0, sizeof(code));
		memcpy(code, good[i], strlen(good[i]));
		assert_true(stepped_x86(code, sizeof(code)));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(code, 0, sizeof(code));
		memcpy(code, bad[i], strlen(bad[i]));
		assert_false(stepped_x86(code, sizeof(code)));
	}
}

/* A child that answers with what it was given. */
struct liar {
	int fd;
	struct record answer;
	uint32_t n_probes;
};

static void *lie(void *context)
{
	struct liar *l = context;
	static struct record r;
	struct symbolizer_probes_end end = { .n_probes = l->n_probes };

	if (record_receive(l->fd, &r, -1) < 0)
		return NULL;
	record_close_fds(&r);
	l->answer.type = SYMBOLIZER_CUSTOM;
	l->answer.serial = r.serial;
	record_send(l->fd, &l->answer);
	r.type = SYMBOLIZER_END;
	r.status = 0;
	r.n = sizeof(end);
	memcpy(r.data, &end, sizeof(end));
	record_send(l->fd, &r);
	return NULL;
}

static int ask(const struct symbolizer_custom *c)
{
	static struct symbolizer s;
	static struct liar l;
	struct symbolizer_object o = { .id = 1, .kind = SYMBOLIZER_FILE, .fd = 0 };
	struct symbolizer_customs customs = { 0 };
	pthread_t thread;
	int fds[2], r;

	s.fd = -1;
	assert_int_equal(record_pair(fds), 0);
	symbolizer_replace(&s, fds[0]);
	l.fd = fds[1];
	l.n_probes = 1;
	l.answer.n = sizeof(*c);
	memcpy(l.answer.data, c, sizeof(*c));
	assert_int_equal(pthread_create(&thread, NULL, lie, &l), 0);
	r = symbolizer_ask_custom(&s, &o, &customs);
	symbolizer_replace(&s, -1);
	pthread_join(thread, NULL);
	close(fds[1]);
	symbolizer_customs_deinit(&customs);
	return r;
}

static void test_the_child_is_not_believed(void **state)
{
	struct symbolizer_argument value = { .kind = SYMBOLIZER_REGISTER, .reg = 5, .size = 8 };
	struct symbolizer_custom good = { .kind = CUSTOM_ADD, .n_name = 1, .name = "a", .arguments = { value, value } };
	struct symbolizer_custom x;

	assert_int_equal(ask(&good), 0);
	x = good, x.kind = 0;
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.kind = CUSTOM_N_KINDS;
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.status = PROBE_N_STATUS;
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.n_name = 64;
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.n_name = 2;
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.name[63] = 'x';
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.offset = 1ull << 63;
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.arguments[0].reg = 16;
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.arguments[2] = value;
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.arguments[0] = (struct symbolizer_argument){ 0 };
	assert_int_equal(ask(&x), -EBADMSG);
	x = good, x.status = PROBE_NOP5;
	assert_int_equal(ask(&x), -EBADMSG);
}

struct stack_world {
	struct capture *c;
	struct naming n;
	uint64_t words[4];
	uint32_t stack;
};

/* Frames of so many lines each: the functions a, b, c, ... from the leaf on. */
static void stack_of(struct stack_world *w, const unsigned *n_lines, unsigned n)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g" };
	unsigned line = 0;

	*w = (struct stack_world){ 0 };
	assert_int_equal(capture_new(profile_find("heap"), &w->c), 0);
	for (unsigned i = 0; i < n; i++) {
		struct naming_location l = { .address = 100 + i, .first_line = line, .n_lines = n_lines[i] };

		w->words[i] = 1000 + i;
		for (unsigned k = 0; k < n_lines[i]; k++, line++) {
			struct naming_function f = { names[line], names[line], "", 0 };
			struct naming_line one = { line, 1 };

			assert_int_equal(vec_push(&w->n.functions, f), 0);
			assert_int_equal(vec_push(&w->n.lines, one), 0);
		}
		assert_int_equal(hash_put(&w->n.word_index, hash_u64(HASH_SEED, w->words[i]), i), 0);
		assert_int_equal(vec_push(&w->n.words, w->words[i]), 0);
		assert_int_equal(vec_push(&w->n.locations, l), 0);
	}
	w->stack = capture_stack(w->c, w->words, n);
	assert_int_not_equal(w->stack, HASH_NONE);
}

static const char *functions(const struct stack_world *w, uint32_t stack)
{
	static char text[16];
	struct capture_stack s = w->c->stacks.data[stack];
	char *to = text;

	for (uint32_t i = 0; i < s.n; i++) {
		uint32_t n, l = naming_find(&w->n, w->c->words.data[s.first + i]);
		const struct naming_line *lines = naming_lines(&w->n, l, &n);

		for (uint32_t k = 0; k < n; k++)
			*to++ = *naming_function(&w->n, lines[k].function)->name;
	}
	*to = '\0';
	return text;
}

static void test_functions_are_left_out(void **state)
{
	static const unsigned n_lines[] = { 1, 3, 2 };
	static const char *const claims[] = { "abcdef", "bcdef", "cdef", "def", "ef", "f", "f", "f" };
	struct stack_world w;

	stack_of(&w, n_lines, 3);
	for (unsigned skip = 0; skip < sizeof(claims) / sizeof(claims[0]); skip++)
		assert_string_equal(functions(&w, custom_skip(w.c, &w.n, w.stack, skip)), claims[skip]);
	/* a location's part is made once, and at the address of the whole */
	assert_int_equal(w.n.locations.n, 3 + 3);
	assert_int_equal(custom_skip(w.c, &w.n, w.stack, 2), custom_skip(w.c, &w.n, w.stack, 2));
	assert_int_equal(w.n.locations.n, 3 + 3);
	assert_int_equal(w.n.locations.data[3].address, 101);
	capture_free(w.c);
	naming_free(&w.n);
}

static void test_links_to_names(void **state)
{
	static const char *const claims[][2] = {
		{ "heap", "heap" }, { "a b", "a%20b" }, { "a/b", "a%2Fb" }, { "..", "%2E%2E" }, { ".", "%2E" },
		{ "...x", "...x" }, { "x:y", "x%3Ay" }, { "\303\251'", "%C3%A9%27" }, { "%41", "%2541" },
	};

	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
		_cleanup_(path_deinit) struct path p = { 0 };
		char target[64], want[64];

		path_escape_name(&b, claims[i][0]);
		assert_string_equal(bytes_text(&b), claims[i][1]);
		snprintf(target, sizeof(target), "/debug/pprof/%s", b.data);
		snprintf(want, sizeof(want), "/debug/pprof/%s", claims[i][0]);
		assert_int_equal(path_parse(target, &p), PATH_OK);
		assert_string_equal(p.text, want);
	}
}

static void test_reserved_names(void **state)
{
	for (size_t i = 0; i < n_profiles; i++)
		assert_true(custom_is_reserved(profiles[i].name));
	assert_true(custom_is_reserved("trace"));
	assert_false(custom_is_reserved("traces"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names_and_sites),
		TEST(test_what_traces_show),
		TEST(test_a_moved_file_is_corrected),
		TEST(test_what_is_refused),
		TEST(test_sites_are_bounded),
		TEST(test_malformed_notes_are_counted),
		TEST(test_functions_are_tracked),
		TEST(test_bad_tracks),
		cmocka_unit_test(test_what_is_stepped_over),
		cmocka_unit_test(test_the_child_is_not_believed),
		cmocka_unit_test(test_functions_are_left_out),
		cmocka_unit_test(test_links_to_names),
		cmocka_unit_test(test_reserved_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
