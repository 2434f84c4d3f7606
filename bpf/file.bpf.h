/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

/* file.bpf.h - what kind of file a descriptor of a thread's is. */

#include "compat.bpf.h"
#include "wait.h"

/* What a read or a write was of. */
PP_INLINE u32 pp_wait_file(struct task_struct *t, u32 descriptor)
{
	struct files_struct *files = t->files;
	struct file *file = NULL, **at;
	struct fdtable *table;
	const unsigned char *name;
	char text[8] = "";
	u32 mode;

	if (!files)
		return PP_FILE_OTHER;
	table = BPF_CORE_READ(files, fdt);
	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return PP_FILE_OTHER;
	at = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), at + descriptor) || !file)
		return PP_FILE_OTHER;
	mode = BPF_CORE_READ(file, f_inode, i_mode) & 0170000;
	if (mode == 0010000)
		return PP_FILE_PIPE;
	if (mode == 0140000)
		return PP_FILE_SOCKET;
	if (mode == 0020000)
		return PP_FILE_TERMINAL;
	name = BPF_CORE_READ(file, f_path.dentry, d_name.name);
	bpf_probe_read_kernel(text, sizeof(text), name);
	if (text[0] != '[')
		return PP_FILE_OTHER;
	if (text[1] == 'e' && text[2] == 'v' && text[3] == 'e' && text[4] == 'n')
		return PP_FILE_EVENT;
	return text[1] == 't' && text[2] == 'i' && text[3] == 'm' ? PP_FILE_TIMER : PP_FILE_OTHER;
}
