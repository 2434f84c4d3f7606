/* SPDX-License-Identifier: Apache-2.0 */

/* Files that the symbolizer dies on, or does not get on with: they are marked, and all others have their names. A thread is
 * the broker, which starts the symbolizer; others are symbolizers, which do as the file's number says. */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/serve/core.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/namer_ask.h"

enum { FINE = 1, KILLS, STALLS, LIES, ALSO_FINE, N_OBJECTS = ALSO_FINE };
#define MAX_CHILDREN 16

struct fixture {
	struct core core;
	int broker_fd;
	pthread_t broker, children[MAX_CHILDREN];
	unsigned n_children;
	bool has_kallsyms; /* atomic */
	int refuse; /* how often the broker starts none; atomic */
	unsigned n_asked[N_OBJECTS + 1]; /* for names, by whatever child */
};

struct child {
	struct fixture *x;
	int fd;
};

static int answer(int fd, struct record *r, uint32_t object, uint32_t n)
{
	struct symbolizer_frame f = { .n_name = 1, .line = 7 };

	r->n_fds = 0;
	r->type = SYMBOLIZER_FRAME;
	r->n = 0;
	for (f.index = 0; f.index < n; f.index++) {
		memcpy(r->data + r->n, &f, sizeof(f));
		memcpy(r->data + r->n + sizeof(f), "f\0\0\0\0\0\0", 8);
		r->n += (uint32_t)sizeof(f) + 8;
	}
	if (object == LIES)
		r->n -= 8; /* the last one lacks its text */
	if (record_send(fd, r) < 0)
		return -EPIPE;
	r->type = SYMBOLIZER_END;
	r->n = 0;
	return record_send(fd, r);
}

static void *child(void *context)
{
	struct child *c = context;
	struct record *r = calloc(1, sizeof(*r));

	while (r && record_receive(c->fd, r, -1) == 0) {
		struct symbolizer_question q;

		record_close_fds(r);
		memcpy(&q, r->data, sizeof(q));
		r->status = 0;
		if (r->type == SYMBOLIZER_NAMES && q.object <= N_OBJECTS)
			__atomic_add_fetch(&c->x->n_asked[q.object], 1, __ATOMIC_RELAXED);
		if (q.object == KILLS)
			break;
		if (q.object != STALLS && answer(c->fd, r, q.object, q.n) < 0)
			break;
	}
	free(r);
	close(c->fd);
	free(c);
	return NULL;
}

static int start_child(struct fixture *x)
{
	struct child *c = calloc(1, sizeof(*c));
	int fds[2];

	if (!c || x->n_children == MAX_CHILDREN || record_pair(fds) < 0)
		abort();
	*c = (struct child){ x, fds[1] };
	if (pthread_create(&x->children[x->n_children++], NULL, child, c))
		abort();
	return fds[0];
}

static void *broker(void *context)
{
	struct fixture *x = context;
	struct record *r = calloc(1, sizeof(*r));

	while (r && record_receive(x->broker_fd, r, -1) == 0) {
		r->status = r->type == BROKER_SYMBOLIZER ? 0 : -ENOENT;
		if (r->status == 0 && __atomic_sub_fetch(&x->refuse, 1, __ATOMIC_RELAXED) >= 0)
			r->status = -EAGAIN;
		r->n = r->n_fds = 0;
		if (r->status == 0)
			r->fds[r->n_fds++] = start_child(x);
		if (r->type == BROKER_KALLSYMS && __atomic_load_n(&x->has_kallsyms, __ATOMIC_RELAXED)) {
			r->status = 0;
			r->fds[r->n_fds++] = (int)syscall(SYS_memfd_create, "kallsyms", 0);
		}
		record_send(x->broker_fd, r);
		record_close_fds(r);
	}
	free(r);
	return NULL;
}

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	int fds[2];

	if (!x || record_pair(fds) < 0)
		return -1;
	core_init(&x->core, fds[0]);
	x->broker_fd = fds[1];
	if (pthread_create(&x->broker, NULL, broker, x))
		return -1;
	core_restart_symbolizer(&x->core);
	x->core.symbolizer.timeout_ms = 60000;
	for (uint64_t i = 1; i <= N_OBJECTS; i++) {
		struct broker_file file = { .ino = i };
		struct object *o = objects_get(&x->core.objects, SYMBOLIZER_FILE, &file,
					       memfd_create("file", MFD_CLOEXEC), "/lib.so");

		if (!o || o->id != i)
			return -1;
		o->search.done = true;
	}
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	symbolizer_replace(&x->core.symbolizer, -1);
	shutdown(x->core.broker.fd, SHUT_RDWR);
	pthread_join(x->broker, NULL);
	for (unsigned i = 0; i < x->n_children; i++)
		pthread_join(x->children[i], NULL);
	close(x->core.broker.fd);
	close(x->broker_fd);
	close(x->core.stop_fd);
	close(x->core.wake_fd);
	namer_deinit(&x->core.namer);
	objects_deinit(&x->core.objects);
	free(x);
	return 0;
}

static bool has_name(struct fixture *x, uint32_t object, uint64_t address)
{
	const struct cached_address *a = names_cache_find(&x->core.namer.cache, PP_FRAME(object, address));

	return a && a->n_lines == 1;
}

/* Three addresses of each object, up to this one, and names for those of objects that are fine. */
static void ask(struct fixture *x, const uint32_t *objects, size_t n, uint64_t address)
{
	uint64_t words[3 * N_OBJECTS] = { 0 };

	for (size_t i = 0; i < 3 * n; i++)
		words[i] = PP_FRAME(objects[i / 3], address + i % 3);
	assert_int_equal(namer_ask(&x->core, NAMER_NAMES, words, 3 * n), 0);
	for (size_t i = 0; i < 3 * n; i++) {
		uint32_t object = objects[i / 3];

		assert_int_equal(has_name(x, object, address + i % 3), object == FINE || object == ALSO_FINE);
		assert_int_equal(objects_find(&x->core.objects, object)->names_failed,
				 object != FINE && object != ALSO_FINE);
	}
}

static void test_a_file_that_kills_is_marked(void **state)
{
	const uint32_t objects[] = { FINE, KILLS, ALSO_FINE };
	struct fixture *x = *state;

	ask(x, objects, 3, 0x1000);
	assert_int_equal(x->n_asked[KILLS], 2); /* the first one may have died of something else */
	ask(x, objects, 3, 0x2000);
	assert_int_equal(x->n_asked[KILLS], 2);
	assert_int_equal(x->n_children, 3);
}

/* How long serve waits must not decide about the others, so they are asked with patience. */
static void test_a_file_that_stalls_is_marked(void **state)
{
	const uint32_t stalls[] = { STALLS }, others[] = { FINE, STALLS, ALSO_FINE };
	struct fixture *x = *state;

	x->core.symbolizer.timeout_ms = 50;
	ask(x, stalls, 1, 0x1000);
	assert_int_equal(x->n_asked[STALLS], 1);
	x->core.symbolizer.timeout_ms = 60000;
	ask(x, others, 3, 0x2000);
	assert_int_equal(x->n_asked[STALLS], 1);
	assert_int_equal(x->n_children, 2);
}

static void test_a_file_that_makes_it_lie_is_marked(void **state)
{
	const uint32_t objects[] = { FINE, LIES, ALSO_FINE };
	struct fixture *x = *state;

	ask(x, objects, 3, 0x1000);
	ask(x, objects, 3, 0x2000);
	assert_int_equal(x->n_asked[LIES], 1);
	assert_int_equal(x->n_children, 2);
}

/* By somebody's hand, between two questions: nobody is blamed. */
static void test_a_child_that_is_found_dead_marks_nobody(void **state)
{
	const uint32_t objects[] = { FINE, ALSO_FINE };
	struct fixture *x = *state;

	ask(x, objects, 2, 0x1000);
	shutdown(x->core.symbolizer.fd, SHUT_RDWR);
	ask(x, objects, 2, 0x2000);
	assert_int_equal(x->n_children, 2);
}

/* No room for a process, for a moment. */
static void test_that_none_can_be_started_marks_nobody(void **state)
{
	const uint32_t objects[] = { FINE, ALSO_FINE };
	uint64_t words[] = { PP_FRAME(FINE, 0x1000ull), PP_FRAME(ALSO_FINE, 0x1000ull) };
	struct fixture *x = *state;

	__atomic_store_n(&x->refuse, 8, __ATOMIC_RELAXED);
	shutdown(x->core.symbolizer.fd, SHUT_RDWR);
	assert_int_equal(namer_ask(&x->core, NAMER_NAMES, words, 2), 0);
	assert_false(has_name(x, FINE, 0x1000));
	assert_int_equal(x->n_children, 1);
	__atomic_store_n(&x->refuse, 0, __ATOMIC_RELAXED);
	ask(x, objects, 2, 0x1000);
	assert_int_equal(x->n_children, 2);
}

/* What could not be had for a moment is looked at again, soon. */
static void test_kernel_names_come_back(void **state)
{
	const uint64_t word = ~0ull << 20;
	struct fixture *x = *state;

	assert_int_equal(frame_kind(word), FRAME_KERNEL);
	assert_int_equal(namer_ask(&x->core, NAMER_NAMES, &word, 1), 0); /* the broker has no such file */
	assert_true(x->core.namer.kernel_hidden);
	assert_null(names_cache_find(&x->core.namer.cache, word));
	__atomic_store_n(&x->has_kallsyms, true, __ATOMIC_RELAXED);
	assert_int_equal(namer_ask(&x->core, NAMER_NAMES, &word, 1), 0); /* not at once */
	assert_true(x->core.namer.kernel_hidden);
	x->core.namer.kernel_ns = 0;
	assert_int_equal(namer_ask(&x->core, NAMER_NAMES, &word, 1), 0);
	assert_false(x->core.namer.kernel_hidden);
	assert_non_null(names_cache_find(&x->core.namer.cache, word));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_file_that_kills_is_marked),
		TEST(test_a_file_that_stalls_is_marked),
		TEST(test_a_file_that_makes_it_lie_is_marked),
		TEST(test_a_child_that_is_found_dead_marks_nobody),
		TEST(test_that_none_can_be_started_marks_nobody),
		TEST(test_kernel_names_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
