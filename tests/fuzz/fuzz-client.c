/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as what the symbolizer child answers. The first byte chooses the question; then
 * records, each a type, a status, a length of two bytes, and as much of the rest as that. */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cursor.h"
#include "symbolizer/client.h"

#define N_ADDRESSES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
	unsigned n;
	uint8_t sum;
};

static void on_frame(void *context, const struct symbolizer_frame *f, const char *name,
		     const char *system_name, const char *file)
{
	struct seen *s = context;

	assert(f->index < N_ADDRESSES && f->n_name <= SYMBOLIZER_MAX_NAME &&
	       f->n_system_name <= SYMBOLIZER_MAX_NAME && f->n_file <= SYMBOLIZER_MAX_PATH);
	assert(++s->n <= N_ADDRESSES * SYMBOLIZER_MAX_INLINED);
	for (unsigned i = 0; i < f->n_name; i++)
		s->sum ^= (uint8_t)name[i];
	for (unsigned i = 0; i < f->n_system_name; i++)
		s->sum ^= (uint8_t)system_name[i];
	for (unsigned i = 0; i < f->n_file; i++)
		s->sum ^= (uint8_t)file[i];
}

static void check_rows(const struct symbolizer_rows *r)
{
	assert(r->rows.n && r->end.low < r->end.high);
	for (size_t i = 0; i < r->rows.n; i++) {
		assert(r->rows.data[i].rule < r->rules.n);
		assert(r->rows.data[i].offset < r->end.high - r->end.low);
		assert(!i || r->rows.data[i].offset > r->rows.data[i - 1].offset);
	}
}

static void check_probes(const struct symbolizer_probes *p)
{
	assert(p->probes.n <= SYMBOLIZER_MAX_PROBES && p->end.n_probes == p->probes.n);
	for (size_t i = 0; i < p->probes.n; i++) {
		const struct symbolizer_probe *q = &p->probes.data[i];

		assert(q->function && q->function < ALLOCATOR_N_FUNCTIONS);
		assert(q->status < PROBE_N_STATUS && q->start + q->size >= q->start);
		assert(q->n_name && q->n_name < sizeof(q->name) && strlen(q->name) == q->n_name);
		for (unsigned k = 0; k < SYMBOLIZER_N_ARGUMENTS; k++)
			assert(q->arguments[k].kind < SYMBOLIZER_N_ARGUMENT_KINDS &&
			       q->arguments[k].reg < SYMBOLIZER_N_REGISTERS);
	}
}

/* As many records as the socket holds. */
static void answer(int fd, struct cursor c)
{
	while (c.p < c.end) {
		uint32_t type = cursor_u8(&c), status = cursor_u8(&c), n = cursor_u16(&c);
		uint32_t header[5] = { type & 15, type & 16 ? 2 : 1, 0u - (status & 127), 0, 0 };
		struct iovec iov[2] = { { header, sizeof(header) }, { (void *)c.p, 0 } };
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

		if (n > cursor_left(&c))
			n = (uint32_t)cursor_left(&c);
		iov[1].iov_len = n;
		header[3] = type & 32 ? n + 1 : n;
		cursor_skip(&c, n);
		if (c.bad || sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
	}
	shutdown(fd, SHUT_WR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint64_t addresses[N_ADDRESSES] = { 1, 2, 3 };
	const struct symbolizer_object o = { .id = 7, .kind = SYMBOLIZER_FILE, .fd = -1 };
	static struct symbolizer s;
	struct symbolizer_probes probes;
	struct symbolizer_rows rows;
	struct symbolizer_dwos dwos = { 0 };
	struct symbolizer_links links;
	struct symbolizer_info info;
	struct seen seen = { 0 };
	int fds[2], r;

	if (!n || record_pair(fds) < 0)
		return 0;
	s = (struct symbolizer){ .fd = fds[0], .timeout_ms = 10000 };
	answer(fds[1], cursor_over(data + 1, n - 1));
	if (data[0] % 32 == 4) {
		r = symbolizer_ask_links(&s, &o, &links);
		assert(r < 0 || (memchr(links.debug_name, 0, sizeof(links.debug_name)) &&
				 memchr(links.alt_name, 0, sizeof(links.alt_name)) &&
				 links.n_alt_id <= SYMBOLIZER_MAX_BUILD_ID &&
				 links.n_build_id <= SYMBOLIZER_MAX_BUILD_ID));
	} else if (data[0] % 32 == 8) {
		r = symbolizer_ask_fits(&s, &o, SYMBOLIZER_FIT_LINK);
	} else if (data[0] % 32 == 20) {
		r = symbolizer_ask_dwos(&s, &o, addresses, N_ADDRESSES, &dwos);
		assert(r < 0 || dwos.all.n <= N_ADDRESSES);
		for (size_t i = 0; i < dwos.all.n && r == 0; i++)
			assert(memchr(dwos.all.data[i].name, 0, sizeof(dwos.all.data[i].name)) &&
			       memchr(dwos.all.data[i].directory, 0, sizeof(dwos.all.data[i].directory)));
		vec_deinit(&dwos.all);
	} else if (data[0] % 32 == 24) {
		r = symbolizer_give_dwo(&s, &o);
	} else if (data[0] % 4 == 0) {
		r = symbolizer_ask_info(&s, &o, &info);
		assert(r < 0 || (info.n_segments <= SYMBOLIZER_MAX_SEGMENTS &&
				 info.n_build_id <= SYMBOLIZER_MAX_BUILD_ID));
	} else if (data[0] % 4 == 1) {
		r = symbolizer_ask_rows(&s, &o, &rows);
		if (r == 0) {
			check_rows(&rows);
			symbolizer_rows_deinit(&rows);
		}
	} else if (data[0] % 4 == 2) {
		r = (data[0] & 8 ? symbolizer_ask_variables :
		     data[0] & 4 ? symbolizer_ask_callees :
				   symbolizer_ask_names)(&s, &o, DEMANGLE_NONE, addresses,
							 N_ADDRESSES, on_frame, &seen);
		assert(!(data[0] & 12) || seen.n <= N_ADDRESSES);
	} else {
		r = symbolizer_ask_probes(&s, &o, &probes);
		if (r == 0) {
			check_probes(&probes);
			symbolizer_probes_deinit(&probes);
		}
	}
	assert(r <= 0 && r != -ETIMEDOUT);
	symbolizer_replace(&s, -1);
	close(fds[1]);
	return 0;
}
