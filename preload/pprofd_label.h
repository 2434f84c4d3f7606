/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* pprofd_label.h - labels of the current thread, for pprofd's profiles.
 *
 *   PPROFD_LABEL_SET("endpoint", path);   this thread's samples have the label from here on
 *   PPROFD_LABEL_CLEAR("endpoint");
 *
 * For C11 and C++17, no library. A label is copied into a variable of the thread (520 bytes, in programs and libraries
 * that use these macros and in no others), some nanoseconds each time; pprofd reads it when it takes a sample, so what
 * was set before pprofd came is seen too. At most 8 labels a thread, the first 8; key and value together at most 62
 * bytes, the key at most 31; the value is cut, a longer key is refused. They end with their thread; a new thread has
 * none.
 *
 * Who shares the variable: the program and all libraries that are linked with it. A library that is opened later
 * (dlopen) has one of its own where the program does not export its own (-rdynamic does); then labels of both are
 * shown, the program's first, and each clears its own. pprofd looks at four variables at most. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(PPROFD_DISABLE)

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

/* Defines the variable where it is used: once a program or library, and one that others share. The note tells where
 * it is when the symbols have been stripped; it is not loaded. */
#define PPROFD_LABELS_DEFINITION                                                  \
	".ifndef pprofd_labels_v1\n"                                                \
	".pushsection .tbss.pprofd_labels_v1,\"awTG\",@nobits,pprofd_labels_v1,comdat\n" \
	".weak pprofd_labels_v1\n"                                                  \
	".type pprofd_labels_v1,@tls_object\n"                                      \
	".size pprofd_labels_v1,520\n"                                              \
	".balign 8\n"                                                               \
	"pprofd_labels_v1: .zero 520\n"                                             \
	".popsection\n"                                                             \
	".pushsection .note.pprofd,\"\",@note\n"                                    \
	".balign 4\n"                                                               \
	".long 7, 8, 3\n"                                                           \
	".asciz \"pprofd\"\n"                                                       \
	".balign 4\n"                                                               \
	".long pprofd_labels_v1@dtpoff, 0\n"                                        \
	".popsection\n"                                                             \
	".endif\n"

#define PPROFD_BARRIER() __asm__ volatile("" ::: "memory")

static inline __attribute__((always_inline)) struct pprofd_labels *pprofd_labels_here(void)
{
	__asm__ volatile(PPROFD_LABELS_DEFINITION);
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
	PPROFD_BARRIER();
	if (i != n - 1)
		l->label[i] = l->label[n - 1];
	PPROFD_BARRIER();
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
	PPROFD_BARRIER();
	n_value = pprofd_label_copy(to->text + n_key, value, PPROFD_LABEL_TEXT - n_key);
	if (old > n_value)
		memset(to->text + n_key + n_value, 0, old - n_value);
	PPROFD_BARRIER();
	to->n_value = (uint8_t)n_value;
	PPROFD_BARRIER();
	if (i == l->n)
		l->n = i + 1;
	PPROFD_BARRIER();
}

#ifdef __cplusplus
}
#endif

#define PPROFD_LABEL_SET(key, value) pprofd_label_set((key), (value))
#define PPROFD_LABEL_CLEAR(key) pprofd_label_clear((key))

#else

#define PPROFD_LABEL_SET(key, value) ((void)(key), (void)(value))
#define PPROFD_LABEL_CLEAR(key) ((void)(key))

#endif
