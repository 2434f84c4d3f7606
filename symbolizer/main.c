/* SPDX-License-Identifier: Apache-2.0 */

/* main.c - pprofd-symbolizer: started by the broker with one socket as descriptor 3. */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "symbolizer/sandbox.h"
#include "symbolizer/worker.h"

#define SOCKET_FD 3

/* The vdso is the same for every 64-bit process of the host, so ours will do. */
static struct worker_vdso find_vdso(void)
{
	struct worker_vdso v = { NULL, 0 };
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		uint64_t start, end;

		if (!strstr(line, "[vdso]") || sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) != 2)
			continue;
		v.image = (const void *)(uintptr_t)start;
		v.n = end - start;
	}
	if (f)
		fclose(f);
	return v;
}

int main(void)
{
	struct worker_vdso vdso = find_vdso();
	int type;
	socklen_t n = sizeof(type);

	if (getsockopt(SOCKET_FD, SOL_SOCKET, SO_TYPE, &type, &n) < 0) {
		fprintf(stderr, "pprofd-symbolizer is started by pprofd\n");
		return 2;
	}
	prctl(PR_SET_NAME, "pprofd-symbolizer"); /* it was executed by descriptor, which has no name */
	if (sandbox_enter() < 0) {
		fprintf(stderr, "pprofd-symbolizer: cannot shut itself in: seccomp is needed\n");
		return 1;
	}
	return worker_run(SOCKET_FD, vdso) < 0;
}
