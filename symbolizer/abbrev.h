/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* abbrev.h - what the DIEs of a unit look like (.debug_abbrev), made ready for passing over them.
 *
 * Owns the tables, the last few that were used. Bounded in declarations and attributes; a table that
 * is past a bound or broken ends where it breaks. Format: DWARF 5, 7.5.3. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"
#include "symbolizer/sections.h"

/* Attributes that are of use here. */
enum slot {
	SLOT_NAME,
	SLOT_LINKAGE,
	SLOT_LOW,
	SLOT_HIGH,
	SLOT_RANGES,
	SLOT_SIBLING,
	SLOT_ORIGIN,
	SLOT_SPECIFICATION,
	SLOT_CALL_FILE,
	SLOT_CALL_LINE,
	SLOT_DECL_LINE,
	SLOT_LINES,
	SLOT_DIRECTORY,
	SLOT_LANGUAGE,
	SLOT_STR_OFFSETS,
	SLOT_ADDR,
	SLOT_RNGLISTS,
	SLOT_GNU_RANGES,
	SLOT_DWO_NAME,
	SLOT_DWO_ID,
	N_SLOTS,
	SLOT_NONE = N_SLOTS,
};

struct abbrev_attribute {
	int64_t constant; /* of DW_FORM_implicit_const */
	uint16_t form;
	uint8_t slot;
};

/* How to pass over attributes: some bytes, then perhaps one whose size it tells itself. */
struct abbrev_skip {
	uint32_t bytes;
	uint16_t form; /* 0: none */
};

struct abbrev {
	uint64_t code;
	uint32_t first_attribute, n_attributes;
	uint32_t first_skip, n_skips;
	int32_t sibling; /* where in its attributes a DW_FORM_ref4 to the next DIE is; -1: nowhere */
	uint16_t tag;
	bool children, has_sibling;
	bool has_code; /* it may have */
};

struct abbrevs {
	uint64_t offset; /* in .debug_abbrev */
	uint8_t version, offset_size; /* forms' sizes hang on these */
	bool read;
	uint64_t used;
	VEC(struct abbrev) all; /* by code */
	VEC(struct abbrev_attribute) attributes;
	VEC(struct abbrev_skip) skips;
};

#define ABBREVS_SETS 64 /* where a table may be hangs on its offset */
#define ABBREVS_WAYS 4
#define ABBREVS_MAX_BYTES (4u << 20)  /* of one table in the file */
#define ABBREVS_MAX_MEMORY (16u << 20) /* past it all but the one that is read are forgotten */

struct abbrevs_cache {
	struct abbrevs tables[ABBREVS_SETS][ABBREVS_WAYS];
	uint64_t clock;
	size_t size; /* bytes */
	struct buffer buffer;
};

/* Bytes of a form; -1: it tells itself, or is unknown. */
int form_size(unsigned form, unsigned version, unsigned offset_size);

/* The table at this offset; NULL: none there, no memory. Borrowed until the next call. */
const struct abbrevs *abbrevs_get(struct abbrevs_cache *c, struct sections *s, uint64_t offset,
				  unsigned version, unsigned offset_size);
void abbrevs_deinit(struct abbrevs_cache *c);

static inline const struct abbrev *abbrevs_find(const struct abbrevs *a, uint64_t code)
{
	size_t low = 0, high = a->all.n;

	/* compilers number them from 1 on */
	if (code - 1 < high && a->all.data[code - 1].code == code)
		return &a->all.data[code - 1];
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (a->all.data[middle].code < code)
			low = middle + 1;
		else
			high = middle;
	}
	return low < a->all.n && a->all.data[low].code == code ? &a->all.data[low] : NULL;
}
