/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cursor.h"
#include "base/hash.h"
#include "base/record.h"
#include "base/vec.h"

static struct cursor over(const char *bytes, size_t n)
{
	return cursor_over(bytes, n);
}

#define OVER(literal) over(literal, sizeof(literal) - 1)

static void test_cursor_reads_little_endian(void **state)
{
	struct cursor c = OVER("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");

	assert_int_equal(cursor_u8(&c), 1);
	assert_int_equal(cursor_u16(&c), 0x0302);
	assert_int_equal(cursor_u32(&c), 0x07060504);
	assert_true(cursor_u64(&c) == 0x0f0e0d0c0b0a0908);
	assert_false(c.bad);
	assert_int_equal(cursor_left(&c), 0);
}

static void test_short_read_fails_for_good(void **state)
{
	struct cursor c = OVER("\x01\x02\x03");

	assert_int_equal(cursor_u32(&c), 0);
	assert_true(c.bad);
	assert_int_equal(cursor_u8(&c), 0);
	assert_int_equal(cursor_left(&c), 0);
	assert_true(cursor_uleb128(&c) == 0 && cursor_sleb128(&c) == 0);
	assert_null(cursor_string(&c));
	assert_true(cursor_sub(&c, 0).bad);
}

static void check_uleb(const char *bytes, size_t n, uint64_t wanted)
{
	struct cursor c = cursor_over(bytes, n);

	assert_true(cursor_uleb128(&c) == wanted);
	assert_false(c.bad);
	assert_int_equal(cursor_left(&c), 0);
}

static void check_sleb(const char *bytes, size_t n, int64_t wanted)
{
	struct cursor c = cursor_over(bytes, n);

	assert_true(cursor_sleb128(&c) == wanted);
	assert_false(c.bad);
	assert_int_equal(cursor_left(&c), 0);
}

#define ULEB(literal, wanted) check_uleb(literal, sizeof(literal) - 1, wanted)
#define SLEB(literal, wanted) check_sleb(literal, sizeof(literal) - 1, wanted)

static void test_uleb128_to_its_last_bit(void **state)
{
	ULEB("\x00", 0);
	ULEB("\x7f", 127);
	ULEB("\x80\x01", 128);
	ULEB("\xe5\x8e\x26", 624485);
	ULEB("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", UINT64_MAX);
	ULEB("\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 1); /* padded */
}

static void test_uleb128_drops_bits_past_the_64th(void **state)
{
	ULEB("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f", 1ull << 63);
	ULEB("\x82\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f", 2);
}

static void test_sleb128_extends_its_sign(void **state)
{
	SLEB("\x00", 0);
	SLEB("\x3f", 63);
	SLEB("\x40", -64);
	SLEB("\x7f", -1);
	SLEB("\xc0\x00", 64);
	SLEB("\x80\x7f", -128);
	SLEB("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", INT64_MAX);
	SLEB("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f", INT64_MIN);
	SLEB("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", -2);
}

static void test_leb128_without_an_end_fails(void **state)
{
	struct cursor u = OVER("\x80\x80"), s = OVER("\xff"), none = OVER("");

	assert_true(cursor_uleb128(&u) == 0 && u.bad);
	assert_true(cursor_sleb128(&s) == 0 && s.bad);
	assert_true(cursor_uleb128(&none) == 0 && none.bad);
}

static void test_sub_cursor_ends_where_it_was_told(void **state)
{
	struct cursor c = OVER("\x01\x02\x03\x04");
	struct cursor sub = cursor_sub(&c, 2);

	assert_int_equal(cursor_u16(&sub), 0x0201);
	assert_int_equal(cursor_u8(&sub), 0);
	assert_true(sub.bad);
	assert_int_equal(cursor_u16(&c), 0x0403);
	assert_false(c.bad);
}

static void test_skip_and_sub_past_the_end_fail(void **state)
{
	struct cursor a = OVER("\x01\x02"), b = a, d = a;

	cursor_skip(&a, UINT64_MAX);
	assert_true(a.bad);
	assert_true(cursor_sub(&b, 3).bad);
	assert_true(b.bad);
	cursor_skip(&d, 2);
	assert_false(d.bad);
}

static void test_string_without_nul_fails(void **state)
{
	struct cursor c = OVER("ab\0c");

	assert_string_equal(cursor_string(&c), "ab");
	assert_null(cursor_string(&c));
	assert_true(c.bad);
}

static bool number_equal(uint32_t item, const void *key, const void *context)
{
	return ((const uint64_t *)context)[item] == *(const uint64_t *)key;
}

static void test_hash_finds_all_after_growing(void **state)
{
	enum { N = 20000 };
	struct hash_index h = { 0 };
	uint64_t *numbers = calloc(N, sizeof(*numbers)), absent = UINT64_MAX;

	assert_non_null(numbers);
	assert_int_equal(hash_get(&h, 0, number_equal, &absent, numbers), HASH_NONE);
	for (uint32_t i = 0; i < N; i++) {
		numbers[i] = (uint64_t)i * i << 20;
		assert_int_equal(hash_put(&h, hash_u64(HASH_SEED, numbers[i]), i), 0);
	}
	assert_int_equal(h.n, N);
	assert_true(h.n_slots >= 2 * N);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(hash_get(&h, hash_u64(HASH_SEED, numbers[i]), number_equal,
					  &numbers[i], numbers),
				 i);
	assert_int_equal(hash_get(&h, hash_u64(HASH_SEED, absent), number_equal, &absent, numbers),
			 HASH_NONE);
	hash_clear(&h);
	assert_int_equal(hash_get(&h, hash_u64(HASH_SEED, numbers[1]), number_equal, &numbers[1],
				  numbers),
			 HASH_NONE);
	hash_deinit(&h);
	free(numbers);
}

static void test_hash_tells_equal_hashes_apart(void **state)
{
	uint64_t numbers[] = { 7, 8, 9 };
	struct hash_index h = { 0 };

	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(hash_put(&h, 42ull << 32, i), 0);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(hash_get(&h, 42ull << 32, number_equal, &numbers[i], numbers), i);
	hash_deinit(&h);
}

static void test_hash_of_bytes_depends_on_length(void **state)
{
	const char zeros[24] = { 0 };

	for (size_t a = 0; a < sizeof(zeros); a++)
		for (size_t b = 0; b < a; b++)
			assert_true(hash_bytes(HASH_SEED, zeros, a) !=
				    hash_bytes(HASH_SEED, zeros, b));
}

static void test_vec_grows_and_keeps_what_it_had(void **state)
{
	VEC(uint16_t) v = { 0 };

	for (int i = 0; i < 5000; i++)
		assert_int_equal(vec_push(&v, (uint16_t)i), 0);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(v.data[i], i);
	vec_deinit(&v);
	assert_null(v.data);
	assert_int_equal(v.n, 0);
}

static void test_vec_too_large_is_refused_and_unchanged(void **state)
{
	VEC(uint64_t) v = { 0 };

	assert_int_equal(vec_push(&v, 5ull), 0);
	assert_int_equal(vec_reserve(&v, SIZE_MAX / 8), -ENOMEM);
	assert_int_equal(vec_reserve(&v, SIZE_MAX), -ENOMEM);
	assert_int_equal(v.n, 1);
	assert_true(v.data[0] == 5);
	vec_deinit(&v);
}

static void test_bytes_grow(void **state)
{
	struct bytes b = BYTES_INIT;

	for (int i = 0; i < 1000; i++) {
		bytes_printf(&b, "%d,", i);
		bytes_puts(&b, "x");
		bytes_add(&b, "\0", 1);
	}
	assert_int_equal(b.n, 10 * 2 + 90 * 3 + 900 * 4 + 2000);
	assert_memory_equal(b.data, "0,x\0001,x\000", 8);
	assert_string_equal(bytes_text(&b) + b.n - 6, "999,x");
	bytes_clear(&b);
	assert_string_equal(bytes_text(&b), "");
	bytes_deinit(&b);
}

static void test_bytes_too_many_stay_bad(void **state)
{
	struct bytes b = BYTES_INIT;

	bytes_add(&b, "a", SIZE_MAX);
	assert_true(b.bad);
	bytes_puts(&b, "b");
	bytes_printf(&b, "%s", "c");
	assert_int_equal(b.n, 0);
	assert_null(bytes_text(&b));
	bytes_deinit(&b);
}

static void check_copy(const char *text, size_t n, const char *wanted)
{
	char to[64];

	assert_int_equal(utf8_copy(to, sizeof(to), text, n), strlen(wanted));
	assert_string_equal(to, wanted);
}

#define COPY(literal, wanted) check_copy(literal, sizeof(literal) - 1, wanted)

static void test_utf8_passes_through(void **state)
{
	COPY("", "");
	COPY("plain ~", "plain ~");
	COPY("\xc2\xa0\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
	     "\xc2\xa0\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
}

static void test_what_is_not_utf8_becomes_question_marks(void **state)
{
	COPY("\x80 \xff \xfe", "? ? ?");
	COPY("\xc0\xaf", "??");		  /* an overlong slash */
	COPY("\xe0\x80\xaf", "???");	  /* and a longer one */
	COPY("\xed\xa0\x80", "???");	  /* a surrogate */
	COPY("\xf4\x90\x80\x80", "????"); /* past the last code point */
	COPY("a\xe2\x82", "a??");	  /* cut short */
	COPY("\xe2\x82z", "??z");
}

static void test_control_characters_become_question_marks(void **state)
{
	COPY("a\0b\nc\x1b[m\x7f", "a?b?c?[m?");
	COPY("\xc2\x80\xc2\x9f", "????"); /* C1 */
}

static void test_utf8_is_never_cut_in_the_middle(void **state)
{
	char to[8];

	for (size_t n = 1; n <= sizeof(to); n++) {
		size_t k = utf8_copy(to, n, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 9);

		assert_int_equal(k, (n - 1) / 3 * 3);
		assert_int_equal(to[k], '\0');
	}
}

struct pair {
	int fd[2];
	struct record out, in;
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	*state = p;
	return p && record_pair(p->fd) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	close_fd(&p->fd[0]);
	close_fd(&p->fd[1]);
	free(p);
	return 0;
}

static void fill(struct record *r, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		r->data[i] = (unsigned char)(i * 7);
	r->n = n;
}

static void test_record_arrives_whole(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 100, RECORD_MAX };
	struct pair *p = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		p->out.type = 3;
		p->out.serial = 77;
		p->out.status = -5;
		fill(&p->out, sizes[i]);
		assert_int_equal(record_send(p->fd[0], &p->out), 0);
		assert_int_equal(record_receive(p->fd[1], &p->in, 1000), 0);
		assert_int_equal(p->in.type, 3);
		assert_int_equal(p->in.serial, 77);
		assert_int_equal(p->in.status, -5);
		assert_int_equal(p->in.n, sizes[i]);
		assert_int_equal(p->in.n_fds, 0);
		assert_memory_equal(p->in.data, p->out.data, sizes[i]);
	}
}

static void test_record_brings_descriptors(void **state)
{
	struct pair *p = *state;
	struct stat a, b;

	for (p->out.n_fds = 0; p->out.n_fds < RECORD_MAX_FDS; p->out.n_fds++)
		p->out.fds[p->out.n_fds] = p->fd[p->out.n_fds % 2];
	assert_int_equal(record_send(p->fd[0], &p->out), 0);
	assert_int_equal(record_receive(p->fd[1], &p->in, 1000), 0);
	assert_int_equal(p->in.n_fds, RECORD_MAX_FDS);
	for (unsigned i = 0; i < RECORD_MAX_FDS; i++) {
		assert_int_equal(fstat(p->in.fds[i], &a), 0);
		assert_int_equal(fstat(p->fd[i % 2], &b), 0);
		assert_true(a.st_ino == b.st_ino);
		assert_int_not_equal(p->in.fds[i], p->fd[i % 2]);
	}
	record_close_fds(&p->in);
	assert_int_equal(p->in.n_fds, 0);
	assert_int_equal(p->in.fds[0], -1);
}

static void test_record_that_is_too_large_is_not_sent(void **state)
{
	struct pair *p = *state;

	p->out.n = RECORD_MAX + 1;
	assert_int_equal(record_send(p->fd[0], &p->out), -EINVAL);
	p->out.n = 0;
	p->out.n_fds = RECORD_MAX_FDS + 1;
	assert_int_equal(record_send(p->fd[0], &p->out), -EINVAL);
	assert_int_equal(record_receive(p->fd[1], &p->in, 0), -ETIMEDOUT);
}

/* What a hostile peer may write: any bytes, any descriptors. */
static void send_raw(int fd, const void *data, size_t n, const int *fds, size_t n_fds)
{
	char control[CMSG_SPACE(sizeof(int) * 100)] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (void *)data, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c = (void *)control;

		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	assert_int_equal(sendmsg(fd, &m, 0), n);
}

static int n_open(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_malformed_record_is_refused_and_its_descriptors_closed(void **state)
{
	/* type, serial, status, n, n_fds */
	static const struct {
		uint32_t words[6];
		size_t bytes;
	} bad[] = {
		{ { 1, 2, 0, 0, 1 }, 19 },    /* cut short */
		{ { 1, 2, 0, 4, 1 }, 20 },    /* promises more */
		{ { 1, 2, 0, 0, 1, 9 }, 24 }, /* promises less */
		{ { 1, 2, 0, 0, 0 }, 20 },    /* hides a descriptor */
		{ { 1, 2, 0, 0, 2 }, 20 },    /* promises another */
		{ { 1, 2, 0, UINT32_MAX, 1 }, 20 },
	};
	struct pair *p = *state;
	int before = n_open();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		send_raw(p->fd[0], bad[i].words, bad[i].bytes, &p->fd[0], 1);
		assert_int_equal(record_receive(p->fd[1], &p->in, 1000), -EBADMSG);
		assert_int_equal(p->in.n_fds, 0);
		assert_int_equal(p->in.n, 0);
		assert_int_equal(n_open(), before);
	}
}

static void test_too_many_descriptors_are_refused_and_closed(void **state)
{
	struct pair *p = *state;
	uint32_t header[5] = { 1, 1, 0, 0, 65 };
	int fds[100], before = n_open();

	for (int i = 0; i < 100; i++)
		fds[i] = p->fd[0];
	send_raw(p->fd[0], header, sizeof(header), fds, 65);
	assert_int_equal(record_receive(p->fd[1], &p->in, 1000), -EBADMSG);
	assert_int_equal(n_open(), before);
}

static void test_oversized_message_is_refused(void **state)
{
	struct pair *p = *state;
	uint32_t *bytes = calloc(1, RECORD_MAX + 24);

	assert_non_null(bytes);
	bytes[3] = RECORD_MAX + 4;
	send_raw(p->fd[0], bytes, RECORD_MAX + 24, NULL, 0);
	bytes[3] = RECORD_MAX;
	send_raw(p->fd[0], bytes, RECORD_MAX + 24, NULL, 0);
	assert_int_equal(record_receive(p->fd[1], &p->in, 1000), -EBADMSG);
	assert_int_equal(record_receive(p->fd[1], &p->in, 1000), -EBADMSG);
	free(bytes);
}

static void test_silence_times_out_and_the_end_is_told(void **state)
{
	struct pair *p = *state;

	assert_int_equal(record_receive(p->fd[1], &p->in, 10), -ETIMEDOUT);
	close_fd(&p->fd[0]);
	assert_int_equal(record_receive(p->fd[1], &p->in, 10), -EPIPE);
	assert_int_equal(record_send(p->fd[1], &p->out), -EPIPE);
}

static void test_payload_of_another_size_is_none(void **state)
{
	struct pair *p = *state;

	p->in.n = 8;
	assert_non_null(record_payload(&p->in, uint64_t));
	assert_null(record_payload(&p->in, uint32_t));
}

static void test_taken_values_leave_nothing_behind(void **state)
{
	char *text = strdup("x"), *p = TAKE_PTR(text);
	int fd = 5, taken = TAKE_FD(fd);

	assert_null(text);
	assert_string_equal(p, "x");
	assert_int_equal(fd, -1);
	assert_int_equal(taken, 5);
	free(p);
}

#define TEST(f) cmocka_unit_test(f)
#define PAIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cursor_reads_little_endian),
		TEST(test_short_read_fails_for_good),
		TEST(test_uleb128_to_its_last_bit),
		TEST(test_uleb128_drops_bits_past_the_64th),
		TEST(test_sleb128_extends_its_sign),
		TEST(test_leb128_without_an_end_fails),
		TEST(test_sub_cursor_ends_where_it_was_told),
		TEST(test_skip_and_sub_past_the_end_fail),
		TEST(test_string_without_nul_fails),
		TEST(test_hash_finds_all_after_growing),
		TEST(test_hash_tells_equal_hashes_apart),
		TEST(test_hash_of_bytes_depends_on_length),
		TEST(test_vec_grows_and_keeps_what_it_had),
		TEST(test_vec_too_large_is_refused_and_unchanged),
		TEST(test_bytes_grow),
		TEST(test_bytes_too_many_stay_bad),
		TEST(test_utf8_passes_through),
		TEST(test_what_is_not_utf8_becomes_question_marks),
		TEST(test_control_characters_become_question_marks),
		TEST(test_utf8_is_never_cut_in_the_middle),
		PAIR(test_record_arrives_whole),
		PAIR(test_record_brings_descriptors),
		PAIR(test_record_that_is_too_large_is_not_sent),
		PAIR(test_malformed_record_is_refused_and_its_descriptors_closed),
		PAIR(test_too_many_descriptors_are_refused_and_closed),
		PAIR(test_oversized_message_is_refused),
		PAIR(test_silence_times_out_and_the_end_is_told),
		PAIR(test_payload_of_another_size_is_none),
		TEST(test_taken_values_leave_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
