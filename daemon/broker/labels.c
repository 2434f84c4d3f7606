/* SPDX-License-Identifier: Apache-2.0 */
#define PP_NATIVE "daemon/broker/labels_native.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-variable" /* of what labels_native.h makes nothing of */
#include "bpf/label.bpf.h"
#pragma GCC diagnostic pop

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/broker/labels.h"

struct asked {
	const struct pp_labels *labels;
	const uint64_t *thread_pointers;
	uint32_t n;
};

/* Of the child that reads. */
static struct pp_label_list sources;
static struct task_struct task;
static int memory;

static void *bpf_map_lookup_elem(const void *map, const void *key)
{
	return map == &pp_labels ? &sources : NULL;
}

static long bpf_probe_read_user(void *to, uint64_t n, const void *from)
{
	ssize_t got = (uintptr_t)from >> 63 ? -1 : pread(memory, to, n, (off_t)(uintptr_t)from);

	return got == (ssize_t)n ? 0 : -1;
}

static struct task_struct *bpf_get_current_task_btf(void)
{
	return &task;
}

static int put(int to, const void *data, size_t n)
{
	return write(to, data, n) == (ssize_t)n ? 0 : -EIO;
}

static int read_one(int to, uint64_t thread_pointer)
{
	static struct pp_words words;
	uint64_t n;
	int r;

	pp_set_thread_pointer(&task, thread_pointer);
	words.labels = 1; /* the first row of the list is the one that was asked about */
	words.ids = 1;
	n = (uint64_t)pp_labels_collect(&words);
	r = put(to, &n, sizeof(n));
	return r == 0 && n ? put(to, words.w, n * sizeof(*words.w)) : r;
}

static int read_all(int dir, void *context)
{
	const struct asked *a = context;
	_cleanup_(closep) int to = memfd_create("pprofd-labels", MFD_CLOEXEC);
	int r = 0;

	memory = openat(dir, "mem", O_RDONLY | O_CLOEXEC);
	if (memory < 0 || to < 0)
		return -errno;
	sources.p[0] = *a->labels;
	sources.p[0].n_sets[0] = sources.p[0].n_sets[1] = 0;
	config.n_stacks = UINT32_MAX;
	for (uint32_t i = 0; i < a->n && r == 0; i++)
		r = read_one(to, a->thread_pointers[i]);
	close(memory);
	if (r == 0 && lseek(to, 0, SEEK_SET) < 0)
		r = -errno;
	return r < 0 ? r : TAKE_FD(to);
}

int labels_read(struct process *p, const struct pp_labels *labels, const uint64_t *thread_pointers, uint32_t n)
{
	struct asked a = { labels, thread_pointers, n };

	return process_open_guarded(p, false, read_all, &a, sizeof(a));
}
