/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* format.h - the formats that a profile can be had in, besides pprof's own: which there are, and who writes them.
 *
 * Owns nothing between calls. Each writer takes a named capture, whether it has just been made or was loaded from a
 * profile that was kept (load.h). All names are strangers' words: each format escapes them in its way. */

#include "base/bytes.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/http.h"
#include "daemon/serve/naming.h"

enum format { FORMAT_PPROF, FORMAT_TOP, FORMAT_FOLDED, FORMAT_SPEEDSCOPE, FORMAT_SVG, FORMAT_FIREFOX, FORMAT_NONE };

#define FORMAT_KNOWN "pprof, top, folded, speedscope, svg and firefox are known"
#define FORMAT_MAX_BYTES (256ul << 20)

/* NULL: pprof. */
enum format format_find(const char *name);
/* Any but pprof. `title`: of the process; may be NULL. Sets `ret` (what it held is not freed) on success. 0; -E2BIG;
 * -ENOMEM; -EINVAL. */
int format_write(enum format f, const struct capture *c, const struct naming *n, const char *title, struct bytes *ret);
/* The column to show, as clients choose it; the value of a label, as a string of the capture; 0: it has none. */
size_t format_column(const struct profile *p);
uint32_t format_label(const struct capture *c, const struct capture_sample *s, const char *key);
int format_speedscope(const struct capture *c, const struct naming *n, const char *title, struct bytes *ret);
int format_svg(const struct capture *c, const struct naming *n, const char *title, struct bytes *ret);
int format_firefox(const struct capture *c, const struct naming *n, const char *title, struct bytes *ret);
/* Gives `out` away as `ret`. */
int format_finish(struct bytes *out, struct bytes *ret);

/* What the answer is; `name`: of a file, without its ending. */
void format_head(enum format f, const char *name, struct http_response *ret);
