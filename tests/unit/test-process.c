/* SPDX-License-Identifier: Apache-2.0 */

/* Processes of this test's own making: odd names, threads, zombies, ends. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/broker/process.h"
#include "daemon/broker/procfs.h"
#include "daemon/broker/usage.h"

struct fixture {
	pid_t child;
	int ready[2];
	struct process p;
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	*state = x;
	if (!x || pipe2(x->ready, O_CLOEXEC) < 0)
		return -1;
	x->p.pidfd = -1;
	return 0;
}

static void reap(struct fixture *x)
{
	if (x->child > 0) {
		kill(x->child, SIGKILL);
		waitpid(x->child, NULL, 0);
	}
	x->child = 0;
	close_fd(&x->p.pidfd);
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	reap(x);
	close(x->ready[0]);
	close(x->ready[1]);
	free(x);
	return 0;
}

static void say_ready(struct fixture *x)
{
	if (write(x->ready[1], "x", 1) != 1)
		_exit(1);
}

/* A child that says when it is ready and waits to be killed. */
static void start(struct fixture *x, void (*begin)(struct fixture *, const void *), const void *arg)
{
	char c;

	fflush(NULL);
	x->child = fork();
	if (x->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		begin(x, arg);
		say_ready(x);
		for (;;)
			pause();
	}
	assert_int_equal(read(x->ready[0], &c, 1), 1);
}

static void rename_to(struct fixture *x, const void *name)
{
	prctl(PR_SET_NAME, name);
}

static void test_process_is_opened_whatever_its_name(void **state)
{
	static const char *const names[] = {
		"plain",
		"",
		" ",
		") X 1 1 1 1 1",
		"((((",
		"a) S 1 (b",
		"))))",
		"\n\t\x1b[31m",
		"\nTgid:\t1\n",
		"\xff\xfe\x80",
		"fifteen letters",
		"S 1 2 3 4 5 6 7",
	};
	struct fixture *x = *state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		start(x, rename_to, names[i]);
		assert_int_equal(process_open(x->child, &x->p), PROCESS_OK);
		assert_int_equal(x->p.pid, x->child);
		assert_int_equal(x->p.uid, getuid());
		assert_string_equal(x->p.comm, names[i]);
		assert_true(process_alive(&x->p));
		reap(x);
	}
}

static void test_no_such_process(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(process_open(1 << 22, &x->p), PROCESS_NONE);
	start(x, rename_to, "short-lived");
	kill(x->child, SIGKILL);
	waitpid(x->child, NULL, 0);
	assert_int_equal(process_open(x->child, &x->p), PROCESS_NONE);
	x->child = 0;
}

static void test_zombie_has_ended(void **state)
{
	struct fixture *x = *state;
	siginfo_t info;

	start(x, rename_to, "zombie");
	kill(x->child, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)x->child, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(process_open(x->child, &x->p), PROCESS_ZOMBIE);
}

static void *sleep_for_ever(void *arg)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);

	if (arg && write(*(int *)arg, &tid, sizeof(tid)) != sizeof(tid))
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

static void test_thread_is_told_from_its_process(void **state)
{
	struct fixture *x = *state;
	pid_t child, tid;

	fflush(NULL);
	child = x->child = fork();
	if (child == 0) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pthread_create(&t, NULL, sleep_for_ever,
			       &x->ready[1]); /* nobody else writes there */
		sleep_for_ever(NULL);
	}
	assert_int_equal(read(x->ready[0], &tid, sizeof(tid)), sizeof(tid));
	assert_int_equal(process_open(tid, &x->p), PROCESS_THREAD);
	assert_int_equal(x->p.pid, child);
	assert_int_equal(process_open(child, &x->p), PROCESS_OK);
}

static void *answer(void *arg)
{
	say_ready(arg);
	return sleep_for_ever(NULL);
}

/* Waits until it is a zombie, though its threads live: there is no signal for that. */
static void await_zombie(pid_t pid)
{
	char path[32], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (int i = 0; i < 60000 && state != 'Z'; i++) {
		FILE *f = fopen(path, "re");

		assert_non_null(f);
		assert_int_equal(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
		fclose(f);
		usleep(1000);
	}
	assert_int_equal(state, 'Z');
}

static void test_process_whose_leader_has_ended_is_still_one(void **state)
{
	struct fixture *x = *state;
	int fd;
	char c;

	fflush(NULL);
	x->child = fork();
	if (x->child == 0) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pthread_create(&t, NULL, answer, x);
		syscall(SYS_exit, 0);
	}
	assert_int_equal(read(x->ready[0], &c, 1), 1);
	await_zombie(x->child);
	assert_int_equal(process_open(x->child, &x->p), PROCESS_OK);
	fd = process_open_proc(&x->p, BROKER_PROC_MAPS);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, &c, 1), 1);
	close(fd);
}

static void test_kernel_thread_is_none(void **state)
{
	struct fixture *x = *state;
	int r = process_open(2, &x->p); /* kthreadd, where we can see it */

	assert_true(r == PROCESS_KERNEL || r == PROCESS_NONE);
}

static void test_files_of_the_process(void **state)
{
	struct fixture *x = *state;
	char text[4096];

	start(x, rename_to, "files");
	assert_int_equal(process_open(x->child, &x->p), PROCESS_OK);
	for (int file = 0; file < BROKER_N_PROC; file++) {
		int fd = process_open_proc(&x->p, (enum broker_proc_file)file);

		assert_true(fd >= 0);
		assert_true(read(fd, text, sizeof(text)) > 0);
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
		close(fd);
	}
}

static void test_files_of_an_ended_process_are_not_its_successors(void **state)
{
	struct fixture *x = *state;
	struct broker_file f;

	start(x, rename_to, "ends");
	assert_int_equal(process_open(x->child, &x->p), PROCESS_OK);
	kill(x->child, SIGKILL);
	waitpid(x->child, NULL, 0);
	x->child = 0;
	assert_false(process_alive(&x->p));
	x->p.pid = getpid(); /* as if the number had been used again */
	assert_int_equal(process_open_proc(&x->p, BROKER_PROC_MAPS), -ESRCH);
	assert_true(process_open_mapped(&x->p, 0x1000, 0x2000, &f) < 0);
}

/* The line of /proc/self/maps that holds an address. */
static void range_of(const void *address, uint64_t *start, uint64_t *end)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[4096];

	*start = *end = 0;
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long a, b;

		if (sscanf(line, "%lx-%lx", &a, &b) == 2 && (uintptr_t)address >= a &&
		    (uintptr_t)address < b)
			*start = a, *end = b;
	}
	if (f)
		fclose(f);
	assert_true(*end > 0);
}

static void test_mapped_file_is_opened_by_its_range(void **state)
{
	struct fixture *x = *state;
	struct broker_file file;
	uint64_t from, to;
	struct stat st;
	char magic[4];
	int fd;

	start(x, rename_to, "mapped");
	range_of((const void *)test_mapped_file_is_opened_by_its_range, &from, &to);
	assert_int_equal(process_open(x->child, &x->p), PROCESS_OK);
	fd = process_open_mapped(&x->p, from, to, &file);
	assert_true(fd >= 0);
	assert_int_equal(stat("/proc/self/exe", &st), 0);
	assert_true(file.ino == st.st_ino && file.dev == st.st_dev &&
		    file.size == (uint64_t)st.st_size);
	assert_int_equal(pread(fd, magic, 4, 0), 4);
	assert_memory_equal(magic, "\177ELF", 4);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	assert_true(process_open_mapped(&x->p, from, to - 4096, &file) < 0);
	assert_true(process_open_mapped(&x->p, 0, UINT64_MAX, &file) < 0);
}

static void test_deleted_file_is_opened_all_the_same(void **state)
{
	char path[] = "/tmp/pprofd-test-XXXXXX", byte;
	int file = mkstemp(path), fd;
	struct fixture *x = *state;
	struct broker_file got;
	uint64_t from, to;
	void *p;

	assert_int_equal(write(file, "deleted", 7), 7);
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
	unlink(path);
	close(file);
	start(x, rename_to, "deleted");
	range_of(p, &from, &to);
	assert_int_equal(process_open(x->child, &x->p), PROCESS_OK);
	fd = process_open_mapped(&x->p, from, to, &got);
	if (fd >= 0) {
		assert_int_equal(pread(fd, &byte, 1, 0), 1);
		assert_int_equal(byte, 'd');
		assert_int_equal(got.size, 7);
		close(fd);
	} else { /* without CAP_CHECKPOINT_RESTORE it goes by path */
		assert_int_equal(fd, -ENOENT);
	}
	munmap(p, 4096);
}

static void test_mapping_that_is_no_file_is_not_opened(void **state)
{
	struct fixture *x = *state;
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	void *device = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, zero, 0);
	void *anonymous = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct broker_file got;
	uint64_t from, to;

	close(zero);
	start(x, rename_to, "device");
	assert_int_equal(process_open(x->child, &x->p), PROCESS_OK);
	range_of(anonymous, &from, &to);
	assert_true(process_open_mapped(&x->p, from, to, &got) < 0);
	range_of(device, &from, &to);
	assert_true(process_open_mapped(&x->p, from, to, &got) < 0);
	munmap(device, 4096);
	munmap(anonymous, 4096);
}

/* What a list asks of processes without a slot: never of another one that has the number now. */
static void test_what_a_process_takes(void **state)
{
	struct broker_known k = { 0 };
	struct broker_stat s;

	assert_int_equal(procfs_read(getpid(), &k, NULL), PROCFS_OK);
	k.pid = getpid();
	usage_stat(&k, &s);
	assert_true(s.n_threads >= 1);
	assert_true(s.resident_bytes >= 4096);
	k.start++;
	usage_stat(&k, &s);
	assert_int_equal(s.n_threads, 0);
	assert_int_equal(s.resident_bytes, 0);
	k.pid = 0;
	usage_stat(&k, &s);
	assert_int_equal(s.n_threads, 0);
}

static int open_null(int dir, void *context)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Few silent opens are waited for in a row; then one now and then, seldom if it goes on. */
static void test_a_file_system_that_was_silent(void **state)
{
	static const int64_t pauses_s[] = { 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600 };
	const int64_t second = 1000000000ll;
	struct fixture *x = *state;
	int nothing = 0, fd;

	start(x, rename_to, "silent");
	assert_int_equal(process_open(x->child, &x->p), PROCESS_OK);
	for (unsigned i = 0; i < sizeof(pauses_s) / sizeof(pauses_s[0]); i++) {
		x->p.n_stuck = i;
		x->p.stuck_ns = now_ns() - (pauses_s[i] - 1) * second;
		fd = process_open_guarded(&x->p, false, open_null, &nothing, sizeof(nothing));
		assert_true(pauses_s[i] ? fd == -ETIMEDOUT : fd >= 0);
		if (fd >= 0)
			close(fd);
		x->p.stuck_ns -= 2 * second;
		fd = process_open_guarded(&x->p, false, open_null, &nothing, sizeof(nothing));
		assert_true(fd >= 0);
		close(fd);
	}
	x->p.stuck_ns = now_ns();
	fd = process_open_guarded(&x->p, true, open_null, &nothing, sizeof(nothing));
	assert_true(fd >= 0);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_a_process_takes),
		TEST(test_process_is_opened_whatever_its_name),
		TEST(test_no_such_process),
		TEST(test_zombie_has_ended),
		TEST(test_thread_is_told_from_its_process),
		TEST(test_process_whose_leader_has_ended_is_still_one),
		TEST(test_kernel_thread_is_none),
		TEST(test_files_of_the_process),
		TEST(test_files_of_an_ended_process_are_not_its_successors),
		TEST(test_mapped_file_is_opened_by_its_range),
		TEST(test_deleted_file_is_opened_all_the_same),
		TEST(test_mapping_that_is_no_file_is_not_opened),
		TEST(test_a_file_system_that_was_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
