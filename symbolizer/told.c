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

static uint64_t hash(uint32_t start_line, const char *const texts[3], const uint16_t n[3])
{
	uint64_t h = hash_u64(HASH_SEED, start_line);

	for (int i = 0; i < 3; i++)
		h = hash_bytes(h, texts[i], n[i]);
	return h;
}

/* Two places for each function that is there. */
static void widen(struct told *t)
{
	const struct functions *s = &t->functions;

	t->n_places = t->n_places ? 2 * t->n_places : TOLD_FIRST_PLACES;
	memset(t->by_hash, 0, t->n_places * sizeof(*t->by_hash));
	for (uint32_t i = s->first; i != s->end; i++) {
		const char *text, *texts[3];
		const struct function *f = functions_get(s, i, &text);
		const uint16_t n[3] = { f->n_name, f->n_system_name, f->n_file };

		texts[0] = text;
		texts[1] = text + n[0];
		texts[2] = texts[1] + n[1];
		t->by_hash[hash(f->start_line, texts, n) % t->n_places] = i;
	}
}

void told_frame(struct told *t, struct symbolizer_frame *f, const char *name,
		const char *system_name, const char *file)
{
	const char *const texts[3] = { name, system_name, file };
	const uint16_t n[3] = { f->n_name, f->n_system_name, f->n_file };
	uint32_t *at;

	if (!f->n_name && !f->n_system_name && !f->n_file)
		return;
	if (t->n_places < TOLD_PLACES && 2 * (t->functions.end - t->functions.first) >= t->n_places)
		widen(t);
	at = &t->by_hash[hash(f->start_line, texts, n) % t->n_places];
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
