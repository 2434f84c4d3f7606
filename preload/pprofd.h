/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* pprofd.h - what runtime/pprof gives a program, for programs that pprofd looks at from outside: profiles of your
 * own (NewProfile, Add, Remove), labels (Do), and runtime/trace's tasks, regions and logs.
 *
 * One header for C11 and C++17: no library, no dependency. x86-64 and arm64 Linux, gcc and clang; anywhere else, and where
 * PPROFD_DISABLE is defined, all of it does nothing. Compiled code of a program that uses this needs no licence
 * of ours.
 *
 * Profiles. No state in the program: a call is a one-byte nop and a note in the file that says where it is
 * (.note.stapsdt, provider pprofd); while pprofd looks at the process, the kernel stops there for a moment.
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
 * What a trace shows (/debug/pprof/trace), in the same manner; probed only while one is recorded.
 *
 *	PPROFD_TASK_BEGIN(task, parent, "request");     task, parent: any numbers but 0, unique in the process; 0: none
 *	PPROFD_REGION_BEGIN(task, "parsing");           of this thread; regions are nested. task 0: of none
 *	PPROFD_LOG(task, "category", message);          message: a const char *
 *	PPROFD_REGION_END(task, "parsing");
 *	PPROFD_TASK_END(task);                          on any thread
 *
 * Names are as of profiles; texts are cut to 63 bytes. A message that is not in memory yet (a literal that the
 * program has never read) is shown as empty.
 *
 * Labels of the current thread, on the samples of every other profile.
 *
 *	PPROFD_LABEL_SET("endpoint", path);             this thread's samples have the label from here on
 *	PPROFD_LABEL_CLEAR("endpoint");
 *
 * A label is copied into a variable of the thread (520 bytes, in programs and libraries that use these macros and in
 * no others), some nanoseconds each time; pprofd reads it when it takes a sample, so what was set before pprofd came
 * is seen too. At most 8 labels a thread, the first 8; key and value together at most 62 bytes, the key at most 31;
 * the value is cut, a longer key is refused. They end with their thread; a new thread has none.
 *
 * Who shares the variable: the program and all libraries that are linked with it. A library that is opened later
 * (dlopen) has one of its own where the program does not export its own (-rdynamic does); then labels of both are
 * shown, the program's first, and each clears its own. pprofd looks at four variables at most. */

#if (defined(__x86_64__) || defined(__aarch64__)) && defined(__LP64__) && defined(__ELF__) && defined(__linux__) && defined(__GNUC__) &&   \
	!defined(PPROFD_DISABLE)

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PPROFD_TEXT_(...) PPROFD_TEXT2_(__VA_ARGS__)
#define PPROFD_TEXT2_(...) #__VA_ARGS__

/* How a constant is written in a note; what kind of operand the address of a literal is. */
#ifdef __aarch64__
#define PPROFD_ZERO_ "0"
#define PPROFD_ADDRESS_ "iS"
#else
#define PPROFD_ZERO_ "$0"
#define PPROFD_ADDRESS_ "i"
#endif

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

/* A note of our own (.note.pprofd). Type 1: a name; type 2: a site and where its literal stands; type 3, below: where
 * the labels of a thread are. */
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
				  [pp_n] PPROFD_ADDRESS_(PPROFD_LITERAL_(name)));                              \
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
				PPROFD_SITE_("remove", "8@%[pp_v] -4@" PPROFD_ZERO_)                          \
				PPROFD_LITERAL_NOTE_("[pp_n]")                                     \
				:                                                                  \
				: [pp_v] "nr"((unsigned long)(value)),                             \
				  [pp_n] PPROFD_ADDRESS_(PPROFD_LITERAL_(name)));                              \
		else                                                                               \
			__asm__ __volatile__(                                                      \
				PPROFD_SITE_("remove", "8@%[pp_v] -4@" PPROFD_ZERO_ " 8@%[pp_n]")                \
				:                                                                  \
				: [pp_v] "nr"((unsigned long)(value)),                             \
				  [pp_n] "nr"((const char *)(name))                                \
				: "memory");                                                       \
	} while (0)

/* ---- what a trace shows ---- */

/* Two numbers and a name, as PPROFD_ADD has them. */
#define PPROFD_SAY_(probe, first, second, name)                                                    \
	do {                                                                                       \
		if (PPROFD_IS_LITERAL_(name))                                                      \
			__asm__ __volatile__(                                                      \
				PPROFD_SITE_(probe, "8@%[pp_a] 8@%[pp_b]")                         \
				PPROFD_LITERAL_NOTE_("[pp_n]")                                     \
				:                                                                  \
				: [pp_a] "nr"((unsigned long)(first)),                             \
				  [pp_b] "nr"((unsigned long)(second)),                            \
				  [pp_n] PPROFD_ADDRESS_(PPROFD_LITERAL_(name))                                \
				: "memory");                                                       \
		else                                                                               \
			__asm__ __volatile__(                                                      \
				PPROFD_SITE_(probe, "8@%[pp_a] 8@%[pp_b] 8@%[pp_n]")               \
				:                                                                  \
				: [pp_a] "nr"((unsigned long)(first)),                             \
				  [pp_b] "nr"((unsigned long)(second)),                            \
				  [pp_n] "nr"((const char *)(name))                                \
				: "memory");                                                       \
	} while (0)

#define PPROFD_TASK_BEGIN(task, parent, name) PPROFD_SAY_("task_begin", task, parent, name)
#define PPROFD_TASK_END(task) PPROFD_SAY_("task_end", task, 0, "task")
#define PPROFD_REGION_BEGIN(task, name) PPROFD_SAY_("region_begin", task, 0, name)
#define PPROFD_REGION_END(task, name) PPROFD_SAY_("region_end", task, 0, name)
#define PPROFD_LOG(task, category, message)                                                        \
	PPROFD_SAY_("log", task, (const char *)(message), category)

/* ---- labels ---- */

#ifdef __cplusplus
extern "C" {
#endif

#define PPROFD_LABEL_MAX 8
#define PPROFD_LABEL_KEY 31
#define PPROFD_LABEL_TEXT 62

/* An ABI: pprofd reads it while the thread is interrupted anywhere. */
struct pprofd_label {
	uint8_t n_key, n_value; /* bytes */
	char text[PPROFD_LABEL_TEXT]; /* the key, then the value, then zeros */
};

struct pprofd_labels {
	uint32_t n, refused;
	struct pprofd_label label[PPROFD_LABEL_MAX];
};

extern __thread struct pprofd_labels pprofd_labels_v1 __attribute__((visibility("default")));

/* Where it is when the symbols have been stripped; not loaded. arm64's assemblers cannot write that: there a symbol has
 * to stay, in .symtab or .dynsym. */
#ifdef __aarch64__
#define PPROFD_LABELS_NOTE_
#else
#define PPROFD_LABELS_NOTE_                                                         \
	".pushsection .note.pprofd,\"\",@note\n"                                    \
	".balign 4\n"                                                               \
	".long 7, 8, 3\n"                                                           \
	".asciz \"pprofd\"\n"                                                       \
	".balign 4\n"                                                               \
	".long pprofd_labels_v1@dtpoff, 0\n"                                        \
	".popsection\n"
#endif

/* Defines the variable where it is used: once a program or library, and one that others share. */
#define PPROFD_LABELS_DEFINITION_                                                  \
	".ifndef pprofd_labels_v1\n"                                                \
	".pushsection .tbss.pprofd_labels_v1,\"awTG\",@nobits,pprofd_labels_v1,comdat\n" \
	".weak pprofd_labels_v1\n"                                                  \
	".type pprofd_labels_v1,@tls_object\n"                                      \
	".size pprofd_labels_v1,520\n"                                              \
	".balign 8\n"                                                               \
	"pprofd_labels_v1: .zero 520\n"                                             \
	".popsection\n"                                                             \
	PPROFD_LABELS_NOTE_                                                         \
	".endif\n"

#define PPROFD_BARRIER_() __asm__ volatile("" ::: "memory")

static inline __attribute__((always_inline)) struct pprofd_labels *pprofd_labels_here(void)
{
	__asm__ volatile(PPROFD_LABELS_DEFINITION_);
	return &pprofd_labels_v1;
}

static inline __attribute__((always_inline)) unsigned pprofd_label_find(const struct pprofd_labels *l, const char *key,
									  size_t n_key)
{
	unsigned i = 0;

	while (i < l->n && (l->label[i].n_key != n_key || memcmp(l->label[i].text, key, n_key) != 0))
		i++;
	return i;
}

static inline __attribute__((always_inline)) void pprofd_label_clear(const char *key)
{
	struct pprofd_labels *l = pprofd_labels_here();
	unsigned i = pprofd_label_find(l, key, strlen(key)), n = l->n;

	if (i == n)
		return;
	l->n = 0;
	PPROFD_BARRIER_();
	if (i != n - 1)
		l->label[i] = l->label[n - 1];
	PPROFD_BARRIER_();
	l->n = n - 1;
}

/* The value into its place, cut; how many bytes. Byte by byte: values are short, and not worth two calls of the C
 * library's. */
static inline __attribute__((always_inline)) size_t pprofd_label_copy(char *to, const char *value, size_t most)
{
	size_t n = 0;

	if (__builtin_constant_p(__builtin_strlen(value))) {
		n = __builtin_strlen(value) < most ? __builtin_strlen(value) : most;
		memcpy(to, value, n);
		return n;
	}
	for (; n < most && value[n]; n++)
		to[n] = value[n];
	return n;
}

static inline __attribute__((always_inline)) void pprofd_label_set(const char *key, const char *value)
{
	struct pprofd_labels *l = pprofd_labels_here();
	size_t n_key = strlen(key), n_value, old;
	unsigned i = pprofd_label_find(l, key, n_key);
	struct pprofd_label *to = &l->label[i];

	if (i == PPROFD_LABEL_MAX || !n_key || n_key > PPROFD_LABEL_KEY) {
		l->refused++;
		return;
	}
	old = to->n_value;
	if (i == l->n) {
		memset(to->text, 0, sizeof(to->text));
		memcpy(to->text, key, n_key);
		to->n_key = (uint8_t)n_key;
		old = 0;
	}
	to->n_value = 0; /* a label without a value is not shown */
	PPROFD_BARRIER_();
	n_value = pprofd_label_copy(to->text + n_key, value, PPROFD_LABEL_TEXT - n_key);
	if (old > n_value)
		memset(to->text + n_key + n_value, 0, old - n_value);
	PPROFD_BARRIER_();
	to->n_value = (uint8_t)n_value;
	PPROFD_BARRIER_();
	if (i == l->n)
		l->n = i + 1;
	PPROFD_BARRIER_();
}

#ifdef __cplusplus
}
#endif

#define PPROFD_LABEL_SET(key, value) pprofd_label_set((key), (value))
#define PPROFD_LABEL_CLEAR(key) pprofd_label_clear((key))

#else /* not here */

#ifdef __cplusplus
#define PPROFD_PROFILE(name) static_assert(sizeof(name) > 0, "")
#else
#define PPROFD_PROFILE(name) _Static_assert(sizeof(name) > 0, "")
#endif
#define PPROFD_ADD(name, value, skip) ((void)(name), (void)(value), (void)(skip))
#define PPROFD_REMOVE(name, value) ((void)(name), (void)(value))
#define PPROFD_TASK_BEGIN(task, parent, name) ((void)(task), (void)(parent), (void)(name))
#define PPROFD_TASK_END(task) ((void)(task))
#define PPROFD_REGION_BEGIN(task, name) ((void)(task), (void)(name))
#define PPROFD_REGION_END(task, name) ((void)(task), (void)(name))
#define PPROFD_LOG(task, category, message) ((void)(task), (void)(category), (void)(message))
#define PPROFD_LABEL_SET(key, value) ((void)(key), (void)(value))
#define PPROFD_LABEL_CLEAR(key) ((void)(key))

#endif
