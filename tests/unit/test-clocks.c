/* SPDX-License-Identifier: Apache-2.0 */

/* test-clocks.c - CPUs that go and come, in a kernel of our own. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/broker/clocks.h"

#define N_CPUS 4

/* The kernel. Its events are descriptors of a file, so that closing them is real. */
static struct {
	bool off[N_CPUS], refuse;
	int fds[N_CPUS];	 /* -1: none that runs */
	uint64_t on_ns[N_CPUS];	 /* its event has been on */
	int n_opened;
} machine;

long __wrap_syscall(long number, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
ssize_t __wrap_read(int fd, void *to, size_t n);

long __wrap_syscall(long number, ...)
{
	va_list ap;
	int cpu;

	assert_int_equal(number, SYS_perf_event_open);
	va_start(ap, number);
	(void)va_arg(ap, void *);
	(void)va_arg(ap, int);
	cpu = va_arg(ap, int);
	va_end(ap);
	assert_true(cpu >= 0 && cpu < N_CPUS);
	errno = machine.refuse ? EACCES : ENODEV;
	if (machine.refuse || machine.off[cpu])
		return -1;
	machine.n_opened++;
	machine.on_ns[cpu] = 0;
	return machine.fds[cpu] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	(void)fd;
	(void)request;
	return 0;
}

ssize_t __wrap_read(int fd, void *to, size_t n)
{
	uint64_t *v = to;

	assert_int_equal(n, 2 * sizeof(*v));
	for (int i = 0; i < N_CPUS; i++)
		if (machine.fds[i] == fd) {
			v[0] = 0;
			v[1] = machine.on_ns[i];
			return (ssize_t)n;
		}
	v[0] = v[1] = 7; /* an event that was left by its CPU */
	return (ssize_t)n;
}

static int setup(void **state)
{
	struct clocks *c = calloc(1, sizeof(*c));

	machine = (typeof(machine)){ .fds = { -1, -1, -1, -1 } };
	*state = c;
	return c ? 0 : -1;
}

static int teardown(void **state)
{
	clocks_stop(*state);
	free(*state);
	return 0;
}

static void pass(struct clocks *c, int64_t ns)
{
	c->looked_ns -= ns;
	for (int i = 0; i < N_CPUS; i++)
		machine.on_ns[i] += (uint64_t)ns;
}

static int look(struct clocks *c, uint64_t *missed)
{
	*missed = 0;
	pass(c, CLOCKS_LOOK_NS);
	return clocks_look(c, missed);
}

static void test_nothing_is_looked_at_that_is_off(void **state)
{
	uint64_t missed = 0;

	assert_int_equal(clocks_look(*state, &missed), -1);
	assert_true(!missed && !machine.n_opened);
}

static void test_each_cpu_has_one(void **state)
{
	struct clocks *c = *state;
	uint64_t missed;

	assert_int_equal(clocks_start(c, N_CPUS, 1000, 3), 0);
	assert_int_equal(clocks_start(c, N_CPUS, 1000, 3), 0);
	assert_int_equal(machine.n_opened, N_CPUS);
	for (int i = 0; i < 3; i++)
		assert_true(look(c, &missed) > 0 && !missed);
	assert_int_equal(machine.n_opened, N_CPUS);
}

static void test_it_is_not_looked_at_too_often(void **state)
{
	struct clocks *c = *state;
	uint64_t missed = 0;
	int ms;

	machine.off[1] = true;
	assert_int_equal(clocks_start(c, N_CPUS, 1000, 3), 0);
	machine.off[1] = false;
	ms = clocks_look(c, &missed);
	assert_true(ms > 0 && ms <= 1001 && !missed);
	assert_int_equal(machine.n_opened, N_CPUS - 1);
}

static void test_a_cpu_that_comes_on_gets_one(void **state)
{
	struct clocks *c = *state;
	uint64_t missed;

	machine.off[2] = true;
	assert_int_equal(clocks_start(c, N_CPUS, 1000, 3), 0);
	look(c, &missed);
	assert_int_equal(missed, 0);
	machine.off[2] = false;
	look(c, &missed);
	assert_true(missed >= CLOCKS_LOOK_NS && missed < 60 * CLOCKS_LOOK_NS);
	assert_int_equal(machine.n_opened, N_CPUS);
	look(c, &missed);
	assert_int_equal(missed, 0);
}

/* Off and on again between two looks: the event is there and stands still. */
static void test_an_event_that_its_cpu_left(void **state)
{
	struct clocks *c = *state;
	uint64_t missed;

	assert_int_equal(clocks_start(c, N_CPUS, 1000, 3), 0);
	look(c, &missed);
	machine.fds[1] = -1;
	look(c, &missed); /* it has moved once more, for the last time */
	look(c, &missed);
	assert_true(missed >= CLOCKS_LOOK_NS);
	assert_int_equal(machine.n_opened, N_CPUS + 1);
	look(c, &missed);
	assert_int_equal(missed, 0);
}

static void test_no_clock_at_all(void **state)
{
	struct clocks *c = *state;
	uint64_t missed = 0;

	machine.refuse = true;
	assert_int_equal(clocks_start(c, N_CPUS, 1000, 3), -EACCES);
	assert_int_equal(clocks_look(c, &missed), -1);
	machine.refuse = false;
	for (int i = 0; i < N_CPUS; i++)
		machine.off[i] = true;
	assert_int_equal(clocks_start(c, N_CPUS, 1000, 3), -ENODEV);
	assert_int_equal(clocks_look(c, &missed), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_is_looked_at_that_is_off), TEST(test_each_cpu_has_one),
		TEST(test_it_is_not_looked_at_too_often),    TEST(test_a_cpu_that_comes_on_gets_one),
		TEST(test_an_event_that_its_cpu_left),	     TEST(test_no_clock_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
