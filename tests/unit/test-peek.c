/* SPDX-License-Identifier: Apache-2.0 */

/* Reading memory that is there, that is not, and that does not answer; of ourselves, by the reader. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/broker/peek.h"

#define PAGE 4096
#define N_PAGES 16

struct world {
	struct peek p;
	unsigned char *memory; /* byte k of page i is i + k / 256 */
};

/* Some systems let nobody but a parent read: nothing can be tried there then. */
static void need_permission(struct world *w)
{
	int k = peek_add(&w->p, getpid(), (uintptr_t)w->memory, 1);

	peek_run(&w->p);
	if (!w->p.area->pieces[k].got)
		skip();
	peek_clear(&w->p);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	if (!w || peek_init(&w->p) < 0)
		return -1;
	w->memory = mmap(NULL, N_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->memory == MAP_FAILED)
		return -1;
	for (unsigned i = 0; i < N_PAGES * PAGE; i++)
		w->memory[i] = (unsigned char)(i / PAGE + i % PAGE / 256);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	peek_deinit(&w->p);
	munmap(w->memory, N_PAGES * PAGE);
	free(w);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no reader is left */
	return 0;
}

static int add(struct world *w, size_t offset, uint32_t n)
{
	return peek_add(&w->p, getpid(), (uintptr_t)w->memory + offset, n);
}

static void has(const struct world *w, int piece, size_t offset, uint32_t n)
{
	assert_int_equal(w->p.area->pieces[piece].got, n);
	assert_memory_equal(peek_bytes(&w->p, piece), w->memory + offset, n);
}

static void test_what_is_there_is_read(void **state)
{
	struct world *w = *state;
	int one, many, none;

	need_permission(w);
	one = add(w, 100, 1);
	many = add(w, PAGE - 8, 3 * PAGE);
	none = add(w, 0, 0);
	peek_run(&w->p);
	has(w, one, 100, 1);
	has(w, many, PAGE - 8, 3 * PAGE);
	has(w, none, 0, 0);
	assert_int_equal(w->p.n_late, 0);
	peek_clear(&w->p);
	one = add(w, 0, 16);
	peek_run(&w->p);
	has(w, one, 0, 16);
}

static void test_reading_ends_at_the_first_page_that_is_not_there(void **state)
{
	struct world *w = *state;
	int before, at, behind, nobody;

	need_permission(w);
	assert_int_equal(mprotect(w->memory + 2 * PAGE, PAGE, PROT_NONE), 0);
	before = add(w, PAGE + 24, 3 * PAGE);
	at = add(w, 2 * PAGE + 8, PAGE);
	behind = add(w, 3 * PAGE, 64);
	nobody = peek_add(&w->p, 0, (uintptr_t)w->memory, 64);
	peek_run(&w->p);
	has(w, before, PAGE + 24, PAGE - 24);
	has(w, at, 2 * PAGE, 0);
	has(w, behind, 3 * PAGE, 64);
	has(w, nobody, 0, 0);
	assert_int_equal(w->p.n_late, 0);
}

static void test_the_list_has_an_end(void **state)
{
	struct world *w = *state;
	uint32_t n = 0;

	assert_int_equal(add(w, 0, PEEK_BYTES), -1); /* a piece is smaller */
	assert_int_equal(add(w, 0, UINT32_MAX), -1);
	while (add(w, 0, 1 << 20) >= 0)
		n++;
	assert_int_equal(n, PEEK_BYTES >> 20);
	assert_int_equal(add(w, 0, 1), -1);
	peek_clear(&w->p);
	for (n = 0; add(w, 0, 0) >= 0; n++)
		;
	assert_int_equal(n, PEEK_MAX_PIECES);
}

/* Pages [first, first + n) of it are nobody's to provide any more. */
static void take_away(struct world *w, size_t first, size_t n)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	range.range.start = (uintptr_t)w->memory + first * PAGE;
	range.range.len = n * PAGE;
	if (fd < 0)
		skip();
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(fd, UFFDIO_REGISTER, &range), 0);
	assert_int_equal(madvise(w->memory + first * PAGE, n * PAGE, MADV_DONTNEED), 0);
}

static void test_a_reader_that_is_stuck_is_replaced(void **state)
{
	struct world *w = *state;
	int before, stuck, behind;
	pid_t reader;

	need_permission(w);
	take_away(w, 1, 1);
	before = add(w, 0, PAGE);
	stuck = add(w, 16, 2 * PAGE);
	behind = add(w, 2 * PAGE, PAGE);
	reader = w->p.reader;
	peek_run(&w->p);
	has(w, before, 0, PAGE);
	assert_int_equal(w->p.area->pieces[stuck].got, 0);
	has(w, behind, 2 * PAGE, PAGE);
	assert_int_equal(w->p.n_late, 1);
	assert_true(w->p.reader && w->p.reader != reader);
}

static void test_few_are_waited_for(void **state)
{
	struct world *w = *state;
	int pieces[N_PAGES];

	need_permission(w);
	take_away(w, 1, N_PAGES - 2);
	for (size_t i = 0; i < N_PAGES; i++)
		pieces[i] = add(w, i * PAGE, 8);
	peek_run(&w->p);
	has(w, pieces[0], 0, 8);
	for (int i = 1; i < N_PAGES; i++)
		assert_int_equal(w->p.area->pieces[pieces[i]].got, 0);
	assert_int_equal(w->p.n_late, N_PAGES - 1); /* the last one could have been read, but is not */
	peek_clear(&w->p);
	add(w, 0, 8);
	peek_run(&w->p);
	assert_int_equal(w->p.n_late, N_PAGES);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_there_is_read),
		TEST(test_reading_ends_at_the_first_page_that_is_not_there),
		TEST(test_the_list_has_an_end),
		TEST(test_a_reader_that_is_stuck_is_replaced),
		TEST(test_few_are_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
