/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/diagnose.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MAX_KEPT 160

/* One broker, one loading: what libbpf said last. */
static char said[MAX_KEPT];

int diagnose_libbpf(enum libbpf_print_level level, const char *format, va_list ap)
{
	char line[MAX_KEPT];

	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(line, sizeof(line), format, ap);
	line[strcspn(line, "\n")] = '\0';
	/* the first lines name the cause, later ones what failed because of it */
	if (!*said && strncmp(line, "libbpf: ", 8) == 0)
		snprintf(said, sizeof(said), "%s", line + 8);
	return 0;
}

static int read_number(const char *path, int otherwise)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[16] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return otherwise;
	return atoi(text);
}

static int lacks(const char *names[], size_t max)
{
	static const struct {
		unsigned capability;
		const char *name;
	} wanted[] = {
		{ CAP_BPF, "CAP_BPF" },
		{ CAP_PERFMON, "CAP_PERFMON" },
	};
	int n = 0;

	capng_get_caps_process();
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]) && (size_t)n < max; i++)
		if (!capng_have_capability(CAPNG_EFFECTIVE, wanted[i].capability) &&
		    !capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN)) /* which stands for both */
			names[n++] = wanted[i].name;
	return n;
}

/* 2: there is a filter. */
static int seccomp_mode(void)
{
	_cleanup_(closep) int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	char text[4096] = "", *line;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return 0;
	line = strstr(text, "\nSeccomp:");
	return line ? atoi(line + 9) : 0;
}

static int lacks_capability(unsigned capability)
{
	capng_get_caps_process();
	return !capng_have_capability(CAPNG_EFFECTIVE, capability);
}

static const char *lockdown(void)
{
	_cleanup_(closep) int fd = open("/sys/kernel/security/lockdown", O_RDONLY | O_CLOEXEC);
	char text[80] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || !strstr(text, "[confidentiality]"))
		return "";
	return " (kernel lockdown is in confidentiality mode, which forbids it)";
}

/* Whether a seccomp filter (of the container that we are in) refuses the call: with these arguments nobody else says
 * EPERM. Filters of engines say that, or that there is no such call. */
static bool is_filtered(enum diagnose_step step)
{
	long r = step == DIAGNOSE_LOAD ? syscall(SYS_bpf, 0x7fffffff, NULL, 0) : syscall(SYS_perf_event_open, NULL, 0, -1, -1, ~0ul);

	return r < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS) && seccomp_mode() == 2;
}

/* What refuses those that have the capabilities; "": nothing that is known. */
static const char *refuser(enum diagnose_step step)
{
	if (step == DIAGNOSE_UPROBE || !is_filtered(step))
		return "";
	return step == DIAGNOSE_LOAD ? "a seccomp filter refuses bpf(2): that of the container, which has to allow bpf and perf_event_open" :
				       "a seccomp filter refuses perf_event_open(2): that of the container, which has to allow it";
}

/* Only for the words: what the kernel can do is found by trying. */
static const char *too_old(char to[static 120])
{
	struct utsname u;
	unsigned major, minor;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2 || major > 6 || (major == 6 && minor >= 1))
		return "";
	snprintf(to, 120, "; Linux 6.1 or newer is needed, and this is %.64s", u.release);
	return to;
}

/* From 5.14 on a distribution may have put in what is needed. */
bool diagnose_hopeless(const char *release, char *to, size_t n)
{
	unsigned major, minor;

	if (sscanf(release, "%u.%u", &major, &minor) != 2 || major > 5 || (major == 5 && minor >= 14))
		return false;
	snprintf(to, n, "Linux 6.1 or newer is needed, and this is %.64s", release);
	return true;
}

void diagnose_load(const char *btf, int err, char *to, size_t n)
{
	const char *missing[2];
	int n_missing = lacks(missing, 2);
	char old[120];

	if ((err == -EPERM || err == -EACCES) && n_missing)
		snprintf(to, n, "not permitted: %s%s%s missing (run as root, or grant CAP_BPF, "
			 "CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_CHECKPOINT_RESTORE)",
			 missing[0], n_missing > 1 ? " and " : "",
			 n_missing > 1 ? missing[1] : "");
	else if (*lockdown())
		snprintf(to, n, "the kernel does not permit BPF programs%s", lockdown());
	else if ((err == -EPERM || err == -EACCES || err == -ENOSYS) && *refuser(DIAGNOSE_LOAD))
		snprintf(to, n, "not permitted: %s", refuser(DIAGNOSE_LOAD));
	else if (err == -EPERM || err == -EACCES)
		snprintf(to, n, "the kernel does not permit BPF programs: %s%s", strerror(-err), too_old(old));
	else if (btf && access(btf, R_OK) < 0)
		snprintf(to, n, "--btf %s: %s", btf, strerror(errno));
	else if (!btf && access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		snprintf(to, n, "no kernel type information: /sys/kernel/btf/vmlinux: %s (a kernel "
			 "with CONFIG_DEBUG_INFO_BTF is needed, or --btf FILE)",
			 strerror(errno));
	else
		snprintf(to, n, "cannot load BPF programs: %s%s%s%s", strerror(-err), *said ? ": " : "", said,
			 *too_old(old) ? old : " (Linux 6.1 or newer is needed)");
}

void diagnose_perf(int err, char *to, size_t n)
{
	int paranoid = read_number("/proc/sys/kernel/perf_event_paranoid", 2);

	if ((err == -EACCES || err == -EPERM) && lacks_capability(CAP_PERFMON))
		snprintf(to, n, "not permitted: CAP_PERFMON missing");
	else if ((err == -EACCES || err == -EPERM) && paranoid > 2)
		snprintf(to, n, "not permitted: kernel.perf_event_paranoid is %d; set it to 2 "
			 "(sysctl kernel.perf_event_paranoid=2) or grant CAP_SYS_ADMIN",
			 paranoid);
	else if ((err == -EACCES || err == -EPERM || err == -ENOSYS) && *refuser(DIAGNOSE_PERF))
		snprintf(to, n, "not permitted: %s", refuser(DIAGNOSE_PERF));
	else
		snprintf(to, n, "perf_event_open: %s%s", strerror(-err), lockdown());
}

void diagnose_uprobe(int err, char *to, size_t n)
{
	if ((err == -EACCES || err == -EPERM) && lacks_capability(CAP_SYS_ADMIN))
		snprintf(to, n, "not permitted: uprobes need CAP_SYS_ADMIN on this kernel");
	else if (err == -EINVAL)
		snprintf(to, n, "the place is not one that may be probed");
	else
		snprintf(to, n, "uprobe: %s%s", strerror(-err), lockdown());
}

void diagnose_process(int pid, int err, char *to, size_t n)
{
	if (err == -EACCES || err == -EPERM)
		snprintf(to, n, "process %d: not permitted%s", pid,
			 lacks_capability(CAP_SYS_PTRACE) ?
				 ": CAP_SYS_PTRACE missing (it belongs to another user)" :
				 "");
	else
		snprintf(to, n, "process %d: %s", pid, strerror(-err));
}

bool diagnose_has(unsigned capability)
{
	return !lacks_capability(capability);
}

static void missing_right(enum diagnose_step step, char *to, size_t n)
{
	int paranoid = read_number("/proc/sys/kernel/perf_event_paranoid", 2);
	const char *names[2];

	if (lacks(names, 2))
		snprintf(to, n, "%s", names[0]);
	else if (step == DIAGNOSE_UPROBE && lacks_capability(CAP_SYS_ADMIN))
		snprintf(to, n, "CAP_SYS_ADMIN, for uprobes on this kernel");
	else if (step == DIAGNOSE_PERF && paranoid > 2 && lacks_capability(CAP_SYS_ADMIN))
		snprintf(to, n, "kernel.perf_event_paranoid is %d: 2, or CAP_SYS_ADMIN", paranoid);
	else if (*refuser(step))
		snprintf(to, n, "%s", refuser(step));
	else
		snprintf(to, n, "the kernel does not permit it");
}

void diagnose_missing(enum diagnose_step step, const char *btf, int err, char *to, size_t n)
{
	/* to the verifier a helper that is forbidden is an unknown one: EINVAL */
	if (*lockdown())
		snprintf(to, n, "kernel lockdown is in confidentiality mode");
	else if (err == -EPERM || err == -EACCES || (err == -ENOSYS && *refuser(step)))
		missing_right(step, to, n);
	else if (step == DIAGNOSE_LOAD && access(btf ? btf : "/sys/kernel/btf/vmlinux", R_OK) < 0)
		snprintf(to, n, "BTF, the kernel's type information: %s: %s", btf ? btf : "/sys/kernel/btf/vmlinux",
			 strerror(errno));
	else if (step == DIAGNOSE_LOAD)
		snprintf(to, n, "something of the kernel's: %s%s%s", strerror(-err), *said ? ": " : "", said);
	else
		snprintf(to, n, "%s: %s", step == DIAGNOSE_PERF ? "perf_event_open" : "uprobe", strerror(-err));
}
