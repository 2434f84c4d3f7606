/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* probes.h - where a file's allocation functions can be watched, as the symbolizer hands it over.
 *
 * Shapes only. A function that was found and is not to be probed is in the list too, with the
 * reason in `status`. Every number came out of a stranger's file: whoever probes decodes the
 * instruction again. Registers are DWARF's numbers (arm64: 0 to 30, 31 sp; x86-64: 0 rax, 1 rdx, 2 rcx, 3
 * rbx, 4 rsi, 5 rdi, 6 rbp, 7 rsp, 8 to 15). */

#include <stdint.h>

/* What an event means. Argument n of the function is arguments[n - 1] of the probe; arguments that
 * are not named here are SYMBOLIZER_NOTHING. */
enum symbolizer_function {
	ALLOCATOR_MALLOC = 1,	  /* (size): valloc, pvalloc, mallocx, mi_malloc_aligned as well */
	ALLOCATOR_CALLOC,	  /* (n, size): n * size bytes */
	ALLOCATOR_REALLOC,	  /* (old, size) */
	ALLOCATOR_REALLOCARRAY,	  /* (old, n, size): n * size bytes */
	ALLOCATOR_MEMALIGN,	  /* (-, size): memalign, aligned_alloc */
	ALLOCATOR_POSIX_MEMALIGN, /* (where, -, size): the result is stored at *where */
	ALLOCATOR_NEW,		  /* (size): may throw */
	ALLOCATOR_NEW_NOTHROW,	  /* (size) */
	ALLOCATOR_FREE,		  /* (old) */
	ALLOCATOR_USDT_ALLOC,	  /* otel_memory:alloc (pointer, size, weight), each as described */
	ALLOCATOR_USDT_FREE,	  /* otel_memory:free (pointer) */
	ALLOCATOR_N_FUNCTIONS,
};

/* Which arguments an event needs: bit n - 1 of argument n. */
static inline unsigned symbolizer_function_arguments(unsigned function)
{
	static const uint8_t needed[ALLOCATOR_N_FUNCTIONS] = {
		[ALLOCATOR_MALLOC] = 1,	   [ALLOCATOR_CALLOC] = 3,
		[ALLOCATOR_REALLOC] = 3,   [ALLOCATOR_REALLOCARRAY] = 7,
		[ALLOCATOR_MEMALIGN] = 2,  [ALLOCATOR_POSIX_MEMALIGN] = 5,
		[ALLOCATOR_NEW] = 1,	   [ALLOCATOR_NEW_NOTHROW] = 1,
		[ALLOCATOR_FREE] = 1,	   [ALLOCATOR_USDT_ALLOC] = 7,
		[ALLOCATOR_USDT_FREE] = 1,
	};

	return function < ALLOCATOR_N_FUNCTIONS ? needed[function] : 0;
}

enum symbolizer_probe_flag {
	ALLOCATOR_MAY_THROW = 1, /* set for every ALLOCATOR_NEW, and mimalloc's mi_new_n and the
				  * like: no return probe */
	ALLOCATOR_TAIL = 2,  /* on some paths it jumps to another function of this list, or to its
			      * own beginning: that one is entered with the same rsp */
	ALLOCATOR_GLIBC = 4, /* the C library's own, and that is glibc */
	ALLOCATOR_NOP5 = 8, /* a 5-byte nop, first in its function: emulated from 6.16 on, optimised
			     * from 6.18 on, stepped over out of line before */
};

/* Why there is no probe. */
enum symbolizer_probe_status {
	PROBE_FINE,
	PROBE_ELSEWHERE, /* not a loss: its calls arrive at another function, here or elsewhere */
	/* functions */
	PROBE_NO_CODE,	    /* its bytes are not in the file's executable part */
	PROBE_NO_SIZE,	    /* the symbol does not tell where it ends, or it is absurdly long */
	PROBE_UNDECODABLE,  /* an instruction that we do not know */
	PROBE_BRANCH_FIRST, /* a branch, call or return that cannot be probed itself comes first */
	PROBE_LOOP,	    /* a loop leads back in front of the only place */
	PROBE_ARGUMENT,	    /* an argument is in no register any more */
	PROBE_STACK_MOVED,  /* the stack pointer has moved */
	PROBE_NO_PLACE,	    /* nothing that the kernel emulates in its first bytes */
	/* USDT sites */
	PROBE_NOP5, /* a 5-byte nop inside of a function: optimised, it overwrites the stack */
	PROBE_NOT_EMULATED,	   /* an instruction that the kernel cannot emulate */
	PROBE_BAD_SITE,		   /* outside of the executable part */
	PROBE_BAD_SEMAPHORE,	   /* outside of the writable part */
	PROBE_MISSING_ARGUMENT,	   /* fewer than the contract has */
	PROBE_UNREADABLE_ARGUMENT, /* of a form that we do not read */
	PROBE_RESULT_JUMPS,	   /* of a function whose result is wanted: it also leaves by a jump, and
				    * what it gives back there is not seen */
	PROBE_BAD_NAME,		   /* no name for a profile: empty, too long, or not in the file */
	PROBE_N_STATUS,
};

enum symbolizer_argument_kind {
	SYMBOLIZER_NOTHING,
	SYMBOLIZER_REGISTER, /* reg */
	SYMBOLIZER_MEMORY,   /* size bytes at reg + index * scale + value */
	SYMBOLIZER_CONSTANT, /* value */
	SYMBOLIZER_N_ARGUMENT_KINDS,
};

#define SYMBOLIZER_NO_REGISTER 0xff
#if defined(__aarch64__)
#define SYMBOLIZER_N_REGISTERS 32
#else
#define SYMBOLIZER_N_REGISTERS 16
#endif
#define SYMBOLIZER_N_ARGUMENTS 3
#define SYMBOLIZER_PROBE_NAME 64 /* bytes, with its NUL */
#define SYMBOLIZER_MAX_PROBES 128
#define SYMBOLIZER_MAX_FUNCTION (64u << 10) /* bytes */

struct symbolizer_argument {
	uint8_t kind;  /* enum symbolizer_argument_kind */
	uint8_t reg;   /* below SYMBOLIZER_N_REGISTERS, of REGISTER and MEMORY; else 0 */
	uint8_t index; /* of MEMORY: a register, or SYMBOLIZER_NO_REGISTER; else 0 */
	uint8_t scale; /* with an index: 1, 2, 4 or 8; else 0 */
	int8_t size;   /* bytes: 1, 2, 4 or 8; negative: signed; 0 of NOTHING */
	uint8_t pad[3];
	int64_t value;
};
_Static_assert(sizeof(struct symbolizer_argument) == 16, "the same on both sides");

struct symbolizer_probe {
	uint8_t function;    /* enum symbolizer_function */
	uint8_t status;	     /* enum symbolizer_probe_status */
	uint8_t flags;	     /* enum symbolizer_probe_flag */
	uint8_t n_name;	     /* bytes of the name */
	uint8_t instruction; /* enum emulated (base/emulated.h): what is there */
	uint8_t pad[3];
	uint64_t offset; /* in the file: of the instruction; of a function that is refused: its
			    start */
	uint64_t start,
		size; /* ELF addresses of the whole function; of a USDT site: its address and 0 */
	uint64_t semaphore; /* in the file; 0: none */
	struct symbolizer_argument arguments[SYMBOLIZER_N_ARGUMENTS];
	char name[SYMBOLIZER_PROBE_NAME]; /* printable ASCII, then NULs; mangled; may be cut */
};
_Static_assert(sizeof(struct symbolizer_probe) == 152, "the same on both sides");

struct symbolizer_probes_end {
	uint32_t n_probes;
	uint32_t n_lost;  /* probes past SYMBOLIZER_MAX_PROBES, or USDT sites past their bound */
	uint32_t n_notes; /* USDT notes of any provider, as far as they were read */
	uint32_t n_bad_notes; /* malformed ones; the rest of the section is not read after some of
				 them */
};

/* What a program says of its own profiles (preload/pprofd.h), site by site. */
enum symbolizer_custom_kind {
	CUSTOM_PROFILE = 1, /* a name; there is no site */
	CUSTOM_ADD,	    /* arguments: value, skip, and a pointer to the name where `name` is empty */
	CUSTOM_REMOVE,	    /* likewise */
	/* on each return instruction of a function */
	CUSTOM_RESULT,	    /* a pointer */
	CUSTOM_DESCRIPTOR,  /* an int that is not negative */
	CUSTOM_OUT,	    /* where an argument points that CUSTOM_ENTER has seen */
	CUSTOM_OUT_PAIR,    /* likewise, two descriptors */
	CUSTOM_ENTER,	    /* at the entry of such a function; argument: the pointer */
	/* what is said in a trace: a number or two of the program's, and a name as of ADD */
	CUSTOM_TASK_BEGIN,  /* task, parent */
	CUSTOM_TASK_END,    /* task, - */
	CUSTOM_REGION_BEGIN, /* task, - */
	CUSTOM_REGION_END,
	CUSTOM_LOG,	    /* task, pointer to the message */
	CUSTOM_N_KINDS,
};

/* A function that stands for one of these, though its program says nothing of profiles. */
struct symbolizer_track {
	char name[SYMBOLIZER_PROBE_NAME]; /* of the profile */
	char function[120];		  /* as it is linked */
	uint32_t kind;			  /* enum symbolizer_custom_kind but PROFILE */
	uint32_t argument;		  /* 1 to SYMBOLIZER_N_ARGUMENTS, of ADD, REMOVE and ENTER */
};
_Static_assert(sizeof(struct symbolizer_track) == 192, "a number of words");
#define SYMBOLIZER_MAX_TRACKS 21 /* in a question */

#define SYMBOLIZER_MAX_CUSTOM 2048 /* of a file */

struct symbolizer_custom {
	uint8_t kind;	/* enum symbolizer_custom_kind */
	uint8_t status; /* enum symbolizer_probe_status */
	uint8_t n_name; /* bytes, without a NUL; 0: it is told at run time, or is of no use */
	uint8_t pad[5];
	uint64_t offset; /* in the file, of the instruction */
	struct symbolizer_argument arguments[SYMBOLIZER_N_ARGUMENTS];
	char name[SYMBOLIZER_PROBE_NAME]; /* any bytes but NUL, then NULs */
};
_Static_assert(sizeof(struct symbolizer_custom) == 128, "the same on both sides");
