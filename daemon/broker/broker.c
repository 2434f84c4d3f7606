/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/broker.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "daemon/broker/answer.h"
#include "daemon/broker/left.h"
#include "daemon/broker/threads.h"

#define SERVE_PATIENCE_S 5 /* for serve to take what it has asked for; then it is ended */

/* Allowed hosts, or the request of the one-shot run, as NUL-terminated strings. */
static uint32_t start_text(const struct options *o, char *to, size_t max)
{
	static const char *const formats[] = { [FORMAT_PPROF] = "pprof",
					       [FORMAT_TOP] = "top",
					       [FORMAT_FOLDED] = "folded",
					       [FORMAT_DUMP] = "dump",
					       [FORMAT_GO] = "go",
					       [FORMAT_PERFETTO] = "perfetto" };
	size_t n = 0;

	if (o->record) {
		char window[32] = "", debug[32] = "";

		if (!o->now)
			snprintf(window, sizeof(window), "seconds=%u&", o->seconds);
		if (o->debug)
			snprintf(debug, sizeof(debug), "debug=%u&", o->debug);
		n += (size_t)snprintf(to, max, "%s", o->profile) + 1;
		if (n < max)
			n += (size_t)snprintf(to + n, max - n, "%s%sformat=%s", window, debug,
					      formats[o->format]) + 1;
		return n <= max ? (uint32_t)n : 0;
	}
	for (unsigned i = 0; i < o->n_hosts; i++) {
		size_t k = strlen(o->hosts[i]) + 1;

		if (n + k > max)
			break;
		memcpy(to + n, o->hosts[i], k);
		n += k;
	}
	return (uint32_t)n;
}

struct broker_target broker_describe(const struct broker *b, unsigned i)
{
	const struct process *p = &b->processes[i];
	struct broker_target t = { .index = i,
				   .pid = p->pid,
				   .uid = p->uid,
				   .host_tgid = p->host_tgid,
				   .start_boottime = p->start_boottime,
				   .exec_id = p->exec_id,
				   .known = p->known };

	memcpy(t.comm, p->comm, sizeof(t.comm));
	return t;
}

static int send_start(const struct broker *b, struct record *r)
{
	const struct options *o = b->options;
	struct broker_start s = { .n_targets = b->n_named,
				  .hz = o->hz,
				  .period_ns = 1000000000ull / o->hz,
				  .owner_uid = getuid(),
				  .insecure = o->insecure,
				  .heap = o->heap,
				  .wait = o->wait,
				  .max_overhead = o->max_overhead,
				  .n_tracks = o->n_tracks,
				  .alive_ms = b->notify.watchdog_ms / 3,
				  .debuginfod = o->n_debuginfod > 0,
				  .lease_s = o->lease_s,
				  .follow = o->descriptions.follow,
				  .has_web = b->web.path != NULL,
				  .max_rate = o->max_rate,
				  .redact = o->redact,
				  .audit = o->audit,
				  .one_shot = o->record };

	s.n_text = start_text(o, (char *)r->data + sizeof(s), RECORD_MAX - sizeof(s));
	memcpy(r->data, &s, sizeof(s));
	r->n = (uint32_t)sizeof(s) + s.n_text;
	if (o->record) {
		r->fds[r->n_fds++] = b->output;
		r->fds[r->n_fds++] = b->finish;
	}
	for (size_t i = 0; i < b->n_listeners; i++)
		r->fds[r->n_fds++] = b->listeners[i].fd;
	return record_send(b->serve.socket, r);
}

static int send_news(struct broker *b, struct record *r)
{
	_cleanup_(closep) int theirs = census_connect(&b->census);

	if (theirs < 0)
		return theirs;
	*r = (struct record){ .type = BROKER_NEWS, .n_fds = 1, .fds = { theirs } };
	r->n = describe_tell(&b->options->descriptions, (struct broker_description *)(void *)r->data) *
	       (uint32_t)sizeof(struct broker_description);
	return record_send(b->serve.socket, r);
}

int broker_start_serve(struct broker *b)
{
	const struct timeval patience = { SERVE_PATIENCE_S, 0 };
	static struct record r;
	int err = child_start("pprofd-serve", &b->serve);

	if (err < 0)
		return err;
	setsockopt(b->serve.socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	r = (struct record){ .type = BROKER_START };
	err = send_start(b, &r);
	for (unsigned i = 0; i < b->n_named && err == 0; i++) {
		struct broker_target t = broker_describe(b, i);

		r = (struct record){ .type = BROKER_TARGET, .n = sizeof(t), .n_fds = 1 };
		memcpy(r.data, &t, sizeof(t));
		r.fds[0] = b->processes[i].pidfd;
		err = record_send(b->serve.socket, &r);
	}
	if (b->options->n_tracks && err == 0) {
		r = (struct record){ .type = BROKER_TRACKS,
				     .n = b->options->n_tracks * (uint32_t)sizeof(*b->options->tracks) };
		memcpy(r.data, b->options->tracks, r.n);
		err = record_send(b->serve.socket, &r);
	}
	if (!b->options->record && err == 0)
		err = send_news(b, &r);
	return b->web.path && err == 0 ? broker_send_web(b) : err;
}

static void answer_maps(struct broker *b, struct answer *a)
{
	struct kernel_sizes sizes;
	struct broker_maps m;

	kernel_sizes(b->kernel, &sizes);
	m = (struct broker_maps){ sizes.n_stacks, sizes.n_counts, sizes.n_pool_chunks,
				  sizes.ring_size };
	memcpy(a->r->data, &m, sizeof(m));
	a->r->n = sizeof(m);
	for (int i = 0; i < PP_N_MAPS; i++)
		a->r->fds[a->r->n_fds++] = kernel_map(b->kernel, (enum pp_map)i);
}

static void answer_identify(struct broker *b, struct answer *a)
{
	const uint32_t *target = record_payload(a->r, uint32_t);
	struct broker_target t = { 0 };
	struct process *p;
	uint64_t before;

	a->r->status = -EINVAL;
	if (target && *target < b->n_processes) {
		p = &b->processes[*target];
		before = p->exec_id;
		a->r->status = kernel_identify(b->kernel, p);
		if (p->exec_id != before && before)
			process_look_whose(p);
		t = broker_describe(b, *target);
	}
	memcpy(a->r->data, &t, sizeof(t));
	a->r->n = sizeof(t);
}

static void answer_symbolizer(struct broker *b, struct answer *a)
{
	child_stop(&b->symbolizer);
	a->r->n = 0;
	a->r->status = child_start("pprofd-symbolizer", &b->symbolizer);
	b->n_symbolizers++;
	if (a->r->status == 0)
		answer_fd(a, TAKE_FD(b->symbolizer.socket));
}

static int arm(struct broker *b, enum pp_collector c, char *error)
{
	switch (c) {
	case PP_WAIT:
		if (!b->waits || waits_loaded(b->waits, error) < 0)
			return -EINVAL;
		return waits_arm(b->waits, b->processes, b->n_processes, error);
	case PP_TRACE:
	case PP_TRACE_CALLS:
		if (!b->traces || traces_loaded(b->traces, error) < 0)
			return -EINVAL;
		return traces_arm(b->traces, c == PP_TRACE_CALLS, error);
	default:
		return kernel_arm(b->kernel, c, error);
	}
}

static void disarm(struct broker *b, enum pp_collector c)
{
	char error[KERNEL_MAX_TEXT];
	bool traces = c == PP_TRACE || c == PP_TRACE_CALLS;

	if (traces && b->traces && traces_loaded(b->traces, error) == 0)
		traces_disarm(b->traces, c == PP_TRACE_CALLS);
	else if (c == PP_WAIT && b->waits)
		waits_disarm(b->waits);
	else if (c != PP_WAIT && !traces)
		kernel_disarm(b->kernel, c);
}

static void answer_arm(struct broker *b, struct answer *a)
{
	const uint32_t *collector = record_payload(a->r, uint32_t);
	char error[KERNEL_MAX_TEXT] = "";

	if (!collector)
		a->r->status = -EINVAL;
	else if (a->r->type == BROKER_DISARM)
		disarm(b, (enum pp_collector)*collector);
	else
		a->r->status = arm(b, (enum pp_collector)*collector, error);
	a->r->n = (uint32_t)strlen(error);
	memcpy(a->r->data, error, a->r->n);
}

void answer_text(struct answer *a, int status, const char *error)
{
	a->r->status = status;
	a->r->n = status < 0 ? (uint32_t)strlen(error) : 0;
	memcpy(a->r->data, error, a->r->n);
}

static void answer_heap(struct broker *b, struct answer *a)
{
	char error[KERNEL_MAX_TEXT] = "";
	struct broker_heap h;
	int r = 0;

	if (!b->loading)
		r = uprobes_begin(b->kernel, b->n_processes > 1 || b->census.news, &b->loading);
	if (r == 0 && !b->uprobes)
		r = uprobes_loaded(b->loading, &b->uprobes, error);
	answer_text(a, r, error);
	if (r < 0)
		return;
	h = (struct broker_heap){ uprobes_n_cpus(), uprobes_has_sessions(b->uprobes),
				  uprobes_hit_ns(b->uprobes, 0), 0 };
	h.shared_ns = b->n_processes > 1 || b->census.news ? uprobes_hit_ns(b->uprobes, BROKER_MAX_SHARERS - 1) : h.hit_ns;
	memcpy(a->r->data, &h, sizeof(h));
	a->r->n = sizeof(h);
	for (int i = 0; i < PP_N_HEAP_MAPS; i++)
		a->r->fds[a->r->n_fds++] = uprobes_map(b->uprobes, (enum pp_heap_map)i);
}

static void answer_threads(struct broker *b, struct answer *a)
{
	const struct broker_threads *q = record_payload(a->r, struct broker_threads);
	enum broker_threads_what what = q ? (enum broker_threads_what)q->what : 0;
	struct process *p = q && q->target < b->n_processes ? &b->processes[q->target] : NULL;
	char error[KERNEL_MAX_TEXT] = "";
	struct kernel_threads k;
	int fd = p && what <= BROKER_THREADS_STACKS ? kernel_threads(b->kernel, p, &k, error) : -EINVAL;

	if (fd == 0)
		fd = threads_answer(p, k, what);
	answer_text(a, fd < 0 ? fd : 0, error);
	if (fd >= 0)
		answer_fd(a, fd);
}

static void answer_wait(struct broker *b, struct answer *a)
{
	struct broker_wait w = { waits_n_cpus() };
	char error[KERNEL_MAX_TEXT] = "";
	int r = b->waits ? 0 : waits_begin(b->kernel, b->options->wait, &b->waits);

	if (r == 0)
		r = waits_loaded(b->waits, error);
	answer_text(a, r, error);
	if (r < 0)
		return;
	memcpy(a->r->data, &w, sizeof(w));
	a->r->n = sizeof(w);
	for (int i = 0; i < PP_N_WAIT_MAPS; i++)
		a->r->fds[a->r->n_fds++] = waits_map(b->waits, (enum pp_wait_map)i);
}

static void answer_trace(struct broker *b, struct answer *a)
{
	char error[KERNEL_MAX_TEXT] = "";
	int r = b->traces ? 0 : traces_begin(b->kernel, &b->traces);

	if (r == 0)
		r = traces_loaded(b->traces, error);
	if (r == 0)
		r = traces_make_ring(b->traces);
	answer_text(a, r, error);
	if (r < 0 && r != -EAGAIN)
		traces_free(TAKE_PTR(b->traces)); /* the next one tries again */
	for (int i = 0; i < PP_N_TRACE_MAPS && r == 0; i++)
		a->r->fds[a->r->n_fds++] = traces_map(b->traces, (enum pp_trace_map)i);
}

static int probe(struct broker *b, const struct record *r, char *error)
{
	struct broker_probe probes[BROKER_MAX_PROBES];
	_cleanup_(left_closep) int fd = -1;
	struct broker_file file;
	struct broker_probes q;

	if (r->n < sizeof(q))
		return -EBADMSG;
	memcpy(&q, r->data, sizeof(q));
	if (!b->uprobes || q.target >= b->n_processes || q.n > BROKER_MAX_PROBES ||
	    r->n != sizeof(q) + q.n * sizeof(*probes))
		return -EBADMSG;
	memcpy(probes, r->data + sizeof(q), q.n * sizeof(*probes));
	fd = process_open_mapped(&b->processes[q.target], q.start, q.end, &file);
	if (fd < 0)
		return fd;
	return uprobes_probe(b->uprobes, &b->processes[q.target], fd, &q, probes, error);
}

static void answer_probe(struct broker *b, struct answer *a)
{
	char error[KERNEL_MAX_TEXT] = "";
	int r = probe(b, a->r, error);

	answer_text(a, r, error);
}

static void answer_custom(struct broker *b, struct answer *a)
{
	char error[KERNEL_MAX_TEXT] = "";
	int r = b->customs ? 0 : customs_begin(b->kernel, &b->customs);

	if (r == 0)
		r = customs_loaded(b->customs, error);
	answer_text(a, r, error);
	for (int i = 0; r == 0 && i < PP_N_CUSTOM_MAPS; i++)
		a->r->fds[a->r->n_fds++] = customs_map(b->customs, (enum pp_custom_map)i);
}

static void answer_custom_probe(struct broker *b, struct answer *a)
{
	char error[KERNEL_MAX_TEXT] = "";
	int r = b->customs ? customs_asked(b->customs, b->processes, b->n_processes, a->r, error) : -EBADMSG;

	answer_text(a, r, error);
}

static int trace_probe(struct broker *b, const struct record *r, char *error)
{
	struct broker_custom_probe probes[BROKER_MAX_PROBES];
	_cleanup_(left_closep) int fd = -1;
	struct broker_file file;
	struct broker_probes q;

	if (r->n < sizeof(q))
		return -EBADMSG;
	memcpy(&q, r->data, sizeof(q));
	if (q.target >= b->n_processes || q.n > BROKER_MAX_PROBES || r->n != sizeof(q) + q.n * sizeof(*probes) ||
	    !b->traces || traces_loaded(b->traces, error) < 0)
		return -EBADMSG;
	memcpy(probes, r->data + sizeof(q), q.n * sizeof(*probes));
	fd = process_open_mapped(&b->processes[q.target], q.start, q.end, &file);
	return fd < 0 ? fd : traces_probe(b->traces, &b->processes[q.target], fd, &q, probes, error);
}

static void answer_trace_probe(struct broker *b, struct answer *a)
{
	char error[KERNEL_MAX_TEXT] = "";
	int r = trace_probe(b, a->r, error);

	answer_text(a, r, error);
}

static void answer_custom_off(struct broker *b, struct answer *a)
{
	const uint32_t *target = record_payload(a->r, uint32_t);

	if (target && b->customs && !customs_are_loading(b->customs))
		customs_off(b->customs, *target);
	a->r->n = 0;
}

static void answer_unprobe(struct broker *b, struct answer *a)
{
	const struct broker_unprobe *q = record_payload(a->r, struct broker_unprobe);

	if (q && b->uprobes)
		uprobes_unprobe(b->uprobes, q->target, q->sides);
	a->r->n = 0;
}

static void answer_look(struct broker *b, struct answer *a)
{
	const uint32_t *target = record_payload(a->r, uint32_t);

	a->r->status = -EINVAL;
	if (target && *target < b->n_processes && b->uprobes)
		a->r->status = uprobes_look(b->uprobes, &b->processes[*target], *target);
	a->r->n = 0;
}

/* Named by us: nothing of a stranger's choice but the letters of its name. */
static int open_kept(const struct broker *b, uint32_t target)
{
	const struct process *p = &b->processes[target];
	char comm[sizeof(p->comm)], name[96];
	int fd;

	for (size_t i = 0; i < sizeof(comm); i++)
		comm[i] = isalnum((unsigned char)p->comm[i]) || !p->comm[i] ? p->comm[i] : '_';
	comm[sizeof(comm) - 1] = '\0';
	snprintf(name, sizeof(name), "%s-%d-%llu.heap.pb.gz", comm, (int)p->pid,
		 (unsigned long long)time(NULL));
	fd = openat(b->keep, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static void answer_keep(struct broker *b, struct answer *a)
{
	const uint32_t *target = record_payload(a->r, uint32_t);

	if (!target || *target >= b->n_processes)
		a->r->status = -EINVAL;
	else
		answer_fd(a, b->keep < 0 ? -ENOENT : open_kept(b, *target));
	a->r->n = 0;
}

static void answer_slab(struct broker *b, struct answer *a)
{
	const uint32_t *index = record_payload(a->r, uint32_t);

	if (index)
		answer_fd(a, kernel_slab(b->kernel, *index));
	else
		a->r->status = -EINVAL;
	a->r->n = 0;
}

static void take_result(struct broker *b, const struct record *r)
{
	size_t n = r->n < sizeof(b->error) ? r->n : sizeof(b->error) - 1;

	b->done = true;
	b->status = r->status;
	memcpy(b->error, r->data, n);
	b->error[n] = '\0';
}

int broker_answer(struct broker *b)
{
	static struct record r;
	struct answer a = { .r = &r };
	int err = record_receive(b->serve.socket, &r, 0);

	if (err < 0)
		return err == -ETIMEDOUT ? 0 : err;
	record_close_fds(&r);
	r.status = r.type == BROKER_RESULT ? r.status : 0;
	switch (r.type) {
	case BROKER_READY:
		b->ready = true;
		return 0;
	case BROKER_RESULT:
		take_result(b, &r);
		return 0;
	case BROKER_ALIVE:
		notify_say(&b->notify, "WATCHDOG=1");
		return 0;
	case BROKER_MAPS:
		answer_maps(b, &a);
		break;
	case BROKER_IDENTIFY:
		answer_identify(b, &a);
		break;
	case BROKER_PROC:
		answer_proc(b, &a);
		break;
	case BROKER_OBJECT:
		answer_object(b, &a);
		break;
	case BROKER_DEBUG:
		answer_debug(b, &a);
		break;
	case BROKER_FETCH:
		answer_fetch(b, &a);
		break;
	case BROKER_DWO:
		answer_dwo(b, &a);
		break;
	case BROKER_PERF_MAP:
		answer_perf_map(b, &a);
		break;
	case BROKER_CONTEXT:
		answer_context(b, &a);
		break;
	case BROKER_LABELS:
		answer_labels(b, &a);
		break;
	case BROKER_BIND:
		answer_bind(b, &a);
		break;
	case BROKER_RELEASE:
		answer_release(b, &a);
		break;
	case BROKER_WEB:
		answer_web(b, &a);
		break;
	case BROKER_KALLSYMS:
		r.n = 0;
		err = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
		answer_fd(&a, err < 0 ? -errno : err);
		break;
	case BROKER_SLAB:
		answer_slab(b, &a);
		break;
	case BROKER_ARM:
	case BROKER_DISARM:
		answer_arm(b, &a);
		break;
	case BROKER_HEAP:
		answer_heap(b, &a);
		break;
	case BROKER_THREADS:
		answer_threads(b, &a);
		break;
	case BROKER_CREATED:
		r.n = 0;
		answer_fd(&a, kernel_created(b->kernel));
		break;
	case BROKER_WAIT:
		answer_wait(b, &a);
		break;
	case BROKER_TRACE:
		answer_trace(b, &a);
		break;
	case BROKER_PROBE:
		answer_probe(b, &a);
		break;
	case BROKER_UNPROBE:
		answer_unprobe(b, &a);
		break;
	case BROKER_CUSTOM:
		answer_custom(b, &a);
		break;
	case BROKER_CUSTOM_PROBE:
		answer_custom_probe(b, &a);
		break;
	case BROKER_TRACE_PROBE:
		answer_trace_probe(b, &a);
		break;
	case BROKER_CUSTOM_OFF:
		answer_custom_off(b, &a);
		break;
	case BROKER_LOOK:
		answer_look(b, &a);
		break;
	case BROKER_KEEP:
		answer_keep(b, &a);
		break;
	case BROKER_USAGE:
		answer_usage(b, &a);
		break;
	case BROKER_STATS:
		answer_stats(b, &a);
		break;
	case BROKER_CMDLINE:
		answer_cmdline(b, &a);
		break;
	case BROKER_CARRY:
		answer_carry(b, &a);
		break;
	case BROKER_SYMBOLIZER:
		answer_symbolizer(b, &a);
		break;
	default:
		return -EBADMSG;
	}
	err = record_send(b->serve.socket, &r);
	for (uint32_t i = 0; a.foreign && i < r.n_fds; i++)
		left_close(TAKE_FD(r.fds[i]));
	if (a.give)
		record_close_fds(&r);
	return err;
}
