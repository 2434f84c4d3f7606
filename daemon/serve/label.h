/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* label.h - labels that targets give their threads: where the kernel side finds them, and what was found.
 *
 * Owns what is known of a target's variables (struct target_labels); the words of a set belong to totals. Sets are a
 * target's choice, each byte of them: bounded in number by totals.h, in size by bpf/event.h. Refuses labels without
 * a key, and attributes of OpenTelemetry's whose key the process has not told. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/event.h"
#include "daemon/serve/capture.h"
#include "daemon/serve/totals.h"

#define LABEL_MAX (CAPTURE_MAX_LABELS - 4) /* of one set; the collector's own come besides */
#define LABEL_MAX_KEYS 256
#define LABEL_MAX_KEY 64    /* bytes */
#define LABEL_MAX_VALUE 256

struct core;
struct target;

struct target_labels {
	uint32_t n_sources, n_left_out; /* variables that are looked at; that are not */
	bool has_otel;	 /* some of them are OpenTelemetry's */
	uint32_t n_keys; /* of its attributes */
	char *keys[LABEL_MAX_KEYS];
};

struct label {
	char key[LABEL_MAX_KEY + 1], value[LABEL_MAX_VALUE + 1]; /* UTF-8; neither is empty */
};

/* The target's mappings have changed, or with new_image its program: tells the kernel where labels are. The scan_lock
 * is held. */
void label_follow(struct core *c, struct target *t, bool new_image);

/* The target's slot becomes another's. The scan_lock is held. */
void label_leave(struct core *c, struct target *t);

/* Before sets of the target are decoded: has it told new keys of attributes? Takes the core's lock. */
void label_refresh(struct core *c, struct target *t);
/* The keys in a process context (OTEP 4719, 4947), each the caller's to free; how many. Hostile bytes. */
uint32_t label_read_keys(const void *data, size_t n, char *keys[LABEL_MAX_KEYS]);

/* What the words of a set say, each key once: the first in the order of sources, of one source what holds by its
 * rules. How many. */
uint32_t label_decode(const uint64_t *words, uint32_t n, const struct target_labels *t, struct label ret[LABEL_MAX]);

/* Puts the labels of this set (struct total_name.labels) behind n others; how many there are then, HASH_NONE: no
 * memory. The core's lock is held. */
uint32_t label_list(struct capture *to, const struct totals *totals, uint32_t set, const struct target_labels *t,
		    struct capture_label labels[CAPTURE_MAX_LABELS], uint32_t n);

/* Comments, if any of these happened. */
int label_say(struct capture *to, uint64_t n_without, uint64_t n_ids, const struct target_labels *t);
