/* SPDX-License-Identifier: Apache-2.0 */

/* The checker refuses what a reader refuses (and an M that is said to have a second P or G, which Go takes): each rule of
 * the format, broken once. With TRACE_CHECK_WRITE=DIR the files are
 * left there, for a reader that is not ours. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/serve/trace/go_wire.h"
#include "trace_check.h"

#define N UINT64_MAX
#define MAX_STEPS 24
#define MAX_MS 4
#define GENERATION 255 /* the next one begins */

struct step {
	uint8_t m; /* 1..MAX_MS */
	uint8_t event;
	uint64_t args[5];
};

struct script {
	const char *error; /* part of what the checker says; NULL: it is right */
	struct step steps[MAX_STEPS];
};

/* P 1 on M 1 with G 10 running, G 11 waiting, P 2 idle: what most begin with. */
#define WORLD                                                                                      \
	{ 1, 13, { 1, 1 } }, { 1, 25, { 10, 1, 2 } }, { 1, 25, { 11, N, 4 } }, { 1, 13, { 2, 2 } }

static const struct script scripts[] = {
	{ NULL, { WORLD } },
	{ NULL, { WORLD, { 2, 10, { 2, 1 } }, { 1, 21, { 11, 1, 0 } }, { 2, 16, { 11, 2 } }, { 2, 20, { 0, 0 } }, { 2, 11, { 0 } } } },
	{ "the G is there", { WORLD, { 1, 14, { 11, 0, 0 } } } },
	{ "the M has no P", { WORLD, { 2, 14, { 12, 0, 0 } } } },
	{ "the creator does not run", { WORLD, { 1, 22, { 1, 0 } }, { 1, 14, { 12, 0, 0 } } } },
	{ "the M has a P", { WORLD, { 1, 10, { 2, 1 } } } },
	{ "no M can go on", { WORLD, { 2, 10, { 2, 2 } } } },		     /* its sequence number */
	{ "no M can go on", { WORLD, { 2, 10, { 1, 1 } } } },		     /* P 1 runs */
	{ "no M can go on", { WORLD, { 2, 10, { 3, 1 } } } },		     /* P 3 is unknown */
	{ "no M can go on", { WORLD, { 2, 10, { 2, 1 } }, { 2, 16, { 11, 1 } } } }, /* it waits */
	{ "the M has a G", { WORLD, { 1, 21, { 11, 1, 0 } }, { 1, 16, { 11, 2 } } } },
	{ "the M has no P", { WORLD, { 1, 21, { 11, 1, 0 } }, { 2, 16, { 11, 2 } } } },
	{ "no M can go on", { WORLD, { 1, 21, { 11, 2, 0 } } } },	     /* the sequence number */
	{ "no M can go on", { WORLD, { 1, 21, { 10, 1, 0 } } } },	     /* it runs */
	{ "no M can go on", { WORLD, { 1, 21, { 99, 1, 0 } } } },	     /* nobody */
	{ "the M has no P", { WORLD, { 2, 11, { 0 } } } },
	{ "the M has no G", { WORLD, { 2, 10, { 2, 1 } }, { 2, 19, { 0, 0 } } } },
	{ "does not run", { WORLD, { 1, 22, { 1, 0 } }, { 1, 20, { 0, 0 } } } },
	{ "does not run", { WORLD, { 1, 22, { 1, 0 } }, { 1, 17, { 0 } } } },
	{ "the P's sequence number", { WORLD, { 1, 22, { 2, 0 } } } },
	{ NULL, { WORLD, { 1, 22, { 1, 0 } }, { 1, 23, { 0 } }, { 1, 22, { 2, 0 } }, { 1, 11, { 0 } }, { 1, 24, { 0 } } } },
	{ "no system call", { WORLD, { 1, 23, { 0 } } } },
	{ "no system call", { WORLD, { 1, 24, { 0 } } } },
	{ "no M can go on", { WORLD, { 1, 22, { 1, 0 } }, { 1, 24, { 0 } } } },     /* it still has its P */
	{ "another status", { WORLD, { 1, 25, { 11, N, 1 } } } },
	{ "another status", { WORLD, { 1, 13, { 2, 1 } } } },
	{ "the M has another P", { WORLD, { 1, 13, { 3, 1 } } } },
	{ "the M has another G", { WORLD, { 1, 25, { 12, 1, 2 } } } },
	{ "no such status", { WORLD, { 1, 25, { 12, N, 9 } } } },
	{ "no such status", { WORLD, { 1, 13, { 3, 9 } } } },
	{ "the M has no G", { WORLD, { 2, 10, { 2, 1 } }, { 2, 44, { 0, 0, 0, 0 } } } },
	{ "unknown string", { WORLD, { 1, 20, { 77, 0 } } } },
	{ "unknown stack", { WORLD, { 1, 20, { 0, 77 } } } },
	{ "the task is active", { WORLD, { 1, 40, { 5, 0, 0, 0 } }, { 1, 40, { 5, 0, 0, 0 } } } },
	{ NULL, { WORLD, { 1, 40, { 5, 0, 0, 0 } }, { 1, 41, { 5, 0 } }, { 1, 41, { 5, 0 } }, { 1, 40, { 5, 0, 0, 0 } } } },
	{ "not the innermost", { WORLD, { 1, 42, { 5, 0, 0 } }, { 1, 42, { 6, 0, 0 } }, { 1, 43, { 5, 0, 0 } } } },
	{ NULL, { WORLD, { 1, 42, { 5, 0, 0 } }, { 1, 43, { 5, 0, 0 } }, { 1, 43, { 5, 0, 0 } } } },
	{ NULL, { WORLD, { 0, GENERATION, { 0 } }, WORLD } },
	{ "an unknown G", { WORLD, { 0, GENERATION, { 0 } }, WORLD, { 1, 25, { 12, N, 4 } } } },
	{ "no M can go on", { WORLD, { 0, GENERATION, { 0 } }, { 1, 13, { 1, 1 } }, { 1, 25, { 10, 1, 2 } }, { 1, 21, { 11, 1, 0 } } } },
	{ "unknown event", { WORLD, { 1, 12, { 0 } } } }, /* ours never writes it */
	{ "unknown event", { WORLD, { 1, 60, { 0 } } } },
};

static void write_script(const struct script *s, unsigned version, struct bytes *out)
{
	struct go_stream streams[MAX_MS + 1] = { 0 };
	static const uint8_t n_args[64] = { [10] = 2, [13] = 2, [14] = 3, [16] = 2, [19] = 2, [20] = 2, [21] = 3,
					    [22] = 2, [25] = 3, [40] = 4, [41] = 2, [42] = 3, [43] = 3, [44] = 4 };
	struct go_wire w;

	go_wire_init(&w, version, out);
	go_wire_begin(&w, 1000, 1000, out);
	for (size_t i = 0; i < MAX_STEPS && s->steps[i].event; i++) {
		const struct step *x = &s->steps[i];

		if (x->event != GENERATION) {
			go_wire_event(&w, &streams[x->m], x->m, w.now + 10, x->event, n_args[x->event & 63], x->args);
			continue;
		}
		for (uint64_t m = 1; m <= MAX_MS; m++)
			go_wire_flush(&w, &streams[m], m);
		go_wire_end(&w);
		go_wire_begin(&w, w.now + 10, 1000, out);
	}
	for (uint64_t m = 1; m <= MAX_MS; m++) {
		go_wire_flush(&w, &streams[m], m);
		bytes_deinit(&streams[m].b);
	}
	go_wire_end(&w);
	go_wire_deinit(&w);
}

static void leave_file(const struct script *s, unsigned version, size_t i, const struct bytes *b)
{
	char path[512];
	FILE *f;

	if (!getenv("TRACE_CHECK_WRITE"))
		return;
	snprintf(path, sizeof(path), "%s/%zu-%u-%s.trace", getenv("TRACE_CHECK_WRITE"), i, version,
		 s->error ? "refused" : "taken");
	f = fopen(path, "we");
	assert_non_null(f);
	fwrite(b->data, 1, b->n, f);
	fclose(f);
}

static void test_steps(void **state)
{
	for (size_t i = 0; i < sizeof(scripts) / sizeof(*scripts); i++) {
		unsigned version = i & 1 ? 26 : 22;
		struct bytes b = BYTES_INIT;
		struct trace_check c = { 0 };

		write_script(&scripts[i], version, &b);
		leave_file(&scripts[i], version, i, &b);
		trace_check(b.data, b.n, &c);
		if (!scripts[i].error != !c.error[0] || (scripts[i].error && !strstr(c.error, scripts[i].error)))
			fail_msg("%zu: '%s', not '%s'", i, c.error, scripts[i].error ? scripts[i].error : "");
		bytes_deinit(&b);
	}
}

static void refuse(const char *bytes, size_t n, const char *error)
{
	struct trace_check c = { 0 };

	assert_false(trace_check(bytes, n, &c));
	if (!strstr(c.error, error))
		fail_msg("'%s', not '%s'", c.error, error);
}

#define HEAD(version) "go 1." version " trace\0\0\0"
#define REFUSE(text, error) refuse((text), sizeof(text) - 1, (error))
#define FREQUENCY "\1\1\0\1\2\10\1" /* of generation 1 */

static void test_bytes(void **state)
{
	struct trace_check c = { 0 };

	assert_true(trace_check(HEAD("22") FREQUENCY, 16 + 7, &c));
	REFUSE("", "no header");
	REFUSE(HEAD("24") FREQUENCY, "no header");
	REFUSE(HEAD("22"), "nothing follows");
	REFUSE(HEAD("22") FREQUENCY FREQUENCY, "two frequencies");
	REFUSE(HEAD("22") "\1\1\0\1\1\4", "no frequency");
	REFUSE(HEAD("25") FREQUENCY, "another version");
	REFUSE(HEAD("26") "\1\1\0\1\7\62\10\1\63\0\1\1\1", "a bad clock"); /* cut */
	REFUSE(HEAD("26") "\1\1\0\1\10\62\10\1\63\0\1\1\1", "no end of the generation");
	REFUSE(HEAD("22") "\1\2\0\1\2\10\1", "a batch of generation 2");
	REFUSE(HEAD("22") "\2\1\0\1\2\10\1", "no batch");
	REFUSE(HEAD("22") "\1\1\0\1\3\10\1", "a bad batch");
	REFUSE(HEAD("22") "\1\1\0\1\0", "a bad batch");
	REFUSE(HEAD("22") "\1\1\0\1\11\4\5\1\1a\5\1\1b", "string 1 twice");
	REFUSE(HEAD("22") "\1\1\0\1\5\4\5\0\1a", "a bad record of strings");
	REFUSE(HEAD("22") "\1\1\0\1\5\4\5\1\2a", "a bad record of strings");
	REFUSE(HEAD("22") "\1\1\0\1\10\2\3\1\1\7\0\0\0" "\1\1\0\1\10\2\3\1\1\7\0\0\0", "stack 1 twice");
	REFUSE(HEAD("22") "\1\1\0\1\10\2\3\1\1\7\1\0\0" FREQUENCY, "unknown string");
	REFUSE(HEAD("22") "\1\1\0\1\7\2\3\1\1\7\1\0", "stack 1 is cut");
	REFUSE(HEAD("22") "\1\1\0\1\7\6\7\1\1\1\1\1" FREQUENCY, "a sample of an unknown stack");
	REFUSE(HEAD("22") "\1\1\1\1\3\15\0\1" FREQUENCY, "a cut event");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
