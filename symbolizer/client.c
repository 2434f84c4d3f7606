/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/client.h"
#include "symbolizer/client_parts.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/emulated.h"
#include "symbolizer/functions.h"

#define MAX_ROWS (16u << 20)
#define MAX_RULES (1u << 16)

void symbolizer_replace(struct symbolizer *s, int fd)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = fd;
	free(s->functions); /* that child's */
	s->functions = NULL;
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

int client_ask(struct symbolizer *s, uint32_t type, const struct symbolizer_object *o,
	       const struct symbolizer_question *q, const uint64_t *addresses)
{
	struct record *r = &s->record;

	if (s->fd < 0)
		return -ENOTCONN;
	s->deadline_ms = now_ms() + 3ll * silence_ms(s);
	r->type = type;
	r->serial = ++s->serial;
	r->status = 0;
	r->n_fds = 0;
	if (o->fd >= 0)
		r->fds[r->n_fds++] = o->fd;
	if (o->beside & SYMBOLIZER_BESIDE_DEBUG)
		r->fds[r->n_fds++] = o->debug_fd;
	if (o->beside & SYMBOLIZER_BESIDE_ALT)
		r->fds[r->n_fds++] = o->alt_fd;
	if (o->beside & SYMBOLIZER_BESIDE_DWP)
		r->fds[r->n_fds++] = o->dwp_fd;
	memcpy(r->data, q, sizeof(*q));
	r->n = (uint32_t)sizeof(*q);
	if (addresses) {
		memcpy(r->data + r->n, addresses, q->n * sizeof(*addresses));
		r->n += (uint32_t)(q->n * sizeof(*addresses));
	}
	return record_send(s->fd, r);
}

/* What is left of an answer that was given up, for want of memory, comes before the one that is waited for. */
int client_receive(struct symbolizer *s)
{
	do {
		int64_t left = s->deadline_ms - now_ms();
		int r = -ETIMEDOUT;

		if (left > 0)
			r = record_receive(s->fd, &s->record, left < silence_ms(s) ? (int)left : silence_ms(s));
		if (r < 0)
			return r;
		record_close_fds(&s->record);
	} while ((int32_t)(s->record.serial - s->serial) < 0);
	return s->record.serial == s->serial ? 0 : -EBADMSG;
}

struct symbolizer_question client_question(const struct symbolizer_object *o)
{
	return (struct symbolizer_question){ .object = o->id,
					     .kind = o->kind,
					     .beside = (uint16_t)o->beside };
}

/* The child's status: errors of the file, not of the conversation. */
int client_status(const struct record *r)
{
	if (r->status >= 0)
		return 0;
	return r->status == -EPIPE || r->status == -ETIMEDOUT || r->status == -EBADMSG || r->status == -ENOTCONN ?
		       -EIO :
		       r->status;
}

int symbolizer_ask_info(struct symbolizer *s, const struct symbolizer_object *o,
			struct symbolizer_info *ret)
{
	struct symbolizer_question q = client_question(o);
	const struct symbolizer_info *info;
	int r = client_ask(s, SYMBOLIZER_INFO, o, &q, NULL);

	if (r == 0)
		r = client_receive(s);
	if (r < 0)
		return r;
	if (s->record.type == SYMBOLIZER_END)
		return s->record.status < 0 ? client_status(&s->record) : -EBADMSG;
	info = record_payload(&s->record, struct symbolizer_info);
	if (s->record.type != SYMBOLIZER_INFO || !info ||
	    info->n_segments > SYMBOLIZER_MAX_SEGMENTS ||
	    info->n_build_id > SYMBOLIZER_MAX_BUILD_ID || info->n_labels > SYMBOLIZER_MAX_LABELS)
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
		int r = client_receive(s);

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
		return client_status(&s->record);
	if (s->record.n != sizeof(ret->end))
		return -EBADMSG;
	memcpy(&ret->end, s->record.data, sizeof(ret->end));
	return check_rows(ret);
}

int symbolizer_ask_rows(struct symbolizer *s, const struct symbolizer_object *o,
			struct symbolizer_rows *ret)
{
	struct symbolizer_question q = client_question(o);
	struct symbolizer_rows rows = { 0 };
	int r = client_ask(s, SYMBOLIZER_ROWS, o, &q, NULL);

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

bool client_good_argument(const struct symbolizer_argument *a)
{
	static const struct symbolizer_argument nothing;
	int size = a->size < 0 ? -a->size : a->size;

	if (a->kind == SYMBOLIZER_NOTHING)
		return !memcmp(a, &nothing, sizeof(nothing));
	if (a->kind >= SYMBOLIZER_N_ARGUMENT_KINDS || a->reg >= SYMBOLIZER_N_REGISTERS ||
	    (size != 1 && size != 2 && size != 4 && size != 8))
		return false;
	if (a->kind != SYMBOLIZER_MEMORY)
		return !a->index && !a->scale;
	if (a->index == SYMBOLIZER_NO_REGISTER)
		return !a->scale;
	return a->index < SYMBOLIZER_N_REGISTERS &&
	       (a->scale == 1 || a->scale == 2 || a->scale == 4 || a->scale == 8);
}

/* Each argument that the event needs and no other; a function's in whole registers. */
static bool good_arguments(const struct symbolizer_probe *p, bool usdt)
{
	unsigned needed = p->status == PROBE_FINE ? symbolizer_function_arguments(p->function) : 0;

	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++) {
		const struct symbolizer_argument *a = &p->arguments[i];

		if (!client_good_argument(a) || (a->kind != SYMBOLIZER_NOTHING) != (needed >> i & 1) ||
		    (a->kind && !usdt && (a->kind != SYMBOLIZER_REGISTER || a->size != 8)))
			return false;
	}
	return true;
}

static bool good_name(const struct symbolizer_probe *p)
{
	if (!p->n_name || p->n_name >= sizeof(p->name))
		return false;
	for (unsigned i = 0; i < sizeof(p->name); i++)
		if (i < p->n_name ? p->name[i] <= ' ' || p->name[i] > '~' : p->name[i] != 0)
			return false;
	return true;
}

static bool good_probe(const struct symbolizer_probe *p)
{
	bool usdt = p->function >= ALLOCATOR_USDT_ALLOC;

	return p->function && p->function < ALLOCATOR_N_FUNCTIONS && p->status < PROBE_N_STATUS &&
	       p->flags < ALLOCATOR_NOP5 * 2 && p->instruction < EMULATED_N &&
	       (p->status != PROBE_FINE || p->instruction != EMULATED_NOT) &&
	       p->offset <= INT64_MAX && p->semaphore <= INT64_MAX && (usdt || !p->semaphore) &&
	       p->size <= SYMBOLIZER_MAX_FUNCTION && p->start <= UINT64_MAX - p->size &&
	       good_name(p) && good_arguments(p, usdt);
}

static int take_probes(struct symbolizer_probes *to, const struct record *r)
{
	size_t n = r->n / sizeof(struct symbolizer_probe);

	if (!n || r->n % sizeof(struct symbolizer_probe) ||
	    to->probes.n + n > SYMBOLIZER_MAX_PROBES)
		return -EBADMSG;
	if (vec_reserve(&to->probes, to->probes.n + n) < 0)
		return -ENOMEM;
	memcpy(to->probes.data + to->probes.n, r->data, r->n);
	for (size_t i = 0; i < n; i++)
		if (!good_probe(&to->probes.data[to->probes.n + i]))
			return -EBADMSG;
	to->probes.n += n;
	return 0;
}

static int receive_probes(struct symbolizer *s, struct symbolizer_probes *ret)
{
	int r;

	for (;;) {
		r = client_receive(s);
		if (r < 0)
			return r;
		if (s->record.type == SYMBOLIZER_END)
			break;
		r = s->record.type == SYMBOLIZER_PROBE ? take_probes(ret, &s->record) : -EBADMSG;
		if (r < 0)
			return r;
	}
	if (s->record.status < 0)
		return client_status(&s->record);
	if (s->record.n != sizeof(ret->end))
		return -EBADMSG;
	memcpy(&ret->end, s->record.data, sizeof(ret->end));
	return ret->end.n_probes == ret->probes.n ? 0 : -EBADMSG;
}

int symbolizer_ask_probes(struct symbolizer *s, const struct symbolizer_object *o,
			  struct symbolizer_probes *ret)
{
	struct symbolizer_question q = client_question(o);
	struct symbolizer_probes probes = { 0 };
	int r = client_ask(s, SYMBOLIZER_PROBES, o, &q, NULL);

	if (r == 0)
		r = receive_probes(s, &probes);
	if (r < 0)
		symbolizer_probes_deinit(&probes);
	else
		*ret = probes;
	return r;
}

void symbolizer_probes_deinit(struct symbolizer_probes *p)
{
	vec_deinit(&p->probes);
}

const char *symbolizer_probe_text(unsigned status)
{
	static const char *const texts[PROBE_N_STATUS] = {
		[PROBE_FINE] = "can be probed",
		[PROBE_ELSEWHERE] = "counted where its calls arrive",
		[PROBE_NO_CODE] = "its code is not in the file",
		[PROBE_NO_SIZE] = "the symbol does not tell how long it is",
		[PROBE_UNDECODABLE] = "it contains an unknown instruction",
		[PROBE_BRANCH_FIRST] = "a branch comes before any place that is safe",
		[PROBE_LOOP] = "a loop leads back to the only place that is safe",
		[PROBE_ARGUMENT] = "an argument is gone before any place that is safe",
		[PROBE_STACK_MOVED] = "the stack pointer moves before any place that is safe",
		[PROBE_NO_PLACE] = "it begins with no instruction that the kernel emulates",
		[PROBE_NOP5] = "a 5-byte nop inside of a function: a probe could corrupt the stack",
		[PROBE_NOT_EMULATED] = "the kernel does not emulate the instruction there",
		[PROBE_BAD_SITE] = "the site is not in the file's executable part",
		[PROBE_BAD_SEMAPHORE] = "the semaphore is not in the file's writable part",
		[PROBE_MISSING_ARGUMENT] = "it has fewer arguments than the contract",
		[PROBE_UNREADABLE_ARGUMENT] = "an argument is where it cannot be read",
		[PROBE_RESULT_JUMPS] = "the function also leaves by a jump: what it gives back there is not seen",
		[PROBE_BAD_NAME] = "the profile's name is empty, too long, or not in the file",
	};

	return status < PROBE_N_STATUS ? texts[status] : "for an unknown reason";
}

_Static_assert(FUNCTIONS_MAX_BYTES <= SYMBOLIZER_MAX_OWN_BYTES, "what the header says");

size_t symbolizer_own_bytes(const struct symbolizer *s)
{
	return functions_bytes(s->functions);
}

/* Of a function with texts: as the child does, so that it is known by the same number. */
static int keep_function(struct symbolizer *s, const struct symbolizer_frame *f, const char *text)
{
	if (!s->functions)
		s->functions = calloc(1, sizeof(*s->functions));
	if (!s->functions)
		return -EPIPE; /* from now on we would not understand it */
	functions_add(s->functions,
		      &(struct function){ .start_line = f->start_line,
					  .n_name = f->n_name,
					  .n_system_name = f->n_system_name,
					  .n_file = f->n_file },
		      text, text + f->n_name, text + f->n_name + f->n_system_name);
	return 0;
}

/* The function of a frame that comes without its texts. NULL: it has no such. */
static const char *find_function(const struct symbolizer *s, struct symbolizer_frame *f)
{
	const struct function *x = NULL;
	const char *text;

	if (f->told == 1 && s->functions && !f->n_name && !f->n_system_name && !f->n_file)
		x = functions_get(s->functions, f->function, &text);
	if (!x)
		return NULL;
	f->start_line = x->start_line;
	f->n_name = x->n_name;
	f->n_system_name = x->n_system_name;
	f->n_file = x->n_file;
	return text;
}

static int take_frames(struct symbolizer *s, uint32_t n_addresses, uint32_t *left,
		       symbolizer_frame_fn *frame, void *context)
{
	const struct record *r = &s->record;

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
		text = f.told ? find_function(s, &f) : (const char *)r->data + at;
		if (!text)
			return -EBADMSG;
		if (!f.told && n && keep_function(s, &f, text) < 0)
			return -EPIPE;
		frame(context, &f, text, text + f.n_name, text + f.n_name + f.n_system_name);
		at += (n + 7) & ~7ul;
	}
	return 0;
}

/* Frames for addresses, `left` of them at most. */
static int ask_frames(struct symbolizer *s, uint32_t type, const struct symbolizer_object *o,
		      const struct symbolizer_question *q, const uint64_t *addresses, uint32_t left,
		      symbolizer_frame_fn *frame, void *context)
{
	int r = q->n > SYMBOLIZER_MAX_ADDRESSES ? -EINVAL : client_ask(s, type, o, q, addresses);

	while (r == 0) {
		r = client_receive(s);
		if (r < 0)
			return r;
		if (s->record.type == SYMBOLIZER_END && s->record.n == sizeof(s->names_end))
			memcpy(&s->names_end, s->record.data, sizeof(s->names_end));
		if (s->record.type == SYMBOLIZER_END)
			return client_status(&s->record);
		if (s->record.type != SYMBOLIZER_FRAME)
			return -EBADMSG;
		r = take_frames(s, q->n, &left, frame, context);
	}
	return r;
}

int symbolizer_ask_names(struct symbolizer *s, const struct symbolizer_object *o,
			 enum symbolizer_demangle how, const uint64_t *addresses, uint32_t n,
			 symbolizer_frame_fn *frame, void *context)
{
	struct symbolizer_question q = client_question(o);

	q.demangle = (uint16_t)how;
	q.n = n;
	return ask_frames(s, SYMBOLIZER_NAMES, o, &q, addresses, n * SYMBOLIZER_MAX_INLINED, frame,
			  context);
}

int symbolizer_ask_callees(struct symbolizer *s, const struct symbolizer_object *o,
			   enum symbolizer_demangle how, const uint64_t *addresses, uint32_t n,
			   symbolizer_frame_fn *frame, void *context)
{
	struct symbolizer_question q = client_question(o);

	q.demangle = (uint16_t)how;
	q.n = n;
	return ask_frames(s, SYMBOLIZER_CALLEES, o, &q, addresses, n, frame, context);
}

int symbolizer_ask_variables(struct symbolizer *s, const struct symbolizer_object *o,
			     enum symbolizer_demangle how, const uint64_t *addresses, uint32_t n,
			     symbolizer_frame_fn *frame, void *context)
{
	struct symbolizer_question q = client_question(o);

	q.demangle = (uint16_t)how;
	q.n = n;
	return ask_frames(s, SYMBOLIZER_VARIABLES, o, &q, addresses, n, frame, context);
}

static bool good_text(const char *text, size_t n)
{
	return !text[n - 1];
}

int symbolizer_ask_links(struct symbolizer *s, const struct symbolizer_object *o,
			 struct symbolizer_links *ret)
{
	struct symbolizer_question q = client_question(o);
	const struct symbolizer_links *l;
	int r = client_ask(s, SYMBOLIZER_LINKS, o, &q, NULL);

	if (r == 0)
		r = client_receive(s);
	if (r < 0)
		return r;
	if (s->record.type == SYMBOLIZER_END)
		return s->record.status < 0 ? client_status(&s->record) : -EBADMSG;
	l = record_payload(&s->record, struct symbolizer_links);
	if (s->record.type != SYMBOLIZER_LINKS || !l ||
	    !good_text(l->debug_name, sizeof(l->debug_name)) ||
	    !good_text(l->alt_name, sizeof(l->alt_name)) || l->n_alt_id > SYMBOLIZER_MAX_BUILD_ID ||
	    l->n_build_id > SYMBOLIZER_MAX_BUILD_ID)
		return -EBADMSG;
	*ret = *l;
	return 0;
}

int symbolizer_ask_fits(struct symbolizer *s, const struct symbolizer_object *o,
			enum symbolizer_fit how)
{
	struct symbolizer_question q = client_question(o);
	int r;

	q.n = how;
	r = client_ask(s, SYMBOLIZER_FITS, o, &q, NULL);
	if (r == 0)
		r = client_receive(s);
	if (r < 0)
		return r;
	return s->record.type == SYMBOLIZER_END ? client_status(&s->record) : -EBADMSG;
}

static int take_dwos(struct symbolizer_dwos *to, const struct record *r, uint32_t max)
{
	size_t n = r->n / sizeof(struct symbolizer_dwo);

	if (!n || r->n % sizeof(struct symbolizer_dwo) || to->all.n + n > max)
		return -EBADMSG;
	if (vec_reserve(&to->all, to->all.n + n) < 0)
		return -ENOMEM;
	memcpy(to->all.data + to->all.n, r->data, r->n);
	for (size_t i = to->all.n; i < to->all.n + n; i++)
		if (!good_text(to->all.data[i].name, sizeof(to->all.data[i].name)) ||
		    !good_text(to->all.data[i].directory, sizeof(to->all.data[i].directory)))
			return -EBADMSG;
	to->all.n += n;
	return 0;
}

int symbolizer_ask_dwos(struct symbolizer *s, const struct symbolizer_object *o,
			const uint64_t *addresses, uint32_t n, struct symbolizer_dwos *ret)
{
	struct symbolizer_question q = client_question(o);
	int r = n > SYMBOLIZER_MAX_ADDRESSES ? -EINVAL : 0;

	q.n = n;
	if (r == 0)
		r = client_ask(s, SYMBOLIZER_DWOS, o, &q, addresses);
	while (r == 0) {
		r = client_receive(s);
		if (r < 0)
			return r;
		if (s->record.type == SYMBOLIZER_END)
			return client_status(&s->record);
		r = s->record.type == SYMBOLIZER_DWOS ? take_dwos(ret, &s->record, n) : -EBADMSG;
	}
	return r;
}

int symbolizer_give_dwo(struct symbolizer *s, const struct symbolizer_object *o)
{
	struct symbolizer_question q = client_question(o);
	int r = client_ask(s, SYMBOLIZER_DWO, o, &q, NULL);

	if (r == 0)
		r = client_receive(s);
	if (r < 0)
		return r;
	return s->record.type == SYMBOLIZER_END ? client_status(&s->record) : -EBADMSG;
}
