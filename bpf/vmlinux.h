/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* vmlinux.h - the few kernel types that our programs read.
 *
 * Written by hand: only the members we use, in no particular order, because CO-RE finds each of
 * them by name in the BTF of the kernel that loads the program. So no build machine needs BTF,
 * and the list shows what we depend on. Enums and struct bpf_* of the user ABI come from
 * linux/bpf.h. A member that not every kernel has is asked for in compat.bpf.h. */

#include <linux/bpf.h>
#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

#define __VMLINUX_H__ /* bpf_tracing.h: kernel names of the registers */

/* The context of perf_event programs is user ABI: not to be relocated. x86_64: asm/ptrace.h. */
#if defined(__TARGET_ARCH_x86)
struct pp_context_registers {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64) /* struct user_pt_regs */
struct pp_context_registers {
	u64 regs[31], sp, pc, pstate;
};
#endif
struct bpf_perf_event_data {
	struct pp_context_registers regs;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31], sp, pc, pstate;
	u64 orig_x0;
	s32 syscallno;
};
#endif

struct pid_namespace {
	struct {
		unsigned int inum;
	} ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct xol_area {
	unsigned long vaddr;
};

struct mm_struct {
	unsigned long exec_vm;
	struct {
		struct xol_area *xol_area;
	} uprobes_state;
};

struct return_instance {
	unsigned long stack; /* the stack pointer at the function's entry */
	unsigned long orig_ret_vaddr;
	struct return_instance *next;
};

struct uprobe_task {
	struct return_instance *return_instances;
};

struct sched_info {
	unsigned long long last_arrival;
};

struct sched_entity {
	u64 sum_exec_runtime, prev_sum_exec_runtime;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct inode {
	unsigned short i_mode;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

#if defined(__TARGET_ARCH_x86)
struct thread_struct {
	unsigned long fsbase;
};
#elif defined(__TARGET_ARCH_arm64)
struct thread_struct {
	struct {
		unsigned long tp_value;
	} uw;
};
#endif

struct signal_struct {
	struct {
		int counter;
	} live;
};

struct task_struct {
	char comm[16]; /* read as two words */
	int pid, tgid;
	unsigned int flags;
	u64 start_boottime;
	u64 self_exec_id;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct mm_struct *mm;
	void *stack;
	struct pid *thread_pid;
	struct uprobe_task *utask;
	struct sched_entity se;
	struct files_struct *files;
	unsigned in_iowait : 1;
	unsigned int __state;
	unsigned long sas_ss_sp, sas_ss_size;
	int on_cpu, exit_state;
	unsigned long nvcsw, nivcsw;
	struct sched_info sched_info;
	struct thread_struct thread;
};

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct vm_unmapped_area_info;

#pragma clang attribute pop
