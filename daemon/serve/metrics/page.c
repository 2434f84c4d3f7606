/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/metrics/page.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/frame.h"
#include "daemon/serve/http.h"
#include "daemon/serve/profile.h"

static const char *const collectors[PP_N_COLLECTORS] = {
	[PP_CPU] = "cpu",      [PP_HEAP] = "heap",	 [PP_GROWTH] = "growth", [PP_WAIT] = "wait",
	[PP_RELEASE] = "release", [PP_CREATE] = "create", [PP_CUSTOM] = "custom",
};

static const char *const processes[BROKER_N_PROCESSES] = {
	[BROKER_PROCESS_BROKER] = "broker",
	[BROKER_PROCESS_SERVE] = "serve",
	[BROKER_PROCESS_SYMBOLIZER] = "symbolizer",
};

static void gauge(struct metrics_text *t, const char *name, const char *help, double v)
{
	metrics_family(t, name, METRICS_GAUGE, help);
	metrics_sample(t, METRICS_NO_LABELS, v);
}

static void counter(struct metrics_text *t, const char *name, const char *help, double v)
{
	metrics_family(t, name, METRICS_COUNTER, help);
	metrics_sample(t, METRICS_NO_LABELS, v);
}

/* "broken: GAP" -> "broken_gap" */
static void outcome_of(unsigned end, char to[48])
{
	size_t n = 0;

	for (const char *s = frame_end_text(end); *s && n < 47; s++) {
		if (isalnum((unsigned char)*s))
			to[n++] = (char)tolower((unsigned char)*s);
		else if (n && to[n - 1] != '_')
			to[n++] = '_';
	}
	to[n] = '\0';
}

/* Of a walk; PP_END_ZERO is told as PP_END_OUTERMOST is. */
static bool is_outcome(unsigned end)
{
	return end != PP_END_ZERO && (end <= PP_END_OTHER || end == PP_END_BY_HASH || end == PP_END_ANOTHER);
}

static void samples(struct metrics_text *t, const struct facts *f)
{
	metrics_family(t, "pprofd_samples", METRICS_COUNTER,
		       "What was counted, weighed as profiles show it, by how the walk of its stack ended.");
	for (unsigned c = 1; c < PP_N_COLLECTORS; c++) {
		for (unsigned end = 0; collectors[c] && end < PP_N_ENDS; end++) {
			double n = f->n_ends[c][end] + (end == PP_END_OUTERMOST ? f->n_ends[c][PP_END_ZERO] : 0);
			char outcome[48];

			if (!is_outcome(end))
				continue;
			outcome_of(end, outcome);
			metrics_sample(t, METRICS_LABELS({ "collector", collectors[c] }, { "outcome", outcome }), n);
		}
	}
	metrics_family(t, "pprofd_collector_attached", METRICS_GAUGE, "Whether its programs are attached now.");
	for (unsigned c = 1; c < PP_N_COLLECTORS; c++)
		if (collectors[c] && c != PP_HEAP && c != PP_RELEASE && c != PP_CUSTOM)
			metrics_sample(t, METRICS_LABELS({ "collector", collectors[c] }), f->n_armed[c] != 0);
}

static void losses(struct metrics_text *t, const struct facts *f)
{
	metrics_family(t, "pprofd_lost", METRICS_COUNTER,
		       "What is not in profiles, or not in its place, and why. A profile's comment says the same of its window.");
	for (unsigned i = 0; i < FACTS_N_LOST; i++)
		metrics_count(t, METRICS_LABELS({ "what", facts_lost[i].what }, { "reason", facts_lost[i].reason }), f->lost[i]);
}

static void kernel(struct metrics_text *t, const struct facts *f)
{
	gauge(t, "pprofd_ready", "Whether the BPF programs are loaded and profiles can be had.", f->kernel == CORE_READY);
	counter(t, "pprofd_table_flips", "How often a half of the kernel's tables was emptied.", (double)f->n_flips);
	counter(t, "pprofd_duplicate_rows", "Rows of the kernel's tables that two CPUs wrote at once: stored twice, counted right.",
		(double)f->n_duplicates);
	counter(t, "pprofd_spilled_walks", "Walks that had to use shared memory, because others of their CPU were under way.",
		(double)f->n_spilled);
	counter(t, "pprofd_clock_stood_seconds", "Time of the CPUs that CPU profiles had no clock for: the kernel stopped it "
		"(kernel.perf_event_max_sample_rate), or a CPU came on.", (double)f->clock_stood_ns / 1e9);
	gauge(t, "pprofd_windows", "Captures that are open.", (double)f->n_windows);
	gauge(t, "pprofd_history_captures", "Captures that are kept for the page.", (double)f->history.n);
	gauge(t, "pprofd_history_bytes", "Their memory.", (double)f->history.n_bytes);
	gauge(t, "pprofd_rows", "Rows of counts that are kept in user space.", (double)f->n_rows);
	gauge(t, "pprofd_files", "Files that code comes from.", (double)f->n_objects);
	metrics_family(t, "pprofd_bpf_memory_bytes", METRICS_GAUGE, "Memory of BPF maps and programs, as the kernel accounts for it.");
	metrics_count(t, METRICS_LABELS({ "kind", "maps" }), f->usage.maps_bytes);
	metrics_count(t, METRICS_LABELS({ "kind", "programs" }), f->usage.programs_bytes);
	metrics_count(t, METRICS_LABELS({ "kind", "unwind_tables" }), f->slab_bytes);
	metrics_family(t, "pprofd_bpf_objects", METRICS_GAUGE, "BPF maps and programs that are loaded.");
	metrics_count(t, METRICS_LABELS({ "kind", "maps" }), f->usage.n_maps);
	metrics_count(t, METRICS_LABELS({ "kind", "programs" }), f->usage.n_programs);
}

static void tables(struct metrics_text *t, const struct facts *f)
{
	metrics_family(t, "pprofd_table_bytes", METRICS_GAUGE, "Memory of what grows with use and has a bound.");
	for (unsigned i = 0; i < FACTS_N_TABLES; i++)
		metrics_count(t, METRICS_LABELS({ "table", facts_tables[i] }), f->tables[i].n_bytes);
	metrics_family(t, "pprofd_table_fill_ratio", METRICS_GAUGE,
		       "How much of its bound it has reached: at 1 it begins anew, or what is new is counted as lost.");
	for (unsigned i = 0; i < FACTS_N_TABLES; i++)
		metrics_sample(t, METRICS_LABELS({ "table", facts_tables[i] }), f->tables[i].fill);
}

static void names(struct metrics_text *t, const struct tallies *tally)
{
	counter(t, "pprofd_symbol_cache_hits", "Addresses whose names were known when they were asked for.",
		(double)tally_get(tally, TALLY_NAMES_HITS));
	counter(t, "pprofd_symbol_cache_misses", "Addresses that the symbolizer had to be asked about.",
		(double)tally_get(tally, TALLY_NAMES_MISSES));
	counter(t, "pprofd_symbol_cache_emptied", "How often one of the caches was full, or better names came.",
		(double)tally_get(tally, TALLY_NAMES_EMPTIED));
	gauge(t, "pprofd_symbol_cache_addresses", "Addresses in the caches of names.",
	      (double)tally_get(tally, TALLY_NAMES_ADDRESSES));
	gauge(t, "pprofd_symbol_cache_bytes", "Memory of the caches of names.", (double)tally_get(tally, TALLY_NAMES_BYTES));
}

static const char *profile_name(size_t i)
{
	return i < n_profiles ? profiles[i].name : "custom";
}

static void captures(struct metrics_text *t, const struct tallies *tally)
{
	struct tally_captures c;

	metrics_family(t, "pprofd_captures_in_progress", METRICS_GAUGE, "Answers of profiles that are being made.");
	for (size_t i = 0; i <= n_profiles; i++) {
		tally_read(tally, i, &c);
		metrics_count(t, METRICS_LABELS({ "profile", profile_name(i) }), c.n_running);
	}
	metrics_family(t, "pprofd_capture_seconds", METRICS_HISTOGRAM,
		       "Time from a request to its answer, without the window that was asked for.");
	for (size_t i = 0; i <= n_profiles; i++) {
		tally_read(tally, i, &c);
		metrics_histogram(t, METRICS_LABELS({ "profile", profile_name(i) }), tally_bounds, c.n, TALLY_N_BOUNDS,
				  (double)c.sum_ns / 1e9);
	}
}

static void requests(struct metrics_text *t, const struct http_tally *http)
{
	char code[16];

	metrics_family(t, "pprofd_http_requests", METRICS_COUNTER, "HTTP requests by the status of their answer; gone: the client had "
								   "hung up before.");
	for (unsigned i = 100; i < HTTP_MAX_CODE; i++) {
		uint64_t n = __atomic_load_n(&http->answers[i], __ATOMIC_RELAXED);

		snprintf(code, sizeof(code), "%u", i);
		if (n || i == 200)
			metrics_count(t, METRICS_LABELS({ "code", code }), n);
	}
	metrics_count(t, METRICS_LABELS({ "code", "gone" }), __atomic_load_n(&http->n_hung_up, __ATOMIC_RELAXED));
	gauge(t, "pprofd_http_requests_in_progress", "HTTP requests that are being answered, this one among them.",
	      __atomic_load_n(&http->n_open, __ATOMIC_RELAXED));
	metrics_family(t, "pprofd_http_connections", METRICS_COUNTER, "Connections that came in.");
	metrics_count(t, METRICS_LABELS({ "result", "accepted" }), __atomic_load_n(&http->n_connections, __ATOMIC_RELAXED));
	metrics_count(t, METRICS_LABELS({ "result", "refused" }), __atomic_load_n(&http->n_refused, __ATOMIC_RELAXED));
}

#define OF_TARGET(x, ...) METRICS_LABELS({ "pid", (x)->pid }, { "comm", (x)->comm }, ##__VA_ARGS__)

static void overhead(struct metrics_text *t, const struct facts *f)
{
	metrics_family(t, "pprofd_target_overhead_seconds", METRICS_COUNTER,
		       "CPU time that pprofd's programs and probes have cost the process: measured, but for what a probe hit costs, "
		       "which was measured once.");
	for (uint64_t i = 0; i < f->n_targets; i++) {
		const struct facts_target *x = &f->targets[i];

		metrics_sample(t, OF_TARGET(x, { "source", "samples" }), x->sample_s);
		metrics_sample(t, OF_TARGET(x, { "source", "heap" }), x->heap_s);
		metrics_sample(t, OF_TARGET(x, { "source", "waits" }), x->wait_s);
		metrics_sample(t, OF_TARGET(x, { "source", "custom" }), x->custom_s);
	}
	metrics_family(t, "pprofd_target_overhead_ratio", METRICS_GAUGE,
		       "The same, in all, as a part of the process's CPU time since it started; rates of the two counters say how it is of late.");
	for (uint64_t i = 0; i < f->n_targets; i++) {
		const struct facts_target *x = &f->targets[i];
		double all = x->sample_s + x->heap_s + x->wait_s + x->custom_s;

		if (x->cpu_s > 0)
			metrics_sample(t, OF_TARGET(x), all / x->cpu_s);
	}
}

static void target_losses(struct metrics_text *t, const struct facts *f)
{
	metrics_family(t, "pprofd_target_lost", METRICS_COUNTER, "As pprofd_lost_total, of one process.");
	for (uint64_t i = 0; i < f->n_targets; i++)
		for (unsigned k = 0; k < FACTS_N_TARGET_LOST; k++)
			metrics_count(t, OF_TARGET(&f->targets[i], { "what", facts_target_lost[k].what },
						   { "reason", facts_target_lost[k].reason }),
				      f->targets[i].lost[k]);
	metrics_family(t, "pprofd_target_left_out", METRICS_GAUGE, "What of the process is not looked at now, because it is too much.");
	for (uint64_t i = 0; i < f->n_targets; i++)
		for (unsigned k = 0; k < FACTS_N_LEFT_OUT; k++)
			metrics_count(t, OF_TARGET(&f->targets[i], { "what", facts_left_out[k] }), f->targets[i].left_out[k]);
}

static void targets(struct metrics_text *t, const struct facts *f)
{
	gauge(t, "pprofd_targets_known", "Processes that the command line describes.", (double)f->n_known);
	gauge(t, "pprofd_targets_left_out", "Processes that it describes and that are too many.", (double)f->known.n_left_out);
	counter(t, "pprofd_targets_read_anew", "How often the kernel told of more processes than was read in time, and all were read anew.",
		(double)f->known.n_lost);
	gauge(t, "pprofd_targets_bound", "Processes that have a place in the kernel's tables.", (double)f->n_targets);
	gauge(t, "pprofd_targets_leased", "Of these, those whose place becomes another's when nobody asks for them.",
	      f->leases.n_leased);
	counter(t, "pprofd_leases_evicted", "Leases that were ended early, because all places were taken.", (double)f->leases.n_evicted);
	counter(t, "pprofd_leases_refused", "Requests that were refused, because every place had an open request.",
		(double)f->leases.n_refused);
	metrics_family(t, "pprofd_target_up", METRICS_GAUGE, "Whether the process is alive.");
	for (uint64_t i = 0; i < f->n_targets; i++)
		metrics_count(t, OF_TARGET(&f->targets[i]), f->targets[i].alive);
	metrics_family(t, "pprofd_target_cpu_seconds", METRICS_COUNTER, "CPU time of the process.");
	for (uint64_t i = 0; i < f->n_targets; i++)
		if (f->targets[i].alive)
			metrics_sample(t, OF_TARGET(&f->targets[i]), f->targets[i].cpu_s);
	metrics_family(t, "pprofd_target_events", METRICS_COUNTER, "Events of the process that a stack was looked for.");
	for (uint64_t i = 0; i < f->n_targets; i++)
		metrics_count(t, OF_TARGET(&f->targets[i]), f->targets[i].n_events);
	metrics_family(t, "pprofd_target_probe_hits", METRICS_COUNTER, "Probes that the process has run into.");
	for (uint64_t i = 0; i < f->n_targets; i++) {
		metrics_count(t, OF_TARGET(&f->targets[i], { "source", "heap" }), f->targets[i].n_heap_hits);
		metrics_count(t, OF_TARGET(&f->targets[i], { "source", "custom" }), f->targets[i].n_custom_hits);
	}
	metrics_family(t, "pprofd_target_forks_probed", METRICS_COUNTER, "Children that were forked while there were probes.");
	for (uint64_t i = 0; i < f->n_targets; i++) {
		metrics_count(t, OF_TARGET(&f->targets[i], { "source", "heap" }), f->targets[i].n_heap_forks);
		metrics_count(t, OF_TARGET(&f->targets[i], { "source", "custom" }), f->targets[i].n_custom_forks);
	}
	metrics_family(t, "pprofd_target_waits", METRICS_COUNTER, "Waits of its threads, and how many of these were looked at.");
	for (uint64_t i = 0; i < f->n_targets; i++) {
		metrics_count(t, OF_TARGET(&f->targets[i], { "looked_at", "no" }),
			      f->targets[i].n_waits_seen - f->targets[i].n_waits_taken);
		metrics_count(t, OF_TARGET(&f->targets[i], { "looked_at", "yes" }), f->targets[i].n_waits_taken);
	}
	overhead(t, f);
	target_losses(t, f);
}

static double limit_of(int which)
{
	struct rlimit l;

	return getrlimit(which, &l) < 0 || l.rlim_cur == RLIM_INFINITY ? -1 : (double)l.rlim_cur;
}

/* Prometheus's own names are of the process that answers. */
static void process(struct metrics_text *t, const struct broker_process_usage *p)
{
	double memory = limit_of(RLIMIT_AS);

	counter(t, "process_cpu_seconds", "Total user and system CPU time spent in seconds.", (double)p->cpu_ns / 1e9);
	gauge(t, "process_open_fds", "Number of open file descriptors.", p->n_fds);
	gauge(t, "process_max_fds", "Maximum number of open file descriptors.", limit_of(RLIMIT_NOFILE));
	gauge(t, "process_virtual_memory_bytes", "Virtual memory size in bytes.", (double)p->virtual_bytes);
	gauge(t, "process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.",
	      memory < 0 ? 18446744073709551615.0 : memory);
	gauge(t, "process_resident_memory_bytes", "Resident memory size in bytes.", (double)p->resident_bytes);
	gauge(t, "process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
	      (double)p->started_ns / 1e9);
}

/* All of pprofd's processes, each in each family. */
static void own(struct metrics_text *t, const struct broker_usage *u)
{
	metrics_family(t, "pprofd_process_cpu_seconds", METRICS_COUNTER, "CPU time of pprofd's processes.");
	for (unsigned i = 0; i < BROKER_N_PROCESSES; i++)
		metrics_sample(t, METRICS_LABELS({ "process", processes[i] }), (double)u->processes[i].cpu_ns / 1e9);
	metrics_family(t, "pprofd_process_resident_memory_bytes", METRICS_GAUGE,
		       "Resident memory of pprofd's processes; of serve with the maps that it has read.");
	for (unsigned i = 0; i < BROKER_N_PROCESSES; i++)
		metrics_count(t, METRICS_LABELS({ "process", processes[i] }), u->processes[i].resident_bytes);
	metrics_family(t, "pprofd_process_open_fds", METRICS_GAUGE, "File descriptors of pprofd's processes.");
	for (unsigned i = 0; i < BROKER_N_PROCESSES; i++)
		metrics_count(t, METRICS_LABELS({ "process", processes[i] }), u->processes[i].n_fds);
	metrics_family(t, "pprofd_process_threads", METRICS_GAUGE, "Threads of pprofd's processes.");
	for (unsigned i = 0; i < BROKER_N_PROCESSES; i++)
		metrics_count(t, METRICS_LABELS({ "process", processes[i] }), u->processes[i].n_threads);
	counter(t, "pprofd_symbolizer_starts", "How often the symbolizer was started: again when it had died on a file.",
		(double)u->n_symbolizers);
	gauge(t, "pprofd_uptime_seconds", "Time since pprofd was started.",
	      (double)(realtime_ns() - u->processes[BROKER_PROCESS_BROKER].started_ns) / 1e9);
	metrics_family(t, "pprofd_build_info", METRICS_GAUGE, "Which pprofd this is.");
	metrics_count(t, METRICS_LABELS({ "version", u->version }), 1);
}

void metrics_page(struct metrics_text *t, const struct facts *f, const struct tallies *tally, const struct http_tally *http)
{
	kernel(t, f);
	samples(t, f);
	losses(t, f);
	targets(t, f);
	tables(t, f);
	names(t, tally);
	captures(t, tally);
	if (http)
		requests(t, http);
	if (f->has_usage) {
		own(t, &f->usage);
		process(t, &f->usage.processes[BROKER_PROCESS_SERVE]);
	}
	metrics_end(t);
}
