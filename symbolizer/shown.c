/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/shown.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "symbolizer/demangle.h"

void shown_deinit(struct shown *s)
{
	for (size_t i = 0; i < s->all.n; i++)
		free(s->all.data[i].text);
	vec_deinit(&s->all);
	hash_deinit(&s->index);
	s->size = 0;
}

size_t shown_bytes(const struct shown *s)
{
	return s->size + s->all.cap * sizeof(*s->all.data) + s->index.n_slots * sizeof(*s->index.slots);
}

struct key {
	const char *text;
	size_t n;
	enum symbolizer_demangle how;
};

static bool equal(uint32_t item, const void *key, const void *context)
{
	const struct shown *s = context;
	const struct shown_text *t = &s->all.data[item];
	const struct key *k = key;

	return t->how == k->how && t->n_key == k->n && !memcmp(t->text, k->text, k->n);
}

/* If there is no memory, it is made again when it is asked for again. */
static void keep(struct shown *s, uint64_t hash, struct shown_text made, const char *key)
{
	size_t size = (size_t)made.n_key + made.n_name + made.n_system_name;

	if (s->size + size > SHOWN_MAX_BYTES || s->all.n == SHOWN_MAX)
		shown_deinit(s);
	made.text = malloc(size + 1);
	if (!made.text)
		return;
	memcpy(made.text, key, made.n_key);
	memcpy(made.text + made.n_key, s->name, made.n_name);
	memcpy(made.text + made.n_key + made.n_name, s->system_name, made.n_system_name);
	if (vec_push(&s->all, made) < 0) {
		free(made.text);
		return;
	}
	if (hash_put(&s->index, hash, (uint32_t)s->all.n - 1) < 0) {
		s->all.n--;
		free(made.text);
		return;
	}
	s->size += size;
}

struct shown_name shown_get(struct shown *s, const char *system_name, enum symbolizer_demangle how)
{
	struct key k = { system_name, strlen(system_name), how };
	uint64_t hash = hash_bytes(hash_u64(HASH_SEED, how), system_name, k.n);
	uint32_t i = hash_get(&s->index, hash, equal, &k, s);
	struct shown_text made = { .how = how, .n_key = (uint32_t)k.n };

	if (i != HASH_NONE) {
		const struct shown_text *t = &s->all.data[i];

		return (struct shown_name){ t->text + k.n, t->text + k.n + t->n_name, t->n_name, t->n_system_name };
	}
	made.n_name = (uint16_t)demangle(system_name, how, s->name);
	made.n_system_name = (uint16_t)utf8_copy(s->system_name, sizeof(s->system_name),
						 system_name, k.n);
	keep(s, hash, made, system_name);
	return (struct shown_name){ s->name, s->system_name, made.n_name, made.n_system_name };
}
