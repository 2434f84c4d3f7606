/* SPDX-License-Identifier: Apache-2.0 */

/* A symbolizer that lies: a thread answers each question with records that the test has written. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "symbolizer/client.h"

#define MAX_ANSWERS 8

struct answer {
	uint32_t type;
	int32_t status, wrong_serial;
	const void *data;
	uint32_t n, n_fds;
	unsigned times;	   /* 0: once */
	unsigned pause_ms; /* before each */
};

struct fixture {
	struct symbolizer s;
	pthread_t thread;
	int child; /* its end */
	struct record r;
	struct answer answers[MAX_ANSWERS];
	unsigned n_answers;
	bool hang_up;
	/* what it was asked */
	uint32_t type, n_fds;
	struct symbolizer_question question;
	uint64_t first_address;
	unsigned n_frames;
	char sink; /* of every byte of them */
	char last_name[SYMBOLIZER_MAX_NAME + 1];
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	x->s.fd = x->child = -1;
	x->s.timeout_ms =
		60000; /* nothing here waits for it, but on a busy machine the child may be slow */
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static bool send_answer(struct fixture *x, const struct answer *a, uint32_t serial)
{
	static struct record r;

	r.type = a->type;
	r.serial = serial + (uint32_t)a->wrong_serial;
	r.status = a->status;
	r.n = a->n;
	r.n_fds = a->n_fds;
	for (uint32_t i = 0; i < a->n_fds; i++)
		r.fds[i] = x->child;
	if (a->n)
		memcpy(r.data, a->data, a->n);
	for (unsigned i = 0; i < (a->times ? a->times : 1); i++) {
		usleep(a->pause_ms * 1000);
		if (record_send(x->child, &r) < 0)
			return false;
	}
	return true;
}

static void *child(void *context)
{
	struct fixture *x = context;

	if (record_receive(x->child, &x->r, -1) < 0)
		return NULL;
	x->type = x->r.type;
	x->n_fds = x->r.n_fds;
	memcpy(&x->question, x->r.data, sizeof(x->question));
	memcpy(&x->first_address, x->r.data + sizeof(x->question), sizeof(x->first_address));
	record_close_fds(&x->r);
	for (unsigned i = 0; i < x->n_answers; i++)
		if (!send_answer(x, &x->answers[i], x->r.serial))
			return NULL;
	if (x->hang_up)
		close_fd(&x->child);
	return NULL;
}

static void answer(struct fixture *x, struct answer a)
{
	x->answers[x->n_answers++] = a;
}

#define ANSWER(x, t, ...) answer(x, (struct answer){ .type = (t), ##__VA_ARGS__ })

static struct symbolizer_object object(void)
{
	return (struct symbolizer_object){ .id = 7, .kind = SYMBOLIZER_FILE, .fd = -1 };
}

/* A child for one conversation: what a liar leaves unread must not be the next one's answer. */
static void start(struct fixture *x)
{
	int fds[2];

	assert_int_equal(record_pair(fds), 0);
	symbolizer_replace(&x->s, fds[0]);
	x->child = fds[1];
	assert_int_equal(pthread_create(&x->thread, NULL, child, x), 0);
}

static int end(struct fixture *x, int status)
{
	symbolizer_replace(&x->s, -1);
	pthread_join(x->thread, NULL);
	close_fd(&x->child);
	x->n_answers = 0;
	return status;
}

static int ask_info(struct fixture *x, struct symbolizer_info *ret)
{
	struct symbolizer_object o = object();

	start(x);
	return end(x, symbolizer_ask_info(&x->s, &o, ret));
}

static int ask_rows(struct fixture *x, struct symbolizer_rows *ret)
{
	struct symbolizer_object o = object();

	start(x);
	return end(x, symbolizer_ask_rows(&x->s, &o, ret));
}

static void on_frame(void *context, const struct symbolizer_frame *f, const char *name,
		     const char *system_name, const char *file)
{
	struct fixture *x = context;

	x->n_frames++;
	for (unsigned i = 0; i < f->n_name; i++)
		x->sink ^= name[i];
	for (unsigned i = 0; i < f->n_system_name; i++)
		x->sink ^= system_name[i];
	for (unsigned i = 0; i < f->n_file; i++)
		x->sink ^= file[i];
	memcpy(x->last_name, name, f->n_name);
	x->last_name[f->n_name] = '\0';
}

static int ask_names(struct fixture *x, uint32_t n)
{
	static uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES + 1] = { 0x1234 };
	struct symbolizer_object o = object();

	start(x);
	return end(x, symbolizer_ask_names(&x->s, &o, DEMANGLE_SIMPLE, addresses, n, on_frame, x));
}

static const struct symbolizer_info good_info = {
	.type = 3, .machine = 62, .n_segments = 32, .n_build_id = 64
};
static const struct unwind_rule rules[] = { { .kind = UNWIND_GAP }, { .kind = UNWIND_SP } };
static const struct unwind_row rows[] = { { 0, 0 }, { 5, 1 }, { 0xfff, 0 } };
static const struct symbolizer_rows_end rows_end = { .low = 0x1000, .high = 0x2000 };

static void test_question_arrives_and_info_is_answered(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_info info;
	struct symbolizer_object o = { .id = 9, .kind = SYMBOLIZER_KERNEL, .fd = -1 };

	ANSWER(x, SYMBOLIZER_INFO, .data = &good_info, .n = sizeof(good_info));
	start(x);
	o.fd = x->s.fd;
	assert_int_equal(end(x, symbolizer_ask_info(&x->s, &o, &info)), 0);
	assert_memory_equal(&info, &good_info, sizeof(info));
	assert_int_equal(x->type, SYMBOLIZER_INFO);
	assert_int_equal(x->n_fds, 1);
	assert_int_equal(x->question.object, 9);
	assert_int_equal(x->question.kind, SYMBOLIZER_KERNEL);
	assert_int_equal(x->question.n, 0);
}

static void test_rows_are_answered(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r;

	ANSWER(x, SYMBOLIZER_RULE, .data = rules, .n = sizeof(rules));
	ANSWER(x, SYMBOLIZER_ROW, .data = rows, .n = sizeof(rows[0]));
	ANSWER(x, SYMBOLIZER_ROW, .data = rows + 1, .n = 2 * sizeof(rows[0]));
	ANSWER(x, SYMBOLIZER_END, .data = &rows_end, .n = sizeof(rows_end));
	assert_int_equal(ask_rows(x, &r), 0);
	assert_int_equal(r.rules.n, 2);
	assert_int_equal(r.rows.n, 3);
	assert_memory_equal(r.rows.data, rows, sizeof(rows));
	symbolizer_rows_deinit(&r);
}

struct frames {
	char bytes[4096];
	uint32_t n;
};

static void put_frame(struct frames *f, struct symbolizer_frame head, const char *text)
{
	size_t n = strlen(text);

	memcpy(f->bytes + f->n, &head, sizeof(head));
	memcpy(f->bytes + f->n + sizeof(head), text, n);
	f->n += (uint32_t)(sizeof(head) + ((n + 7) & ~7ul));
}

static void test_names_are_answered(void **state)
{
	struct fixture *x = *state;
	struct frames f = { .n = 0 };

	put_frame(&f, (struct symbolizer_frame){ .index = 0, .n_name = 3, .n_file = 3 }, "onea.c");
	put_frame(&f, (struct symbolizer_frame){ .index = 1, .n_name = 8 }, "12345678");
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n);
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n, .n_fds = 3); /* closed */
	ANSWER(x, SYMBOLIZER_END);
	assert_int_equal(ask_names(x, 2), 0);
	assert_int_equal(x->n_frames, 4);
	assert_string_equal(x->last_name, "12345678");
	assert_int_equal(x->question.n, 2);
	assert_true(x->first_address == 0x1234);
}

static void test_errors_of_the_file_are_not_the_conversations(void **state)
{
	static const int32_t statuses[][2] = {
		{ -ENOEXEC, -ENOEXEC },
		{ -EPIPE, -EIO },
		{ -ENOTCONN, -EIO },
		{ -ETIMEDOUT, -EIO },
		{ -EBADMSG, -EIO },
	};
	struct fixture *x = *state;
	struct symbolizer_info info;
	struct symbolizer_rows r;

	for (int i = 0; i < 5; i++) {
		ANSWER(x, SYMBOLIZER_END, .status = statuses[i][0]);
		assert_int_equal(ask_info(x, &info), statuses[i][1]);
		ANSWER(x, SYMBOLIZER_END, .status = statuses[i][0]);
		assert_int_equal(ask_rows(x, &r), statuses[i][1]);
		ANSWER(x, SYMBOLIZER_END, .status = statuses[i][0]);
		assert_int_equal(ask_names(x, 1), statuses[i][1]);
	}
}

static void test_too_many_addresses_are_not_asked(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(ask_names(x, SYMBOLIZER_MAX_ADDRESSES + 1), -EINVAL);
}

static void test_wrong_serial_is_refused(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_info info;

	ANSWER(x, SYMBOLIZER_INFO, .data = &good_info, .n = sizeof(good_info), .wrong_serial = 1);
	assert_int_equal(ask_info(x, &info), -EBADMSG);
}

static void test_the_rest_of_an_answer_that_was_given_up_is_passed_over(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_info info, old = good_info;

	old.type++;
	ANSWER(x, SYMBOLIZER_INFO, .data = &old, .n = sizeof(old), .wrong_serial = -1);
	ANSWER(x, SYMBOLIZER_END, .status = -EIO, .wrong_serial = -1);
	ANSWER(x, SYMBOLIZER_INFO, .data = &good_info, .n = sizeof(good_info));
	assert_int_equal(ask_info(x, &info), 0);
	assert_memory_equal(&info, &good_info, sizeof(info));
}

static void bad_info(void **state, struct answer a)
{
	struct fixture *x = *state;
	struct symbolizer_info info = { .type = 77 };

	answer(x, a);
	assert_int_equal(ask_info(x, &info), -EBADMSG);
	assert_int_equal(info.type, 77);
}

static void test_malformed_info_is_refused(void **state)
{
	struct symbolizer_info segments = good_info, id = good_info;

	segments.n_segments = SYMBOLIZER_MAX_SEGMENTS + 1;
	id.n_build_id = UINT32_MAX;
	bad_info(state, (struct answer){ .type = SYMBOLIZER_INFO,
					 .data = &segments,
					 .n = sizeof(segments) });
	bad_info(state, (struct answer){ .type = SYMBOLIZER_INFO, .data = &id, .n = sizeof(id) });
	bad_info(state, (struct answer){ .type = SYMBOLIZER_INFO,
					 .data = &good_info,
					 .n = sizeof(good_info) - 1 });
	bad_info(state, (struct answer){ .type = SYMBOLIZER_INFO });
	bad_info(state, (struct answer){ .type = SYMBOLIZER_END });
	bad_info(state, (struct answer){ .type = SYMBOLIZER_END, .status = 1 });
	bad_info(state, (struct answer){ .type = SYMBOLIZER_ROW,
					 .data = &good_info,
					 .n = sizeof(good_info) });
}

static int told(struct fixture *x, const struct unwind_rule *q, uint32_t n_rules,
		const struct unwind_row *r, uint32_t n_rows, const struct symbolizer_rows_end *end)
{
	struct symbolizer_rows got = { 0 };
	int status;

	if (n_rules)
		ANSWER(x, SYMBOLIZER_RULE, .data = q, .n = n_rules * (uint32_t)sizeof(*q));
	if (n_rows)
		ANSWER(x, SYMBOLIZER_ROW, .data = r, .n = n_rows * (uint32_t)sizeof(*r));
	ANSWER(x, SYMBOLIZER_END, .data = end, .n = sizeof(*end));
	status = ask_rows(x, &got);
	if (status < 0)
		assert_null(got.rows.data);
	symbolizer_rows_deinit(&got);
	return status;
}

static void test_rows_that_break_their_rules_are_refused(void **state)
{
	static const struct unwind_row down[] = { { 5, 0 }, { 4, 1 } },
				       twice[] = { { 5, 0 }, { 5, 1 } }, past[] = { { 0x1000, 0 } },
				       unknown[] = { { 0, 2 } };
	static const struct unwind_rule odd[] = { { .kind = UNWIND_N_KINDS } };
	static const struct symbolizer_rows_end empty = { .low = 0x1000, .high = 0x1000 },
						back = { .low = 0x2000, .high = 0x1000 },
						wide = { .low = 0, .high = 1ull << 32 };
	struct fixture *x = *state;

	assert_int_equal(told(x, rules, 2, rows, 3, &rows_end), 0);
	assert_int_equal(told(x, rules, 2, down, 2, &rows_end), -EBADMSG);
	assert_int_equal(told(x, rules, 2, twice, 2, &rows_end), -EBADMSG);
	assert_int_equal(told(x, rules, 2, past, 1, &rows_end), -EBADMSG);
	assert_int_equal(told(x, rules, 2, unknown, 1, &rows_end), -EBADMSG);
	assert_int_equal(told(x, rules, 0, rows, 3, &rows_end), -EBADMSG);
	assert_int_equal(told(x, rules, 2, rows, 0, &rows_end), -EBADMSG);
	assert_int_equal(told(x, odd, 1, rows, 1, &rows_end), -EBADMSG);
	assert_int_equal(told(x, rules, 2, rows, 3, &empty), -EBADMSG);
	assert_int_equal(told(x, rules, 2, rows, 3, &back), -EBADMSG);
	assert_int_equal(told(x, rules, 2, rows, 3, &wide), -EBADMSG);
}

static int rows_after(struct fixture *x, struct answer a)
{
	struct symbolizer_rows got = { 0 };

	answer(x, a);
	ANSWER(x, SYMBOLIZER_END, .data = &rows_end, .n = sizeof(rows_end));
	return ask_rows(x, &got);
}

static void test_rows_of_odd_records_are_refused(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(rows_after(x, (struct answer){ .type = SYMBOLIZER_ROW,
							.data = rows,
							.n = 7 }),
			 -EBADMSG);
	assert_int_equal(rows_after(x, (struct answer){ .type = SYMBOLIZER_RULE,
							.data = rules,
							.n = 17 }),
			 -EBADMSG);
	assert_int_equal(rows_after(x, (struct answer){ .type = SYMBOLIZER_ROW }), -EBADMSG);
	assert_int_equal(rows_after(x, (struct answer){ .type = SYMBOLIZER_RULE }), -EBADMSG);
	assert_int_equal(rows_after(x, (struct answer){ .type = SYMBOLIZER_FRAME }), -EBADMSG);
	assert_int_equal(rows_after(x, (struct answer){ .type = SYMBOLIZER_END }), -EBADMSG);
	assert_int_equal(rows_after(x, (struct answer){ .type = 99 }), -EBADMSG);
}

static void test_endless_rows_are_given_up(void **state)
{
	static const char zeros[RECORD_MAX];
	struct fixture *x = *state;

	assert_int_equal(rows_after(x, (struct answer){ .type = SYMBOLIZER_ROW,
							.data = zeros,
							.n = RECORD_MAX,
							.times = 1u << 30 }),
			 -EBADMSG);
	assert_int_equal(rows_after(x, (struct answer){ .type = SYMBOLIZER_RULE,
							.data = zeros,
							.n = RECORD_MAX,
							.times = 1u << 30 }),
			 -EBADMSG);
}

static int links_after(struct fixture *x, const struct symbolizer_links *said, uint32_t n)
{
	struct symbolizer_object o = object();
	struct symbolizer_links links;

	x->n_answers = 0;
	ANSWER(x, SYMBOLIZER_LINKS, .data = said, .n = n);
	start(x);
	return end(x, symbolizer_ask_links(&x->s, &o, &links));
}

static void test_links_end_and_are_bounded(void **state)
{
	struct symbolizer_links l = { .debug_name = "a.debug", .n_build_id = 20, .n_alt_id = 20 };
	struct fixture *x = *state;

	assert_int_equal(links_after(x, &l, sizeof(l)), 0);
	assert_int_equal(x->type, SYMBOLIZER_LINKS);
	assert_int_equal(links_after(x, &l, sizeof(l) - 1), -EBADMSG);
	l.n_build_id = SYMBOLIZER_MAX_BUILD_ID + 1;
	assert_int_equal(links_after(x, &l, sizeof(l)), -EBADMSG);
	l.n_build_id = 0;
	l.n_alt_id = UINT32_MAX;
	assert_int_equal(links_after(x, &l, sizeof(l)), -EBADMSG);
	l.n_alt_id = 0;
	memset(l.alt_name, 'x', sizeof(l.alt_name));
	assert_int_equal(links_after(x, &l, sizeof(l)), -EBADMSG);
	memset(l.alt_name, 0, sizeof(l.alt_name));
	memset(l.debug_name, 'x', sizeof(l.debug_name));
	assert_int_equal(links_after(x, &l, sizeof(l)), -EBADMSG);
}

/* Each file has its bit, and they come in one order. */
static void test_files_beside(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_object o = object();

	o.fd = o.debug_fd = o.alt_fd = o.dwp_fd = 0;
	for (unsigned beside = 0; beside <= SYMBOLIZER_BESIDE_ALL; beside++) {
		x->n_answers = 0;
		ANSWER(x, SYMBOLIZER_END, .status = beside % 2 ? -ESTALE : 0);
		o.beside = beside;
		start(x);
		assert_int_equal(end(x, symbolizer_ask_fits(&x->s, &o, SYMBOLIZER_FIT_LINK)),
				 beside % 2 ? -ESTALE : 0);
		assert_int_equal(x->type, SYMBOLIZER_FITS);
		assert_int_equal(x->question.beside, beside);
		assert_int_equal(x->question.n, SYMBOLIZER_FIT_LINK);
		assert_int_equal(x->n_fds, 1 + __builtin_popcount(beside));
	}
}

static int ask_dwos(struct fixture *x, uint32_t n, struct symbolizer_dwos *ret)
{
	static uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES + 1] = { 0x1234 };
	struct symbolizer_object o = object();

	ret->all.n = 0;
	start(x);
	return end(x, symbolizer_ask_dwos(&x->s, &o, addresses, n, ret));
}

static int dwos_after(struct fixture *x, const struct symbolizer_dwo *d, uint32_t size, uint32_t n)
{
	struct symbolizer_dwos got = { 0 };
	int r;

	x->n_answers = 0;
	ANSWER(x, SYMBOLIZER_DWOS, .data = d, .n = size);
	ANSWER(x, SYMBOLIZER_END);
	r = ask_dwos(x, n, &got);
	if (r == 0)
		assert_int_equal(got.all.n, size / sizeof(*d));
	vec_deinit(&got.all);
	return r;
}

/* No more than addresses, and each with an end. */
static void test_dwos_are_checked(void **state)
{
	static struct symbolizer_dwo d[3] = { { "a.dwo", "/build" }, { "b.dwo", "" }, { "c.dwo", "/" } };
	struct symbolizer_dwos got = { 0 };
	struct fixture *x = *state;

	assert_int_equal(dwos_after(x, d, sizeof(d), 3), 0);
	assert_int_equal(x->type, SYMBOLIZER_DWOS);
	assert_int_equal(dwos_after(x, d, sizeof(d), 2), -EBADMSG);
	assert_int_equal(dwos_after(x, d, sizeof(d) - 1, 3), -EBADMSG);
	memset(d[1].name, 'x', sizeof(d[1].name));
	assert_int_equal(dwos_after(x, d, sizeof(d), 3), -EBADMSG);
	memset(d[1].name, 0, sizeof(d[1].name));
	memset(d[2].directory, 'x', sizeof(d[2].directory));
	assert_int_equal(dwos_after(x, d, sizeof(d), 3), -EBADMSG);
	assert_int_equal(ask_dwos(x, SYMBOLIZER_MAX_ADDRESSES + 1, &got), -EINVAL);
}

static void test_a_dwo_is_given(void **state)
{
	struct symbolizer_object o = object();
	struct fixture *x = *state;

	o.beside = SYMBOLIZER_BESIDE_DWP;
	o.fd = o.dwp_fd = 0;
	for (int i = 0; i < 3; i++) {
		static const int status[] = { 0, -ESTALE, -EPIPE }, want[] = { 0, -ESTALE, -EIO };

		x->n_answers = 0;
		ANSWER(x, SYMBOLIZER_END, .status = status[i]);
		start(x);
		assert_int_equal(end(x, symbolizer_give_dwo(&x->s, &o)), want[i]);
		assert_int_equal(x->type, SYMBOLIZER_DWO);
		assert_int_equal(x->n_fds, 2);
	}
	x->n_answers = 0;
	ANSWER(x, SYMBOLIZER_DWOS);
	start(x);
	assert_int_equal(end(x, symbolizer_give_dwo(&x->s, &o)), -EBADMSG);
}

static int ask_callees(struct fixture *x, uint32_t n)
{
	static uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES + 1] = { 0x1234 };
	struct symbolizer_object o = object();

	start(x);
	return end(x,
		   symbolizer_ask_callees(&x->s, &o, DEMANGLE_SIMPLE, addresses, n, on_frame, x));
}

static void test_one_callee_an_address_is_answered(void **state)
{
	struct fixture *x = *state;
	struct frames f = { .n = 0 };

	put_frame(&f, (struct symbolizer_frame){ .index = 1, .n_name = 1 }, "f");
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n);
	ANSWER(x, SYMBOLIZER_END);
	assert_int_equal(ask_callees(x, 2), 0);
	assert_int_equal(x->type, SYMBOLIZER_CALLEES);
	assert_int_equal(x->question.n, 2);
	assert_int_equal(x->first_address, 0x1234);
	assert_int_equal(x->n_frames, 1);
	assert_string_equal(x->last_name, "f");
	assert_int_equal(ask_callees(x, SYMBOLIZER_MAX_ADDRESSES + 1), -EINVAL);
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n, .times = 1u << 30);
	assert_int_equal(ask_callees(x, 2), -EBADMSG);
	assert_int_equal(x->n_frames, 3);
}

static int ask_variables(struct fixture *x, uint32_t n)
{
	static uint64_t addresses[SYMBOLIZER_MAX_ADDRESSES + 1] = { 0x1234 };
	struct symbolizer_object o = object();

	start(x);
	return end(x,
		   symbolizer_ask_variables(&x->s, &o, DEMANGLE_SIMPLE, addresses, n, on_frame, x));
}

static void test_one_variable_an_address_is_answered(void **state)
{
	struct fixture *x = *state;
	struct frames f = { .n = 0 };

	put_frame(&f, (struct symbolizer_frame){ .index = 1, .n_name = 1, .shown = 0x1230 }, "v");
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n);
	ANSWER(x, SYMBOLIZER_END);
	assert_int_equal(ask_variables(x, 2), 0);
	assert_int_equal(x->type, SYMBOLIZER_VARIABLES);
	assert_int_equal(x->first_address, 0x1234);
	assert_int_equal(x->n_frames, 1);
	assert_string_equal(x->last_name, "v");
	assert_int_equal(ask_variables(x, SYMBOLIZER_MAX_ADDRESSES + 1), -EINVAL);
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n, .times = 1u << 30);
	assert_int_equal(ask_variables(x, 2), -EBADMSG);
}

static void test_function_is_told_once(void **state)
{
	struct fixture *x = *state;
	struct frames f = { .n = 0 };

	put_frame(&f, (struct symbolizer_frame){ .n_name = 2, .n_file = 3 }, "fga.c");
	put_frame(&f, (struct symbolizer_frame){ .n_name = 1 }, "h");
	put_frame(&f, (struct symbolizer_frame){ .told = 1, .function = 0 }, "");
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n);
	ANSWER(x, SYMBOLIZER_END);
	assert_int_equal(ask_names(x, 1), 0);
	assert_int_equal(x->n_frames, 3);
	assert_string_equal(x->last_name, "fg");
}

static void test_endless_frames_are_given_up(void **state)
{
	struct fixture *x = *state;
	struct frames f = { .n = 0 };

	put_frame(&f, (struct symbolizer_frame){ .n_name = 1 }, "f");
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n, .times = 1u << 30);
	assert_int_equal(ask_names(x, 2), -EBADMSG);
	assert_int_equal(x->n_frames, 2 * SYMBOLIZER_MAX_INLINED);
	ANSWER(x, SYMBOLIZER_FRAME, .times = 1u << 30);
	assert_int_equal(ask_names(x, 2), -EBADMSG);
}

static void bad_frame(struct fixture *x, struct symbolizer_frame head, uint32_t n)
{
	struct frames f = { .n = 0 };

	put_frame(&f, head, "");
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = n);
	ANSWER(x, SYMBOLIZER_END);
	x->n_frames = 0;
	assert_int_equal(ask_names(x, 2), -EBADMSG);
	assert_int_equal(x->n_frames, 0);
}

static void test_malformed_frames_are_refused(void **state)
{
	const uint32_t head = sizeof(struct symbolizer_frame);
	struct fixture *x = *state;

	bad_frame(x, (struct symbolizer_frame){ .index = 2 }, head);
	bad_frame(x, (struct symbolizer_frame){ .index = UINT32_MAX }, head);
	bad_frame(x, (struct symbolizer_frame){ .n_name = 1 }, head);
	bad_frame(x, (struct symbolizer_frame){ .n_name = 9, .n_file = 8 }, head + 16);
	bad_frame(x, (struct symbolizer_frame){ 0 }, head - 1);
	bad_frame(x, (struct symbolizer_frame){ 0 }, 1);
	bad_frame(x, (struct symbolizer_frame){ .n_name = 1025 }, head + 2048);
	bad_frame(x, (struct symbolizer_frame){ .n_system_name = 1025 }, head + 2048);
	bad_frame(x, (struct symbolizer_frame){ .n_name = 65535, .n_file = 65535 }, head + 2048);
	bad_frame(x, (struct symbolizer_frame){ .told = 1 }, head); /* of nothing yet */
}

static void test_functions_nobody_told_of_are_refused(void **state)
{
	static const struct symbolizer_frame bad[] = {
		{ .told = 1, .function = 1 }, { .told = 1, .function = UINT32_MAX }, { .told = 2 },
		{ .told = 1, .n_name = 1 }, { .told = 65535 },
	};
	struct fixture *x = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct frames f = { .n = 0 };

		put_frame(&f, (struct symbolizer_frame){ .n_name = 1 }, "f");
		put_frame(&f, bad[i], bad[i].n_name ? "g" : "");
		ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n);
		ANSWER(x, SYMBOLIZER_END);
		x->n_frames = 0;
		assert_int_equal(ask_names(x, 2), -EBADMSG);
		assert_int_equal(x->n_frames, 1);
	}
}

static void test_frame_at_the_end_may_lack_its_padding(void **state)
{
	struct fixture *x = *state;
	struct frames f = { .n = 0 };

	put_frame(&f, (struct symbolizer_frame){ .n_name = 3 }, "abc");
	ANSWER(x, SYMBOLIZER_FRAME, .data = f.bytes, .n = f.n - 5);
	ANSWER(x, SYMBOLIZER_END);
	assert_int_equal(ask_names(x, 1), 0);
	assert_string_equal(x->last_name, "abc");
}

static void test_hanging_up_is_the_end(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_info info;
	struct symbolizer_rows r;

	x->hang_up = true;
	assert_int_equal(ask_info(x, &info), -EPIPE);
	ANSWER(x, SYMBOLIZER_ROW, .data = rows, .n = sizeof(rows));
	assert_int_equal(ask_rows(x, &r), -EPIPE);
	assert_int_equal(ask_names(x, 1), -EPIPE);
}

/* It is no fault of the file's. */
static void test_no_child_is_no_end(void **state)
{
	struct symbolizer s = { .fd = -1 };
	struct symbolizer_object o = object();
	struct symbolizer_info info;

	assert_int_equal(symbolizer_ask_info(&s, &o, &info), -ENOTCONN);
}

static void test_silence_is_not_waited_for_long(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_info info;

	x->s.timeout_ms = 20;
	assert_int_equal(ask_info(x, &info), -ETIMEDOUT);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* One record before each timeout, for as long as anybody listens: given up after three times the
 * timeout. Sooner where the child was kept from sending for as long as one timeout: then once more,
 * with a longer one. */
static void test_child_that_never_ends_is_given_up(void **state)
{
	struct fixture *x = *state;
	struct symbolizer_rows r;
	int64_t took = 0;

	for (int timeout = 200; timeout <= 6400; timeout *= 2) {
		int64_t began = now_ms();

		x->s.timeout_ms = timeout;
		ANSWER(x, SYMBOLIZER_ROW, .data = rows, .n = 8, .times = 1u << 20, .pause_ms = 50);
		assert_int_equal(ask_rows(x, &r), -ETIMEDOUT);
		took = now_ms() - began;
		assert_true(took < 60000); /* the records are for 14 hours */
		if (took >= 3 * timeout)
			return;
	}
	fail_msg("given up after %lld ms", (long long)took);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_question_arrives_and_info_is_answered),
		TEST(test_rows_are_answered),
		TEST(test_names_are_answered),
		TEST(test_errors_of_the_file_are_not_the_conversations),
		TEST(test_too_many_addresses_are_not_asked),
		TEST(test_wrong_serial_is_refused),
		TEST(test_the_rest_of_an_answer_that_was_given_up_is_passed_over),
		TEST(test_malformed_info_is_refused),
		TEST(test_rows_that_break_their_rules_are_refused),
		TEST(test_rows_of_odd_records_are_refused),
		TEST(test_endless_rows_are_given_up),
		TEST(test_links_end_and_are_bounded),
		TEST(test_files_beside),
		TEST(test_dwos_are_checked),
		TEST(test_a_dwo_is_given),
		TEST(test_one_callee_an_address_is_answered),
		TEST(test_one_variable_an_address_is_answered),
		TEST(test_function_is_told_once),
		TEST(test_functions_nobody_told_of_are_refused),
		TEST(test_endless_frames_are_given_up),
		TEST(test_malformed_frames_are_refused),
		TEST(test_frame_at_the_end_may_lack_its_padding),
		TEST(test_hanging_up_is_the_end),
		TEST(test_no_child_is_no_end),
		TEST(test_silence_is_not_waited_for_long),
		TEST(test_child_that_never_ends_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
