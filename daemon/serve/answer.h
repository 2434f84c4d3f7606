/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* answer.h - what each path answers: the one place that knows both the contract of /debug/pprof/ and
 * the core. Holds no state of its own. */

#include "daemon/serve/core.h"
#include "daemon/serve/cursors.h"
#include "daemon/serve/http.h"

#define ANSWER_MAX_SECONDS 3600
#define ANSWER_DEFAULT_SECONDS 30
#define ANSWER_MAX_CAPTURES 512 /* at a time; more are told to come back */

struct answers {
	struct core *core;
	int finish_fd; /* one-shot: readable when the window is to end early; else -1 */
	int n_captures; /* atomic */
	struct cursors cursors;
};

/* An http_handler; context is a struct answers. */
void answer(void *context, const struct http_request *q, struct http_response *ret);
