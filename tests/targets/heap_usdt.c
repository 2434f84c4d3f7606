/* SPDX-License-Identifier: Apache-2.0 */

/* heap_usdt.c - a process that samples its own allocations and says so by otel_memory probes, with
 * the notes written by hand (as sys/sdt.h writes them).
 *
 *   heap-usdt
 *
 * "ready", then a line on its input for each step. "told N": N objects of 3000 bytes at site_told, each
 * said to stand for 70001; "released N": the first N of them are freed. Built with -DMALFORMED the
 * arguments of its notes cannot be read: site_plain, which allocates 100000 bytes, is what
 * remains to be seen. Arguments are told in forms of all kinds. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef MALFORMED
#define ALLOC_ARGUMENTS "8@%xmm3 8@"
#define FREE_ARGUMENTS "@@%rdi"
#else
#define ALLOC_ARGUMENTS "8@%rdi -4@%esi 8@8(%rdx,%rcx,8)"
#define FREE_ARGUMENTS "8@%rdi"
#endif

#define SITE_CODE(name, arguments)                                                                 \
	__asm__(".pushsection .probes, \"aw\", @progbits\n"                                        \
		".globl semaphore_" #name "\n"                                                     \
		"semaphore_" #name ": .zero 2\n"                                                   \
		".popsection\n"                                                                    \
		".pushsection .text\n"                                                             \
		".balign 64\n"                                                                     \
		".globl tell_" #name "\n"                                                          \
		".type tell_" #name ", @function\n"                                                \
		"tell_" #name ":\n"                                                                \
		".cfi_startproc\n"                                                                 \
		"nop\n"                                                                            \
		"ret\n"                                                                            \
		".cfi_endproc\n"                                                                   \
		".size tell_" #name ", . - tell_" #name "\n"                                       \
		".popsection\n"                                                                    \
		".pushsection .note.stapsdt, \"\", @note\n"                                        \
		".balign 4\n"                                                                      \
		".long 2f - 1f, 4f - 3f, 3\n"                                                      \
		"1: .asciz \"stapsdt\"\n"                                                          \
		"2: .balign 4\n"                                                                   \
		"3: .quad tell_" #name ", base_of_notes, semaphore_" #name "\n"                    \
		".asciz \"otel_memory\"\n"                                                         \
		".asciz \"" #name "\"\n"                                                           \
		".asciz \"" arguments "\"\n"                                                       \
		"4: .balign 4\n"                                                                   \
		".popsection\n")

__asm__(".pushsection .stapsdt.base, \"a\", @progbits\n"
	".globl base_of_notes\n"
	"base_of_notes: .space 1\n"
	".popsection\n");
SITE_CODE(alloc, ALLOC_ARGUMENTS);
SITE_CODE(free, FREE_ARGUMENTS);

extern volatile uint16_t semaphore_alloc;
void tell_alloc(void *p, long size, const uint64_t *weights, long which);
void tell_free(void *p);

#define N_TOLD 10000
#define SITE static __attribute__((noinline, noclone))
#define KEEP __asm__ volatile("")

static void *told[N_TOLD];
static long n_told, n_released;

SITE void site_told(void)
{
	static const uint64_t weights[4] = { 1, 2, 3, 70001 };
	void *p = malloc(3000);

	if (semaphore_alloc)
		tell_alloc(p, 3000, weights, 2); /* weights[1 + 2] */
	told[n_told++] = p;
	KEEP;
}

SITE void site_plain(void)
{
	told[n_told++] = malloc(100000);
	KEEP;
}

int main(int argc, char **argv)
{
	char line[200];
	long n;

	setvbuf(stdout, NULL, _IOLBF, 4096);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "told %ld", &n) == 1)
			while (n-- > 0 && n_told < N_TOLD)
				site_told();
		if (sscanf(line, "plain %ld", &n) == 1)
			while (n-- > 0 && n_told < N_TOLD)
				site_plain();
		if (sscanf(line, "released %ld", &n) == 1)
			while (n-- > 0 && n_released < n_told) {
				tell_free(told[n_released]);
				free(told[n_released++]);
			}
		printf("done %d\n", semaphore_alloc);
	}
	return 0;
}
