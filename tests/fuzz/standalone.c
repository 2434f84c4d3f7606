/* SPDX-License-Identifier: Apache-2.0 */

/* standalone.c - runs a fuzz target over files, without a fuzzer.
 *
 * Each argument is a file or a directory of files. Built in place of libFuzzer's main, so that a
 * corpus is a test with any compiler. To have run none is a failure. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define MAX_FILE (256u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static long n_run;

static int run_file(const char *path, size_t size)
{
	_cleanup_(freep) uint8_t *data = malloc(size ? size : 1);
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f || !data || size > MAX_FILE) {
		if (f)
			fclose(f);
		fprintf(stderr, "%s: cannot read\n", path);
		return 1;
	}
	n = fread(data, 1, size, f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, n);
	n_run++;
	return 0;
}

static int run(const char *path)
{
	char name[4096];
	struct dirent *e;
	struct stat st;
	int r = 0;
	DIR *d;

	if (stat(path, &st) < 0) {
		perror(path);
		return 1;
	}
	if (!S_ISDIR(st.st_mode))
		return run_file(path, (size_t)st.st_size);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' &&
		    snprintf(name, sizeof(name), "%s/%s", path, e->d_name) < (int)sizeof(name))
			r |= run(name);
	if (d)
		closedir(d);
	return r;
}

int main(int argc, char **argv)
{
	int r = 0;

	for (int i = 1; i < argc; i++)
		r |= run(argv[i]);
	printf("%ld files\n", n_run);
	return r || !n_run;
}
