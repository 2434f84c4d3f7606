/* SPDX-License-Identifier: Apache-2.0 */

/* static-oracle.c - holds our unwind rows of ELF files against libdw's reading of the same files.
 *
 *   static-oracle [-s STEP] [-t SECONDS] [-a ALLOWED] [-v] PATH...
 *
 * A PATH is a file or a directory of files. Every STEP-th row (default 1) is compared with each row
 * that libdw has there (dwarf_cfi_addrframe): CFA, rbp, rbx, return address. Gaps are probed at
 * every sixteenth byte, long ones at GAP_PROBES addresses.
 * ALLOWED has lines "FILE-PATTERN WHAT-PATTERN" (fnmatch) for what is known to differ. Prints a
 * table and each difference; exit status 1 when one is not explained. After SECONDS no further file
 * is begun. */

#include <dirent.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <gelf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/vec.h"
#include "symbolizer/cfi.h"
#include "symbolizer/cfi_known.h"

enum { RBX = 3, RBP = 6, RSP = 7, RIP = 16 };

#define MAX_PADDING 16 /* cfi.c folds less than this between functions */
#define ENTRY_SIZE 64  /* and gives this much to an entry point that has no frame */
#define GAP_PROBES 4096
#define MAX_SHOWN 200

struct tally {
	long files, no_rows, not_begun, rows, points;
	long same, gap, padding, filled, allowed, different;
	long fdes, bad_fdes, kinds[UNWIND_N_KINDS];
	uint64_t text;
	double seconds; /* in cfi_build */
};

struct allowed {
	char file[128], what[256];
	long n;
};

static struct tally tally;
static VEC(struct allowed) allowed_list;
static VEC(struct stat) seen; /* a file under two names is one */
static int step = 1, verbose;
static double give_up_at;
static long n_shown;

/* One file. */
struct file {
	const char *path;
	struct cfi c;
	Dwarf_CFI *eh, *debug;
	struct elf_file *elf;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A list of operations as text, for people and for the list of what is allowed. */
static void describe(struct bytes *to, const Dwarf_Op *ops, size_t n)
{
	if (!n)
		bytes_puts(to, ops ? "undefined" : "same");
	for (size_t i = 0; i < n; i++)
		bytes_printf(to, "%s%x(%" PRId64 ",%" PRId64 ")", i ? " " : "", ops[i].atom,
			     (int64_t)ops[i].number, (int64_t)ops[i].number2);
}

static bool is_allowed(const char *path, const char *what)
{
	for (size_t i = 0; i < allowed_list.n; i++) {
		struct allowed *a = &allowed_list.data[i];

		if (fnmatch(a->file, base_name(path), 0) || fnmatch(a->what, what, 0))
			continue;
		a->n++;
		return true;
	}
	return false;
}

static void complain(const struct file *f, uint64_t pc, const struct unwind_rule *q,
		     const char *what)
{
	if (n_shown++ >= MAX_SHOWN)
		return;
	printf("%s: %#" PRIx64 ": kind %u cfa %d fp %u %d bx %u %d reg %#x aux %d; libdw: %s\n",
	       f->path, pc, q->kind, q->cfa_offset, q->fp_saved, q->fp_offset, q->bx_saved,
	       q->bx_offset, q->reg, q->aux, what);
}

/* register + offset */
static bool is_register(const Dwarf_Op *o, unsigned reg, int64_t offset)
{
	if (o->atom == DW_OP_bregx)
		return o->number == reg && (int64_t)o->number2 == offset;
	return o->atom == DW_OP_breg0 + reg && (int64_t)o->number == offset;
}

static bool is_plt(const Dwarf_Op *o, size_t n, int threshold)
{
	static const uint8_t tail[] = { DW_OP_ge, DW_OP_lit3, DW_OP_shl, DW_OP_plus };

	if (n != 9 || !is_register(&o[0], RSP, 8) || !is_register(&o[1], RIP, 0) ||
	    o[2].atom != DW_OP_lit15 || o[3].atom != DW_OP_and ||
	    o[4].atom != DW_OP_lit0 + threshold)
		return false;
	for (size_t i = 0; i < sizeof(tail); i++)
		if (o[5 + i].atom != tail[i])
			return false;
	return true;
}

/* *(register + offset) + add */
static bool is_deref(const Dwarf_Op *o, size_t n, unsigned reg, int64_t offset, int64_t add)
{
	int64_t sum[2] = { 0 };
	bool deref = false;

	if (n < 2 || o[0].atom != DW_OP_breg0 + reg)
		return false;
	sum[0] = (int64_t)o[0].number;
	for (size_t i = 1; i < n; i++) {
		if (o[i].atom == DW_OP_deref && !deref)
			deref = true;
		else if (o[i].atom == DW_OP_plus_uconst)
			sum[deref] += (int64_t)o[i].number;
		else
			return false;
	}
	return deref && sum[0] == offset && sum[1] == add;
}

static bool same_cfa(Dwarf_Frame *d, const struct unwind_rule *q, struct bytes *what)
{
	unsigned reg = q->reg & ~UNWIND_RA_REGISTER;
	int aux = q->reg & UNWIND_RA_REGISTER ? 0 : q->aux;
	Dwarf_Op *o;
	size_t n;

	if (dwarf_frame_cfa(d, &o, &n)) {
		bytes_puts(what, "no CFA");
		return false;
	}
	bytes_puts(what, "CFA ");
	describe(what, o, n);
	switch (q->kind) {
	case UNWIND_SP:
		return n == 1 && is_register(o, RSP, q->cfa_offset);
	case UNWIND_FP:
		return n == 1 && is_register(o, RBP, q->cfa_offset);
	case UNWIND_BX:
		return n == 1 && is_register(o, RBX, q->cfa_offset);
	case UNWIND_REGISTER:
		return n == 1 && is_register(o, reg, q->cfa_offset);
	case UNWIND_PLT:
		return is_plt(o, n, aux);
	case UNWIND_DEREF_SP:
		return is_deref(o, n, RSP, q->cfa_offset, aux);
	case UNWIND_DEREF_FP:
		return is_deref(o, n, RBP, q->cfa_offset, aux);
	}
	return false;
}

/* CFA + offset, as libdw writes it. */
static bool is_at_cfa(const Dwarf_Op *o, size_t n, int64_t offset)
{
	if (!n || o[0].atom != DW_OP_call_frame_cfa)
		return false;
	return offset ? n == 2 && o[1].atom == DW_OP_plus_uconst && (int64_t)o[1].number == offset :
			n == 1;
}

/* A register that we call lost may be anything that the walker does not follow; the others must be
 * what libdw says. */
static bool same_saved(Dwarf_Frame *d, int reg, uint8_t saved, int64_t offset, struct bytes *what)
{
	Dwarf_Op memory[3], *o;
	size_t n;

	bytes_printf(what, ", register %d ", reg);
	if (dwarf_frame_register(d, reg, memory, &o, &n)) {
		bytes_puts(what, "unknown");
		return false;
	}
	describe(what, o, n);
	switch (saved) {
	case UNWIND_SAME: /* libdw 0.188 takes rax for rbx where the ABI says what is preserved */
		return !n && (!o || reg == RBX);
	case UNWIND_AT_CFA:
		return is_at_cfa(o, n, offset);
	case UNWIND_AT_FP:
		return n == 2 && o[0].atom == DW_OP_call_frame_cfa &&
		       is_register(&o[1], RBP, offset);
	case UNWIND_LOST: /* undefined, or an expression of its own */
		return (!n && o) || (n > 0 && !is_at_cfa(o, n, -8) && !is_at_cfa(o, n, -16));
	}
	return false;
}

static bool same_return_address(Dwarf_Frame *d, const struct unwind_rule *q, struct bytes *what)
{
	Dwarf_Op memory[3], *o;
	size_t n;

	bytes_puts(what, ", return address ");
	if (dwarf_frame_register(d, RIP, memory, &o, &n)) {
		bytes_puts(what, "unknown");
		return false;
	}
	describe(what, o, n);
	if (q->kind == UNWIND_OUTERMOST)
		return !n && o;
	if (q->reg & UNWIND_RA_REGISTER)
		return n == 1 && (o->atom == DW_OP_reg0 + (unsigned)q->aux ||
				  (o->atom == DW_OP_regx && o->number == (uint64_t)q->aux));
	return is_at_cfa(o, n, -8);
}

static bool same_frame(Dwarf_Frame *d, const struct unwind_rule *q, struct bytes *what)
{
	bool same, signal = false;
	Dwarf_Addr start, end;

	if (dwarf_frame_info(d, &start, &end, &signal) < 0)
		return false;
	if (signal || q->kind == UNWIND_SIGNAL) {
		bytes_puts(what, signal ? "a signal frame" : "no signal frame");
		return signal && q->kind == UNWIND_SIGNAL;
	}
	if (q->kind == UNWIND_OUTERMOST)
		return same_return_address(d, q, what);
	same = same_cfa(d, q, what);
	same &= same_return_address(d, q, what);
	same &= same_saved(d, RBP, q->fp_saved, q->fp_offset, what);
	return same_saved(d, RBX, q->bx_saved, q->bx_offset, what) && same;
}

/* .eh_frame first, .debug_frame for what it leaves: as cfi_build does. */
static Dwarf_Frame *libdw_frame(const struct file *f, uint64_t pc)
{
	Dwarf_Frame *d = NULL;

	if (f->eh && dwarf_cfi_addrframe(f->eh, pc, &d) == 0)
		return d;
	return f->debug && dwarf_cfi_addrframe(f->debug, pc, &d) == 0 ? d : NULL;
}

/* Less than MAX_PADDING bytes without a frame, between functions: cfi_build gives them the rule of
 * the function before. */
static bool is_padding(const struct file *f, uint64_t pc, const struct unwind_rule *q)
{
	uint64_t low = pc, high = pc;
	struct bytes what = BYTES_INIT;
	Dwarf_Frame *d = NULL;
	bool same;

	while (!d && pc - low < MAX_PADDING)
		d = libdw_frame(f, --low);
	same = d && (same_frame(d, q, &what) || is_allowed(f->path, bytes_text(&what)));
	free(d);
	for (d = NULL; same && !d && high - low <= MAX_PADDING;)
		d = libdw_frame(f, ++high);
	same &= d != NULL;
	free(d);
	bytes_deinit(&what);
	return same;
}

/* Code that cfi_build gives a rule of its own making: the entry point, the byte before what ends a context, stubs, trampolines. */
static bool is_filled(const struct file *f, uint64_t pc, const struct unwind_rule *q)
{
	static const char *const stubs[] = { ".plt", ".plt.sec", ".plt.got", ".iplt" };
	struct elf_section s;

	if (q->kind == UNWIND_OUTERMOST)
		return pc - f->elf->entry < ENTRY_SIZE || (q->aux && cfi_is_context_end(f->elf, pc + 1));
	if (q->kind == UNWIND_SIGNAL)
		return true;
	for (size_t i = 0; i < sizeof(stubs) / sizeof(stubs[0]); i++)
		if ((q->kind == UNWIND_PLT || q->kind == UNWIND_SP) &&
		    elf_file_section(f->elf, stubs[i], &s) && pc - s.address < s.n)
			return true;
	return false;
}

/* Libdw has no frame at pc. Is that what we say too, or is it ours to fill? */
static void without_frame(const struct file *f, uint64_t pc, const struct unwind_rule *q)
{
	if (q->kind == UNWIND_GAP) {
		tally.gap++;
	} else if (is_padding(f, pc, q)) {
		tally.padding++;
	} else if (is_filled(f, pc, q)) {
		tally.filled++;
	} else if (is_allowed(f->path, "no frame")) {
		tally.allowed++;
	} else {
		tally.different++;
		complain(f, pc, q, "no frame");
	}
}

/* There is argc where its FDE has a return address. */
static bool is_entry(const struct file *f, uint64_t pc, const struct unwind_rule *q)
{
	return q->kind == UNWIND_OUTERMOST && f->elf->program && pc - f->elf->entry < ENTRY_SIZE;
}

/* Compares at pc; returns where libdw's row ends, or pc when it has none. */
static uint64_t check_at(const struct file *f, uint64_t pc, const struct unwind_rule *q)
{
	Dwarf_Frame *d = libdw_frame(f, pc);
	struct bytes what = BYTES_INIT;
	Dwarf_Addr from, end;
	bool signal;

	tally.points++;
	if (!d) {
		without_frame(f, pc, q);
		return pc;
	}
	if (same_frame(d, q, &what)) {
		tally.same++;
	} else if (is_entry(f, pc, q)) {
		tally.filled++;
	} else if (is_allowed(f->path, bytes_text(&what))) {
		tally.allowed++;
	} else {
		tally.different++;
		complain(f, pc, q, bytes_text(&what));
	}
	if (dwarf_frame_info(d, &from, &end, &signal) < 0 || end <= pc)
		end = pc + 1;
	bytes_deinit(&what);
	free(d);
	return end;
}

/* To the next frame of libdw's. */
static uint64_t skip_nothing(const struct file *f, uint64_t pc, uint64_t end)
{
	Dwarf_Frame *d = NULL;

	while (!d && ++pc < end)
		d = libdw_frame(f, pc);
	free(d);
	return pc;
}

static void check_row(const struct file *f, uint64_t start, uint64_t end,
		      const struct unwind_rule *q)
{
	uint64_t gap = (end - start) / GAP_PROBES;

	for (uint64_t pc = start; pc < end;) {
		uint64_t next = check_at(f, pc, q);

		if (next == pc && q->kind == UNWIND_GAP)
			next += gap > 16 ? gap : 16;
		else if (next == pc)
			next = skip_nothing(f, pc, end);
		pc = next;
	}
}

static void check_rows(struct file *f)
{
	const struct cfi *c = &f->c;

	for (size_t i = (size_t)(tally.files % step); i < c->rows.n; i += (size_t)step) {
		uint64_t start = c->low + c->rows.data[i].offset;
		uint64_t end = i + 1 < c->rows.n ? c->low + c->rows.data[i + 1].offset : c->high;
		const struct unwind_rule *q = &c->rules.data[c->rows.data[i].rule];

		tally.rows++;
		tally.kinds[q->kind]++;
		check_row(f, start, end, q);
	}
}

static void check_elf(const char *path, Elf *elf, struct elf_file *ours)
{
	struct file f = { .path = path, .elf = ours };
	double began = now();
	int r = cfi_build_fdes(ours, &f.c); /* flow-oracle.c has the rest */
	Dwarf *dwarf;

	tally.seconds += now() - began;
	tally.files++;
	if (r < 0) {
		tally.no_rows++;
		if (r != -ENODATA)
			printf("%s: no rows: %s\n", path, strerror(-r));
		return;
	}
	tally.fdes += f.c.n_fdes;
	tally.bad_fdes += f.c.n_bad_fdes;
	tally.text += f.c.high - f.c.low;
	if (f.c.n_bad_fdes)
		printf("%s: %u bad FDEs of %u\n", path, f.c.n_bad_fdes, f.c.n_fdes);
	f.eh = dwarf_getcfi_elf(elf);
	dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
	f.debug = dwarf ? dwarf_getcfi(dwarf) : NULL;
	check_rows(&f);
	if (f.eh)
		dwarf_cfi_end(f.eh);
	if (dwarf)
		dwarf_end(dwarf);
	cfi_deinit(&f.c);
}

static bool is_new(const struct stat *st)
{
	for (size_t i = 0; i < seen.n; i++)
		if (seen.data[i].st_ino == st->st_ino && seen.data[i].st_dev == st->st_dev)
			return false;
	return vec_push(&seen, *st) == 0;
}

static void check_file(const char *path, const struct stat *st)
{
	_cleanup_(elf_file_closep) struct elf_file *ours = NULL;
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC), mine;
	GElf_Ehdr e;
	Elf *elf;

	mine = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (mine < 0 || elf_file_open(TAKE_FD(mine), &ours) < 0 || ours->machine != EM_X86_64 ||
	    (ours->type != ET_EXEC && ours->type != ET_DYN) || !is_new(st))
		return;
	if (give_up_at && now() > give_up_at) {
		tally.not_begun++;
		return;
	}
	elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (elf && gelf_getehdr(elf, &e)) {
		long before = tally.points, bad = tally.different, odd = tally.allowed;

		check_elf(path, elf, ours);
		if (verbose)
			printf("%s: %ld points, %ld differ, %ld allowed to\n", path,
			       tally.points - before, tally.different - bad, tally.allowed - odd);
	}
	elf_end(elf);
}

static void check_path(const char *path, bool named)
{
	char name[4096];
	struct dirent *e;
	struct stat st;
	DIR *d;

	if ((named ? stat : lstat)(path, &st) < 0) {
		if (named)
			printf("%s: %s\n", path, strerror(errno));
		return;
	}
	if (S_ISREG(st.st_mode))
		check_file(path, &st);
	if (!S_ISDIR(st.st_mode))
		return;
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		    snprintf(name, sizeof(name), "%s/%s", path, e->d_name) < (int)sizeof(name))
			check_path(name, false);
	if (d)
		closedir(d);
}

static int read_allowed(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[512];

	if (!f) {
		perror(path);
		return -1;
	}
	while (fgets(line, sizeof(line), f)) {
		struct allowed a = { .n = 0 };

		if (*line != '#' && sscanf(line, "%127s %255[^\n]", a.file, a.what) == 2 &&
		    vec_push(&allowed_list, a) < 0)
			break;
	}
	fclose(f);
	return 0;
}

static void report(void)
{
	static const char *const kinds[UNWIND_N_KINDS] = {
		"gap", "outermost", "sp",	"fp", "plt",	     "*sp",
		"*fp", "signal",    "register", "bx", "unsupported",
	};

	printf("files %ld (without rows %ld, not begun %ld), text %.1f MiB, FDEs %ld, bad %ld, "
	       "rows made in %.2f s\n",
	       tally.files, tally.no_rows, tally.not_begun, (double)tally.text / (1 << 20),
	       tally.fdes, tally.bad_fdes, tally.seconds);
	printf("rows compared %ld at %ld addresses: same %ld, gaps in both %ld, padding folded "
	       "%ld, filled by us %ld, allowed to differ %ld, different %ld\n",
	       tally.rows, tally.points, tally.same, tally.gap, tally.padding, tally.filled,
	       tally.allowed, tally.different);
	printf("rows by kind:");
	for (int i = 0; i < UNWIND_N_KINDS; i++)
		printf(" %s %ld%s", kinds[i], tally.kinds[i], i + 1 < UNWIND_N_KINDS ? "," : "\n");
	for (size_t i = 0; i < allowed_list.n; i++)
		printf("allowed %ld: %s %s\n", allowed_list.data[i].n, allowed_list.data[i].file,
		       allowed_list.data[i].what);
}

int main(int argc, char **argv)
{
	int option;

	elf_version(EV_CURRENT);
	while ((option = getopt(argc, argv, "s:t:a:v")) != -1) {
		if (option == 's' && atoi(optarg) > 0)
			step = atoi(optarg);
		else if (option == 't')
			give_up_at = now() + atof(optarg);
		else if (option == 'v')
			verbose = 1;
		else if (option != 'a' || read_allowed(optarg) < 0)
			return 2;
	}
	for (int i = optind; i < argc; i++)
		check_path(argv[i], true);
	report();
	vec_deinit(&allowed_list);
	vec_deinit(&seen);
	if (!tally.points) {
		printf("nothing was compared\n");
		return 1;
	}
	return tally.different > 0;
}
