/* SPDX-License-Identifier: Apache-2.0 */

/* A ring as the kernel lays it out, in a file of memory: consumer page, producer page, records. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/bpf.h>

#include "daemon/serve/ring.h"

#define PAGE 4096ul
#define SIZE 4096u

struct fixture {
	struct ring r;
	char *memory; /* the kernel's side */
	unsigned n;
	struct pp_notice last;
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	int fd = memfd_create("ring", MFD_CLOEXEC);

	*state = x;
	if (!x || ftruncate(fd, (off_t)(2 * PAGE + 2 * SIZE)) < 0)
		return -1;
	x->memory = mmap(NULL, 2 * PAGE + 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return x->memory == MAP_FAILED ? -1 : ring_init(&x->r, fd, SIZE);
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	ring_deinit(&x->r);
	munmap(x->memory, 2 * PAGE + 2 * SIZE);
	free(x);
	return 0;
}

/* As the kernel does: a header of 8 bytes, the record, padding to 8. The records are mapped twice;
 * in a file the second copy is made by hand. */
static void produce(struct fixture *x, uint32_t flags, const void *data, uint32_t n)
{
	uint64_t *producer = (uint64_t *)(void *)(x->memory + PAGE);
	char record[8 + 256] = { 0 };
	uint32_t head = n | flags, whole = (8 + n + 7) & ~7u;

	memcpy(record, &head, 4);
	memcpy(record + 8, data, n);
	for (uint32_t i = 0; i < whole; i++) {
		uint64_t at = (*producer + i) & (SIZE - 1);

		x->memory[2 * PAGE + at] = record[i];
		x->memory[2 * PAGE + SIZE + at] = record[i];
	}
	*producer += whole;
}

static void notice(struct fixture *x, uint32_t flags, uint64_t value)
{
	struct pp_notice n = { PP_NOTICE_EXEC, 7, value };

	produce(x, flags, &n, sizeof(n));
}

static void on_notice(void *context, const struct pp_notice *n)
{
	struct fixture *x = context;

	x->n++;
	x->last = *n;
}

static unsigned read_all(struct fixture *x)
{
	x->n = 0;
	ring_read(&x->r, on_notice, x);
	return x->n;
}

static void test_notices_arrive_in_order_and_once(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(read_all(x), 0);
	for (unsigned i = 0; i < 5; i++)
		notice(x, 0, i);
	assert_int_equal(read_all(x), 5);
	assert_int_equal(x->last.value, 4);
	assert_int_equal(x->last.target, 7);
	assert_int_equal(read_all(x), 0);
}

static void test_notices_go_round(void **state)
{
	struct fixture *x = *state;

	for (unsigned i = 0; i < 2000; i++) {
		notice(x, 0, i);
		assert_int_equal(read_all(x), 1);
		assert_int_equal(x->last.value, i);
	}
}

static void test_discarded_and_odd_records_are_passed_over(void **state)
{
	struct fixture *x = *state;

	notice(x, BPF_RINGBUF_DISCARD_BIT, 1);
	produce(x, 0, "short", 5);
	produce(x, 0, "a longer one than a notice, by far", 35);
	produce(x, 0, "", 0);
	notice(x, 0, 2);
	assert_int_equal(read_all(x), 1);
	assert_int_equal(x->last.value, 2);
}

static void test_record_that_is_being_written_is_waited_for(void **state)
{
	struct fixture *x = *state;

	notice(x, 0, 1);
	notice(x, BPF_RINGBUF_BUSY_BIT, 2);
	notice(x, 0, 3);
	assert_int_equal(read_all(x), 1);
	x->memory[2 * PAGE + 24 + 3] = 0; /* committed */
	assert_int_equal(read_all(x), 2);
	assert_int_equal(x->last.value, 3);
}

static void test_ring_of_nothing_cannot_be_mapped(void **state)
{
	struct ring r = { .fd = -1 };

	assert_true(ring_init(&r, -1, SIZE) < 0);
	ring_deinit(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_notices_arrive_in_order_and_once),
		TEST(test_notices_go_round),
		TEST(test_discarded_and_odd_records_are_passed_over),
		TEST(test_record_that_is_being_written_is_waited_for),
		cmocka_unit_test(test_ring_of_nothing_cannot_be_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
