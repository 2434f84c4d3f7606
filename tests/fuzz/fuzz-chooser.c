/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as the code of an allocation function. The low bits of the first byte are the arguments
 * that are wanted. What is chosen is within the function, the kernel emulates it, nothing in front
 * of it is a branch of these kinds, and every argument is somewhere. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symbolizer/chooser.h"

#define ADDRESS 0x7fff00001000ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
	uint64_t last;
	unsigned n, n_thunks;
};

static void on_exit_of(void *context, const struct chooser_exit *e)
{
	struct seen *s = context;

	assert(e->kind <= EXIT_RETURN);
	assert((e->kind != EXIT_RETURN && e->kind != EXIT_CALL_ANY && e->kind != EXIT_JUMP_ANY) ||
	       !e->target);
	s->n++;
	s->n_thunks += e->thunk;
}

static void check(const struct chooser_code *code, unsigned arguments, const struct choice *c)
{
	unsigned length = 0;

	assert(c->offset < code->n);
	assert(emulated_x86(code->data + c->offset, code->n - c->offset, &length) ==
	       c->instruction);
	assert(c->instruction != EMULATED_NOT && length && length <= code->n - c->offset);
	assert(c->instruction != EMULATED_NOP5 || !c->offset);
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++) {
		if (arguments >> i & 1)
			assert(c->registers[i] < SYMBOLIZER_N_REGISTERS && c->registers[i] != 7);
		else
			assert(c->registers[i] == SYMBOLIZER_NO_REGISTER);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	unsigned arguments = n ? data[0] & 7 : 0;
	struct chooser_code code = { data + 1, n - 1, ADDRESS };
	enum symbolizer_probe_status status, exits;
	struct seen seen = { 0 };
	struct choice c = { 0 };

	if (!n)
		return 0;
	status = chooser_choose(&code, arguments, &c);
	exits = chooser_exits(&code, on_exit_of, &seen);
	assert(status < PROBE_NOP5 && status != PROBE_ELSEWHERE);
	assert(exits == PROBE_FINE || exits == PROBE_UNDECODABLE);
	assert(seen.n <= code.n && seen.n_thunks <= 1);
	if (status == PROBE_FINE) {
		assert(exits == PROBE_FINE);
		check(&code, arguments, &c);
		/* fewer arguments are never harder to find */
		assert(chooser_choose(&code, arguments & 5, &c) == PROBE_FINE);
	}
	chooser_leads_into(&code, ADDRESS, ADDRESS + n / 2);
	return 0;
}
