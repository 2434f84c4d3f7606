// SPDX-License-Identifier: Apache-2.0

// track.cc - what --track looks at: descriptors, mappings, threads, and functions of its own.
//
//	track
//
// "ready", then for each line of its input what it says, and "done": "descriptors" (13 stay open), "mappings" (3 stay),
// "threads" (2 stay unjoined), "own" (4 objects stay, a call throws), "cancel" (a thread that waits in accept is cancelled;
// "cleaned N": its destructors and handlers that ran).

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#define SITE __attribute__((noinline))
#define KEEP __asm__ volatile("" ::: "memory")

extern "C" SITE void *own_new(int n)
{
	void *p;

	if (n < 0)
		throw std::runtime_error("own");
	p = malloc((size_t)n);
	KEEP;
	return p;
}

extern "C" SITE void own_delete(int how, void *p)
{
	if (how)
		free(p);
	KEEP;
}

static int open_one()
{
	return open("/dev/null", O_RDONLY);
}

SITE void site_open()
{
	for (int i = 0; i < 5; i++)
		open_one();
	for (int i = 0; i < 20; i++)
		close(open_one());
	open("/nonexistent/file", O_RDONLY);
	fclose(fopen("/dev/zero", "r"));
	KEEP;
}

SITE void site_others()
{
	int both[2], s;

	if (pipe(both) || pipe2(both, O_CLOEXEC))
		abort();
	close(both[0]);
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	dup2(s, dup(s));
	epoll_create1(0);
	eventfd(0, 0);
	openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY);
	KEEP;
}

SITE void *site_map()
{
	void *p = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	KEEP;
	return p;
}

static void *nothing(void *p)
{
	return p;
}

SITE pthread_t site_thread()
{
	pthread_t t;

	if (pthread_create(&t, nullptr, nothing, nullptr))
		abort();
	KEEP;
	return t;
}

static int n_cleaned;

struct cleaned {
	~cleaned()
	{
		n_cleaned++;
	}
};

static void on_cancel(void *)
{
	n_cleaned++;
}

SITE static void wait_in_accept(int s)
{
	cleaned inner;

	accept(s, nullptr, nullptr);
	KEEP;
}

static void *accepting(void *)
{
	cleaned outer;
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un a = {};

	a.sun_family = AF_UNIX; /* autobind */
	if (bind(s, (struct sockaddr *)&a, sizeof(a.sun_family)) || listen(s, 1))
		abort();
	pthread_cleanup_push(on_cancel, nullptr);
	wait_in_accept(s);
	pthread_cleanup_pop(0);
	return nullptr;
}

static void cancel()
{
	pthread_t t;
	void *result;

	n_cleaned = 0;
	if (pthread_create(&t, nullptr, accepting, nullptr))
		abort();
	usleep(100000);
	pthread_cancel(t);
	pthread_join(t, &result);
	printf("cleaned %d %d\n", n_cleaned, result == PTHREAD_CANCELED);
}

static void own()
{
	for (int i = 1; i <= 4; i++)
		own_new(i);
	for (int i = 1; i <= 3; i++)
		own_delete(1, own_new(100 + i));
	try {
		own_new(-1);
	} catch (const std::runtime_error &e) {
		printf("caught %s\n", e.what());
	}
}

int main()
{
	char line[100];

	setvbuf(stdout, nullptr, _IOLBF, 4096);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "descriptors", 11)) {
			site_open();
			site_others();
		}
		if (!strncmp(line, "mappings", 8)) {
			for (int i = 0; i < 3; i++)
				site_map();
			munmap(site_map(), 4096);
		}
		if (!strncmp(line, "threads", 7)) {
			site_thread();
			site_thread();
			pthread_join(site_thread(), nullptr);
			pthread_detach(site_thread());
		}
		if (!strncmp(line, "own", 3))
			own();
		if (!strncmp(line, "cancel", 6))
			cancel();
		printf("done\n");
	}
	return 0;
}
