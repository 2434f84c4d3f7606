/* SPDX-License-Identifier: Apache-2.0 */

/* waits_objects.cc - locks in all places where a program may have them.
 *
 * waits_objects LIBRARY [SECONDS]: two threads for each of the locks take turns at it for ever, each in a function of its own
 * name; site_both waits for two of them from one place. One thread waits for `held` from before "ready". The library
 * is loaded SECONDS after it. */

#include <dlfcn.h>
#include <mutex>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SITE extern "C" __attribute__((noinline, used))

struct Registry {
	static std::mutex lock;
};
std::mutex Registry::lock;

namespace {
pthread_mutex_t hidden = PTHREAD_MUTEX_INITIALIZER; /* .bss */
}

pthread_mutex_t global, both_a, both_b, held;
struct {
	long before[5];
	pthread_mutex_t mutex;
} object = { { 1 }, PTHREAD_MUTEX_INITIALIZER }; /* .data */
static pthread_mutex_t *on_heap, *library, *library_inside;

static pthread_mutex_t *local()
{
	static pthread_mutex_t inner;

	return &inner;
}

/* The call is not the last thing that a site does, so that its frame stays. */
#define LOCK(name, which)                                                                          \
	SITE int name(long turn)                                                                   \
	{                                                                                          \
		pthread_mutex_t *m = which;                                                        \
                                                                                                   \
		(void)turn;                                                                        \
		pthread_mutex_lock(m);                                                             \
		usleep(4000);                                                                      \
		pthread_mutex_unlock(m);                                                           \
		usleep(500);                                                                       \
		return 1;                                                                          \
	}

LOCK(site_global, &global)
LOCK(site_hidden, &hidden)
LOCK(site_object, &object.mutex)
LOCK(site_static, local())
LOCK(site_heap, on_heap)
LOCK(site_library, library)
LOCK(site_inside, library_inside)
LOCK(site_both, turn & 1 ? &both_a : &both_b)

SITE int site_member(long)
{
	Registry::lock.lock();
	usleep(4000);
	Registry::lock.unlock();
	usleep(500);
	return 1;
}

SITE int site_held(long)
{
	pthread_mutex_lock(&held);
	return 1;
}

static void *run(void *p)
{
	int (*const site)(long) = (int (*)(long))p;

	for (long turn = 0;; turn++)
		site(turn);
	return NULL;
}

static void start(int (*site)(long), int n)
{
	pthread_t t;

	while (n--)
		pthread_create(&t, NULL, run, (void *)site);
}

static int load(const char *path)
{
	void *l = dlopen(path, RTLD_NOW);

	if (!l) {
		fprintf(stderr, "no library: %s\n", dlerror());
		return 1;
	}
	library = ((pthread_mutex_t * (*)()) dlsym(l, "library_lock"))();
	library_inside = ((pthread_mutex_t * (*)()) dlsym(l, "library_lock_inside"))();
	start(site_library, 2);
	start(site_inside, 2);
	return 0;
}

int main(int argc, char **argv)
{
	int (*const sites[])(long) = { site_global, site_hidden, site_object,
				       site_static, site_heap,	 site_member };
	unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 0;

	on_heap = (pthread_mutex_t *)calloc(1, sizeof(*on_heap));
	pthread_mutex_lock(&held);
	start(site_held, 1);
	usleep(200000);
	for (unsigned i = 0; i < sizeof(sites) / sizeof(sites[0]); i++)
		start(sites[i], 2);
	start(site_both, 4);
	if (!seconds && load(argv[1]))
		return 1;
	puts("ready");
	fflush(stdout);
	sleep(seconds);
	if (seconds && load(argv[1]))
		return 1;
	for (;;)
		pause();
}
