/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/client.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define MAX_ROWS (16u << 20)
#define MAX_RULES (1u << 16)

void symbolizer_replace(struct symbolizer *s, int fd)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = fd;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static int silence_ms(const struct symbolizer *s)
{
	return s->timeout_ms ? s->timeout_ms : SYMBOLIZER_TIMEOUT_MS;
}

static int ask(struct symbolizer *s, uint32_t type, const struct symbolizer_object *o,
	       const struct symbolizer_question *q, const uint64_t *addresses)
{
	struct record *r = &s->record;

	if (s->fd < 0)
		return -EPIPE;
	s->deadline_ms = now_ms() + 3ll * silence_ms(s);
	r->type = type;
	r->serial = ++s->serial;
	r->status = 0;
	r->n_fds = 0;
	if (o->fd >= 0)
		r->fds[r->n_fds++] = o->fd;
	memcpy(r->data, q, sizeof(*q));
	if (addresses)
		memcpy(r->data + sizeof(*q), addresses, q->n * sizeof(*addresses));
	r->n = (uint32_t)(sizeof(*q) + q->n * sizeof(*addresses));
	return record_send(s->fd, r);
}

static int receive(struct symbolizer *s)
{
	int64_t left = s->deadline_ms - now_ms();
	int r = -ETIMEDOUT;

	if (left > 0)
		r = record_receive(s->fd, &s->record,
				   left < silence_ms(s) ? (int)left : silence_ms(s));
	if (r < 0)
		return r;
	record_close_fds(&s->record);
	return s->record.serial == s->serial ? 0 : -EBADMSG;
}

static struct symbolizer_question question(const struct symbolizer_object *o)
{
	return (struct symbolizer_question){ .object = o->id, .kind = o->kind };
}

/* The child's status: errors of the file, not of the conversation. */
static int file_status(const struct record *r)
{
	if (r->status >= 0)
		return 0;
	return r->status == -EPIPE || r->status == -ETIMEDOUT || r->status == -EBADMSG ? -EIO :
											 r->status;
}

int symbolizer_ask_info(struct symbolizer *s, const struct symbolizer_object *o,
			struct symbolizer_info *ret)
{
	struct symbolizer_question q = question(o);
	const struct symbolizer_info *info;
	int r = ask(s, SYMBOLIZER_INFO, o, &q, NULL);

	if (r == 0)
		r = receive(s);
	if (r < 0)
		return r;
	if (s->record.type == SYMBOLIZER_END)
		return s->record.status < 0 ? file_status(&s->record) : -EBADMSG;
	info = record_payload(&s->record, struct symbolizer_info);
	if (s->record.type != SYMBOLIZER_INFO || !info ||
	    info->n_segments > SYMBOLIZER_MAX_SEGMENTS ||
	    info->n_build_id > SYMBOLIZER_MAX_BUILD_ID)
		return -EBADMSG;
	*ret = *info;
	return 0;
}

static int take_rules(struct symbolizer_rows *to, const struct record *r)
{
	size_t n = r->n / sizeof(struct unwind_rule);

	if (!n || r->n % sizeof(struct unwind_rule) || to->rules.n + n > MAX_RULES)
		return -EBADMSG;
	if (vec_reserve(&to->rules, to->rules.n + n) < 0)
		return -ENOMEM;
	memcpy(to->rules.data + to->rules.n, r->data, r->n);
	to->rules.n += n;
	return 0;
}

static int take_rows(struct symbolizer_rows *to, const struct record *r)
{
	size_t n = r->n / sizeof(struct unwind_row);

	if (!n || r->n % sizeof(struct unwind_row) || to->rows.n + n > MAX_ROWS)
		return -EBADMSG;
	if (vec_reserve(&to->rows, to->rows.n + n) < 0)
		return -ENOMEM;
	memcpy(to->rows.data + to->rows.n, r->data, r->n);
	to->rows.n += n;
	return 0;
}

static int check_rows(const struct symbolizer_rows *r)
{
	if (!r->rows.n || r->end.high <= r->end.low || r->end.high - r->end.low > UINT32_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < r->rows.n; i++) {
		const struct unwind_row *row = &r->rows.data[i];

		if (row->rule >= r->rules.n || row->offset >= r->end.high - r->end.low ||
		    (i && row->offset <= row[-1].offset))
			return -EBADMSG;
	}
	for (size_t i = 0; i < r->rules.n; i++)
		if (r->rules.data[i].kind >= UNWIND_N_KINDS)
			return -EBADMSG;
	return 0;
}

static int receive_rows(struct symbolizer *s, struct symbolizer_rows *ret)
{
	for (;;) {
		int r = receive(s);

		if (r == 0 && s->record.type == SYMBOLIZER_RULE)
			r = take_rules(ret, &s->record);
		else if (r == 0 && s->record.type == SYMBOLIZER_ROW)
			r = take_rows(ret, &s->record);
		else if (r == 0 && s->record.type == SYMBOLIZER_END)
			break;
		else if (r == 0)
			r = -EBADMSG;
		if (r < 0)
			return r;
	}
	if (s->record.status < 0)
		return file_status(&s->record);
	if (s->record.n != sizeof(ret->end))
		return -EBADMSG;
	memcpy(&ret->end, s->record.data, sizeof(ret->end));
	return check_rows(ret);
}

int symbolizer_ask_rows(struct symbolizer *s, const struct symbolizer_object *o,
			struct symbolizer_rows *ret)
{
	struct symbolizer_question q = question(o);
	struct symbolizer_rows rows = { 0 };
	int r = ask(s, SYMBOLIZER_ROWS, o, &q, NULL);

	if (r == 0)
		r = receive_rows(s, &rows);
	if (r < 0)
		symbolizer_rows_deinit(&rows);
	else
		*ret = rows;
	return r;
}

void symbolizer_rows_deinit(struct symbolizer_rows *r)
{
	vec_deinit(&r->rules);
	vec_deinit(&r->rows);
}

static int take_frames(const struct record *r, uint32_t n_addresses, uint32_t *left,
		       symbolizer_frame_fn *frame, void *context)
{
	if (!r->n)
		return -EBADMSG;
	for (size_t at = 0; at < r->n;) {
		struct symbolizer_frame f;
		const char *text;
		size_t n;

		if (r->n - at < sizeof(f) || !*left)
			return -EBADMSG;
		--*left;
		memcpy(&f, r->data + at, sizeof(f));
		n = (size_t)f.n_name + f.n_system_name + f.n_file;
		at += sizeof(f);
		if (n > r->n - at || f.index >= n_addresses || f.n_name > SYMBOLIZER_MAX_NAME ||
		    f.n_system_name > SYMBOLIZER_MAX_NAME || f.n_file > SYMBOLIZER_MAX_PATH)
			return -EBADMSG;
		text = (const char *)r->data + at;
		frame(context, &f, text, text + f.n_name, text + f.n_name + f.n_system_name);
		at += (n + 7) & ~7ul;
	}
	return 0;
}

int symbolizer_ask_names(struct symbolizer *s, const struct symbolizer_object *o,
			 enum symbolizer_demangle how, const uint64_t *addresses, uint32_t n,
			 symbolizer_frame_fn *frame, void *context)
{
	struct symbolizer_question q = question(o);
	uint32_t left = n * SYMBOLIZER_MAX_INLINED;
	int r;

	if (n > SYMBOLIZER_MAX_ADDRESSES)
		return -EINVAL;
	q.demangle = how;
	q.n = n;
	r = ask(s, SYMBOLIZER_NAMES, o, &q, addresses);
	while (r == 0) {
		r = receive(s);
		if (r < 0)
			return r;
		if (s->record.type == SYMBOLIZER_END)
			return file_status(&s->record);
		if (s->record.type != SYMBOLIZER_FRAME)
			return -EBADMSG;
		r = take_frames(&s->record, n, &left, frame, context);
	}
	return r;
}
