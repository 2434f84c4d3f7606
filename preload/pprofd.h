/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* pprofd.h - profiles of your own (runtime/pprof's NewProfile, Add, Remove), seen from outside by pprofd.
 *
 * One header for C11 and C++17: no library, no dependency, no state. Each call is a one-byte nop and a note in
 * the file that says where it is (.note.stapsdt, provider pprofd); while pprofd looks at the process, the kernel
 * stops there for a moment. x86-64 Linux, gcc and clang; anywhere else the calls do nothing.
 *
 *	PPROFD_PROFILE("connections");                  at file scope or in a function
 *	PPROFD_ADD("connections", c, 0);                c: any pointer or integer, held from now on
 *	PPROFD_REMOVE("connections", c);
 *
 *	/debug/pprof/connections shows the stacks of the Adds whose values are still held.
 *
 * Whoever uses the same name, in whatever file, uses the same profile. A value is held once: to add one that is
 * held is an error of the program, which is counted and shown, and changes nothing. To remove one that is not
 * held does nothing.
 *
 * Names: 1 to 63 bytes, any but NUL; those of pprofd's own profiles are refused. PPROFD_PROFILE takes one string
 * literal, and is read from the file without being run. PPROFD_ADD and _REMOVE take string literals (and macros that
 * are), which cost nothing; or any const char *, which is read when the call is made, and counted as an error
 * if it points nowhere. `skip` leaves out so many functions from the leaf of the stack, inlined ones too; 0: the
 * function that PPROFD_ADD stands in is the leaf.
 *
 * Compiled code of a program that uses this needs no licence of ours. */

#if defined(__x86_64__) && defined(__LP64__) && defined(__ELF__) && defined(__GNUC__)

#define PPROFD_TEXT_(...) PPROFD_TEXT2_(__VA_ARGS__)
#define PPROFD_TEXT2_(...) #__VA_ARGS__

/* A note that describes label 990, in the form of SystemTap's (type 3). */
#define PPROFD_SITE_(probe, arguments)                                                             \
	"990:\tnop\n"                                                                              \
	"\t.pushsection .note.stapsdt,\"?\",\"note\"\n"                                            \
	"\t.balign 4\n"                                                                            \
	"\t.4byte 992f-991f,994f-993f,3\n"                                                         \
	"991:\t.asciz \"stapsdt\"\n"                                                               \
	"992:\t.balign 4\n"                                                                        \
	"993:\t.8byte 990b\n"                                                                      \
	"\t.8byte _.stapsdt.base\n"                                                                \
	"\t.8byte 0\n"                                                                             \
	"\t.asciz \"pprofd\"\n"                                                                    \
	"\t.asciz \"" probe "\"\n"                                                                 \
	"\t.asciz \"" arguments "\"\n"                                                             \
	"994:\t.balign 4\n"                                                                        \
	"\t.popsection\n"                                                                          \
	"\t.ifndef _.stapsdt.base\n"                                                               \
	"\t.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                  \
	"\t.weak _.stapsdt.base\n"                                                                 \
	"\t.hidden _.stapsdt.base\n"                                                               \
	"_.stapsdt.base:\t.space 1\n"                                                              \
	"\t.size _.stapsdt.base,1\n"                                                               \
	"\t.popsection\n"                                                                          \
	"\t.endif\n"

/* A note of our own (.note.pprofd). Type 1: a name; type 2: a site and where its literal stands. */
#define PPROFD_NOTE_(type, description)                                                            \
	"\t.pushsection .note.pprofd,\"?\",\"note\"\n"                                             \
	"\t.balign 4\n"                                                                            \
	"\t.4byte 996f-995f,998f-997f," type "\n"                                                  \
	"995:\t.asciz \"pprofd\"\n"                                                                \
	"996:\t.balign 4\n"                                                                        \
	"997:\t" description "\n"                                                                  \
	"998:\t.balign 4\n"                                                                        \
	"\t.popsection\n"

#define PPROFD_LITERAL_NOTE_(operand) PPROFD_NOTE_("2", ".8byte 990b, %c" operand)

/* Whether the argument was written as a string literal; known before anything is optimised. */
#define PPROFD_IS_LITERAL_(name)                                                                   \
	(PPROFD_TEXT_(name)[0] == '"' && __builtin_constant_p(name))

/* The literal itself, or nothing where the argument is none: then the compiler must still see a constant. */
#ifdef __cplusplus
#define PPROFD_LITERAL_(name) (PPROFD_IS_LITERAL_(name) ? (const char *)(name) : (const char *)0)
#else
#define PPROFD_LITERAL_(name)                                                                      \
	((const char *)__builtin_choose_expr(__builtin_constant_p(name), (name), 0))
#endif

/* ---- profiles ---- */

#define PPROFD_PROFILE(name)                                                                       \
	__asm__(PPROFD_NOTE_("1", ".asciz " PPROFD_TEXT_(name)))

#define PPROFD_ADD(name, value, skip)                                                              \
	do {                                                                                       \
		if (PPROFD_IS_LITERAL_(name))                                                      \
			__asm__ __volatile__(                                                      \
				PPROFD_SITE_("add", "8@%[pp_v] -4@%[pp_s]")                        \
				PPROFD_LITERAL_NOTE_("[pp_n]")                                     \
				:                                                                  \
				: [pp_v] "nr"((unsigned long)(value)), [pp_s] "nr"((int)(skip)),   \
				  [pp_n] "i"(PPROFD_LITERAL_(name)));                              \
		else                                                                               \
			__asm__ __volatile__(                                                      \
				PPROFD_SITE_("add", "8@%[pp_v] -4@%[pp_s] 8@%[pp_n]")              \
				:                                                                  \
				: [pp_v] "nr"((unsigned long)(value)), [pp_s] "nr"((int)(skip)),   \
				  [pp_n] "nr"((const char *)(name))                                \
				: "memory");                                                       \
	} while (0)

#define PPROFD_REMOVE(name, value)                                                                 \
	do {                                                                                       \
		if (PPROFD_IS_LITERAL_(name))                                                      \
			__asm__ __volatile__(                                                      \
				PPROFD_SITE_("remove", "8@%[pp_v] -4@$0")                          \
				PPROFD_LITERAL_NOTE_("[pp_n]")                                     \
				:                                                                  \
				: [pp_v] "nr"((unsigned long)(value)),                             \
				  [pp_n] "i"(PPROFD_LITERAL_(name)));                              \
		else                                                                               \
			__asm__ __volatile__(                                                      \
				PPROFD_SITE_("remove", "8@%[pp_v] -4@$0 8@%[pp_n]")                \
				:                                                                  \
				: [pp_v] "nr"((unsigned long)(value)),                             \
				  [pp_n] "nr"((const char *)(name))                                \
				: "memory");                                                       \
	} while (0)

#else /* no probes here */

#define PPROFD_PROFILE(name) _Static_assert(1, "")
#define PPROFD_ADD(name, value, skip) ((void)(name), (void)(value), (void)(skip))
#define PPROFD_REMOVE(name, value) ((void)(name), (void)(value))

#endif
