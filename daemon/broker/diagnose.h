/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* diagnose.h - turns an errno of the kernel into what a person can do about it. One line each. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/libbpf.h>

/* Keeps libbpf's last warnings instead of printing them. */
int diagnose_libbpf(enum libbpf_print_level level, const char *format, va_list ap);

/* A kernel, by its release, in which no attempt is worth its lines. */
bool diagnose_hopeless(const char *release, char *to, size_t n);
void diagnose_load(const char *btf, int err, char *to, size_t n);
void diagnose_perf(int err, char *to, size_t n);
void diagnose_uprobe(int err, char *to, size_t n);
void diagnose_process(int pid, int err, char *to, size_t n);

/* The one thing that is missing for a program to be loaded and attached, a perf event, a uprobe: its name, without advice. */
enum diagnose_step { DIAGNOSE_LOAD, DIAGNOSE_PERF, DIAGNOSE_UPROBE };
void diagnose_missing(enum diagnose_step step, const char *btf, int err, char *to, size_t n);
/* Whether it is in our effective set. */
bool diagnose_has(unsigned capability);
