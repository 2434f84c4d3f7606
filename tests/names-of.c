/* SPDX-License-Identifier: Apache-2.0 */

/* names-of.c - FILE [debug=FILE|link=FILE] [alt=FILE] [dwo=FILE]... [loose=N]: reads addresses from its input, as hexadecimal numbers at
 * the beginning of lines, and writes each with the functions and lines there, as fixtures/truth.h does. A file that does
 * not belong to the one before is not taken: "misfit" and status 3. loose: .dwo files are looked for where the compiler says
 * that they are, when an address needs one, and N of them have to be found; each is offered a stranger's first. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symbolizer/demangle.h"
#include "symbolizer/links.h"
#include "symbolizer/names.h"

static struct elf_file *open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct elf_file *f;

	if (fd < 0 || elf_file_open(fd, &f) < 0) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(2);
	}
	return f;
}

static void misfit(bool fits, const char *path)
{
	if (fits)
		return;
	printf("misfit %s\n", path);
	exit(3);
}

static void add(struct names *n, struct elf_file *f, struct elf_file **debug, const char *argument)
{
	const char *path = strchr(argument, '=');
	struct elf_file *other;
	enum names_kind kind = NAMES_DWO;

	if (!path)
		exit(2);
	other = open_file(++path);
	if (argument[0] == 'a') {
		kind = NAMES_ALT;
		misfit(links_fit_alt(*debug ? *debug : f, other), path);
	} else if (strncmp(argument, "dwo", 3)) {
		kind = NAMES_DEBUG;
		misfit(links_fit_debug(f, other, argument[0] == 'l'), path);
		*debug = other;
	}
	if (names_add(n, kind, other) < 0)
		exit(2);
}

/* What a unit there lacks; the program itself is no .dwo of it. */
static int add_loose(struct names *n, uint64_t address, const char *program)
{
	struct names_dwo dwo;
	char path[8192];

	if (!names_missing_dwo(n, address, &dwo))
		return 0;
	snprintf(path, sizeof(path), "%s%s%s", *dwo.name == '/' ? "" : dwo.directory,
		 *dwo.name == '/' ? "" : "/", dwo.name);
	if (names_add_dwo(n, open_file(program)) != -ESTALE || names_add_dwo(n, open_file(path)) != 0 ||
	    names_add_dwo(n, open_file(path)) != -ESTALE) {
		fprintf(stderr, "%s: is not taken as it should be\n", path);
		exit(2);
	}
	return 1;
}

static void on_frame(void *context, const struct names_frame *frame)
{
	char name[SYMBOLIZER_MAX_NAME + 1];

	if (!*frame->system_name)
		return;
	demangle(frame->qualified ? frame->qualified : frame->system_name, DEMANGLE_SIMPLE, name);
	printf(" %s:%u", name, frame->line);
}

static void on_nothing(void *context, const struct names_frame *frame)
{
}

int main(int argc, char **argv)
{
	struct elf_file *f, *debug = NULL;
	struct names *n;
	char line[4096];
	int n_loose = 0, n_found = 0;

	if (argc < 2)
		return 2;
	f = open_file(argv[1]);
	if (names_new(f, &n) < 0)
		return 2;
	for (int i = 2; i < argc; i++) {
		if (!strncmp(argv[i], "loose=", 6))
			n_loose = atoi(argv[i] + 6);
		else
			add(n, f, &debug, argv[i]);
	}
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t address = strtoull(line, NULL, 16);

		if (n_loose) {
			names_find(n, address, on_nothing, NULL); /* as it was before */
			n_found += add_loose(n, address, argv[1]);
		}
		printf("%llx", (unsigned long long)address);
		names_find(n, address, on_frame, NULL);
		printf("\n");
	}
	names_free(n);
	elf_file_close(f);
	return n_found == n_loose ? 0 : 1;
}
