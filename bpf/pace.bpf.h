/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* pace.bpf.h - how many waits are looked at: an account of time for each CPU and process, and the coin that
 * follows it. */

#include "compat.bpf.h"
#include "wait.h"

#define PP_ACCOUNT_NS 10000000ll /* what an account may hold: a burst of some thousand waits */
#define PP_LOOK_EVERY 64	 /* waits: so often the account is looked at even when they are not */
#define PP_FALL_NS 20000		 /* some ten waits: less is chance */
#define PP_MANY_SHIFT 3		 /* so many waits that an eighth of the floor will do */
#define PP_ADJUST_NS 1000000ull	 /* a higher weight at most so often; a lower one, a tenth */

/* The account, brought up to date; the weight of what is looked at next follows it. */
PP_INLINE void pp_wait_adjust(struct pp_wait_cpu *c, const struct pp_wait_state *s, u64 now)
{
	u64 wall = now - c->looked;
	s64 gain;

	if (!c->looked) { /* the first time: there is no time since */
		c->account = PP_ACCOUNT_NS / 2;
		c->ran = 0;
		wall = 0;
	}
	if (wall > 1ull << 34)
		wall = 1ull << 34;
	gain = (c->ran >> 10) * s->share >> 10;
	gain += (wall >> 10) * s->floor >> (c->shift < PP_MANY_SHIFT ? 10 : 13);
	c->account += gain;
	if (c->account > PP_ACCOUNT_NS)
		c->account = PP_ACCOUNT_NS;
	if (c->account < -10 * PP_ACCOUNT_NS) /* never, as the weight follows */
		c->account = -10 * PP_ACCOUNT_NS;
	c->ran = 0;
	c->looked = now;
	if (c->account < 0 && c->account < c->account_then - PP_FALL_NS && now - c->changed > PP_ADJUST_NS &&
	    c->shift < PP_WAIT_MAX_SHIFT)
		c->shift++; /* it still falls */
	else if (c->account > PP_ACCOUNT_NS / 2 && c->shift && now - c->changed > 10 * PP_ADJUST_NS)
		c->shift--;
	else if (c->account <= c->account_then)
		return;
	else
		now = c->changed;
	c->changed = now;
	c->account_then = c->account;
}

/* Whether this one is looked at: its weight, or 0. */
PP_INLINE u32 pp_wait_coin(const struct pp_wait_cpu *c)
{
	u32 shift = c->shift & 31;

	return shift && bpf_get_prandom_u32() >> (32 - shift) ? 0 : 1u << shift;
}

PP_INLINE void pp_wait_pay(struct pp_wait_cpu *c, u64 since)
{
	u64 took = bpf_ktime_get_ns() - since;

	c->account -= took;
	c->spent += took;
	if (took > c->longest)
		c->longest = took;
}
