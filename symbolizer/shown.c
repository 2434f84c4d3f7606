/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/shown.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "symbolizer/demangle.h"

void shown_deinit(struct shown *s)
{
	for (size_t i = 0; i < SHOWN_SLOTS; i++) {
		free(s->slots[i].text);
		s->slots[i] = (struct shown_text){ 0 };
	}
	s->size = 0;
}

static size_t text_size(const struct shown_text *t)
{
	return t->text ? (size_t)t->n_key + t->n_name + t->n_system_name : 0;
}

static void keep(struct shown *s, struct shown_text *to, struct shown_text made, const char *key)
{
	size_t size = (size_t)made.n_key + made.n_name + made.n_system_name;

	s->size -= text_size(to);
	free(to->text);
	*to = (struct shown_text){ 0 };
	if (s->size + size > SHOWN_MAX_BYTES)
		shown_deinit(s);
	made.text = malloc(size + 1);
	if (!made.text)
		return;
	memcpy(made.text, key, made.n_key);
	memcpy(made.text + made.n_key, s->name, made.n_name);
	memcpy(made.text + made.n_key + made.n_name, s->system_name, made.n_system_name);
	*to = made;
	s->size += size;
}

struct shown_name shown_get(struct shown *s, const char *system_name, enum symbolizer_demangle how)
{
	size_t n = strlen(system_name);
	uint64_t hash = hash_bytes(hash_u64(HASH_SEED, how), system_name, n);
	struct shown_text *t = &s->slots[hash % SHOWN_SLOTS], made = { .hash = hash, .how = how };

	if (t->text && t->hash == hash && t->how == how && t->n_key == n &&
	    !memcmp(t->text, system_name, n))
		return (struct shown_name){ t->text + n, t->text + n + t->n_name, t->n_name,
					    t->n_system_name };
	made.n_key = (uint32_t)n;
	made.n_name = (uint16_t)demangle(system_name, how, s->name);
	made.n_system_name = (uint16_t)utf8_copy(s->system_name, sizeof(s->system_name),
						 system_name, n);
	keep(s, t, made, system_name);
	return (struct shown_name){ s->name, s->system_name, made.n_name, made.n_system_name };
}
