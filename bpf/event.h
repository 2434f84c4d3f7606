/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* event.h - what the kernel side and user space both read and write.
 *
 * An ABI: fixed widths, no pointers, padding spelled out and asserted. Everything here lives in
 * mmapable arrays, so both sides see one memory; who writes each field is said beside it. */

#include <linux/types.h>

#define PP_MAX_FRAMES 255 /* user frames of one stack */
#define PP_MAX_KERNEL 64  /* kernel frames above them */
#define PP_MAX_WORDS 320  /* both, and the root marker */

#define PP_MAX_PROCESSES 128
#define PP_MAX_MAPPINGS 16384
#define PP_MAX_RULES 32768
#define PP_CHUNK_BITS 14 /* u32 words of unwind table a chunk: 64 KiB */
#define PP_SLAB_BITS 4	 /* chunks a slab: 1 MiB */
#define PP_MAX_SLABS 256
#define PP_GRANULE_BITS 9 /* bytes of text that share a hint */
#define PP_RULE_BITS 20	  /* low bits of a row; above them the offset in its granule */
#define PP_POOL_BITS 13	  /* u64 words of stacks a chunk: 64 KiB */

_Static_assert(PP_GRANULE_BITS + PP_RULE_BITS <= 32, "a row is one u32");
_Static_assert(PP_MAX_RULES <= 1 << PP_RULE_BITS, "a rule id fits its row");

/* The maps, in the order in which the broker hands their descriptors on. */
enum pp_map {
	PP_MAP_TARGETS,	 /* HASH: host tgid -> process slot */
	PP_MAP_MAPPING,	 /* ARRAY, one value: struct pp_mapping[PP_MAX_MAPPINGS] */
	PP_MAP_RULE,	 /* ARRAY of struct pp_rule */
	PP_MAP_STACK,	 /* ARRAY of struct pp_stack, two halves */
	PP_MAP_WORD,	 /* ARRAY of chunks of stack words, two halves */
	PP_MAP_COUNT,	 /* ARRAY of struct pp_count, two halves */
	PP_MAP_STATE,	 /* ARRAY, one struct pp_state */
	PP_MAP_RING,	 /* RINGBUF of struct pp_notice */
	PP_MAP_LABELS,	 /* ARRAY, one value: struct pp_labels[PP_MAX_PROCESSES] */
	PP_N_MAPS,
};

/* A frame is one u64. A table frame is an object and an address in its ELF file; the rest of the
 * number space is told apart by the top bits. Kernel addresses stand for themselves: on
 * x86_64 and arm64 their top byte is 0xff. */
#define PP_ADDRESS_BITS 40
#define PP_MAX_OBJECT (1u << 22)
#define PP_FRAME(object, address)                                                                  \
	((__u64)(object) << PP_ADDRESS_BITS | ((address) & ((1ull << PP_ADDRESS_BITS) - 1)))
#define PP_FRAME_RAW 0x80ull	/* top byte: the rest is a runtime pc (code without a file) */
#define PP_FRAME_MARKER 0xc0ull /* top byte: the root of a stack that is not complete */
#define PP_FRAME_KERNEL 0xffull
#define PP_RAW(pc) (PP_FRAME_RAW << 56 | ((pc) & ((1ull << 56) - 1)))
#define PP_MARKER(end, object) (PP_FRAME_MARKER << 56 | (__u64)(end) << 32 | (object))

/* How a walk ended. The names that users see stand in serve (frame.c). */
enum pp_end {
	PP_END_OUTERMOST, /* complete: the file says that nothing called this function */
	PP_END_ZERO,	  /* complete: return address or frame pointer 0 */
	PP_END_TRUNCATED, /* more than PP_MAX_FRAMES frames */
	PP_END_NO_MAPPING, /* pc in no executable mapping that we know */
	PP_END_GAP,	  /* code that no unwind row covers, and no usable frame pointer */
	PP_END_NO_TABLE,  /* mapping without a usable table */
	PP_END_BAD_CFA,	  /* a rule that the walker does not support */
	PP_END_BAD_FRAME_POINTER,
	PP_END_UNREADABLE, /* stack memory that is not there */
	PP_END_LEAF_REGISTER, /* a rule that needs a register known only in the innermost frame */
	PP_END_BACKWARDS, /* the stack pointer did not move up */
	PP_END_EXEC,	  /* the process has executed a new program, its tables are not here yet */
	PP_END_NO_SCRATCH, /* every scratch slot was taken */
	PP_END_TABLE_FULL, /* the stack table had no room */
	PP_END_OTHER,	  /* user space had no room: stacks merged */
	PP_END_BEFORE,	  /* not a walk's: memory that was there before us */
	PP_END_BY_HASH,	  /* not a walk's: the stack that has this hash, of an earlier epoch */
	PP_END_ANOTHER,	  /* not a walk's: a process that is not a target did it */
	PP_END_RUNNING,	  /* not a walk's: a thread that runs, whose stack cannot be had */
	PP_END_CREATED_BEFORE, /* not a walk's: threads that were there before us */
	PP_N_ENDS,
};

enum pp_collector { PP_CPU = 1, PP_HEAP, PP_GROWTH, PP_WAIT, PP_RELEASE, PP_CREATE, PP_CUSTOM,
		    PP_TRACE,	    /* not counted: trace.h */
		    PP_TRACE_CALLS, /* likewise: its system calls */
		    PP_N_COLLECTORS };

#define PP_GROWTH_KEEP 16 /* one page fault of so many is looked at */

enum pp_rule_kind {
	PP_RULE_GAP,	  /* no row: only a frame pointer can help */
	PP_RULE_OUTERMOST, /* return address undefined; aux 1: nor is this one, it is exact */
	PP_RULE_SP,	  /* CFA = sp + cfa_offset */
	PP_RULE_FP,	  /* CFA = fp + cfa_offset */
	PP_RULE_PLT,	  /* CFA = sp + 8, or + 16 past the first `aux` bytes of 16 */
	PP_RULE_DEREF_SP, /* CFA = *(sp + cfa_offset) + aux */
	PP_RULE_DEREF_FP, /* CFA = *(fp + cfa_offset) + aux */
	PP_RULE_SIGNAL,	  /* signal trampoline: every register stands on the stack */
	PP_RULE_REGISTER, /* CFA = register `reg` + cfa_offset, innermost frame only */
	PP_RULE_BX,	  /* CFA = rbx + cfa_offset */
	PP_RULE_UNSUPPORTED,
};

enum pp_saved {
	PP_SAVED_SAME,	/* the caller's register still holds */
	PP_SAVED_CFA,	/* at CFA + offset */
	PP_SAVED_FP,	/* at fp + offset */
	PP_SAVED_LOST,
};

enum { PP_RA_REGISTER = 0x80 }; /* in struct pp_rule.reg: the return address is in register `aux` */

/* How to get from a frame to its caller. Interned over all files. Written by serve. */
struct pp_rule {
	__u8 kind;	/* enum pp_rule_kind */
	__u8 fp_saved;	/* enum pp_saved */
	/* enum pp_saved; on x86_64 of rbx, which ld.so's lazy resolver needs; on arm64 of x30, where the return address
	 * is (PP_SAVED_FP: 8 behind where fp is saved) */
	__u8 bx_saved;
	__u8 reg;	/* DWARF number, for PP_RULE_REGISTER; | PP_RA_REGISTER */
	__s32 cfa_offset;
	__s32 fp_offset;
	__s16 bx_offset;
	__s16 aux;
};
_Static_assert(sizeof(struct pp_rule) == 16, "no padding");

enum pp_mapping_kind {
	PP_MAPPING_TABLE,	  /* an ELF file with unwind rows */
	PP_MAPPING_FRAME_POINTER, /* an ELF file without: object frames, frame-pointer chain */
	PP_MAPPING_ANONYMOUS,	  /* no file: raw frames, frame-pointer chain */
	PP_MAPPING_OPAQUE,	  /* a file that could not be read: object frames, walk ends */
};

/* An executable mapping. Lists are sorted by start and never change in place. Written by serve. */
struct pp_mapping {
	__u64 start, end;
	__u64 bias;	/* pc - bias = address in the ELF file */
	__u64 base;	/* pc - base = offset from the table's first granule */
	__u32 object;
	__u32 kind;	/* enum pp_mapping_kind */
	__u32 hint;	/* word number of the first granule's hint */
	__u32 n_granules;
};
_Static_assert(sizeof(struct pp_mapping) == 48, "no padding");

/* Where a list begins, a number of its own (others were there before), and how many mappings it has. */
#define PP_LIST(first, serial, n) ((__u64)(first) << 32 | (__u64)((serial) & 0xffff) << 16 | (n))
#define PP_LIST_FIRST(list) ((__u32)((list) >> 32))
#define PP_LIST_N(list) ((__u32)(list) & 0xffff)
_Static_assert(PP_MAX_MAPPINGS < 1 << 16, "a number of mappings fits");

/* One image of one process: exec makes a new one of it. */
struct pp_process {
	__u64 list;	      /* PP_LIST; one word, so that it changes at once */
	__u64 start_boottime; /* of the thread group leader: tells a reused tgid */
	__u64 exec_id;	      /* task_struct.self_exec_id of this image */
	__u64 exec_vm;	      /* pages of executable mappings when the list was read */
	__u32 target;	      /* id in counts, never reused; 0: none */
	__u32 noted;	      /* set by the kernel with the first notice, cleared by serve */
	__u64 n_events;	      /* written by the kernel */
	__u64 n_stale;	      /* written by the kernel: of these, while the list was out of date */
	__u32 n_mapped;	      /* written by the kernel: mappings made while exec_vm differed */
	__u32 n_mapped_seen;  /* of these, before the list was read */
	__u64 spent_ns;	      /* written by the kernel: in pp_add, of the process's CPU time */
	__u32 labels;	      /* whether its threads may have labels: struct pp_labels is looked at */
	__u32 pad;
};
_Static_assert(sizeof(struct pp_process) == 80, "no padding");

/* Labels that a process gives its threads. Where they are in a thread: an offset from the thread pointer, or
 * a module of the dynamic linker's and an offset in its block. What the linker has decided stands in words of the
 * file that says the variable's name, which the kernel side reads once. */
#define PP_LABEL_SOURCES 4

enum pp_label_kind {
	PP_LABELS_OURS = 1, /* preload/pprofd.h: struct pprofd_labels is the variable */
	PP_LABELS_OTEL,	    /* otel_thread_ctx_v1: the variable points to a record (OTEP 4947) */
	PP_LABELS_CUSTOM,   /* custom_labels_current_set: it points to a set (Polar Signals' ABI, version 1) */
};

enum pp_label_where {
	PP_LABELS_AT_OFFSET = 1,    /* `offset` from the thread pointer */
	PP_LABELS_SLOT_OFFSET,	    /* the word at `slot` is that */
	PP_LABELS_SLOT_MODULE,	    /* the word at `slot` is the module, `offset` the offset */
	PP_LABELS_SLOT_INDEX,	    /* both are at `slot` */
	PP_LABELS_SLOT_DESCRIPTOR,  /* the second word at `slot` is the first of these, or points to both */
};

struct pp_label_source {
	__u8 kind, where; /* enum pp_label_kind, enum pp_label_where */
	__u16 serial;	  /* not 0; another one whenever serve writes the source */
	__s32 offset;
	__u64 slot;  /* address in the process */
	__u64 found; /* written by the kernel: serial << 48 | module << 32 | offset; module 0: the thread pointer */
};
_Static_assert(sizeof(struct pp_label_source) == 24, "no padding");

struct pp_labels { /* of one process. Written by serve */
	__u32 n;
	__u32 musl; /* else glibc: how a thread's vector of blocks is laid out */
	struct pp_label_source sources[PP_LABEL_SOURCES];
	__u64 n_sets[2]; /* written by the kernel, reset by serve: stored in each half */
	__u64 pad;
};
_Static_assert(sizeof(struct pp_labels) == 128, "no padding");

/* What a set of labels is stored as: for each source that had any, a word of these, then its words. */
#define PP_LABEL_BLOCK(kind, n_words, n_bytes) ((__u64)(kind) | (__u64)(n_words) << 8 | (__u64)(n_bytes) << 16)
#define PP_LABEL_KIND(block) ((__u32)(block) & 0xff)
#define PP_LABEL_WORDS(block) ((__u32)(block) >> 8 & 0xff)
#define PP_LABEL_BYTES(block) ((__u32)(block) >> 16 & 0xffff) /* PP_LABELS_OTEL: of attributes */
#define PP_LABEL_MAX 8	      /* of one source */
#define PP_LABEL_SIZE 64      /* bytes; PP_LABELS_OURS and PP_LABELS_CUSTOM: of struct pp_label, so many words: */
#define PP_LABEL_LONG(word) (((word) & 0xff) + ((word) >> 8 & 0xff) + 2) /* bytes; its first word */
#define PP_LABEL_TEXT_WORDS(word) \
	((__u32)(PP_LABEL_LONG(word) < PP_LABEL_SIZE ? (PP_LABEL_LONG(word) + 7) / 8 : PP_LABEL_SIZE / 8))
#define PP_LABEL_ATTRIBUTES 256 /* bytes; PP_LABELS_OTEL: trace id (2 words), span id, attributes as they are */

struct pp_label {
	__u8 n_key, n_value;
	char text[PP_LABEL_SIZE - 2]; /* the key, then the value; both may be anything */
};
_Static_assert(sizeof(struct pp_label) == PP_LABEL_SIZE, "no padding");

/* The stack table: open addressing, nothing ever removed inside an epoch. Written by the kernel. */
struct pp_stack {
	__u64 hash; /* 0: free */
	__u64 meta; /* PP_READY | number of words << 40 | first word */
};
#define PP_READY (1ull << 63)

struct pp_count {
	__u64 tag; /* 0: free; else hash | PP_CLAIMED, later | PP_FILLED */
	__u32 target;
	__u32 collector; /* enum pp_collector */
	__u32 stack;	 /* row of the stack table + 1, or PP_NO_STACK */
	__u32 item;	 /* the collector's own */
	__u32 labels;	 /* row of the stack table + 1, where a set of labels is, maybe of the other half; 0: none;
			  * or PP_LABELS_KEPT */
	__u64 name[2];	 /* the collector's own: PP_CPU and PP_GROWTH: the thread's comm; PP_HEAP: the
			  * stack's hash and the size class; PP_WAIT: the stack's hash and the lock if it
			  * has a name; PP_RELEASE: the hash of a waiter's stack, and the same;
			  * PP_CREATE and PP_CUSTOM: the stack's hash */
	__s64 v[2];	 /* two sums: a reader may see an event in the first and not yet in the second */
};
_Static_assert(sizeof(struct pp_count) == 64, "one cache line");
#define PP_NO_STACK(end) (0xffffff00u | (end)) /* enum pp_end: a stack of the marker alone */
#define PP_LABELS_KEPT (1u << 31) /* | a number of user space's: a set of an earlier epoch */
#define PP_CLAIMED 1ull
#define PP_FILLED 2ull

/* Things that ought not to happen, counted. Written by the kernel. */
enum pp_statistic {
	PP_STAT_LOST_COUNT,   /* the count table was full: an event that no profile shows */
	PP_STAT_STACK_FULL,   /* the stack table was full: counted, without its stack */
	PP_STAT_NO_SCRATCH,
	PP_STAT_SPILLED,      /* the shared scratch slots were used */
	PP_STAT_NOTICE_LOST,
	PP_STAT_DUPLICATE,    /* a row that another CPU was just writing: stored twice */
	PP_STAT_LABELS_FULL,  /* no room for a set of labels: counted without */
	PP_STAT_LABEL_IDS,    /* a set left out its trace and span, to leave room for others */
	PP_STAT_CLOCK_NS,     /* ns that the clock of a CPU stood still, or may have */
	PP_N_STATISTICS,
};

/* Two halves: programs read `epoch` once an event and use half epoch & 1 of every table. */
struct pp_control {
	__u64 epoch;	 /* written by serve */
	__u64 n_words[2]; /* written by the kernel, reset by serve: words taken of each half */
	__u64 n_counts[2];
	__u64 n_stacks[2];
	__u64 n_labels[2]; /* of these: sets of labels */
	__u64 noted;	 /* epoch + 1 of the last PP_NOTICE_FILLING */
	__u64 statistics[PP_N_STATISTICS];
};

/* All that a program looks at besides the tables, in three pages. */
struct pp_state {
	struct pp_control control;
	struct pp_process processes[PP_MAX_PROCESSES];
};

enum pp_notice_type {
	PP_NOTICE_MAPPINGS = 1, /* the mapping list is out of date; value = exec_vm */
	PP_NOTICE_EXEC,		/* value = exec_id */
	PP_NOTICE_FILLING,	/* the current half is 75 % full; value = epoch */
	PP_NOTICE_HEAP,		/* the heap's hits have come to the mark; value = process slot */
	PP_NOTICE_FORK,		/* a child has inherited the probes; value = process slot */
	PP_NOTICE_PEAK,		/* more is live than ever before; value = process slot */
	PP_NOTICE_CUSTOM_FORK,	/* as PP_NOTICE_FORK, of the probes of custom profiles */
	PP_NOTICE_CUSTOM,	/* what these probes cost has come to the mark; value = process slot */
};

struct pp_notice {
	__u32 type;
	__u32 target;
	__u64 value;
};

/* Set once, before loading. */
struct pp_config {
	__u64 seed;	    /* of the stack hash: secret */
	__u32 keep;	    /* a tick is kept when a random u32 is below this */
	__u32 n_stacks;	    /* rows of one half; powers of two */
	__u32 n_counts;
	__u32 n_pool_chunks; /* of one half */
	__u64 heap_rate;     /* bytes between two sampled allocations, on average */
	__u64 page;	     /* bytes of one */
	__u64 address_mask;  /* the bits that an address of a program's may have; 0: 48 of them */
};
