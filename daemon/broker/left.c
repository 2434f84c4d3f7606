/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/left.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"

#define END_MS 500 /* to end once it is killed */
#define MAX_LEFT 8
#define MAX_CLOSING 64
#define STACK_SIZE ((size_t)64 * 1024)

static pid_t left[MAX_LEFT];
static unsigned n_closing; /* atomic */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards left */

bool left_has_room(void)
{
	bool room = false;

	if (__atomic_load_n(&n_closing, __ATOMIC_RELAXED) >= MAX_CLOSING)
		return false;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_LEFT; i++) {
		if (left[i] && waitpid(left[i], NULL, WNOHANG))
			left[i] = 0;
		room |= !left[i];
	}
	pthread_mutex_unlock(&lock);
	return room;
}

bool left_is_there(pid_t child)
{
	bool there = false;

	left_has_room(); /* those that have ended go */
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_LEFT && child; i++)
		there |= left[i] == child;
	pthread_mutex_unlock(&lock);
	return there;
}

/* Without room it is waited for: one that does end is never forgotten. */
static void leave(pid_t child)
{
	bool noted = false;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_LEFT && !noted; i++) {
		noted = !left[i];
		if (noted)
			left[i] = child;
	}
	pthread_mutex_unlock(&lock);
	if (!noted)
		waitpid(child, NULL, 0);
}

bool left_end(pid_t child)
{
	_cleanup_(closep) int fd = (int)syscall(SYS_pidfd_open, child, 0);
	struct pollfd f = { .fd = fd, .events = POLLIN };

	kill(child, SIGKILL);
	if (fd >= 0 && poll(&f, 1, END_MS) > 0 && waitpid(child, NULL, 0) != 0)
		return true;
	leave(child);
	return false;
}

static void *close_later(void *fd)
{
	close((int)(intptr_t)fd);
	__atomic_sub_fetch(&n_closing, 1, __ATOMIC_RELAXED);
	return NULL;
}

void left_close(int fd)
{
	pthread_attr_t detached;
	pthread_t thread;

	if (fd < 0)
		return;
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&detached, STACK_SIZE);
	__atomic_add_fetch(&n_closing, 1, __ATOMIC_RELAXED);
	if (pthread_create(&thread, &detached, close_later, (void *)(intptr_t)fd))
		close_later((void *)(intptr_t)fd);
	pthread_attr_destroy(&detached);
}
