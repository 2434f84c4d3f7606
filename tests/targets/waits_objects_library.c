/* SPDX-License-Identifier: Apache-2.0 */

/* waits_objects_library.c - a lock in the data of a shared library. */

#include <pthread.h>

static struct {
	char before[24];
	pthread_mutex_t mutex;
} library_private = { .mutex = PTHREAD_MUTEX_INITIALIZER };
pthread_mutex_t library_mutex; /* .bss */

pthread_mutex_t *library_lock(void);
pthread_mutex_t *library_lock_inside(void);

pthread_mutex_t *library_lock(void)
{
	return &library_mutex;
}

pthread_mutex_t *library_lock_inside(void)
{
	return &library_private.mutex;
}
