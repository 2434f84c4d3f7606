/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/uprobe_link.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uprobe_multi_attr { /* union bpf_attr.link_create with .uprobe_multi */
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, semaphores, cookies; /* pointers */
	uint32_t n, multi_flags, pid, pad;
};

int uprobe_link(int program, int type, const char *path, const struct uprobe_place *places, uint32_t n,
		pid_t pid)
{
	uint64_t offsets[UPROBE_LINK_MAX], semaphores[UPROBE_LINK_MAX], cookies[UPROBE_LINK_MAX];
	struct uprobe_multi_attr a = { .prog_fd = (uint32_t)program,
				       .attach_type = (uint32_t)type,
				       .path = (uint64_t)(uintptr_t)path,
				       .offsets = (uint64_t)(uintptr_t)offsets,
				       .semaphores = (uint64_t)(uintptr_t)semaphores,
				       .cookies = (uint64_t)(uintptr_t)cookies,
				       .n = n,
				       .pid = (uint32_t)pid };
	long fd;

	if (n > UPROBE_LINK_MAX)
		return -E2BIG;
	for (uint32_t i = 0; i < n; i++) {
		offsets[i] = places[i].offset;
		semaphores[i] = places[i].semaphore;
		cookies[i] = places[i].cookie;
	}
	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &a, sizeof(a) - sizeof(a.pad));
	return fd < 0 ? -errno : (int)fd;
}
