/* SPDX-License-Identifier: Apache-2.0 */

/* Hostile questions about a hostile file. The first byte says how many questions follow, of 24
 * bytes each: type, kind, object, demangling, number of addresses, which descriptors come
 * along (bit 0: the object's, bits 1 to 3: those beside), length; and two addresses; then the file, which they all are. Whatever is asked, each question has one last
 * answer. */

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cursor.h"
#include "symbolizer/protocol.h"
#include "symbolizer/worker.h"

#define MAX_QUESTIONS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct run {
	int fd; /* ours */
	unsigned n_asked, n_answered;
	uint32_t types[MAX_QUESTIONS];
};

static void *hear(void *context)
{
	static struct record r;
	struct run *run = context;

	while (record_receive(run->fd, &r, -1) == 0) {
		assert(!r.n_fds && r.serial == run->n_answered + 1);
		assert(r.serial <= run->n_asked && r.status <= 0);
		if (r.type == SYMBOLIZER_INFO || r.type == SYMBOLIZER_LINKS) {
			assert(r.n == (r.type == SYMBOLIZER_INFO ? sizeof(struct symbolizer_info) :
								   sizeof(struct symbolizer_links)));
			run->n_answered++;
		} else if (r.type == SYMBOLIZER_END) {
			run->n_answered++;
		} else {
			assert(r.n && ((r.type >= SYMBOLIZER_RULE && r.type <= SYMBOLIZER_FRAME) ||
				       r.type == SYMBOLIZER_PROBE || r.type == SYMBOLIZER_DWOS));
		}
	}
	return NULL;
}

static void ask(struct run *run, struct cursor c, const uint8_t *file, size_t n)
{
	static struct record r;
	struct symbolizer_question q = { 0 };
	uint8_t type = cursor_u8(&c), with_file;
	_cleanup_(closep) int fd = -1;

	r.type = type & 15;
	q.kind = cursor_u8(&c);
	q.kind = q.kind < 192 ? q.kind % 4 : q.kind % 6;
	q.object = cursor_u8(&c) % 3;
	q.demangle = cursor_u8(&c) % 4;
	q.n = cursor_u8(&c);
	with_file = cursor_u8(&c);
	q.beside = with_file >> 1 & SYMBOLIZER_BESIDE_ALL;
	r.serial = ++run->n_asked;
	r.n = sizeof(q) + q.n * 8 + cursor_u8(&c) % 3;
	memcpy(r.data, &q, sizeof(q));
	cursor_skip(&c, 1);
	for (uint32_t i = 0; i < q.n && sizeof(q) + i * 8 + 8 <= r.n; i++) {
		uint64_t address = c.p[i % 2 * 8] | (uint64_t)c.p[i % 2 * 8 + 1] << 8 |
				   (uint64_t)c.p[i % 2 * 8 + 2] << 16;

		address += i;
		memcpy(r.data + sizeof(q) + i * 8, &address, 8);
	}
	r.n_fds = 0;
	if (with_file % 2)
		fd = memfd_create("file", MFD_CLOEXEC);
	if (fd >= 0 && write(fd, file, n) == (ssize_t)n && lseek(fd, 0, SEEK_SET) == 0)
		r.fds[r.n_fds++] = fd;
	for (unsigned i = 0; fd >= 0 && i < 3; i++)
		if (q.beside >> i & 1)
			r.fds[r.n_fds++] = fd;
	assert(record_send(run->fd, &r) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	unsigned n_questions = n ? data[0] % MAX_QUESTIONS + 1 : 0;
	size_t head = 1 + n_questions * 24ul;
	struct run run = { 0 };
	pthread_t listener;
	int fds[2], r;

	if (!n || n < head || record_pair(fds) < 0)
		return 0;
	run.fd = fds[0];
	for (unsigned i = 0; i < n_questions; i++)
		ask(&run, cursor_over(data + 1 + i * 24, 24), data + head, n - head);
	shutdown(run.fd, SHUT_WR);
	if (pthread_create(&listener, NULL, hear, &run))
		abort();
	r = worker_run(fds[1], (struct worker_vdso){ data + head, n - head });
	assert(r == 0);
	close(fds[1]);
	pthread_join(listener, NULL);
	assert(run.n_answered == run.n_asked);
	close(fds[0]);
	return 0;
}
