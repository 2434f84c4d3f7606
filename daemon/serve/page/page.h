/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* page.h - what a person's page asks: the page itself at "/", /pid/PID/ and /t/NAME/, and below these its files, -/live
 * and -/history.
 *
 * Holds nothing; knows which process is meant without taking a slot for it, so that whoever only looks starts
 * nothing. */

#include "daemon/serve/answer_target.h"

/* Those that a place means, now. */
struct page_found {
	struct known_process *all; /* alive; the caller's to free */
	size_t n, n_all;
	int32_t pid;	/* of the one that there is, alive or not; 0: none, or several */
	char name[128]; /* what the place is called */
	bool ended;	/* it has, and is still told of */
};

/* False: there is nothing there. With PLACE_ALONE `n_all` may be several, which is the list's business. */
bool page_find(const struct asking *s, const struct place *p, struct page_found *ret);

/* When a process began, ms since 1970, by clock ticks since the machine's boot. */
int64_t page_started_ms(uint64_t ticks);

/* False: it is no path of the page's. */
bool page_answer(const struct asking *s, const struct place *p);

void page_live(const struct asking *s, const struct page_found *f);
/* `id`: behind "-/history/"; NULL: the list. */
void page_history(const struct asking *s, const struct place *p, const char *id);
