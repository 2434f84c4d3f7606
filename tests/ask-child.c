/* SPDX-License-Identifier: Apache-2.0 */

/* ask-child.c - SYMBOLIZER [FILE ADDRESS]...: starts the child as the broker does, and asks it all that serve may ask about
 * each file, names at the address (hexadecimal). Writes a line for each: the status of each answer, the name of the
 * innermost frame ("-": none), and the most memory that the child has had (kB, VmHWM). Where the child has failed, the
 * line says so instead, and the next file has a new one. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/record.h"
#include "symbolizer/client.h"

#define SYMBOLIZER_FD 3

static struct symbolizer symbolizer = { .fd = -1 };
static const char *path;
static pid_t pid = -1;
static char name[SYMBOLIZER_MAX_NAME + 1];

static void end_child(void)
{
	symbolizer_replace(&symbolizer, -1);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	pid = -1;
}

static void start_child(void)
{
	int fds[2];

	if (record_pair(fds) < 0)
		exit(2);
	pid = fork();
	if (pid < 0)
		exit(2);
	if (pid == 0) {
		dup2(fds[1], SYMBOLIZER_FD);
		execl(path, path, NULL);
		_exit(127);
	}
	close(fds[1]);
	symbolizer_replace(&symbolizer, fds[0]);
}

static bool failed(int r)
{
	return r == -EPIPE || r == -ETIMEDOUT || r == -EBADMSG;
}

static void on_frame(void *context, const struct symbolizer_frame *f, const char *text,
		     const char *system_name, const char *file)
{
	if (!strcmp(name, "-") && f->n_name)
		snprintf(name, sizeof(name), "%.*s", f->n_name, text);
}

static void ignore_frame(void *context, const struct symbolizer_frame *f, const char *text,
			 const char *system_name, const char *file)
{
}

static long peak(void)
{
	char status[64], line[256];
	long kb = -1;
	FILE *f;

	snprintf(status, sizeof(status), "/proc/%d/status", (int)pid);
	f = fopen(status, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

enum { INFO, LINKS, ROWS, PROBES, NAMES, CALLEES, VARIABLES, N_QUESTIONS };
static const char *const questions[] = { "info", "links", "rows", "probes", "names", "callees",
					 "variables" };

static int ask(const struct symbolizer_object *o, int what, uint64_t address)
{
	struct symbolizer_info info;
	struct symbolizer_links links;
	struct symbolizer_rows rows = { 0 };
	struct symbolizer_probes probes = { 0 };
	int r;

	switch (what) {
	case INFO:
		return symbolizer_ask_info(&symbolizer, o, &info);
	case LINKS:
		return symbolizer_ask_links(&symbolizer, o, &links);
	case ROWS:
		r = symbolizer_ask_rows(&symbolizer, o, &rows);
		if (r == 0)
			symbolizer_rows_deinit(&rows);
		return r;
	case PROBES:
		r = symbolizer_ask_probes(&symbolizer, o, &probes);
		if (r == 0)
			symbolizer_probes_deinit(&probes);
		return r;
	case NAMES:
		return symbolizer_ask_names(&symbolizer, o, DEMANGLE_SIMPLE, &address, 1, on_frame, NULL);
	case CALLEES:
		return symbolizer_ask_callees(&symbolizer, o, DEMANGLE_SIMPLE, &address, 1, ignore_frame, NULL);
	default:
		return symbolizer_ask_variables(&symbolizer, o, DEMANGLE_SIMPLE, &address, 1, ignore_frame, NULL);
	}
}

static void ask_all(uint32_t id, const char *file, uint64_t address)
{
	struct symbolizer_object o = { .id = id, .kind = SYMBOLIZER_FILE };

	o.fd = open(file, O_RDONLY | O_CLOEXEC);
	if (o.fd < 0)
		exit(2);
	strcpy(name, "-");
	printf("%s", file);
	for (int i = 0; i < N_QUESTIONS; i++) {
		int r = ask(&o, i, address);

		printf(" %s %d", questions[i], r);
		if (failed(r)) {
			printf(" failed\n");
			end_child();
			start_child();
			close(o.fd);
			return;
		}
	}
	printf(" name %s peak %ld\n", name, peak());
	close(o.fd);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	path = argv[1];
	start_child();
	for (int i = 2; i + 1 < argc; i += 2)
		ask_all((uint32_t)i, argv[i], strtoull(argv[i + 1], NULL, 16));
	end_child();
	return 0;
}
