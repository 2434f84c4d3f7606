/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* protocol.h - what serve asks of the symbolizer child, over records (base/record.h).
 *
 * Every question brings the file's descriptor; the child keeps what it parsed under the object's
 * id and may forget it at any time. One question is answered at a time: any number of records of
 * the kinds below, then SYMBOLIZER_END. Serve treats every answer as hostile, because the
 * child has read a stranger's file. */

#include <stdint.h>

#include "base/record.h"
#include "symbolizer/probes.h"
#include "symbolizer/rows.h"

enum symbolizer_kind {
	SYMBOLIZER_FILE,   /* an ELF file */
	SYMBOLIZER_VDSO,   /* the child's own vdso, which is every process's; no descriptor */
	SYMBOLIZER_KERNEL, /* /proc/kallsyms, opened by someone who may see addresses */
	SYMBOLIZER_PERF_MAP, /* code without a file, as the target tells of it; these two are read on with each */
	SYMBOLIZER_JITDUMP,  /* question; addresses are the target's own. Names alone */
};

/* Files that come with a question beside the object's own, in this order. */
enum symbolizer_beside {
	SYMBOLIZER_BESIDE_DEBUG = 1, /* what was stripped from it */
	SYMBOLIZER_BESIDE_ALT = 2,   /* what dwz moved out of it, or out of the debug file */
	SYMBOLIZER_BESIDE_DWP = 4,   /* a package of .dwo files */
	SYMBOLIZER_BESIDE_ALL = 7,
};

enum symbolizer_demangle { DEMANGLE_NONE, DEMANGLE_SIMPLE, DEMANGLE_FULL };

enum symbolizer_record {
	/* questions: struct symbolizer_question */
	SYMBOLIZER_INFO = 1, /* -> SYMBOLIZER_INFO: struct symbolizer_info */
	SYMBOLIZER_ROWS,     /* -> SYMBOLIZER_RULE: struct unwind_rule[], SYMBOLIZER_ROW:
			      *    struct unwind_row[], END: struct symbolizer_rows_end */
	SYMBOLIZER_NAMES,    /* followed by uint64_t addresses[n]; -> SYMBOLIZER_FRAME, END:
			      *    struct symbolizer_names_end */
	/* answers only */
	SYMBOLIZER_RULE,
	SYMBOLIZER_ROW,
	SYMBOLIZER_FRAME,
	SYMBOLIZER_END, /* status: 0 or -errno */
	/* a question */
	SYMBOLIZER_PROBES, /* -> SYMBOLIZER_PROBE: struct symbolizer_probe[], END:
			    *    struct symbolizer_probes_end */
	/* its answer */
	SYMBOLIZER_PROBE,
	/* a question */
	SYMBOLIZER_CALLEES, /* followed by uint64_t addresses[n], of the last bytes of calls ->
			     * SYMBOLIZER_FRAME: the function that was called, without a line or
			     * start; none where it is unknown */
	SYMBOLIZER_VARIABLES, /* followed by uint64_t addresses[n], of data -> SYMBOLIZER_FRAME: the
			       * variable there, shown where it starts; none where it is unknown */
	SYMBOLIZER_LINKS, /* -> SYMBOLIZER_LINKS: struct symbolizer_links; of the debug file where one
			   * is beside */
	SYMBOLIZER_FITS,  /* n: enum symbolizer_fit, no addresses follow -> END, -ESTALE: the last file
			   * beside does not belong to the one before. Nothing is kept of it */
	SYMBOLIZER_TRACK, /* followed by struct symbolizer_track[], n: uint64_t that these are -> as CUSTOM */
	SYMBOLIZER_CUSTOM, /* -> SYMBOLIZER_CUSTOM: struct symbolizer_custom[], END:
			    *    struct symbolizer_probes_end */
	SYMBOLIZER_DWOS, /* followed by uint64_t addresses[n] -> SYMBOLIZER_DWOS: struct symbolizer_dwo[], of .dwo
			  * files that units there lack, each told once */
	SYMBOLIZER_DWO,	 /* n: 0; the file that takes the place of the package is such a .dwo -> END, -ESTALE: nobody
			  * lacks it. It is kept with the object; -EMFILE: there are too many */
};

enum symbolizer_fit { SYMBOLIZER_FIT_ID, SYMBOLIZER_FIT_LINK /* found by .gnu_debuglink */ };

struct symbolizer_question {
	uint32_t object; /* serve's id, never reused */
	uint32_t kind;	 /* enum symbolizer_kind */
	uint16_t demangle; /* enum symbolizer_demangle */
	uint16_t beside;   /* enum symbolizer_beside */
	uint32_t n;	 /* addresses that follow, at most SYMBOLIZER_MAX_ADDRESSES */
};

#define SYMBOLIZER_MAX_ADDRESSES 512
#define SYMBOLIZER_MAX_SEGMENTS 32
#define SYMBOLIZER_MAX_BUILD_ID 64
#define SYMBOLIZER_MAX_NAME 1024 /* bytes, of one name */
#define SYMBOLIZER_MAX_PATH 4096
#define SYMBOLIZER_MAX_INLINED 64 /* frames at one address */
#define SYMBOLIZER_MAX_DWO 1023	  /* bytes, of each part of a .dwo's path */
#define SYMBOLIZER_MAX_LINK 255	  /* bytes, of the name of another file */

struct symbolizer_segment { /* PT_LOAD */
	uint64_t vaddr, offset, filesz, memsz;
	uint32_t flags; /* PF_* */
	uint32_t pad;
};

/* A variable of each thread that holds labels, in one of the forms that bpf/event.h lists. */
enum symbolizer_label_kind { SYMBOLIZER_LABELS_OURS = 1, SYMBOLIZER_LABELS_OTEL, SYMBOLIZER_LABELS_CUSTOM };

/* What the dynamic linker writes for the file's own code, at `slot`. */
enum symbolizer_label_slot {
	SYMBOLIZER_SLOT_NONE,
	SYMBOLIZER_SLOT_OFFSET,	    /* its offset from the thread pointer */
	SYMBOLIZER_SLOT_MODULE,	    /* the file's number, and something else */
	SYMBOLIZER_SLOT_INDEX,	    /* a number and the offset in that file's block */
	SYMBOLIZER_SLOT_DESCRIPTOR, /* a function and what to tell it */
};

struct symbolizer_label {
	uint32_t kind;		/* enum symbolizer_label_kind */
	uint32_t slot_kind;	/* enum symbolizer_label_slot */
	int64_t program_offset; /* from the thread pointer, if the file is the program */
	uint64_t offset;	/* in the file's block */
	uint64_t slot;		/* address in the file */
};

#define SYMBOLIZER_MAX_LABELS 3 /* one of each kind */

struct symbolizer_info {
	uint16_t type, machine; /* ET_*, EM_* */
	uint32_t n_segments, n_build_id;
	uint32_t n_labels;
	struct symbolizer_segment segments[SYMBOLIZER_MAX_SEGMENTS];
	uint8_t build_id[SYMBOLIZER_MAX_BUILD_ID];
	struct symbolizer_label labels[SYMBOLIZER_MAX_LABELS];
};

/* What a file says of the files that were split off it. Names are the file's bytes, and may hold anything
 * but NUL; behind them all is 0. */
struct symbolizer_links {
	char debug_name[SYMBOLIZER_MAX_LINK + 1]; /* .gnu_debuglink; "": none */
	uint32_t debug_crc;
	uint16_t has_dwarf, may_be_split; /* the latter: there may be a package of .dwo files */
	char alt_name[SYMBOLIZER_MAX_LINK + 1]; /* .gnu_debugaltlink; "": none */
	uint32_t n_alt_id, n_build_id;
	uint8_t alt_id[SYMBOLIZER_MAX_BUILD_ID];
	uint8_t build_id[SYMBOLIZER_MAX_BUILD_ID];
};

/* A .dwo, as the file's compiler called it: bytes of the file, which may hold anything but NUL; behind them all is 0. */
struct symbolizer_dwo {
	char name[SYMBOLIZER_MAX_DWO + 1], directory[SYMBOLIZER_MAX_DWO + 1];
};

struct symbolizer_rows_end {
	uint64_t low, high; /* executable addresses; row offsets count from low */
	uint32_t n_rows, n_rules;
	uint32_t n_fdes, n_bad_fdes, n_unsupported;
	uint32_t pad;
};

#define SYMBOLIZER_MAX_BYTES (192u << 20)

struct symbolizer_names_end {
	uint64_t left_out; /* what was past a bound so far, or of no use (perf maps, jitdumps) */
	uint64_t n_bytes;  /* that the child remembers, of all files, about; at most SYMBOLIZER_MAX_BYTES */
};

/* SYMBOLIZER_FRAME holds any number of these, each followed by its three strings without NULs
 * and padded to 8 bytes. All frames of one address follow each other, innermost first. An
 * address without a name has one frame with an empty name, if its function or its line is known, or none. The system name
 * is the file's, the name is shown: they differ in more than spelling where a file has no linkage name.
 * Frames that have any text are counted, since the child was started, and a later one of the same function may have the
 * number in place of the texts and of the start line, for as long as functions.h says that both ends know it. */
struct symbolizer_frame {
	uint32_t index; /* of the address in the question */
	uint32_t line, start_line; /* 0: unknown */
	uint16_t n_name, n_system_name, n_file;
	uint16_t told; /* 1: of `function`; start_line and n_* are 0 */
	uint32_t function; /* else it says nothing */
	uint64_t shown; /* SYMBOLIZER_KERNEL: the address to show instead, which tells nothing of
			 * where this kernel was loaded; else where the function starts that is really
			 * there, or the variable, 0: unknown */
};
