/* SPDX-License-Identifier: Apache-2.0 */

/* answer_service.c - what a machine asks that looks after pprofd: /metrics, /sd, /-/healthy, /-/ready. */

#include <string.h>

#include "daemon/serve/asking.h"
#include "daemon/serve/door/redact.h"
#include "daemon/serve/metrics/page.h"
#include "daemon/serve/sd.h"

static void answer_metrics(const struct asking *s)
{
	struct metrics_text t = { .to = &s->ret->body, .open = metrics_wants_open(s->q->accept) };
	struct facts f;
	int r = facts_read(s->a, &f);

	s->ret->status = 200;
	s->ret->kind = t.open ? HTTP_OPENMETRICS : HTTP_METRICS;
	if (r == 0)
		metrics_page(&t, &f, &s->a->core->tally, s->q->tally);
	else
		http_error(s->ret, 500, "out of memory");
	facts_deinit(&f);
}

struct listing {
	const struct core *core;
	struct bytes *to;
	const char *host, *scheme;
	size_t n;
};

/* The first of its descriptions that has a name. */
static const char *described_as(const struct known *k, uint64_t matches)
{
	for (uint32_t i = 0; i < k->n_descriptions; i++)
		if (matches >> i & 1 && *k->descriptions[i].name)
			return k->descriptions[i].name;
	return NULL;
}

static bool list(void *context, const struct known_process *p)
{
	struct listing *l = context;
	bool redact = l->core->redact & BROKER_REDACT_PATHS;
	char exe[sizeof(p->exe)];
	struct sd_target t = { .pid = p->pid,
			       .name = described_as(&l->core->known, p->matches),
			       .comm = p->comm,
			       .exe = exe,
			       .unit = p->unit,
			       .container = p->container,
			       .pod = p->pod,
			       .cgroup = redact ? NULL : p->cgroup };

	memcpy(exe, p->exe, sizeof(exe));
	if (redact)
		t.exe = redact_path(exe);
	/* what was named by its PID keeps its place when it has ended */
	if (!p->target || p->target > l->core->n_targets || target_alive(&l->core->targets[p->target - 1]))
		sd_add(l->to, l->host, l->scheme, &t, l->n++);
	return true;
}

static void answer_sd(const struct asking *s)
{
	struct known *k = &s->a->core->known;
	struct listing l = { s->a->core, &s->ret->body, s->q->host && *s->q->host ? s->q->host : "localhost",
			     s->q->tls ? "https" : NULL, 0 };

	known_wait(k);
	sd_begin(l.to);
	known_each(k, list, &l);
	sd_end(l.to);
	s->ret->status = 200;
	s->ret->kind = HTTP_JSON;
}

static void answer_healthy(const struct asking *s)
{
	s->ret->status = 200;
	s->ret->kind = HTTP_TEXT;
	bytes_puts(&s->ret->body, "pprofd is healthy\n");
}

static void answer_ready(const struct asking *s)
{
	struct core *c = s->a->core;
	enum core_kernel kernel;

	pthread_mutex_lock(&c->lock);
	kernel = c->kernel;
	pthread_mutex_unlock(&c->lock);
	if (kernel == CORE_READY) {
		s->ret->status = 200;
		s->ret->kind = HTTP_TEXT;
		bytes_puts(&s->ret->body, "pprofd is ready\n");
		return;
	}
	http_error(s->ret, 503, kernel == CORE_LOADING ? "BPF programs are being loaded" : "BPF programs could not be loaded");
}

bool answer_service(const struct asking *s)
{
	static const struct {
		const char *path;
		void (*answer)(const struct asking *s);
	} all[] = { { "/metrics", answer_metrics },
		    { "/sd", answer_sd },
		    { "/-/healthy", answer_healthy },
		    { "/-/ready", answer_ready } };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(s->q->path, all[i].path))
			continue;
		all[i].answer(s);
		return true;
	}
	return false;
}
