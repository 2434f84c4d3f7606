/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* asking.h - what answer.c and answer_*.c share: one request in the making, and the steps that kinds of
 * profiles have in common. */

#include <stdbool.h>

#include "daemon/serve/answer.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/index.h"
#include "daemon/serve/known.h"
#include "daemon/serve/naming.h"
#include "daemon/serve/profile.h"

struct asking {
	struct answers *a;
	struct target *target;
	const struct http_request *q;
	struct http_response *ret;
	enum symbolizer_demangle demangle;
	bool gperftools; /* /pprof/...: counts under addresses, as gperftools' clients read them */
	int64_t *waited_ns; /* for its window to end */
	struct merge *merge; /* not NULL: the capture is a part of it, and is not written */
	const char *place; /* NAME, where it is /t/NAME/...; else NULL */
	struct known_watch *newcomers; /* of that name; NULL: it was not asked for by one */
	bool cursor;	 /* delta_...: since this client has asked last */
};

void asking_gone(const struct asking *s);
/* The target is in the middle of an exec, and has been for a while. */
void asking_between(const struct asking *s);
bool asking_known_format(const char *format);
/* 400. */
void asking_unknown_format(const struct asking *s);
/* `seconds`, 0: none. False: it has been answered. */
bool asking_delta_seconds(const struct asking *s, int64_t *ret);
/* False: it has been answered. */
bool asking_wait_delta(const struct asking *s, int64_t seconds);
/* Room for `n` windows more, until they end. False: it has been answered. */
bool asking_begin_captures(const struct asking *s, int n);
void asking_end_captures(const struct asking *s, int n);
/* ?demangle=. False: it has been answered. */
bool asking_demangle(struct asking *s);
/* Names as ?demangle= wants them, before they are written and after all else. 0 or -ENOMEM. */
int asking_spell(const struct asking *s, struct naming *n);
/* In the format that was asked for; spells the names. */
void asking_encode(const struct asking *s, struct capture *capture, struct naming *n);
/* Who came to be called so too late to be in the capture, if anybody. 0 or -ENOMEM. */
int asking_say_newcomers(const struct asking *s, struct capture *capture);
/* What is left of that: the bytes, and a copy into the history, if it says keep. 0 or -errno. */
int asking_write(const struct asking *s, const struct capture *capture, const struct naming *n, const char *filename);
/* Whether a text is wanted of a profile that has one, where 0 and less mean none. */
bool asking_text(const struct asking *s);

/* What the client of a delta_ profile has seen, for a reading `now` (cursors.h); the lock of the cursors is held. The
 * capture is told. 0 or -ENOMEM. */
int asking_cursor(const struct asking *s, int64_t (*now)[2], size_t n, struct capture *capture,
		  struct cursor_before *ret);

/* A path of gperftools' or of Grafana's godeltaprof: the profile of the table that it is, and how the answer is to
 * be written. NULL: it is neither. `name` is behind the last slash. */
const char *asking_gperftools(struct asking *s, const char *name);
const char *asking_godeltaprof(struct asking *s, const char *name);

/* What a machine asks that looks after pprofd. False: it is no such path. */
bool answer_service(const struct asking *s);
void answer_profile(struct asking *s, const char *name);
void answer_trace(const struct asking *s);
void answer_heap(const struct asking *s, const struct profile *p);
void answer_threads(const struct asking *s, const struct profile *p);
void answer_created(const struct asking *s, const struct profile *p, int64_t seconds);
void answer_custom(const struct asking *s, const char *name);
/* As a row of the table. */
struct profile asking_custom_profile(const char *name);
/* The page, with `others` for the counts of what is not the target's own. */
void answer_index(const struct asking *s, index_count *others);
uint64_t answer_count_threads(const struct asking *s);
