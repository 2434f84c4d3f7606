/* SPDX-License-Identifier: Apache-2.0 */

/* kvdemo.c - something to profile: a small key-value server with its own load.
 *
 *   kvdemo [SECONDS]
 *
 * A forked child plays four clients; this process is the server, a thread a client: it parses
 * commands, keeps an LRU cache under one lock, checksums values and writes JSON. Its hot spots are
 * ordinary ones, with one planted: `checksum_slowly` goes bit by bit where a table would do. */

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_CLIENTS 4
#define N_AT_ONCE 64 /* commands a client sends in one go */
#define N_BUCKETS 4096
#define MAX_ENTRIES 20000
#define MAX_VALUE 512

struct entry {
	struct entry *next;		/* in its bucket */
	struct entry *newer, *older;	/* in order of use */
	uint32_t checksum;
	char key[24], value[MAX_VALUE];
};

struct store {
	pthread_mutex_t lock; /* guards everything below */
	struct entry *buckets[N_BUCKETS];
	struct entry *newest, *oldest;
	size_t n;
};

static struct store store = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint32_t hash_key(const char *key)
{
	uint32_t h = 2166136261u;

	while (*key)
		h = (h ^ (uint8_t)*key++) * 16777619u;
	return h;
}

static uint32_t __attribute__((noinline)) checksum_slowly(const char *text)
{
	uint32_t crc = ~0u;

	for (; *text; text++) {
		crc ^= (uint8_t)*text;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
	}
	return ~crc;
}

static void unlink_entry(struct entry *e)
{
	*(e->newer ? &e->newer->older : &store.newest) = e->older;
	*(e->older ? &e->older->newer : &store.oldest) = e->newer;
}

static void touch_entry(struct entry *e)
{
	e->older = store.newest;
	e->newer = NULL;
	*(store.newest ? &store.newest->newer : &store.oldest) = e;
	store.newest = e;
}

static struct entry *__attribute__((noinline)) store_find(const char *key)
{
	struct entry *e = store.buckets[hash_key(key) % N_BUCKETS];

	while (e && strcmp(e->key, key))
		e = e->next;
	return e;
}

static void __attribute__((noinline)) store_evict(void)
{
	struct entry *e = store.oldest, **at = &store.buckets[hash_key(e->key) % N_BUCKETS];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	unlink_entry(e);
	free(e);
	store.n--;
}

static void __attribute__((noinline)) store_set(const char *key, const char *value)
{
	uint32_t checksum = checksum_slowly(value);
	struct entry *e;

	pthread_mutex_lock(&store.lock);
	e = store_find(key);
	if (e) {
		unlink_entry(e);
	} else {
		struct entry **bucket = &store.buckets[hash_key(key) % N_BUCKETS];

		e = calloc(1, sizeof(*e));
		snprintf(e->key, sizeof(e->key), "%s", key);
		e->next = *bucket;
		*bucket = e;
		store.n++;
	}
	snprintf(e->value, sizeof(e->value), "%s", value);
	e->checksum = checksum;
	touch_entry(e);
	if (store.n > MAX_ENTRIES)
		store_evict();
	pthread_mutex_unlock(&store.lock);
}

static size_t __attribute__((noinline)) write_json(char *to, size_t n, const struct entry *e)
{
	size_t at = (size_t)snprintf(to, n, "{\"key\":\"%s\",\"sum\":%u,\"value\":\"", e->key, e->checksum);

	for (const char *c = e->value; *c && at + 4 < n; c++) {
		if (*c == '"' || *c == '\\')
			to[at++] = '\\';
		to[at++] = *c;
	}
	to[at++] = '"';
	to[at++] = '}';
	to[at++] = '\n';
	return at;
}

static size_t __attribute__((noinline)) store_get(const char *key, char *to, size_t n)
{
	struct entry *e;
	size_t len = 0;

	pthread_mutex_lock(&store.lock);
	e = store_find(key);
	if (e) {
		unlink_entry(e);
		touch_entry(e);
		len = write_json(to, n, e);
	}
	pthread_mutex_unlock(&store.lock);
	return len ? len : (size_t)snprintf(to, n, "null\n");
}

static size_t __attribute__((noinline)) handle_command(char *line, char *to, size_t n)
{
	char *save, *verb = strtok_r(line, " \n", &save), *key = strtok_r(NULL, " \n", &save);

	if (!verb || !key)
		return (size_t)snprintf(to, n, "error\n");
	if (!strcmp(verb, "GET"))
		return store_get(key, to, n);
	store_set(key, save ? save : "");
	return (size_t)snprintf(to, n, "ok\n");
}

/* Everything that has arrived is answered with one write. */
static void *serve_client(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static __thread char in[65536], out[262144];
	char name[16];
	size_t n_in = 0;

	snprintf(name, sizeof(name), "client-%d", fd);
	prctl(PR_SET_NAME, name);
	for (;;) {
		ssize_t got = read(fd, in + n_in, sizeof(in) - n_in - 1);
		char *line = in, *end;
		size_t n_out = 0;

		if (got <= 0)
			exit(0);
		n_in += (size_t)got;
		in[n_in] = '\0';
		for (; (end = strchr(line, '\n')) && n_out + 2048 < sizeof(out); line = end + 1) {
			*end = '\0';
			n_out += handle_command(line, out + n_out, sizeof(out) - n_out);
		}
		n_in -= (size_t)(line - in);
		memmove(in, line, n_in);
		if (write(fd, out, n_out) != (ssize_t)n_out)
			exit(0);
	}
}

static size_t put_command(char *to, unsigned *seed)
{
	int key = rand_r(seed) % 40000, n;

	if (rand_r(seed) % 4)
		return (size_t)sprintf(to, "GET key:%d\n", key);
	n = sprintf(to, "SET key:%d ", key);
	for (int i = rand_r(seed) % 400; i > 0; i--)
		to[n++] = (char)('a' + i % 26);
	to[n++] = '\n';
	return (size_t)n;
}

static void play_client(int fd, unsigned seed)
{
	static char lines[N_AT_ONCE * (MAX_VALUE + 64)], answers[65536];

	for (;;) {
		size_t n = 0;
		int missing = N_AT_ONCE;

		for (int i = 0; i < N_AT_ONCE; i++)
			n += put_command(lines + n, &seed);
		if (write(fd, lines, n) != (ssize_t)n)
			_exit(0);
		while (missing > 0) {
			ssize_t got = read(fd, answers, sizeof(answers));

			if (got <= 0)
				_exit(0);
			for (ssize_t i = 0; i < got; i++)
				missing -= answers[i] == '\n';
		}
	}
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 0, pairs[N_CLIENTS][2];
	pthread_t t;

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < N_CLIENTS; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) < 0)
			return 1;
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(pairs[i][0]);
			play_client(pairs[i][1], (unsigned)i + 1);
		}
		close(pairs[i][1]);
	}
	for (int i = 0; i < N_CLIENTS; i++)
		if (pthread_create(&t, NULL, serve_client, (void *)(intptr_t)pairs[i][0]))
			return 1;
	if (seconds)
		sleep((unsigned)seconds);
	else
		for (;;)
			pause();
	return 0;
}
