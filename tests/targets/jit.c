/* SPDX-License-Identifier: Apache-2.0 */

/* jit.c - WHERE map|dump|link|foreign: makes two functions while it runs, jit_one and jit_two, tells of them as JIT
 * compilers do, says "ready" and runs them for ever. In WHERE/perf-PID.map, or WHERE/jit-PID.dump, or the former
 * through a symbolic link; foreign: the former, but as another user's. */

#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* push rbp; mov rbp, rsp; mov ecx, 0x100000; 1: dec ecx; jnz 1b; pop rbp; ret */
static const unsigned char code[] = { 0x55, 0x48, 0x89, 0xe5, 0xb9, 0x00, 0x00, 0x10,
				      0x00, 0xff, 0xc9, 0x75, 0xfc, 0x5d, 0xc3 };

struct header {
	uint32_t magic, version, total_size, machine, pad, pid;
	uint64_t timestamp, flags;
};

struct load {
	uint32_t id, total_size;
	uint64_t timestamp;
	uint32_t pid, tid;
	uint64_t vma, address, size, index;
};

static void write_load(FILE *f, const char *name, const void *at, uint64_t index)
{
	struct load l = { .total_size = (uint32_t)(sizeof(l) + strlen(name) + 1 + sizeof(code)),
			  .pid = (uint32_t)getpid(),
			  .vma = (uintptr_t)at,
			  .address = (uintptr_t)at,
			  .size = sizeof(code),
			  .index = index };

	fwrite(&l, sizeof(l), 1, f);
	fwrite(name, strlen(name) + 1, 1, f);
	fwrite(code, sizeof(code), 1, f);
}

/* The loop and what is before it, of a file that there is not. */
static void write_lines(FILE *f, const char *file, const void *at, const uint32_t lines[2])
{
	uint32_t size = (uint32_t)(32 + 16 + strlen(file) + 1 + 16 + 2);
	uint64_t head[4] = { 2 | (uint64_t)size << 32, 0, (uintptr_t)at, 2 };

	fwrite(head, sizeof(head), 1, f);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t address = (uintptr_t)at + (i ? 9 : 0);
		uint32_t rest[2] = { lines[i], 0 };

		fwrite(&address, sizeof(address), 1, f);
		fwrite(rest, sizeof(rest), 1, f);
		fwrite(i ? "\xff" : file, i ? 2 : strlen(file) + 1, 1, f);
	}
}

static void write_dump(const char *where, unsigned char *one, unsigned char *two)
{
	struct header h = { 0x4a695444, 1, sizeof(h), EM_X86_64, 0, (uint32_t)getpid(), 0, 0 };
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/jit-%d.dump", where, getpid());
	f = fopen(path, "w+");
	if (!f || mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(f), 0) == MAP_FAILED)
		exit(1);
	fwrite(&h, sizeof(h), 1, f);
	write_load(f, "was_here_before", one, 1);
	write_lines(f, "/made/one.js", one, (const uint32_t[2]){ 7, 9 });
	write_load(f, "jit_one", one, 2);
	write_load(f, "jit_two", two, 3);
	fflush(f);
}

static void write_map(const char *where, const char *how, unsigned char *one, unsigned char *two)
{
	char path[4096], real[4128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/perf-%d.map", where, getpid());
	snprintf(real, sizeof(real), "%s%s", path, strcmp(how, "link") ? "" : ".real");
	f = fopen(real, "w");
	if (!f)
		exit(1);
	fprintf(f, "no line of this kind\n%lx %x was_here_before\n%lx %zx jit_one\n0x%lx %zx jit_two\n",
		(long)one, 0x1000, (long)one, sizeof(code), (long)two, sizeof(code));
	fflush(f);
	if (!strcmp(how, "link") && symlink(real, path) < 0)
		exit(1);
	if (!strcmp(how, "foreign") && fchown(fileno(f), 65534, 65534) < 0)
		exit(1);
}

int main(int argc, char **argv)
{
	unsigned char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void (*one)(void), (*two)(void);

	if (argc < 3 || page == MAP_FAILED)
		return 1;
	memcpy(page, code, sizeof(code));
	memcpy(page + 256, code, sizeof(code));
	one = (void (*)(void))page;
	two = (void (*)(void))(page + 256);
	if (!strcmp(argv[2], "dump"))
		write_dump(argv[1], page, page + 256);
	else
		write_map(argv[1], argv[2], page, page + 256);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		one();
		two();
	}
}
