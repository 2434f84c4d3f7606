/* SPDX-License-Identifier: Apache-2.0 */

/* account.c - a program that knows what it allocates, for a reader outside (reader.py). Waits for a
 * line on stdin, allocates, prints per size: size, objects allocated, objects still there; waits
 * again. */

#include <string.h>

#include "tests/preload/shim.h"

static const struct {
	size_t size;
	int n, kept_of_8;
} kinds[] = { { 24, 1200000, 2 },
	      { 400, 100000, 4 },
	      { 5000, 8000, 1 },
	      { 60000, 600, 8 },
	      { 1 << 20, 60, 3 } };
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static void *keep[2000000];
static size_t n_kept;

int main(void)
{
	char line[16];

	if (!fgets(line, sizeof(line), stdin))
		return 1;
	shim_look();
	for (size_t k = 0; k < KINDS; k++) {
		int kept = 0;

		for (int i = 0; i < kinds[k].n; i++) {
			char *p = malloc(kinds[k].size);

			p[0] = 1;
			if (i % 8 < kinds[k].kept_of_8) {
				keep[n_kept++] = p;
				kept++;
			} else {
				free(p);
			}
		}
		printf("%zu %d %d\n", kinds[k].size, kinds[k].n, kept);
	}
	puts("done");
	fflush(stdout);
	return !fgets(line, sizeof(line), stdin);
}
