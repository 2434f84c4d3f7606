/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/broker_client.h"

#include <errno.h>
#include <string.h>

void broker_init(struct broker_client *b, int fd)
{
	b->fd = fd;
	b->serial = 0;
	pthread_mutex_init(&b->lock, NULL);
}

int broker_hear(struct broker_client *b, enum broker_request type, struct record *r)
{
	int err = record_receive(b->fd, r, -1);

	if (err == 0 && r->type != type)
		return record_close_fds(r), -EBADMSG;
	return err;
}

/* Sends n bytes and leaves the answer in b->record. The lock is held by the caller. */
static int ask(struct broker_client *b, enum broker_request type, const void *data, size_t n)
{
	struct record *r = &b->record;
	int err;

	r->type = type;
	r->serial = ++b->serial;
	r->status = 0;
	r->n_fds = 0;
	r->n = (uint32_t)n;
	if (n)
		memcpy(r->data, data, n);
	err = record_send(b->fd, r);
	if (err == 0)
		err = record_receive(b->fd, r, -1);
	if (err < 0)
		return err;
	if (r->type != (uint32_t)type || r->serial != b->serial)
		return record_close_fds(r), -EBADMSG;
	return r->status;
}

/* The one descriptor of the answer. */
static int take_fd(struct broker_client *b, int status)
{
	int fd = -EBADMSG;

	if (status == 0 && b->record.n_fds == 1)
		fd = TAKE_FD(b->record.fds[0]);
	record_close_fds(&b->record);
	return status < 0 ? status : fd;
}

static int ask_fd(struct broker_client *b, enum broker_request type, const void *data, size_t n)
{
	int fd;

	pthread_mutex_lock(&b->lock);
	fd = take_fd(b, ask(b, type, data, n));
	pthread_mutex_unlock(&b->lock);
	return fd;
}

int broker_maps(struct broker_client *b, struct broker_maps *ret, int ret_fds[PP_N_MAPS])
{
	struct record *r = &b->record;
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_MAPS, NULL, 0);
	if (err == 0 && (r->n_fds != PP_N_MAPS || r->n != sizeof(*ret)))
		err = -EBADMSG;
	if (err == 0) {
		memcpy(ret, r->data, sizeof(*ret));
		memcpy(ret_fds, r->fds, PP_N_MAPS * sizeof(int));
		r->n_fds = 0;
	}
	record_close_fds(r);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_identify(struct broker_client *b, uint32_t target, struct broker_target *ret)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_IDENTIFY, &target, sizeof(target));
	if (err == 0 && b->record.n != sizeof(*ret))
		err = -EBADMSG;
	if (err == 0)
		memcpy(ret, b->record.data, sizeof(*ret));
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

/* The text of a failed answer. */
static void take_text(const struct broker_client *b, char *error)
{
	size_t n = b->record.n < BROKER_MAX_TEXT ? b->record.n : BROKER_MAX_TEXT - 1;

	memcpy(error, b->record.data, n);
	error[n] = '\0';
}

int broker_bind(struct broker_client *b, uint64_t known, uint32_t slot, struct broker_target *ret, char *error)
{
	struct broker_bind q = { .known = known, .slot = slot };
	int status, fd;

	pthread_mutex_lock(&b->lock);
	status = ask(b, BROKER_BIND, &q, sizeof(q));
	if (status < 0)
		take_text(b, error);
	if (status == 0 && b->record.n == sizeof(*ret))
		memcpy(ret, b->record.data, sizeof(*ret));
	else if (status == 0)
		status = -EBADMSG;
	fd = take_fd(b, status);
	pthread_mutex_unlock(&b->lock);
	return fd;
}

int broker_unbind(struct broker_client *b, uint32_t target)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_RELEASE, &target, sizeof(target));
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_open_proc(struct broker_client *b, uint32_t target, enum broker_proc_file file)
{
	struct broker_proc q = { target, file };

	return ask_fd(b, BROKER_PROC, &q, sizeof(q));
}

int broker_open_object(struct broker_client *b, uint32_t target, uint64_t start, uint64_t end,
		       struct broker_file *ret)
{
	struct broker_range q = { .target = target, .start = start, .end = end };
	int status, fd;

	pthread_mutex_lock(&b->lock);
	status = ask(b, BROKER_OBJECT, &q, sizeof(q));
	if (status == 0 && b->record.n == sizeof(*ret))
		memcpy(ret, b->record.data, sizeof(*ret));
	else if (status == 0)
		status = -EBADMSG;
	fd = take_fd(b, status);
	pthread_mutex_unlock(&b->lock);
	return fd;
}

static int open_in_place(struct broker_client *b, enum broker_request type, const void *q, uint32_t n,
			 uint32_t *ret_place)
{
	int status, fd;

	pthread_mutex_lock(&b->lock);
	status = ask(b, type, q, n);
	if (status == 0 && b->record.n == sizeof(*ret_place))
		memcpy(ret_place, b->record.data, sizeof(*ret_place));
	else if (status == 0)
		status = -EBADMSG;
	fd = take_fd(b, status);
	pthread_mutex_unlock(&b->lock);
	return fd;
}

int broker_fetch(struct broker_client *b, const struct broker_fetch *q, struct broker_fetched *ret)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_FETCH, q, sizeof(*q));
	if (err == 0 && b->record.n != sizeof(*ret))
		err = -EBADMSG;
	if (err == 0)
		memcpy(ret, b->record.data, sizeof(*ret));
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_usage(struct broker_client *b, struct broker_usage *ret)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_USAGE, NULL, 0);
	if (err == 0 && b->record.n != sizeof(*ret))
		err = -EBADMSG;
	if (err == 0)
		memcpy(ret, b->record.data, sizeof(*ret));
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_stats(struct broker_client *b, const struct broker_who *who, uint32_t n, struct broker_stat *ret)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_STATS, who, n * sizeof(*who));
	if (err == 0 && b->record.n != n * sizeof(*ret))
		err = -EBADMSG;
	if (err == 0)
		memcpy(ret, b->record.data, n * sizeof(*ret));
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_open_cmdline(struct broker_client *b, const struct broker_who *who)
{
	return ask_fd(b, BROKER_CMDLINE, who, sizeof(*who));
}

int broker_open_debug(struct broker_client *b, const struct broker_debug *q, uint32_t *ret_place)
{
	return open_in_place(b, BROKER_DEBUG, q, sizeof(*q), ret_place);
}

int broker_open_dwo(struct broker_client *b, const struct broker_dwo *q, uint32_t *ret_place)
{
	return open_in_place(b, BROKER_DWO, q, sizeof(*q), ret_place);
}

int broker_open_perf_map(struct broker_client *b, uint32_t target)
{
	return ask_fd(b, BROKER_PERF_MAP, &target, sizeof(target));
}

int broker_open_context(struct broker_client *b, uint32_t target)
{
	return ask_fd(b, BROKER_CONTEXT, &target, sizeof(target));
}

int broker_open_labels(struct broker_client *b, const struct broker_labels *q, const uint64_t *thread_pointers)
{
	unsigned char data[RECORD_MAX];
	size_t n = q->n * sizeof(*thread_pointers);

	memcpy(data, q, sizeof(*q));
	memcpy(data + sizeof(*q), thread_pointers, n);
	return ask_fd(b, BROKER_LABELS, data, sizeof(*q) + n);
}

int broker_open_kallsyms(struct broker_client *b)
{
	return ask_fd(b, BROKER_KALLSYMS, NULL, 0);
}

int broker_slab(struct broker_client *b, uint32_t index)
{
	return ask_fd(b, BROKER_SLAB, &index, sizeof(index));
}

/* An answer of n bytes and some maps; an error's text. */
static int ask_programs(struct broker_client *b, enum broker_request type, void *ret, uint32_t n,
			int *ret_fds, uint32_t n_fds, char *error)
{
	struct record *r = &b->record;
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, type, NULL, 0);
	if (err < 0)
		take_text(b, error);
	if (err == 0 && (r->n_fds != n_fds || r->n != n))
		err = -EBADMSG;
	if (err == 0) {
		memcpy(ret, r->data, n);
		memcpy(ret_fds, r->fds, n_fds * sizeof(int));
		r->n_fds = 0;
	}
	record_close_fds(r);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_heap(struct broker_client *b, struct broker_heap *ret, int ret_fds[PP_N_HEAP_MAPS],
		char *error)
{
	return ask_programs(b, BROKER_HEAP, ret, sizeof(*ret), ret_fds, PP_N_HEAP_MAPS, error);
}

int broker_wait(struct broker_client *b, struct broker_wait *ret, int ret_fds[PP_N_WAIT_MAPS], char *error)
{
	return ask_programs(b, BROKER_WAIT, ret, sizeof(*ret), ret_fds, PP_N_WAIT_MAPS, error);
}

int broker_trace(struct broker_client *b, int ret_fds[PP_N_TRACE_MAPS], char *error)
{
	char none;

	return ask_programs(b, BROKER_TRACE, &none, 0, ret_fds, PP_N_TRACE_MAPS, error);
}

int broker_threads(struct broker_client *b, uint32_t target, enum broker_threads_what what)
{
	struct broker_threads q = { target, what };

	return ask_fd(b, BROKER_THREADS, &q, sizeof(q));
}

int broker_web(struct broker_client *b, uint32_t generation, struct record *ret)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_WEB, &generation, sizeof(generation));
	if (err == 0 && !b->record.n) {
		err = 1;
	} else if (err == 0 && b->record.n == sizeof(struct broker_web)) {
		*ret = b->record;
		b->record.n_fds = 0;
	} else if (err == 0) {
		err = -EBADMSG;
	}
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_created(struct broker_client *b)
{
	return ask_fd(b, BROKER_CREATED, NULL, 0);
}

int broker_probe(struct broker_client *b, const struct broker_probes *q,
		 const struct broker_probe *probes, char *error)
{
	unsigned char data[sizeof(*q) + BROKER_MAX_PROBES * sizeof(*probes)];
	int err;

	if (q->n > BROKER_MAX_PROBES)
		return -E2BIG;
	memcpy(data, q, sizeof(*q));
	memcpy(data + sizeof(*q), probes, q->n * sizeof(*probes));
	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_PROBE, data, sizeof(*q) + q->n * sizeof(*probes));
	if (err < 0)
		take_text(b, error);
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_custom(struct broker_client *b, int ret_fds[PP_N_CUSTOM_MAPS], char *error)
{
	char nothing;

	return ask_programs(b, BROKER_CUSTOM, &nothing, 0, ret_fds, PP_N_CUSTOM_MAPS, error);
}

static int custom_probe(struct broker_client *b, enum broker_request what, const struct broker_probes *q,
			const struct broker_custom_probe *probes, char *error)
{
	unsigned char data[sizeof(*q) + BROKER_MAX_PROBES * sizeof(*probes)];
	int err;

	_Static_assert(sizeof(data) <= RECORD_MAX, "one record");
	if (q->n > BROKER_MAX_PROBES)
		return -E2BIG;
	memcpy(data, q, sizeof(*q));
	memcpy(data + sizeof(*q), probes, q->n * sizeof(*probes));
	pthread_mutex_lock(&b->lock);
	err = ask(b, what, data, sizeof(*q) + q->n * sizeof(*probes));
	if (err < 0)
		take_text(b, error);
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_custom_probe(struct broker_client *b, const struct broker_probes *q,
			const struct broker_custom_probe *probes, char *error)
{
	return custom_probe(b, BROKER_CUSTOM_PROBE, q, probes, error);
}

int broker_trace_probe(struct broker_client *b, const struct broker_probes *q,
		       const struct broker_custom_probe *probes, char *error)
{
	return custom_probe(b, BROKER_TRACE_PROBE, q, probes, error);
}

int broker_custom_off(struct broker_client *b, uint32_t target)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_CUSTOM_OFF, &target, sizeof(target));
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_unprobe(struct broker_client *b, uint32_t target, uint32_t sides)
{
	struct broker_unprobe q = { target, sides };
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_UNPROBE, &q, sizeof(q));
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_look(struct broker_client *b, uint32_t target)
{
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_LOOK, &target, sizeof(target));
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return err;
}

static int ask_collector(struct broker_client *b, enum broker_request type, enum pp_collector c,
			 char *error)
{
	uint32_t collector = c;
	int status;

	pthread_mutex_lock(&b->lock);
	status = ask(b, type, &collector, sizeof(collector));
	if (status < 0 && error)
		take_text(b, error);
	record_close_fds(&b->record);
	pthread_mutex_unlock(&b->lock);
	return status;
}

int broker_arm(struct broker_client *b, enum pp_collector c, char *error)
{
	return ask_collector(b, BROKER_ARM, c, error);
}

int broker_disarm(struct broker_client *b, enum pp_collector c)
{
	return ask_collector(b, BROKER_DISARM, c, NULL);
}

int broker_keep(struct broker_client *b, uint32_t target)
{
	return ask_fd(b, BROKER_KEEP, &target, sizeof(target));
}

int broker_carry(struct broker_client *b, uint32_t target, int ret_fds[2])
{
	struct record *r = &b->record;
	int err;

	pthread_mutex_lock(&b->lock);
	err = ask(b, BROKER_CARRY, &target, sizeof(target));
	if (err == 0 && r->n_fds != 2)
		err = -EBADMSG;
	if (err == 0) {
		memcpy(ret_fds, r->fds, 2 * sizeof(int));
		r->n_fds = 0;
	}
	record_close_fds(r);
	pthread_mutex_unlock(&b->lock);
	return err;
}

int broker_symbolizer(struct broker_client *b)
{
	return ask_fd(b, BROKER_SYMBOLIZER, NULL, 0);
}

int broker_tell(struct broker_client *b, enum broker_request type, int32_t status, const char *text)
{
	struct record *r = &b->record;
	int err;

	pthread_mutex_lock(&b->lock);
	r->type = type;
	r->serial = ++b->serial;
	r->status = status;
	r->n_fds = 0;
	r->n = (uint32_t)strlen(text);
	memcpy(r->data, text, r->n);
	err = record_send(b->fd, r);
	pthread_mutex_unlock(&b->lock);
	return err;
}
