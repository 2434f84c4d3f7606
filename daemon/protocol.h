/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* protocol.h - between the broker, which holds the capabilities, and serve, which holds none.
 *
 * Serve asks, one record at a time (base/record.h); the broker answers with the same type and
 * serial, a status (0, -errno) and descriptors. Everything the broker does is one of these, for a
 * process that was named to it on its command line. No path ever crosses: files are named by
 * target and address range, /proc files by an enum, files split off others by build-id or a name without directories;
 * .dwo files alone by what a compiler wrote, which leads nowhere but below the target's root (broker/dwo_file.h).
 * Unasked records come only at the start, so that afterwards every record has its answer; what has to be told later has
 * a socket of its own (BROKER_NEWS). */

#include <stdint.h>

#include "base/record.h"
#include "bpf/custom.h"
#include "bpf/event.h"
#include "bpf/heap.h"
#include "bpf/threads.h"
#include "bpf/trace.h"
#include "bpf/wait.h"

enum broker_request {
	BROKER_START = 1, /* broker -> serve, unasked, first: struct broker_start, then n_text
			   * bytes; fds: listeners; in one-shot mode the output and an eventfd
			   * that ends the window early */
	BROKER_TARGET,	  /* broker -> serve, unasked, one a target: struct broker_target; fd: pidfd */
	BROKER_TRACKS,	  /* broker -> serve, unasked, if n_tracks: struct broker_track[n_tracks] */
	BROKER_NEWS,	  /* broker -> serve, unasked, unless it is one-shot: struct broker_description[n]; fd: a
			   * socket of its own for what comes when it comes (enum broker_news), never answered */
	BROKER_BIND,	  /* struct broker_bind -> struct broker_target; fd: pidfd; -ESRCH: it is not that process any
			   * more; an error's answer bears its text */
	BROKER_RELEASE,	  /* uint32_t target: nothing of it stays attached, and the slot is free. Serve has let go
			   * of it before */
	BROKER_WEB,	  /* who may read: broker -> serve, unasked, if has_web: struct broker_web; fds: its text, then of
			   * enum broker_pem those that `has` says. Asked with the uint32_t generation that serve has: the same,
			   * or nothing: it is still that */
	BROKER_MAPS,	  /* waits until programs are loaded; answer: struct broker_maps; fds: maps in
			   * the order of enum pp_map */
	BROKER_IDENTIFY,  /* uint32_t target -> struct broker_target, as the kernel has it now */
	BROKER_PROC,	  /* struct broker_proc -> fd */
	BROKER_OBJECT,	  /* struct broker_range -> struct broker_file; fd */
	BROKER_KALLSYMS,  /* -> fd */
	BROKER_SLAB,	  /* uint32_t index -> fd of a new slab of unwind rows, in its place */
	BROKER_ARM,	  /* uint32_t collector; attaches for as long as serve wants; an error's
			   * answer bears its text */
	BROKER_DISARM,	  /* uint32_t collector */
	BROKER_HEAP,	   /* loads the heap's programs -> struct broker_heap; fds: maps in the order of
			    * enum pp_heap_map; -EAGAIN: it will take a while, ask again; an error's
			    * answer bears its text */
	BROKER_PROBE,	   /* struct broker_probes, struct broker_probe[n]: attaches them all or none; an
			    * error's answer bears its text */
	BROKER_UNPROBE,	   /* struct broker_unprobe: off at once, gone soon */
	BROKER_THREADS,	   /* struct broker_threads -> a stream socket that gives the threads, and answers to
			    * struct broker_more; -EAGAIN: too many such; an error's answer bears its text */
	BROKER_CREATED,	   /* -> fd of an ARRAY of struct pp_created, once PP_CREATE is armed */
	BROKER_WAIT,	   /* loads the programs that see threads wait -> struct broker_wait; fds: maps in
			    * the order of enum pp_wait_map; else as BROKER_HEAP */
	BROKER_TRACE,	   /* loads the programs that trace, makes their ring; fds: maps in the order of
			    * enum pp_trace_map; else as BROKER_HEAP. With PP_TRACE disarmed, the ring goes */
	BROKER_LOOK,	   /* uint32_t target: its held objects are looked at (broker/held.h), soon;
			    * -EAGAIN: they still are */
	BROKER_KEEP,	   /* uint32_t target -> fd of a new file in --keep-dir; -ENOENT: there is none */
	BROKER_CARRY,	   /* uint32_t target -> fds of its two files in the directory of what outlives us (broker/carry.h);
			    * -ENOENT: there are none; -EBUSY: another pprofd writes them */
	BROKER_DEBUG,	   /* struct broker_debug -> uint32_t, enum broker_place; fd; -ENOENT: there is none;
			    * -ETIMEDOUT: ask again from BROKER_PLACE_HOST_BUILD_ID */
	BROKER_FETCH,	   /* struct broker_fetch -> struct broker_fetched; where there is a debuginfod server */
	BROKER_DWO,	   /* struct broker_dwo -> uint32_t, enum broker_dwo_place; fd; -ENOENT: there is none */
	BROKER_PERF_MAP,   /* uint32_t target -> fd of what its JIT tells of its code; -ENOENT */
	BROKER_CUSTOM,	   /* loads the programs of custom profiles; no payload; fds: maps in the order of enum
			    * pp_custom_map; else as BROKER_HEAP */
	BROKER_CUSTOM_PROBE, /* struct broker_probes, struct broker_custom_probe[n]: as BROKER_PROBE */
	BROKER_TRACE_PROBE, /* struct broker_probes, struct broker_custom_probe[n], kinds as enum pp_trace_kind, rows are
			     * sites: until PP_TRACE is disarmed; else as BROKER_PROBE */
	BROKER_CUSTOM_OFF, /* uint32_t target: those of it all: without effect at once, gone soon */
	BROKER_CONTEXT,	   /* uint32_t target -> fd of a copy of what it has published about itself as OTEL_CTX; -ENOENT */
	BROKER_LABELS,	   /* struct broker_labels, uint64_t thread_pointers[n] -> fd: for each uint64_t n_words, and
			    * the words of its labels */
	BROKER_USAGE,	   /* what pprofd itself takes -> struct broker_usage */
	BROKER_STATS,	   /* struct broker_who[n]: what known processes take, slot or none -> struct broker_stat[n] */
	BROKER_CMDLINE,	   /* struct broker_who -> fd of its command line; -ESRCH */
	BROKER_SYMBOLIZER, /* starts the symbolizer afresh (killing the one there is) -> its socket */
	BROKER_READY,	  /* serve -> broker, no answer: it listens */
	BROKER_ALIVE,	  /* serve -> broker, no answer: it runs, and its innermost lock comes free */
	BROKER_RESULT,	  /* serve -> broker in one-shot mode, no answer: status, text of an error */
};

#define BROKER_MAX_TARGETS PP_MAX_PROCESSES
#define BROKER_NO_LIMIT UINT32_MAX

enum broker_heap_mode { BROKER_HEAP_INUSE, BROKER_HEAP_ALLOCS, BROKER_HEAP_OFF };

/* Of waits: off; on: scheduler events of the machine, filtered; strict: events of the targets' threads
 * alone, which costs others nothing and does not tell who releases a lock. */
enum broker_wait_mode { BROKER_WAIT_ON, BROKER_WAIT_OFF, BROKER_WAIT_STRICT };

#define BROKER_MAX_TEXT 512

enum broker_proc_file {
	BROKER_PROC_MAPS,
	BROKER_PROC_AUXV,
	BROKER_PROC_CMDLINE,
	BROKER_PROC_STAT,
	BROKER_PROC_STATUS,
	BROKER_N_PROC,
};

struct broker_start {
	uint32_t n_targets;
	uint32_t hz;
	uint64_t period_ns;
	uint32_t lease_s; /* how long a process that nobody asks for any more keeps its slot */
	uint32_t follow;  /* children of what is described are, too */
	uint32_t alive_ms;  /* BROKER_ALIVE is wanted this often; 0: never */
	uint32_t owner_uid; /* who started pprofd: may use its Unix sockets */
	uint32_t n_uids;
	uint32_t insecure;
	uint32_t one_shot; /* no listeners: run the request in `text` and write it to the fd */
	uint32_t heap;	   /* enum broker_heap_mode */
	uint32_t max_overhead; /* of uprobes, in millionths of the target's CPU time; BROKER_NO_LIMIT */
	uint32_t wait;	   /* enum broker_wait_mode */
	uint32_t n_tracks; /* at most BROKER_MAX_TRACKS */
	uint32_t debuginfod; /* there are servers to fetch debug files from */
	uint32_t has_web;  /* --web.config.file */
	uint32_t max_rate; /* requests a second of one client; 0: any */
	uint32_t redact;   /* enum broker_redact, bits */
	uint32_t audit;    /* captures are told on stderr */
	uint32_t n_text;   /* bytes of NUL-terminated strings that follow: allowed hosts; or
			    * the one-shot request (path, query) */
};

/* What --redact keeps back. */
enum broker_redact { BROKER_REDACT_CMDLINE = 1, BROKER_REDACT_PATHS = 2 };

enum broker_pem { BROKER_PEM_CERT, BROKER_PEM_KEY, BROKER_PEM_CA, BROKER_N_PEM };

/* Go's tls.ClientAuthType. */
enum broker_client_auth {
	BROKER_CLIENT_NONE,
	BROKER_CLIENT_REQUEST, /* asked for, neither needed nor looked at */
	BROKER_CLIENT_REQUIRE, /* any will do */
	BROKER_CLIENT_VERIFY,  /* if there is one, of these CAs */
	BROKER_CLIENT_BOTH,    /* one of these CAs is needed */
};

/* The file of --web.config.file (broker/web_file.h). The broker has looked at its words; the files it names come as
 * descriptors, unread. */
struct broker_web {
	uint32_t generation; /* never 0 */
	uint32_t tls, client_auth, has; /* enum broker_client_auth; bits of enum broker_pem */
	uint32_t n_text; /* bytes: NUL-terminated, n_headers of (name, value), n_users of (name, bcrypt hash), n_sans */
	uint32_t n_headers, n_users, n_sans;
	char priorities[512]; /* of GnuTLS */
};
#define BROKER_MAX_WEB (512u * 1024) /* bytes of text, or of a file */

/* A function that adds to a profile, or removes (--track). */
struct broker_track {
	char name[PP_CUSTOM_NAME]; /* of the profile */
	char function[120];	   /* as it is linked */
	uint32_t kind;		   /* enum pp_custom_kind */
	uint32_t argument;	   /* 1 to 3, where the kind wants one */
};
#define BROKER_MAX_TRACKS 128

struct broker_target {
	uint32_t index; /* how later requests name it */
	int32_t pid;	/* in the broker's own PID namespace */
	uint32_t uid;
	uint32_t host_tgid; /* these three by BROKER_IDENTIFY */
	uint64_t start_boottime, exec_id;
	uint64_t known; /* struct broker_known.id; 0: one-shot */
	char comm[16];
};

/* What the command line says of processes. */
enum broker_described { BROKER_BY_PID, BROKER_BY_COMM, BROKER_BY_EXE, BROKER_BY_CGROUP, BROKER_BY_UNIT,
			BROKER_BY_CONTAINER, BROKER_BY_USER, BROKER_BY_ALL, BROKER_N_DESCRIBED };

#define BROKER_MAX_DESCRIPTIONS 64
struct broker_description {
	uint32_t kind; /* enum broker_described */
	uint32_t pad;
	char name[64];	/* of /t/NAME/; "": none */
	char what[128]; /* as it was given, or its beginning */
};
_Static_assert(BROKER_MAX_DESCRIPTIONS * sizeof(struct broker_description) <= RECORD_MAX, "they fit a record");

/* On the socket of BROKER_NEWS, broker -> serve. */
enum broker_news {
	BROKER_NEWS_KNOWN = 1, /* struct broker_known: it is there, or is another program now */
	BROKER_NEWS_GONE,      /* uint64_t id */
	BROKER_NEWS_COUNTS,    /* struct broker_counts, after what it counts */
};

#define BROKER_MAX_KNOWN 4096

/* A process that is described. The texts are strangers' words: bytes and a NUL, cut off at the bound. */
struct broker_known {
	uint64_t id;	  /* never used again */
	uint64_t matches; /* 1 << i: the i-th description holds of it; of a parent's, where it is followed */
	uint64_t start;	  /* clock ticks since boot, as in /proc/PID/stat */
	int32_t pid, parent;
	uint32_t uid;
	uint32_t target;   /* + 1: the slot that it has from the start (--pid); 0: none */
	uint32_t followed; /* a child of one that is described, and no more (--follow) */
	uint32_t pad;
	char comm[16];
	char exe[512], cgroup[512];
	char unit[128];	    /* X.service; "": none, as of the others */
	char container[72]; /* its id */
	char pod[40];	    /* uid */
};

struct broker_counts {
	uint64_t n_left_out; /* processes past BROKER_MAX_KNOWN, now */
	uint64_t n_lost;     /* times that the kernel told more than was read in time, and all was read anew */
	uint32_t complete;   /* all that was there at the start has been told */
	uint32_t pad;
};

struct broker_bind {
	uint64_t known;
	uint32_t slot; /* that is free */
	uint32_t pad;
};

struct broker_maps {
	uint32_t n_stacks, n_counts, n_pool_chunks; /* of one half */
	uint32_t ring_size;			    /* bytes of records */
};

struct broker_proc {
	uint32_t target;
	uint32_t file; /* enum broker_proc_file */
};

struct broker_range {
	uint32_t target;
	uint32_t pad;
	uint64_t start, end; /* a line of /proc/PID/maps */
};

struct broker_file { /* fstat of what was opened */
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
	uint32_t by_path; /* found by the mapping's path, which may lead to another file by now */
	uint32_t pad;
};

/* Where a file that was split off another may be: below the target's root, then the same below ours. */
enum broker_place {
	BROKER_PLACE_BUILD_ID, /* /usr/lib/debug/.build-id/xx/yy.debug */
	BROKER_PLACE_BESIDE,   /* where the file itself is */
	BROKER_PLACE_BELOW,    /* .debug there */
	BROKER_PLACE_GLOBAL,   /* /usr/lib/debug/there */
	BROKER_PLACE_DWZ,      /* a name with /.dwz/ in it: /usr/lib/debug/.dwz/ and what follows */
	BROKER_PLACE_HOST_BUILD_ID,
	BROKER_PLACE_HOST_BESIDE,
	BROKER_PLACE_HOST_BELOW,
	BROKER_PLACE_HOST_GLOBAL,
	BROKER_PLACE_HOST_DWZ,
	BROKER_PLACE_CACHE, /* debuginfod's */
	BROKER_PLACE_FETCHED, /* ours, of what came over the network */
	BROKER_N_PLACES,
};

#define BROKER_MAX_BUILD_ID 64
#define BROKER_MAX_LINK 256
#define BROKER_MAX_PATH 4096

struct broker_debug {
	uint32_t target;
	uint32_t place;	     /* enum broker_place: the first to look at */
	uint64_t start, end; /* a line of /proc/PID/maps, of the file that it was split off */
	uint32_t n_id, pad;
	uint8_t id[BROKER_MAX_BUILD_ID]; /* n_id 0: unknown */
	char name[BROKER_MAX_LINK];	 /* a stranger's bytes and a NUL; "": unknown */
};

struct broker_labels {
	uint32_t target, n;
	struct pp_labels labels; /* where they are, as the kernel has it */
};
#define BROKER_MAX_LABELS 4000 /* threads in one question */
_Static_assert(sizeof(struct broker_labels) + BROKER_MAX_LABELS * 8 <= RECORD_MAX, "a question fits");
/* A debug file, by its build-id: over the network, some time later. */
enum broker_fetch_what {
	BROKER_FETCH_COUNT, /* nothing but the counts */
	BROKER_FETCH_ASK,   /* is it still pending? */
	BROKER_FETCH_WANT,  /* it was looked for and is in no place */
	BROKER_FETCH_REFUSE, /* what is in BROKER_PLACE_FETCHED is another file, or no good */
};

struct broker_fetch {
	uint32_t what; /* enum broker_fetch_what */
	uint32_t n_id;
	uint8_t id[BROKER_MAX_BUILD_ID];
};

enum broker_fetch_state { BROKER_FETCH_NOT, BROKER_FETCH_PENDING };

struct broker_fetched {
	uint32_t state; /* enum broker_fetch_state, of the one that was asked about */
	uint32_t n_pending; /* now; the rest since the start */
	uint64_t n_fetched, n_refused; /* of the former: threw away, because they were of another file */
	uint64_t n_none, n_failed;     /* no server had it; servers were not there, slow, or broke a bound */
	uint64_t n_left_out;	       /* not asked for, because too many waited */
};

/* Below the target's root. */
enum broker_dwo_place {
	BROKER_DWO_AS_TOLD,   /* as the compiler wrote it */
	BROKER_DWO_BESIDE,    /* its relative name, from where the file is that lacks it */
	BROKER_DWO_LAST_PART, /* the last part of its name, there */
	BROKER_N_DWO_PLACES,
};

#define BROKER_MAX_DWO 1024

struct broker_dwo {
	uint32_t target;
	uint32_t place;	     /* enum broker_dwo_place: the first to look at */
	uint64_t start, end; /* a line of /proc/PID/maps, of the file that lacks it */
	char name[BROKER_MAX_DWO], directory[BROKER_MAX_DWO]; /* a stranger's bytes and a NUL */
};

struct broker_heap {
	uint32_t n_cpus;  /* rows of PP_HEAP_MAP_CPU / PP_MAX_PROCESSES */
	uint32_t session; /* unsampled calls have no return probe */
	uint32_t hit_ns;  /* CPU time that one hit costs a process */
	uint32_t shared_ns; /* the same where BROKER_MAX_SHARERS probe the file */
};

enum broker_threads_what {
	BROKER_THREADS_LIST,
	BROKER_THREADS_LOCKS,  /* and what their futexes hold */
	BROKER_THREADS_STACKS, /* and their stacks */
};

struct broker_threads {
	uint32_t target;
	uint32_t what; /* enum broker_threads_what */
};

/* On the socket that is the answer to it: of each thread struct pp_thread, n_stack bytes from its stack pointer
 * on, and n_other bytes, in no order; each thread's all of one moment. Last a struct pp_thread that is all zeros,
 * and struct broker_threads_end. */
struct broker_threads_end {
	uint64_t n_late;     /* readings that the target's memory did not answer */
	uint64_t n_left_out; /* threads past BROKER_MAX_THREADS */
};

/* Then serve may ask for more of some, as uint32_t n and so many of these; the answer is as the first one, of these
 * threads, as they are by then. What has ended is left out. */
struct broker_more {
	uint32_t position; /* as in struct pp_thread */
	uint32_t n_stack;  /* bytes, at most BROKER_MAX_STACK */
	uint32_t n_other;  /* likewise; 0: none */
	uint32_t pad;
	uint64_t from; /* the other stack begins where the word here, on its signal stack, says */
};
#define BROKER_FIRST_STACK 2048
#define BROKER_MAX_STACK (3u << 20) /* Ruby keeps 1 MiB and more of its own in one frame */
#define BROKER_MAX_MORE (8u << 20) /* bytes in one question */
#define BROKER_MAX_QUESTIONS 1024  /* threads in it */
#define BROKER_MAX_THREADS 65536

/* pprofd's processes. */
enum broker_process { BROKER_PROCESS_BROKER, BROKER_PROCESS_SERVE, BROKER_PROCESS_SYMBOLIZER, BROKER_N_PROCESSES };

struct broker_process_usage { /* all 0: it does not run */
	uint64_t cpu_ns, resident_bytes, virtual_bytes;
	int64_t started_ns; /* realtime */
	uint32_t n_fds, n_threads;
};

struct broker_usage {
	struct broker_process_usage processes[BROKER_N_PROCESSES];
	uint64_t maps_bytes, programs_bytes; /* in the kernel; without the slabs of unwind rows */
	uint32_t n_maps, n_programs;
	uint64_t n_symbolizers; /* that were started */
	char version[32];
};

/* A process of BROKER_NEWS. */
struct broker_who {
	uint64_t known;
	int32_t pid;
	uint32_t pad;
};
#define BROKER_MAX_STATS 512 /* in one question */

struct broker_stat { /* all 0: it has ended */
	uint64_t cpu_ns, resident_bytes;
	uint32_t n_threads, pad;
};
_Static_assert(BROKER_MAX_STATS * sizeof(struct broker_stat) <= RECORD_MAX, "an answer fits");

struct broker_wait {
	uint32_t n_cpus; /* rows of PP_WAIT_MAP_CPU / PP_MAX_PROCESSES */
};

/* Sides of a heap's probes, which come and go apart. */
enum broker_side { BROKER_SIDE_ALLOC = 1, BROKER_SIDE_FREE = 2, BROKER_SIDE_TOLD = 4 };
#define BROKER_SIDE_AGAIN 8 /* | side: they are there; let the kernel go through those who have them */

#define BROKER_MAX_PROBES 128
#define BROKER_MAX_SHARERS 8 /* each process that probes a file makes each hit of the others dearer */

struct broker_probes { /* of one file */
	uint32_t target;
	uint32_t side; /* enum broker_side */
	uint64_t start, end; /* a line of /proc/PID/maps: any mapping of the file */
	uint32_t n;
	uint32_t pad;
};

struct broker_probe {
	struct pp_probe probe; /* slot is set by the broker */
	uint64_t offset;       /* in the file; what is there must be what the kernel emulates */
	uint64_t semaphore;    /* in the file; 0: none */
};

/* With these .side of struct broker_probes is 0, or BROKER_SIDE_AGAIN. */
struct broker_custom_probe {
	struct pp_custom_probe probe; /* slot is set by the broker */
	uint64_t offset;	      /* as of struct broker_probe */
};

struct broker_unprobe {
	uint32_t target;
	uint32_t sides;
};
