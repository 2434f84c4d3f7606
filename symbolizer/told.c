/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/told.h"

#include <string.h>

#include "base/hash.h"

static bool same(const struct functions *s, uint32_t number, const struct symbolizer_frame *f,
		 const char *const texts[3])
{
	const char *text;
	const struct function *x = functions_get(s, number, &text);

	return x && x->start_line == f->start_line && x->n_name == f->n_name &&
	       x->n_system_name == f->n_system_name && x->n_file == f->n_file &&
	       !memcmp(text, texts[0], f->n_name) &&
	       !memcmp(text + f->n_name, texts[1], f->n_system_name) &&
	       !memcmp(text + f->n_name + f->n_system_name, texts[2], f->n_file);
}

void told_frame(struct told *t, struct symbolizer_frame *f, const char *name,
		const char *system_name, const char *file)
{
	const char *const texts[3] = { name, system_name, file };
	uint64_t h = hash_u64(HASH_SEED, f->start_line);
	uint32_t *at;

	if (!f->n_name && !f->n_system_name && !f->n_file)
		return;
	h = hash_bytes(h, name, f->n_name);
	h = hash_bytes(h, system_name, f->n_system_name);
	h = hash_bytes(h, file, f->n_file);
	at = &t->by_hash[h % TOLD_PLACES];
	if (!same(&t->functions, *at, f, texts)) {
		*at = functions_add(&t->functions,
				    &(struct function){ .start_line = f->start_line,
							.n_name = f->n_name,
							.n_system_name = f->n_system_name,
							.n_file = f->n_file },
				    name, system_name, file);
		f->function = *at;
		return;
	}
	*f = (struct symbolizer_frame){ .index = f->index, .line = f->line, .told = 1, .function = *at,
					.shown = f->shown };
}
