/* SPDX-License-Identifier: Apache-2.0 */
/* labels_user.c - labels that a library sets, beside the program's own (OWN). Linked with it, or given its path:
 * opened. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#ifdef OWN
#include "preload/pprofd.h"
#endif

typedef void set_fn(const char *key, const char *value);
typedef void clear_fn(const char *key);
#ifdef LINKED
set_fn library_set;
clear_fn library_clear;
#endif
static set_fn *set;
static clear_fn *clear;

__attribute__((noinline)) void under_library(void);
__attribute__((noinline)) void under_program(void);
void under_library(void)
{
	for (volatile int i = 0; i < 300000; i++)
		;
}
void under_program(void)
{
	for (volatile int i = 0; i < 300000; i++)
		;
}

static void *work(void *unused)
{
	for (;;) {
		set("role", "library");
		under_library();
		clear("role");
#ifdef OWN
		PPROFD_LABEL_SET("role", "program");
#endif
		under_program();
#ifdef OWN
		PPROFD_LABEL_CLEAR("role");
#endif
	}
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t t;

#ifdef LINKED
	set = library_set;
	clear = library_clear;
#else
	void *h = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;

	set = h ? (set_fn *)dlsym(h, "library_set") : NULL;
	clear = h ? (clear_fn *)dlsym(h, "library_clear") : NULL;
	if (!set || !clear)
		return 1;
#endif
	(void)argc, (void)argv;
	pthread_create(&t, NULL, work, NULL);
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
