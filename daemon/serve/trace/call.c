/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/call.h"

#include <seccomp.h>
#include <stdio.h>

#include "base/cleanup.h"

void call_name(int call, char *to, size_t n)
{
	_cleanup_(freep) char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);

	if (name)
		snprintf(to, n, "%s", name);
	else
		snprintf(to, n, "call %d", call);
}
