/* SPDX-License-Identifier: Apache-2.0 */

/* probe_aarch64.S - the probe sites, their semaphores and their .note.stapsdt notes (probe.h).
 *
 * A site is the first instruction of a function: the CFA is sp, and the caller's address is in x30. The notes are what
 * sys/sdt.h writes. */

	.macro probe name, arguments
	.pushsection .probes, "aw", @progbits
	.balign 2
	.globl	pprofd_\name\()_semaphore
	.type	pprofd_\name\()_semaphore, @object
	.size	pprofd_\name\()_semaphore, 2
pprofd_\name\()_semaphore:
.Lsemaphore_\name:
	.zero	2
	.popsection

	.balign 64
	.globl	pprofd_\name\()_site
	.hidden	pprofd_\name\()_site
	.type	pprofd_\name\()_site, @function
pprofd_\name\()_site:
	.cfi_startproc
.Lsite_\name:
	nop
	ret
	.cfi_endproc
	.size	pprofd_\name\()_site, . - pprofd_\name\()_site

	.pushsection .note.stapsdt, "", @note
	.balign 4
	.long	2f - 1f, 4f - 3f, 3
1:	.asciz	"stapsdt"
2:	.balign 4
3:	.quad	.Lsite_\name
	.quad	_.stapsdt.base
	.quad	.Lsemaphore_\name
	.asciz	"otel_memory"
	.asciz	"\name"
	.asciz	"\arguments"
4:	.balign 4
	.popsection
	.endm

	.pushsection .stapsdt.base, "aG", @progbits, .stapsdt.base, comdat
	.weak	_.stapsdt.base
	.hidden	_.stapsdt.base
_.stapsdt.base:
	.space	1
	.size	_.stapsdt.base, 1
	.popsection

	.text
	probe	alloc, "8@x0 8@x1 8@x2"
	probe	free, "8@x0"

	.section .note.GNU-stack, "", @progbits
