/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/profile.h"

#include <string.h>

#include "bpf/event.h"

/* In byte order of the names, as Go's index page lists them. Types and units are Go's own
 * (go-endpoints.md 3): scrapers build the names of their series from them. */
#define HEAP_VALUES                                                                                \
	{ { "alloc_objects", "count" },                                                            \
	  { "alloc_space", "bytes" },                                                              \
	  { "inuse_objects", "count" },                                                            \
	  { "inuse_space", "bytes" } }

const struct profile profiles[] = {
	{
		.name = "allocs",
		.arm = PROFILE_CUMULATIVE,
		.collector = PP_HEAP,
		.n_values = 4,
		.values = HEAP_VALUES,
		.period_type = { "space", "bytes" },
		.default_type = "alloc_space",
		.help = "A sampling of all memory allocations since pprofd attached.",
	},
	{
		.name = "block",
		.arm = PROFILE_CUMULATIVE,
		.collector = PP_WAIT,
		.n_values = 2,
		.values = { { "contentions", "count" }, { "delay", "nanoseconds" } },
		.period_type = { "contentions", "count" },
		.help = "Stack traces that led to waiting on synchronization primitives, since pprofd attached. "
			"The label lock tells the kind.",
	},
	{
		.name = "cmdline",
		.arm = PROFILE_INSTANT,
		.help = "The command line of the process as the kernel was given it, arguments "
			"separated by NUL bytes.",
	},
	{
		.name = "goroutine",
		.arm = PROFILE_THREADS,
		.n_values = 1,
		.values = { { "goroutine", "count" } },
		.period_type = { "goroutine", "count" },
		.help = "Stack traces of all current threads. Use debug=2 as a query parameter to see each with its "
			"state, in the format of an unrecovered panic.",
	},
	{
		.name = "growth",
		.arm = PROFILE_CUMULATIVE,
		.collector = PP_GROWTH,
		.n_values = 2,
		.values = { { "faults", "count" }, { "space", "bytes" } },
		.period_type = { "faults", "count" },
		.help = "Who touched new memory first: page faults that write, by stack, sampled, since pprofd "
			"attached. Memory that is used again is not in here.",
	},
	{
		.name = "heap",
		.arm = PROFILE_CUMULATIVE,
		.collector = PP_HEAP,
		.n_values = 4,
		.values = HEAP_VALUES,
		.period_type = { "space", "bytes" },
		.help = "A sampling of memory allocations of live objects, of those since pprofd attached. "
			"The gc parameter is accepted and calls nothing.",
	},
	{
		.name = "mutex",
		.arm = PROFILE_CUMULATIVE,
		.collector = PP_RELEASE,
		.n_values = 2,
		.values = { { "contentions", "count" }, { "delay", "nanoseconds" } },
		.period_type = { "contentions", "count" },
		.help = "Stack traces of holders of contended mutexes, where they released them, since pprofd "
			"attached. They are charged with what the waiters waited.",
	},
	{
		.name = "offcpu",
		.arm = PROFILE_CUMULATIVE,
		.collector = PP_WAIT,
		.n_values = 1,
		.values = { { "off_cpu", "nanoseconds" } },
		.period_type = { "off_cpu", "nanoseconds" },
		.help = "Stack traces of threads that were not on a CPU, and for how long, since pprofd "
			"attached. The label reason tells what for.",
	},
	{
		.name = "profile",
		.arm = PROFILE_WINDOWED,
		.collector = PP_CPU,
		.n_values = 2,
		.values = { { "samples", "count" }, { "cpu", "nanoseconds" } },
		.period_type = { "cpu", "nanoseconds" },
		.help = "CPU profile: where the threads of the process were when they ran, in user "
			"and kernel code, sampled from outside. The seconds parameter gives the "
			"duration (30 by default); after you get the file, open it with "
			"go tool pprof.",
	},
	{
		.name = "symbol",
		.arm = PROFILE_SYMBOL,
		.help = "Maps given program counters to function names. Counters can be specified in a "
			"GET raw query or POST body, multiple counters are separated by '+'. They are "
			"those that profiles show.",
	},
	{
		.name = "threadcreate",
		.arm = PROFILE_CUMULATIVE,
		.collector = PP_CREATE,
		.n_values = 1,
		.values = { { "threadcreate", "count" } },
		.period_type = { "threadcreate", "count" },
		.help = "Stack traces that led to the creation of threads, since pprofd attached.",
	},
	{
		.name = "trace",
		.arm = PROFILE_TRACE,
		.collector = PP_TRACE,
		.help = "A trace of what each thread does: running, runnable, blocked and why, who woke whom. The seconds "
			"parameter gives the duration (1 by default); after you get the file, open it with go tool trace. "
			"format=perfetto is for ui.perfetto.dev.",
	},
	{
		.name = "wall",
		.arm = PROFILE_WALL,
		.collector = PP_CPU,
		.n_values = 2,
		.values = { { "samples", "count" }, { "time", "nanoseconds" } },
		.period_type = { "wallclock", "nanoseconds" },
		.help = "Wall-clock profile: where the threads were, on a CPU or not. The seconds parameter gives "
			"the duration (30 by default). Also at /debug/fgprof.",
	},
};

const size_t n_profiles = sizeof(profiles) / sizeof(*profiles);

const struct profile *profile_find(const char *name)
{
	for (size_t i = 0; i < n_profiles; i++)
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	return NULL;
}
