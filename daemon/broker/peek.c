/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/peek.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "daemon/broker/left.h"

#define PAGE 4096
#define MAX_VECTORS 772 /* pages of a piece */
#define MAX_STUCK 3
#define LOOK_MS 50
#define STUCK_LOOKS 10 /* one after the other, at which it waits at the same piece */
#define MAX_TIME_NS 8000000000ll

int peek_init(struct peek *p)
{
	void *area = mmap(NULL, sizeof(*p->area), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		return -errno;
	*p = (struct peek){ .area = area, .left_ns = MAX_TIME_NS, .ours = -1, .theirs = -1 };
	return 0;
}

/* One that does not end may be in the middle of a copy into the area: this list is the last one then. */
static void end_reader(struct peek *p)
{
	if (p->reader > 0 && !left_end(p->reader))
		p->n_stuck = MAX_STUCK;
	p->reader = 0;
	close_fd(&p->ours);
	close_fd(&p->theirs);
}

void peek_deinit(struct peek *p)
{
	end_reader(p);
	if (p->area)
		munmap(p->area, sizeof(*p->area));
	p->area = NULL;
}

void peek_clear(struct peek *p)
{
	p->area->n = p->area->n_looks = p->used = 0;
}

int peek_add(struct peek *p, pid_t tid, uint64_t at, uint32_t n)
{
	struct peek_area *a = p->area;

	if (a->n == PEEK_MAX_PIECES || n > PEEK_BYTES - p->used || n > (MAX_VECTORS - 2) * PAGE)
		return -1;
	a->pieces[a->n] = (struct peek_piece){ .at = at, .n = n, .to = p->used, .tid = tid, .look = -1 };
	p->used += (n + 15) & ~15u;
	return (int)a->n++;
}

int peek_add_look(struct peek *p, const int fds[2])
{
	struct peek_area *a = p->area;

	if (a->n_looks == PEEK_MAX_LOOKS)
		return -1;
	a->looks[a->n_looks] = (struct peek_look){ .fds = { fds[0], fds[1] }, .n = { UINT32_MAX, UINT32_MAX } };
	return (int)a->n_looks++;
}

int peek_add_by(struct peek *p, pid_t tid, int look, uint32_t how, uint32_t n)
{
	int piece = peek_add(p, tid, 0, n);

	if (piece < 0)
		return -1;
	p->area->pieces[piece].look = look;
	p->area->pieces[piece].how = how;
	return piece;
}

static void look(struct peek_look *l, int which)
{
	ssize_t n;

	do /* the kernel's side is busy with another reader on this CPU: threads.bpf.c */
		n = read(l->fds[which], &l->t[which], sizeof(l->t[which]));
	while (n < 0 && errno == EAGAIN);
	l->n[which] = n > 0 ? (uint32_t)n : 0;
}

/* A vector a page: what follows one that is not there is left out, what precedes it is not. */
static void read_piece(struct peek_area *a, struct peek_piece *piece)
{
	struct iovec there[MAX_VECTORS], here = { a->data + piece->to, piece->n };
	unsigned n_vectors = 0;
	uint32_t n = 0;
	ssize_t got;

	while (n < piece->n) {
		uint64_t at = piece->at + n;
		uint32_t k = PAGE - (uint32_t)(at & (PAGE - 1));

		if (k > piece->n - n)
			k = piece->n - n;
		there[n_vectors++] = (struct iovec){ (void *)(uintptr_t)at, k };
		n += k;
	}
	got = process_vm_readv(piece->tid, &here, 1, there, n_vectors, 0);
	piece->got = got > 0 ? (uint32_t)got : 0;
}

static void read_by_look(struct peek_area *a, struct peek_piece *piece)
{
	struct peek_look *l = &a->looks[piece->look];

	if (piece->how & PEEK_BEFORE)
		look(l, 0);
	piece->at = piece->how & PEEK_LOCK ? l->t[0].argument : l->t[0].registers[PP_THREAD_SP];
	if (l->n[0] != sizeof(l->t[0]) || l->t[0].running || (piece->how & PEEK_LOCK && !l->t[0].has_lock))
		return;
	read_piece(a, piece);
	if (piece->how & PEEK_AFTER)
		look(l, 1);
}

/* The reader's whole life. Each byte that comes asks for the pieces from `done` on. */
static void __attribute__((noreturn)) run_reader(struct peek_area *a, int socket, pid_t parent)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	while (recv(socket, &c, 1, 0) == 1) {
		for (uint32_t i = a->done; i < a->n; i++) {
			if (a->pieces[i].look >= 0)
				read_by_look(a, &a->pieces[i]);
			else
				read_piece(a, &a->pieces[i]);
			__atomic_store_n(&a->done, i + 1, __ATOMIC_RELEASE);
		}
		if (send(socket, &c, 1, MSG_NOSIGNAL) != 1)
			break;
	}
	_exit(0);
}

/* Our descriptors are shared, not copied: what is closed here is closed. */
static int start_reader(struct peek *p)
{
	pid_t self = getpid(), reader;
	int pair[2];

	if (p->reader)
		return 0;
	if (!left_has_room())
		return -EAGAIN;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	p->ours = pair[0];
	p->theirs = pair[1];
	reader = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
	if (reader == 0)
		run_reader(p->area, p->theirs, self);
	if (reader < 0) {
		int r = -errno;

		end_reader(p);
		return r;
	}
	p->reader = reader;
	return 0;
}

/* It waits for something; if not, it has had no CPU. */
static bool is_waiting(pid_t pid)
{
	char path[32], text[512], *end;
	_cleanup_(closep) int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return true;
	text[n] = '\0';
	end = strrchr(text, ')');
	return !end || end[1] != ' ' || end[2] != 'R';
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Whether the reader has done all that it was asked for. */
static bool wait_for_reader(struct peek *p, int64_t until)
{
	struct pollfd f = { .fd = p->ours, .events = POLLIN };
	uint32_t last = UINT32_MAX;
	unsigned looks = 0;
	char c;

	for (;;) {
		uint32_t done;

		if (poll(&f, 1, LOOK_MS) > 0)
			return recv(p->ours, &c, 1, MSG_DONTWAIT) == 1;
		done = __atomic_load_n(&p->area->done, __ATOMIC_ACQUIRE);
		looks = done != last || !is_waiting(p->reader) ? 0 : looks + 1;
		last = done;
		if (looks >= STUCK_LOOKS || now_ns() > until)
			return false;
	}
}

/* Behind the piece at which it was stuck. */
static void give_up_piece(struct peek *p)
{
	end_reader(p);
	p->n_stuck++;
	if (p->area->done >= p->area->n)
		return; /* it had just done it */
	p->area->pieces[p->area->done].got = 0;
	p->area->done++;
	p->n_late++;
}

void peek_run(struct peek *p)
{
	struct peek_area *a = p->area;
	int64_t began = now_ns();
	char c = 0;

	a->done = 0;
	while (a->done < a->n) {
		if (p->n_stuck >= MAX_STUCK || now_ns() - began > p->left_ns || start_reader(p) < 0)
			break;
		if (send(p->ours, &c, 1, MSG_NOSIGNAL) != 1 || !wait_for_reader(p, began + p->left_ns))
			give_up_piece(p);
	}
	p->n_late += a->n - a->done;
	p->left_ns -= now_ns() - began;
}
