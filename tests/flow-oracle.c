/* SPDX-License-Identifier: Apache-2.0 */

/* flow-oracle.c - holds rows that were followed out of the code against those of .eh_frame.
 *
 *   flow-oracle [-g] [-m N] FILE...
 *
 * Follows all code of a file as if it had no FDEs, and compares each instruction with the file's
 * own row there: CFA, rbp, rbx, return address. -g: only the code that has no FDE, as pprofd does,
 * and says how much of it has rows then. Where an FDE says otherwise than the pushes and additions
 * of its own function (assembler without annotations), the file is wrong, and that is counted
 * apart. Exit status 1 when anything else differs, up to -m of 100,000 instructions of a file (none without), or nothing was compared. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/vec.h"
#include "symbolizer/bounds.h"
#include "symbolizer/cfi.h"
#include "symbolizer/flow.h"

#define MAX_SHOWN 60
#define ENTRY_SIZE 64 /* what cfi.c makes outermost by itself */

struct tally {
	long same, weaker, apart, different, contradicted, more;
	uint64_t fde_bytes, row_bytes, text_bytes;
};

struct file {
	const char *path;
	struct elf_file *elf;
	struct cfi c;
	struct tally t;
};

static long n_shown;

enum verdict { SAME, WEAKER, APART, DIFFERENT };

static enum verdict worse(enum verdict a, enum verdict b)
{
	return a > b ? a : b;
}

/* One of rbp and rbx. */
static enum verdict saved(uint8_t kind, int32_t offset, uint8_t value, int32_t slot, int32_t sp)
{
	switch (kind) {
	case UNWIND_SAME:
		return value == FLOW_CALLERS	      ? SAME :
		       value != FLOW_CALLERS && !slot ? WEAKER :
							DIFFERENT;
	case UNWIND_AT_CFA:
		if (slot == offset)
			return SAME;
		if (value == FLOW_CALLERS) /* it was restored; the file still names where it was */
			return sp != FLOW_UNKNOWN && offset < -sp ? SAME : slot ? DIFFERENT : APART;
		return slot ? DIFFERENT : WEAKER;
	}
	return APART;
}

static enum verdict compare(const struct unwind_rule *q, const struct flow_state *s)
{
	enum verdict v = SAME;

	if (s->outermost) /* the entry point, and a new thread: the file may say so too */
		return q->kind == UNWIND_OUTERMOST ? SAME : APART;
	if (q->kind == UNWIND_OUTERMOST)
		return DIFFERENT;
	if (q->kind == UNWIND_SP && s->sp != FLOW_UNKNOWN)
		v = s->sp == q->cfa_offset ? SAME : DIFFERENT;
	else if (q->kind == UNWIND_FP)
		v = s->fp_value != FLOW_FRAME ? APART : s->fp == q->cfa_offset ? SAME : DIFFERENT;
	else
		return APART;
	if (s->ra && (!(q->reg & UNWIND_RA_REGISTER) || flow_rule(s).aux != q->aux))
		v = DIFFERENT;
	if (q->reg & UNWIND_RA_REGISTER && !s->ra) /* pushed again; the register has it still */
		v = worse(v, APART);
	v = worse(v, saved(q->fp_saved, q->fp_offset, s->fp_value, s->fp_slot, s->sp));
	return worse(v, saved(q->bx_saved, q->bx_offset, s->bx_value, s->bx_slot, s->sp));
}

/* Does the FDE say what the instructions of its function do to the stack pointer, up to here? */
static bool is_contradicted(const struct file *f, uint64_t to)
{
	struct flow_state before, after;
	uint64_t at;
	struct flow_op op;
	uint8_t code[16];

	if (!bounds_find(f->elf, to, &at))
		return false;
	for (; at <= to; at += op.length) {
		const struct unwind_rule *q = cfi_find(&f->c, at), *next;

		if (!flow_decode(code, elf_file_read(f->elf, at, code, sizeof(code)), at, &op))
			return false;
		next = cfi_find(&f->c, at + op.length);
		if (!next || q->kind != UNWIND_SP || next->kind != UNWIND_SP ||
		    op.kind >= FLOW_CALL)
			continue;
		before = flow_entry();
		before.sp = q->cfa_offset;
		after = flow_step(&op, &before);
		if (before.sp >= 8 && after.sp != FLOW_UNKNOWN && after.sp != next->cfa_offset)
			return true;
	}
	return false;
}

static void show(const struct file *f, uint64_t at, const struct unwind_rule *q,
		 const struct flow_state *s)
{
	if (n_shown++ < MAX_SHOWN)
		printf("%s: %#" PRIx64 ": FDE kind %u cfa %d fp %u %d bx %u %d; followed: sp %d fp "
		       "%u %d slot %d, bx %u slot %d, ra %u\n",
		       f->path, at, q->kind, q->cfa_offset, q->fp_saved, q->fp_offset, q->bx_saved,
		       q->bx_offset, s->sp, s->fp_value, s->fp, s->fp_slot, s->bx_value, s->bx_slot,
		       s->ra);
}

static int on_row(void *context, uint64_t start, uint64_t end, const struct flow_state *s)
{
	struct file *f = context;
	const struct unwind_rule *q = cfi_find(&f->c, start);
	enum verdict v;

	f->t.row_bytes += end - start;
	if (!q || q->kind == UNWIND_GAP || q->kind == UNWIND_SIGNAL ||
	    (q->kind == UNWIND_OUTERMOST && start - f->elf->entry < ENTRY_SIZE)) {
		f->t.more++;
		f->t.row_bytes -= end - start;
		return 0;
	}
	v = compare(q, s);
	f->t.same += v == SAME;
	f->t.weaker += v == WEAKER;
	f->t.apart += v == APART;
	if (v == DIFFERENT && is_contradicted(f, start)) {
		f->t.contradicted++;
	} else if (v == DIFFERENT) {
		f->t.different++;
		show(f, start, q, s);
	}
	if (v == APART && getenv("FLOW_SHOW"))
		show(f, start, q, s);
	return 0;
}

static int on_gap_row(void *context, uint64_t start, uint64_t end, const struct flow_state *s)
{
	struct file *f = context;

	(void)s;
	f->t.more++;
	f->t.row_bytes += end - start;
	return 0;
}

/* What the rows of FDEs cover, or leave. */
static int ranges_of(struct file *f, bool gaps, void *ret)
{
	VEC(struct flow_range) *to = ret;
	const struct cfi *c = &f->c;
	int r = 0;

	for (size_t i = 0; i < c->rows.n && r == 0; i++) {
		uint64_t start = c->low + c->rows.data[i].offset;
		uint64_t end = i + 1 < c->rows.n ? c->low + c->rows.data[i + 1].offset : c->high;
		bool gap = c->rules.data[c->rows.data[i].rule].kind == UNWIND_GAP;

		f->t.text_bytes += end - start;
		f->t.fde_bytes += gap ? 0 : end - start;
		if (gap && gaps)
			r = vec_push(to, ((struct flow_range){ start, end }));
	}
	if (!gaps && r == 0)
		r = vec_push(to, ((struct flow_range){ c->low, c->high }));
	return r;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool check(const char *path, bool gaps, long most, struct tally *sum)
{
	_cleanup_(elf_file_closep) struct elf_file *elf = NULL;
	struct file f = { .path = path };
	VEC(struct flow_range) ranges = { 0 };
	struct flow_counts n = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;
	double began;

	if (fd < 0 || elf_file_open(fd, &elf) < 0 || cfi_build_fdes(elf, &f.c) < 0)
		return true; /* not every machine has every file */
	f.elf = elf;
	r = ranges_of(&f, gaps, &ranges);
	began = now();
	if (r == 0)
		r = flow_build(elf, ranges.data, ranges.n, gaps ? on_gap_row : on_row, &f, &n);
	began = now() - began;
	if (r < 0)
		printf("%s: %s\n", path, strerror(-r));
	printf("%s: text %.2f MiB, with FDEs %.1f %%; %u functions, %u odd, %u rounds, %.1f M "
	       "steps, "
	       "%.1f ms\n",
	       path, (double)f.t.text_bytes / (1 << 20),
	       100.0 * (double)f.t.fde_bytes / (double)f.t.text_bytes, n.n_functions, n.n_odd,
	       n.n_rounds, (double)n.n_steps / 1e6, began);
	if (gaps)
		printf("  rows for %" PRIu64 " of %" PRIu64
		       " bytes without FDEs, %ld instructions\n",
		       f.t.row_bytes, f.t.text_bytes - f.t.fde_bytes, f.t.more);
	else
		printf("  instructions: same %ld, weaker %ld, another form %ld, FDE against its "
		       "code %ld, DIFFERENT "
		       "%ld; without FDE %ld; bytes with FDE and row %.1f %%\n",
		       f.t.same, f.t.weaker, f.t.apart, f.t.contradicted, f.t.different, f.t.more,
		       100.0 * (double)f.t.row_bytes / (double)f.t.fde_bytes);
	sum->same += f.t.same + (gaps ? f.t.more : 0);
	sum->different += f.t.different;
	vec_deinit(&ranges);
	cfi_deinit(&f.c);
	return r == 0 && f.t.different * 100000 <= most * f.t.same;
}

int main(int argc, char **argv)
{
	struct tally sum = { 0 };
	bool gaps = false, fine = true;
	long most = 0;
	int option;

	while ((option = getopt(argc, argv, "gm:")) != -1) {
		if (option == 'm')
			most = atol(optarg);
		else if (option == 'g')
			gaps = true;
		else
			return 2;
	}
	for (int i = optind; i < argc; i++)
		fine &= check(argv[i], gaps, most, &sum);
	printf("same %ld, different %ld\n", sum.same, sum.different);
	return !fine || !sum.same;
}
