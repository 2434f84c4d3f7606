/* SPDX-License-Identifier: Apache-2.0 */

/* The question for probes: answered by the real worker, and by one that lies. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/emulated_x86.h"
#include "symbolizer/client.h"
#include "symbolizer/worker.h"

static void *work(void *context)
{
	int *fd = context;

	worker_run(*fd, (struct worker_vdso){ 0 });
	return NULL;
}

static int ask_worker(const char *path, enum symbolizer_kind kind, struct symbolizer_probes *ret)
{
	static struct symbolizer s;
	struct symbolizer_object o = { .id = 1, .kind = kind, .fd = -1 };
	pthread_t thread;
	int fds[2], r;

	s.fd = -1;
	assert_int_equal(record_pair(fds), 0);
	symbolizer_replace(&s, fds[0]);
	assert_int_equal(pthread_create(&thread, NULL, work, &fds[1]), 0);
	o.fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(o.fd >= 0);
	r = symbolizer_ask_probes(&s, &o, ret);
	symbolizer_replace(&s, -1);
	pthread_join(thread, NULL);
	close(fds[1]);
	close(o.fd);
	return r;
}

static void test_the_worker_answers(void **state)
{
	struct symbolizer_probes p;
	unsigned n_fine = 0;

	assert_int_equal(ask_worker("/lib/x86_64-linux-gnu/libc.so.6", SYMBOLIZER_FILE, &p), 0);
	for (size_t i = 0; i < p.probes.n; i++)
		n_fine += p.probes.data[i].status == PROBE_FINE;
	assert_true(n_fine >= 6);
	assert_int_equal(p.end.n_probes, p.probes.n);
	symbolizer_probes_deinit(&p);
	assert_int_equal(ask_worker("/usr/lib/x86_64-linux-gnu/libm.so.6", SYMBOLIZER_FILE, &p), 0);
	assert_int_equal(p.probes.n, 0);
	symbolizer_probes_deinit(&p);
}

static void test_other_objects_have_none(void **state)
{
	struct symbolizer_probes p;

	assert_int_equal(ask_worker("/proc/kallsyms", SYMBOLIZER_KERNEL, &p), -ENOEXEC);
	assert_int_equal(ask_worker("/proc/self/maps", SYMBOLIZER_FILE, &p), -ENOEXEC);
}

static const struct symbolizer_probe good = {
	.function = ALLOCATOR_CALLOC,
	.status = PROBE_FINE,
	.flags = ALLOCATOR_TAIL,
	.n_name = 6,
	.instruction = EMULATED_PUSH,
	.offset = 0x1000,
	.start = 0x401000,
	.size = 0x100,
	.arguments = { { .kind = SYMBOLIZER_REGISTER, .reg = 5, .size = 8 },
		       { .kind = SYMBOLIZER_REGISTER, .reg = 4, .size = 8 } },
	.name = "calloc",
};
static const struct symbolizer_probe good_site = {
	.function = ALLOCATOR_USDT_FREE,
	.status = PROBE_FINE,
	.n_name = 4,
	.instruction = EMULATED_NOP,
	.offset = 0x1000,
	.start = 0x401000,
	.semaphore = 0x2000,
	.arguments = { { .kind = SYMBOLIZER_MEMORY,
			 .reg = 7,
			 .index = 3,
			 .scale = 8,
			 .size = -4,
			 .value = -8 } },
	.name = "free",
};

/* n of these, so many a record, and an end that claims as many. */
static int ask_liar(const struct symbolizer_probe *p, uint32_t n, uint32_t claimed, uint32_t n_last)
{
	static struct symbolizer s;
	static struct record r;
	const struct symbolizer_object o = { .id = 1, .kind = SYMBOLIZER_FILE, .fd = -1 };
	struct symbolizer_probes_end end = { .n_probes = claimed };
	struct symbolizer_probes probes = { 0 };
	int fds[2], status;

	assert_int_equal(record_pair(fds), 0);
	s = (struct symbolizer){ .fd = fds[0], .timeout_ms = 60000 };
	r = (struct record){ .type = SYMBOLIZER_PROBE, .serial = 1, .n = sizeof(*p) };
	memcpy(r.data, p, sizeof(*p));
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(record_send(fds[1], &r), 0);
	r.type = SYMBOLIZER_END;
	r.n = n_last;
	memcpy(r.data, &end, sizeof(end));
	assert_int_equal(record_send(fds[1], &r), 0);
	status = symbolizer_ask_probes(&s, &o, &probes);
	if (status == 0)
		assert_int_equal(probes.probes.n, n);
	else
		assert_null(probes.probes.data);
	symbolizer_probes_deinit(&probes);
	symbolizer_replace(&s, -1);
	close(fds[1]);
	return status;
}

static int ask_one(const struct symbolizer_probe *p)
{
	return ask_liar(p, 1, 1, sizeof(struct symbolizer_probes_end));
}

static void test_good_answers_are_taken(void **state)
{
	const uint32_t n_end = sizeof(struct symbolizer_probes_end);
	struct symbolizer_probe p = {
		.function = ALLOCATOR_NEW, .status = PROBE_LOOP, .n_name = 1, .name = "n"
	};

	assert_int_equal(ask_one(&good), 0);
	assert_int_equal(ask_one(&good_site), 0);
	assert_int_equal(ask_one(&p), 0);
	assert_int_equal(ask_liar(&good, 0, 0, n_end), 0);
	assert_int_equal(ask_liar(&good, SYMBOLIZER_MAX_PROBES, SYMBOLIZER_MAX_PROBES, n_end), 0);
}

static void test_ends_that_do_not_fit(void **state)
{
	const uint32_t n_end = sizeof(struct symbolizer_probes_end), n = SYMBOLIZER_MAX_PROBES + 1;

	assert_int_equal(ask_liar(&good, 1, 2, n_end), -EBADMSG);
	assert_int_equal(ask_liar(&good, 1, 0, n_end), -EBADMSG);
	assert_int_equal(ask_liar(&good, 1, 1, n_end - 4), -EBADMSG);
	assert_int_equal(ask_liar(&good, 1, 1, 0), -EBADMSG);
	assert_int_equal(ask_liar(&good, n, n, n_end), -EBADMSG);
}

/* One member of a good probe is changed. */
#define LIE(from, change)                                                                          \
	do {                                                                                       \
		struct symbolizer_probe p = from;                                                  \
                                                                                                   \
		p.change;                                                                          \
		assert_int_equal(ask_one(&p), -EBADMSG);                                           \
	} while (0)

static void test_lies_about_a_function(void **state)
{
	LIE(good, function = 0);
	LIE(good, function = ALLOCATOR_N_FUNCTIONS);
	LIE(good, function = ALLOCATOR_MALLOC);	      /* an argument too many */
	LIE(good, function = ALLOCATOR_REALLOCARRAY); /* one too few */
	LIE(good, status = PROBE_N_STATUS);
	LIE(good, status = PROBE_LOOP); /* and arguments */
	LIE(good, flags = 16);
	LIE(good, instruction = EMULATED_N);
	LIE(good, instruction = EMULATED_NOT);
	LIE(good, offset = 1ull << 63);
	LIE(good, semaphore = 0x2000);
	LIE(good, size = SYMBOLIZER_MAX_FUNCTION + 1);
	LIE(good, start = UINT64_MAX - 0xff + 1);
	LIE(good, n_name = 0);
	LIE(good, n_name = 5);
	LIE(good, n_name = 7);
	LIE(good, n_name = 64);
	LIE(good, name[0] = '\n');
	LIE(good, name[0] = ' ');
	LIE(good, name[0] = (char)0xc3);
	LIE(good, name[63] = 'x');
}

static void test_lies_about_arguments(void **state)
{
	LIE(good, arguments[0].kind = SYMBOLIZER_N_ARGUMENT_KINDS);
	LIE(good, arguments[0].kind = SYMBOLIZER_CONSTANT);
	LIE(good, arguments[0].kind = SYMBOLIZER_NOTHING);
	LIE(good, arguments[0].size = 4);
	LIE(good, arguments[0].reg = SYMBOLIZER_N_REGISTERS);
	LIE(good, arguments[0].index = 1);
	LIE(good, arguments[2].value = 1);
	LIE(good_site, arguments[0].size = 3);
	LIE(good_site, arguments[0].size = -128);
	LIE(good_site, arguments[0].reg = SYMBOLIZER_NO_REGISTER);
	LIE(good_site, arguments[0].index = SYMBOLIZER_N_REGISTERS);
	LIE(good_site, arguments[0].index = SYMBOLIZER_NO_REGISTER); /* and a scale */
	LIE(good_site, arguments[0].scale = 3);
	LIE(good_site, semaphore = 1ull << 63);
}

static void test_every_status_has_a_text(void **state)
{
	for (unsigned i = 0; i < PROBE_N_STATUS; i++)
		assert_non_null(symbolizer_probe_text(i));
	assert_non_null(symbolizer_probe_text(PROBE_N_STATUS));
	assert_non_null(symbolizer_probe_text(UINT32_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_worker_answers),
		cmocka_unit_test(test_other_objects_have_none),
		cmocka_unit_test(test_good_answers_are_taken),
		cmocka_unit_test(test_ends_that_do_not_fit),
		cmocka_unit_test(test_lies_about_a_function),
		cmocka_unit_test(test_lies_about_arguments),
		cmocka_unit_test(test_every_status_has_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
