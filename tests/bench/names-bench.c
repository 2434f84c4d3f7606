/* SPDX-License-Identifier: Apache-2.0 */

/* names-bench.c - how fast the symbolizer child names addresses of a file, and in how much memory.
 *
 *   names-bench SYMBOLIZER FILE ADDRESSES PASSES [print]
 *
 * Starts the child as the broker does and asks it as serve does, in the order of the file of addresses (hexadecimal,
 * one a line). Prints a line for each pass: seconds, addresses, frames,
 * seconds of CPU time of the child; then the child's VmHWM and RssAnon in kB.
 * With `print` the frames of the first pass come before: the address, and for each frame two lines, linkage name and
 * file:line, as llvm-symbolizer writes them. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/record.h"
#include "symbolizer/client.h"

#define SYMBOLIZER_FD 3

static struct symbolizer symbolizer;

struct pass {
	const uint64_t *addresses; /* of this batch */
	uint32_t last;
	uint64_t n_frames;
	bool print;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static pid_t start(const char *path, int *ret_fd)
{
	int fds[2];
	pid_t pid;

	if (record_pair(fds) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], SYMBOLIZER_FD);
		execl(path, path, NULL);
		_exit(127);
	}
	close(fds[1]);
	*ret_fd = fds[0];
	return pid;
}

static size_t read_addresses(const char *path, uint64_t **ret)
{
	FILE *f = fopen(path, "re");
	size_t n = 0, cap = 1u << 20;
	char line[64];

	*ret = calloc(cap, sizeof(**ret));
	while (f && *ret && n < cap && fgets(line, sizeof(line), f))
		(*ret)[n++] = strtoull(line, NULL, 16);
	if (f)
		fclose(f);
	return n;
}

static void on_frame(void *context, const struct symbolizer_frame *f, const char *name,
		     const char *system_name, const char *file)
{
	struct pass *p = context;

	p->n_frames++;
	if (!p->print)
		return;
	for (; p->last != f->index; p->last++)
		printf("\n%#" PRIx64 "\n", p->addresses[p->last + 1]);
	if (f->n_system_name || f->n_file)
		printf("%.*s\n%.*s:%u\n", f->n_system_name ? f->n_system_name : 2,
		       f->n_system_name ? system_name : "??", f->n_file ? f->n_file : 2,
		       f->n_file ? file : "??", f->line);
}

static double cpu_of(pid_t pid)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	if (f)
		fclose(f);
	return (double)ns / 1e9;
}

static int run(const struct symbolizer_object *o, const uint64_t *addresses, size_t n, bool print,
	       pid_t pid)
{
	struct pass p = { .print = print };
	double from = now(), cpu = cpu_of(pid);

	for (size_t i = 0; i < n; i += SYMBOLIZER_MAX_ADDRESSES) {
		size_t k = n - i < SYMBOLIZER_MAX_ADDRESSES ? n - i : SYMBOLIZER_MAX_ADDRESSES;
		int r;

		p.addresses = addresses + i;
		p.last = UINT32_MAX;
		r = symbolizer_ask_names(&symbolizer, o, DEMANGLE_SIMPLE, addresses + i,
					 (uint32_t)k, on_frame, &p);
		if (r < 0)
			return r;
		for (; print && p.last + 1 < k; p.last++)
			printf("\n%#" PRIx64 "\n", addresses[i + p.last + 1]);
	}
	printf("%spass %.6f %zu %" PRIu64 " %.6f\n", print ? "\n" : "", now() - from, n, p.n_frames,
	       cpu_of(pid) - cpu);
	return 0;
}

static void print_memory(pid_t pid)
{
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmHWM", 5) || !strncmp(line, "RssAnon", 7))
			fputs(line, stdout);
	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	struct symbolizer_object o = { .id = 1, .kind = SYMBOLIZER_FILE };
	bool print = argc > 5 && !strcmp(argv[5], "print");
	uint64_t *addresses = NULL;
	size_t n;
	pid_t pid;
	int r = 0, fd;

	if (argc < 5)
		return 2;
	n = read_addresses(argv[3], &addresses);
	o.fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	pid = start(argv[1], &fd);
	if (!n || o.fd < 0 || pid < 0)
		return 2;
	symbolizer.fd = -1;
	symbolizer_replace(&symbolizer, fd);
	for (int i = 0; i < atoi(argv[4]) && r == 0; i++)
		r = run(&o, addresses, n, print && i == 0, pid);
	if (r < 0)
		fprintf(stderr, "names-bench: %s\n", strerror(-r));
	print_memory(pid);
	symbolizer_replace(&symbolizer, -1);
	waitpid(pid, NULL, 0);
	close(o.fd);
	free(addresses);
	return r < 0;
}
