/* SPDX-License-Identifier: Apache-2.0 */

/* oracle.c - holds the BPF walker against libdw, on the same registers and the same stack bytes.
 *
 *   oracle PID MODE [SECONDS [MIN_SAMPLES]]
 *
 * MODE: perf, futex, uprobe:FILE:SYMBOL, both:FILE:SYMBOL (perf and uprobe at once),
 * uretprobe:FILE:SYMBOL (perf while return probes are hot); FILE: exe, or a library's name. Looks for SECONDS, and
 * on a busy machine until MIN_SAMPLES have come, at most for PATIENCE_MS more. Prints how many stacks are
 * equal, longer (the copy ended before the stack did), truncated or different, with the first differences;
 * exit status 1 when any stack differs or is shorter than libdw's, or fewer than MIN_SAMPLES came. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <elfutils/libdwfl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/address.h"
#include "daemon/serve/frame.h"
#include "oracle_object.h"
#include "tests/harness/harness.h"
#include "tests/oracle/oracle.h"

#define MAX_FRAMES 1024
#define PATIENCE_MS 120000

struct oracle {
	struct harness harness;
	struct bpf_object *object;
	Dwfl *dwfl;
	const struct oracle_sample *current;
	uint64_t truth[MAX_FRAMES];
	unsigned n_truth;
	long n, n_equal, n_longer, n_shorter, n_different, n_truncated, n_complete, n_frames, n_shown;
	long n_probe_page; /* ours ends in the uprobes' trampoline: who called is not known there */
	long n_no_cfi;	   /* where libdw had nothing but frame pointers */
	long min;
	uint64_t end; /* of the samples, ms */
	long n_beyond;	   /* ours goes on behind it, where libdw cannot */
	uint64_t probe_page; /* 0: none yet */
};

static struct oracle oracle;

static pid_t next_thread(Dwfl *d, void *arg, void **state)
{
	if (*state)
		return 0;
	*state = arg;
	return (pid_t)oracle.current->tid;
}

static bool get_thread(Dwfl *d, pid_t tid, void *arg, void **state)
{
	*state = arg;
	return true;
}

static bool read_memory(Dwfl *d, Dwarf_Addr at, Dwarf_Word *ret, void *arg)
{
	const struct oracle_sample *s = oracle.current;

	if (at < s->stack_at || at + 8 > s->stack_at + s->n_stack)
		return false;
	memcpy(ret, s->stack + (at - s->stack_at), 8);
	return true;
}

static bool set_registers(Dwfl_Thread *t, void *arg)
{
	Dwarf_Word r[PP_THREAD_REGISTERS];

	for (int i = 0; i < PP_THREAD_REGISTERS; i++)
		r[i] = oracle.current->registers[i];
#if defined(__aarch64__) /* the pc has no number of DWARF's */
	dwfl_thread_state_register_pc(t, r[PP_THREAD_REGISTERS - 1]);
	return dwfl_thread_state_registers(t, 0, PP_THREAD_REGISTERS - 1, r);
#else
	return dwfl_thread_state_registers(t, 0, PP_THREAD_REGISTERS, r);
#endif
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = read_memory,
	.set_initial_registers = set_registers,
};

static int on_frame(Dwfl_Frame *f, void *arg)
{
	Dwarf_Addr pc;
	bool activation;

	if (!dwfl_frame_pc(f, &pc, &activation))
		return DWARF_CB_ABORT;
	if (oracle.n_truth < MAX_FRAMES)
		oracle.truth[oracle.n_truth++] = pc - !activation;
	return DWARF_CB_OK;
}

/* A runtime pc as the walker would write it. */
static uint64_t word_of(uint64_t pc)
{
	const struct tables *t = &oracle.harness.core.tables;
	uint64_t list = t->processes[0].list;

	for (uint32_t i = 0; i < PP_LIST_N(list); i++) {
		const struct pp_mapping *m = &t->mappings[PP_LIST_FIRST(list) + i];

		if (pc >= m->start && pc < m->end)
			return m->object ? PP_FRAME(m->object, pc - m->bias) : PP_RAW(pc);
	}
	return PP_RAW(pc);
}

static void show(unsigned n, unsigned at)
{
	const struct oracle_sample *s = oracle.current;

	if (oracle.n_shown++ >= 5)
		return;
	printf("--- differs: ours %u frames (%s), libdw %u, at frame %u; stack copy %llu bytes\n", n,
	       frame_end_text(s->end), oracle.n_truth, at, (unsigned long long)s->n_stack);
	for (unsigned i = at > 3 ? at - 3 : 0; i < at + 3; i++)
		printf("  %3u ours %llx libdw %llx (pc %llx)\n", i,
		       i < n ? (unsigned long long)s->words[i] : 0,
		       i < oracle.n_truth ? (unsigned long long)word_of(oracle.truth[i]) : 0,
		       i < oracle.n_truth ? (unsigned long long)oracle.truth[i] : 0);
}

/* Whether the pc, or the return address that it was made of, is in the page that the kernel gives
 * to a process that is probed. */
static bool in_probe_page(uint64_t pc)
{
	char path[32], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", oracle.harness.process.pid);
	f = oracle.probe_page ? NULL : fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "[uprobes]"))
			oracle.probe_page = strtoull(line, NULL, 16);
	if (f)
		fclose(f);
	return oracle.probe_page &&
	       (pc == oracle.probe_page - 1 || (pc & ~4095ull) == oracle.probe_page);
}

/* Both agree up to the trampoline, where libdw knows no further. */
static bool meets_probe_page(unsigned n, unsigned i)
{
	const struct oracle_sample *s = oracle.current;

	for (unsigned k = 0; k <= i && k < oracle.n_truth; k++) {
		if (!in_probe_page(oracle.truth[k]))
			continue;
		if (k + 1 >= n && s->words[k] == word_of(oracle.truth[k]))
			oracle.n_probe_page++;
		else
			oracle.n_beyond++;
		return true;
	}
	return false;
}

/* Where libdw has no CFI it follows frame pointers, whether there are any or not: arm64's vDSO and stubs. */
static bool meets_no_cfi(unsigned i)
{
#if defined(__aarch64__)
	for (unsigned k = 0; k <= i && k < oracle.n_truth; k++) {
		Dwfl_Module *m = dwfl_addrmodule(oracle.dwfl, oracle.truth[k]);
		Dwarf_Addr bias = 0;
		Dwarf_CFI *cfi = m ? dwfl_module_eh_cfi(m, &bias) : NULL;
		Dwarf_Frame *frame = NULL;
		bool known = cfi && dwarf_cfi_addrframe(cfi, oracle.truth[k] - bias, &frame) == 0;

		free(frame);
		if (m && !known) {
			oracle.n_no_cfi++;
			return true;
		}
	}
#endif
	return false;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool wants_more(void)
{
	uint64_t now = now_ms();

	return (now < oracle.end || (oracle.n < oracle.min && now < oracle.end + PATIENCE_MS)) && oracle.n < 50000;
}

static int on_sample(void *context, void *data, size_t size)
{
	const struct oracle_sample *s = data;
	unsigned n = s->n, i;

	oracle.current = s;
	oracle.n++;
	oracle.n_complete += s->end <= PP_END_ZERO;
	if (n && frame_kind(s->words[n - 1]) == FRAME_MARKER)
		n--;
	oracle.n_frames += n;
	oracle.n_truth = 0;
	dwfl_getthread_frames(oracle.dwfl, (pid_t)s->tid, on_frame, NULL);
	for (i = 0; i < n && i < oracle.n_truth && s->words[i] == word_of(oracle.truth[i]); i++)
		;
	if (i == n && i == oracle.n_truth)
		oracle.n_equal++;
	else if (i == oracle.n_truth)
		oracle.n_longer++; /* libdw came to the end of the copied bytes */
	else if (i == n && s->end == PP_END_TRUNCATED)
		oracle.n_truncated++;
	else if (!meets_probe_page(n, i) && !meets_no_cfi(i)) {
		*(i == n ? &oracle.n_shorter : &oracle.n_different) += 1;
		show(n, i);
	}
	return wants_more() ? 0 : -ECANCELED; /* the ring may fill faster than libdw walks: it would never be empty */
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void load(const char *mode)
{
	static const char *const names[PP_N_MAPS] = { "pp_targets", "pp_mapping", "pp_rule",
						      "pp_stack",   "pp_word",	  "pp_count",
						      "pp_state",   "pp_ring",    "pp_labels" };
	struct pp_config config = { .seed = 1, .keep = UINT32_MAX, .address_mask = address_mask() };
	struct kernel *k = oracle.harness.broker.kernel;
	struct bpf_object *o;
	struct kernel_sizes sizes;
	struct bpf_program *p;

	kernel_sizes(k, &sizes);
	config.n_stacks = sizes.n_stacks;
	config.n_counts = sizes.n_counts;
	config.n_pool_chunks = sizes.n_pool_chunks;
	o = oracle.object = bpf_object__open_mem(bpf_object_oracle, bpf_object_oracle_size, NULL);
	if (!o)
		die("open");
	bpf_map__set_initial_value(bpf_object__find_map_by_name(o, ".rodata"), &config,
				   sizeof(config));
	for (int i = 0; i < PP_N_MAPS; i++) {
		struct bpf_map *m = names[i] ? bpf_object__find_map_by_name(o, names[i]) : NULL;

		if (m) /* of those that it uses */
			bpf_map__reuse_fd(m, kernel_map(k, (enum pp_map)i));
	}
	bpf_map__reuse_fd(bpf_object__find_map_by_name(o, "pp_slabs"), kernel_slabs(k));
	bpf_object__for_each_program(p, o) {
		const char *name = bpf_program__name(p) + strlen("oracle_");
		bool wanted = !strncmp(mode, name, strlen(name)) ||
			      (!strcmp(name, "tick") && strncmp(mode, "futex", 5) &&
			       strncmp(mode, "uprobe", 6)) ||
			      (!strcmp(name, "uprobe") && !strncmp(mode, "both", 4));

		bpf_program__set_autoload(p, wanted);
	}
	if (bpf_object__load(o))
		die("load");
}

static void attach_clock(void)
{
	int program = bpf_program__fd(bpf_object__find_program_by_name(oracle.object, "oracle_tick"));

	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
		struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE,
					     .size = sizeof(a),
					     .config = PERF_COUNT_SW_CPU_CLOCK,
					     .sample_period = 1000000000ull / 499,
					     .exclude_idle = 1 };
		int fd = (int)syscall(SYS_perf_event_open, &a, -1, cpu, -1, 0);

		if (fd >= 0 && (ioctl(fd, PERF_EVENT_IOC_SET_BPF, program) < 0 ||
				ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0))
			die("clock");
	}
}

static void attach_uprobe(const char *place, bool ret, pid_t pid)
{
	LIBBPF_OPTS(bpf_uprobe_opts, o, .retprobe = ret);
	struct bpf_program *p = bpf_object__find_program_by_name(
		oracle.object, ret ? "oracle_uretprobe" : "oracle_uprobe");
	const char *symbol = strchr(place, ':');
	char file[64];

	if (!symbol)
		die(place);
	snprintf(file, sizeof(file), "%.*s", (int)(symbol - place), place);
	if (!strcmp(file, "exe"))
		snprintf(file, sizeof(file), "/proc/%d/exe", pid);
	o.func_name = symbol + 1;
	if (!bpf_program__attach_uprobe_opts(p, pid, file, 0, &o))
		die(place);
}

static void attach(const char *mode, pid_t pid)
{
	const char *symbol = strchr(mode, ':');

	if (!strcmp(mode, "futex")) {
		if (!bpf_program__attach(
			    bpf_object__find_program_by_name(oracle.object, "oracle_futex")))
			die("futex");
		return;
	}
	if (strncmp(mode, "uprobe", 6))
		attach_clock();
	if (symbol)
		attach_uprobe(symbol + 1, !strncmp(mode, "uretprobe", 9), pid);
}

static void open_dwfl(pid_t pid)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_linux_proc_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
	};

	oracle.dwfl = dwfl_begin(&callbacks);
	if (!oracle.dwfl || dwfl_linux_proc_report(oracle.dwfl, pid) ||
	    dwfl_report_end(oracle.dwfl, NULL, NULL) ||
	    !dwfl_attach_state(oracle.dwfl, NULL, pid, &thread_callbacks, &oracle))
		die("libdwfl");
}

int main(int argc, char **argv)
{
	pid_t pid = argc > 2 ? atoi(argv[1]) : 0;
	int seconds = argc > 3 ? atoi(argv[3]) : 3;
	struct ring_buffer *ring;

	if (!pid)
		return 2;
	oracle.min = argc > 4 ? atol(argv[4]) : 20;
	harness_open(&oracle.harness, pid, (struct kernel_clock){ 100, 0 });
	load(argv[2]);
	open_dwfl(pid);
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(oracle.object, "oracle_ring"),
				on_sample, NULL, NULL);
	attach(argv[2], pid);
	oracle.end = now_ms() + (uint64_t)seconds * 1000; /* loading may have taken long */
	while (wants_more())
		ring_buffer__poll(ring, 100);
	bpf_object__close(oracle.object);
	printf("%s: %ld samples, %.1f frames, complete %.2f %%; equal to libdw %ld, longer %ld, "
	       "truncated %ld, shorter %ld, different %ld, in the probes' trampoline %ld, "
	       "beyond it %ld\n",
	       argv[2], oracle.n, oracle.n ? (double)oracle.n_frames / (double)oracle.n : 0,
	       oracle.n ? 100. * (double)oracle.n_complete / (double)oracle.n : 0, oracle.n_equal,
	       oracle.n_longer, oracle.n_truncated, oracle.n_shorter, oracle.n_different,
	       oracle.n_probe_page, oracle.n_beyond);
	if (oracle.n_no_cfi)
		printf("%ld not compared: libdw had no CFI\n", oracle.n_no_cfi);
	harness_close(&oracle.harness);
	return oracle.n < oracle.min || oracle.n_shorter || oracle.n_different;
}
