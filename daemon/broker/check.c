/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/check.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/broker/calibrate.h"
#include "daemon/broker/customs.h"
#include "daemon/broker/diagnose.h"
#include "daemon/broker/kernel.h"
#include "daemon/broker/procfs.h"
#include "daemon/broker/traces.h"
#include "daemon/broker/uprobes.h"
#include "daemon/broker/waits.h"
#include "daemon/endpoints.h"

#define MAX_WHY 300

/* What one thing needs; several endpoints may need it. "": it is there. */
struct found {
	char base[MAX_WHY]; /* the kernel side of all profiles */
	char clock[MAX_WHY], growth[MAX_WHY], heap[MAX_WHY], waits[MAX_WHY], holders[MAX_WHY], create[MAX_WHY],
		threads[MAX_WHY], memory[MAX_WHY], calls[MAX_WHY], custom[MAX_WHY], files[MAX_WHY], proc[MAX_WHY];
};

struct trial {
	const struct options *o;
	struct kernel *kernel; /* NULL: base is missing */
	struct process self;
	int file;	 /* of ours, and where it may be probed */
	uint64_t offset;
	struct found found;
	unsigned n_missing;
};

static void say(struct trial *t, const char *what, const char *why)
{
	printf("%-16s %s%s\n", what, *why ? "missing: " : "available", why);
	t->n_missing += *why != '\0';
}

static void missing(struct trial *t, enum diagnose_step step, int r, char *why)
{
	if (r < 0)
		diagnose_missing(step, t->o->btf, r, why, MAX_WHY);
}

static void pause_shortly(void)
{
	const struct timespec pause = { 0, 5000000 };

	nanosleep(&pause, NULL);
}

/* Kernel. */

static void try_collector(struct trial *t, enum pp_collector c, char *why)
{
	char error[KERNEL_MAX_TEXT];

	missing(t, c == PP_CPU ? DIAGNOSE_PERF : DIAGNOSE_LOAD, kernel_arm(t->kernel, c, error), why);
	kernel_disarm(t->kernel, c);
}

static void try_threads(struct trial *t)
{
	struct kernel_threads k = { -1, -1 };
	char error[KERNEL_MAX_TEXT];
	_cleanup_(closep) int fd = -1;
	int r = kernel_threads(t->kernel, &t->self, &k, error);

	if (r == 0)
		r = fd = kernel_iterate(&k);
	missing(t, DIAGNOSE_LOAD, r, t->found.threads);
	close_fd(&k.link);
	close_fd(&k.program);
}

static void try_waits(struct trial *t, struct waits *w)
{
	bool strict = t->o->wait == BROKER_WAIT_STRICT;
	char error[KERNEL_MAX_TEXT];
	int r;

	while ((r = waits_loaded(w, error)) == -EAGAIN)
		pause_shortly();
	missing(t, DIAGNOSE_LOAD, r, t->found.waits);
	if (r == 0)
		missing(t, strict ? DIAGNOSE_PERF : DIAGNOSE_LOAD, waits_arm(w, &t->self, 1, error), t->found.waits);
	snprintf(t->found.holders, MAX_WHY, "%s", *t->found.waits ? t->found.waits : strict ? "--wait strict sees none" : "");
}

static void try_traces(struct trial *t, struct traces *traces)
{
	char error[KERNEL_MAX_TEXT];
	int r;

	while ((r = traces_loaded(traces, error)) == -EAGAIN)
		pause_shortly();
	if (r == 0)
		r = traces_make_ring(traces);
	if (r == 0)
		r = traces_arm(traces, false, error);
	if (r == 0)
		r = traces_arm(traces, true, error);
	missing(t, *t->found.clock ? DIAGNOSE_PERF : DIAGNOSE_LOAD, r, t->found.calls);
}

static void try_heap(struct trial *t)
{
	struct broker_probe p = { .probe.function = PP_FUNCTION_MALLOC, .offset = t->offset };
	struct broker_probes q = { .side = BROKER_SIDE_ALLOC, .n = 1 };
	_cleanup_(uprobes_freep) struct uprobes *h = NULL;
	char error[KERNEL_MAX_TEXT];
	int r = uprobes_load(t->kernel, &h, error);

	missing(t, DIAGNOSE_LOAD, r, t->found.heap);
	if (r < 0)
		return;
	r = uprobes_probe(h, &t->self, t->file, &q, &p, error);
	if (r == 0) {
		p.probe.function = PP_FUNCTION_FREE;
		q.side = BROKER_SIDE_FREE;
		r = uprobes_probe(h, &t->self, t->file, &q, &p, error);
	}
	missing(t, DIAGNOSE_UPROBE, r, t->found.heap);
}

static void try_customs(struct trial *t, struct customs *c)
{
	struct broker_custom_probe p = { .probe.kind = PP_CUSTOM_ADD, .offset = t->offset };
	struct broker_probes q = { .n = 1 };
	char error[KERNEL_MAX_TEXT];
	int r;

	while ((r = customs_loaded(c, error)) == -EAGAIN)
		pause_shortly();
	missing(t, DIAGNOSE_LOAD, r, t->found.custom);
	if (r == 0)
		missing(t, DIAGNOSE_UPROBE, customs_probe(c, &t->self, t->file, &q, &p, error), t->found.custom);
}

/* The verifier takes its time for each: side by side. */
static void try_kernel(struct trial *t)
{
	struct kernel_clock clock = { .hz = t->o->hz };
	char error[KERNEL_MAX_TEXT];
	struct customs *customs = NULL;
	struct traces *traces = NULL;
	struct waits *waits = NULL;
	int r = kernel_load(t->o->btf, clock, &t->kernel, error);

	missing(t, DIAGNOSE_LOAD, r, t->found.base);
	if (r < 0)
		return;
	try_collector(t, PP_CPU, t->found.clock);
	try_collector(t, PP_CREATE, t->found.create);
	r = waits_begin(t->kernel, t->o->wait == BROKER_WAIT_OFF ? BROKER_WAIT_ON : t->o->wait, &waits);
	if (r == 0)
		r = traces_begin(t->kernel, &traces);
	if (r == 0)
		r = customs_begin(t->kernel, &customs);
	if (r < 0)
		missing(t, DIAGNOSE_LOAD, r, t->found.base);
	try_collector(t, PP_GROWTH, t->found.growth);
	try_heap(t);
	try_threads(t);
	if (waits)
		try_waits(t, waits);
	if (traces)
		try_traces(t, traces);
	if (customs)
		try_customs(t, customs);
	customs_free(customs);
	traces_free(traces);
	waits_free(waits);
}

/* Processes. */

static void lacking(char *why, int r, const unsigned *capabilities, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!diagnose_has(capabilities[i])) {
			snprintf(why, MAX_WHY, "%s", names[i]);
			return;
		}
	snprintf(why, MAX_WHY, "%s, although no capability for it is missing: its user namespace, or a security module", strerror(-r));
}

/* A right to look into others; those of files, as well. */
static void no_look(char *why, int r, bool files)
{
	static const unsigned capabilities[] = { CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_CHECKPOINT_RESTORE };
	static const char *const names[] = { "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_CHECKPOINT_RESTORE" };

	if (r == -EPERM || r == -EACCES)
		lacking(why, r, capabilities, names, files ? 3 : 1);
	else
		snprintf(why, MAX_WHY, "%s", strerror(-r));
}

/* Any file that it runs, by its line of maps: start, end, or the stack's. */
static bool find_mapping(int maps, const char *wanted, uint64_t *start, uint64_t *end)
{
	FILE *f = fdopen(dup(maps), "re");
	char line[4096 + 128];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, wanted) && sscanf(line, "%" SCNx64 "-%" SCNx64, start, end) == 2;
	if (f)
		fclose(f);
	return found;
}

static int read_byte(pid_t pid, uint64_t at)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)(uintptr_t)at, 1 };

	return process_vm_readv(pid, &here, 1, &there, 1, 0) == 1 ? 0 : -errno;
}

static void look_into(struct trial *t, struct process *p, bool *by_path)
{
	_cleanup_(closep) int maps = process_open_proc(p, BROKER_PROC_MAPS), cmdline = -1, file = -1;
	struct broker_file mapped = { 0 };
	uint64_t start, end;
	int r;

	if (maps < 0)
		no_look(t->found.proc, maps, false);
	cmdline = process_open_proc(p, BROKER_PROC_CMDLINE);
	if (maps < 0)
		return;
	if (find_mapping(maps, " r-xp ", &start, &end)) {
		file = r = process_open_mapped(p, start, end, &mapped);
		if (r < 0 && r != -EMEDIUMTYPE && r != -ENOENT)
			no_look(t->found.files, r, true);
	}
	*by_path = mapped.by_path;
	close_fd(&maps);
	maps = process_open_proc(p, BROKER_PROC_MAPS);
	if (maps >= 0 && find_mapping(maps, "[stack]", &start, &end)) {
		r = read_byte(p->pid, end - 1);
		if (r < 0)
			no_look(t->found.memory, r, false);
	}
}

static void check_one(struct trial *t, pid_t pid)
{
	static const char *const not[] = {
		[PROCESS_NONE] = "there is no such process",
		[PROCESS_KERNEL] = "it is a kernel thread",
		[PROCESS_THREAD] = "it is a thread, not a process",
		[PROCESS_32_BIT] = "it is a 32-bit program",
		[PROCESS_ZOMBIE] = "it has ended",
	};
	struct process p = { .pidfd = -1 };
	char what[48], why[MAX_WHY] = "";
	bool by_path;
	int r = process_open(pid, &p);

	if (r > 0)
		snprintf(why, sizeof(why), "%s", not[r]);
	else if (r < 0)
		no_look(why, r, false);
	if (r == 0)
		look_into(t, &p, &by_path);
	if (r == 0 && *t->found.proc)
		memcpy(why, t->found.proc, sizeof(why));
	else if (r == 0 && t->kernel) {
		r = kernel_identify(t->kernel, &p);
		if (r < 0)
			snprintf(why, sizeof(why), "the kernel does not find it in our PID namespace: %s", strerror(-r));
	}
	snprintf(what, sizeof(what), "process %d", (int)pid);
	say(t, what, why);
	close_fd(&p.pidfd);
}

static void check_kernel_names(struct trial *t)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	unsigned long long address, any = 0;
	char line[256], why[MAX_WHY] = "";

	for (int i = 0; f && i < 100 && fgets(line, sizeof(line), f); i++)
		if (sscanf(line, "%llx", &address) == 1)
			any |= address;
	if (f)
		fclose(f);
	if (!any)
		snprintf(why, sizeof(why), "%s", diagnose_has(CAP_SYSLOG) ? "kernel.kptr_restrict hides addresses" : "CAP_SYSLOG");
	say(t, "(kernel names)", why);
}

/* Where no process was named: what would stand in the way with some. */
static void check_others(struct trial *t, bool by_path)
{
	char why[MAX_WHY] = "";
	bool ptrace = diagnose_has(CAP_SYS_PTRACE), files = diagnose_has(CAP_DAC_READ_SEARCH);

	if (!ptrace || !files)
		snprintf(why, sizeof(why), "%s", !ptrace ? "CAP_SYS_PTRACE" : "CAP_DAC_READ_SEARCH");
	say(t, "(other users)", why);
	say(t, "(deleted files)", by_path ? "CAP_CHECKPOINT_RESTORE" : "");
	say(t, "(whole machine)", procfs_sees_machine() ? "" : "its PID namespace (hostPID: true, --pid=host)");
}

/* What an endpoint needs, the first that is missing. */
static const char *first(const char *const *needs)
{
	while (*needs && !**needs)
		needs++;
	return *needs ? *needs : "";
}

static void check_endpoints(struct trial *t)
{
	const struct found *f = &t->found;
	const char off_heap[] = "turned off by --heap off", off_waits[] = "turned off by --wait off";
	const char *heap = t->o->heap == BROKER_HEAP_OFF ? off_heap : t->o->max_overhead ? "" : "turned off by --max-overhead 0";
	const char *waits = t->o->wait == BROKER_WAIT_OFF ? off_waits : "";
	const struct {
		const char *name, *needs[6];
	} rows[] = {
		{ "allocs", { f->base, heap, f->heap, f->files } },
		{ "block", { f->base, waits, f->waits, f->files } },
		{ "cmdline", { "" } },
		{ "goroutine", { f->base, f->threads, f->memory, f->files } },
		{ "growth", { f->base, f->growth, f->files } },
		{ "heap", { f->base, heap, f->heap, f->files } },
		{ "mutex", { f->base, waits, f->holders, f->files } },
		{ "offcpu", { f->base, waits, f->waits, f->files } },
		{ "profile", { f->base, f->clock, f->files } },
		{ "symbol", { f->base, f->files } },
		{ "threadcreate", { f->base, f->create, f->files } },
		{ "trace", { f->base, f->calls, f->files } },
		{ "wall", { f->base, f->clock, waits, f->waits, f->files } },
		{ "(custom)", { f->base, f->custom, f->files } },
	};

	_Static_assert(sizeof(rows) / sizeof(rows[0]) == N_ENDPOINTS + 1, "a row for each, and those of programs' own");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		say(t, i < N_ENDPOINTS ? endpoint_names[i] : rows[i].name, first(rows[i].needs));
}

int check_run(const struct options *o)
{
	static struct trial t;
	bool by_path = false;
	int r;

	t = (struct trial){ .o = o, .self.pidfd = -1, .file = -1 };
	r = process_open(getpid(), &t.self);
	if (r == 0)
		r = calibrate_place(&t.file, &t.offset);
	if (r != 0) {
		fprintf(stderr, "pprofd: cannot look at ourselves: %s\n", r < 0 ? strerror(-r) : "/proc is missing");
		return 1;
	}
	try_kernel(&t);
	if (!o->n_pids)
		look_into(&t, &t.self, &by_path);
	for (unsigned i = 0; i < o->n_pids; i++)
		check_one(&t, o->pids[i]);
	check_endpoints(&t);
	if (!o->n_pids)
		check_others(&t, by_path);
	check_kernel_names(&t);
	kernel_free(t.kernel);
	close_fd(&t.self.pidfd);
	close_fd(&t.file);
	return t.n_missing != 0;
}
