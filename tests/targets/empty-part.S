/* SPDX-License-Identifier: Apache-2.0 */

/* An empty part of a function (what a compiler makes of what cannot be reached) has the address of the next one's part: a jump to
 * nowhere seems to lead into that. */
	.text
	.globl first
	.type first,@function
first:	.cfi_startproc
	test %edx,%edx
	jne .Lcold
	ret
	.cfi_endproc
	.size first,.-first
	.p2align 4
	.globl second
	.type second,@function
second:	.cfi_startproc
	push %rbp
	.cfi_def_cfa_offset 16
	push %rbx
	.cfi_def_cfa_offset 24
	push %r8
	.cfi_def_cfa_offset 32
	test %edi,%edi
	jne .Lcold
	pop %rdx
	.cfi_def_cfa_offset 24
	pop %rbx
	.cfi_def_cfa_offset 16
	pop %rbp
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.size second,.-second
	.section .text.unlikely,"ax"
	.cfi_startproc
	.cfi_def_cfa_offset 32
.Lcold:	xor %eax,%eax
	pop %rdx
	.cfi_def_cfa_offset 24
	pop %rbx
	.cfi_def_cfa_offset 16
	pop %rbp
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.section .note.GNU-stack,"",@progbits
