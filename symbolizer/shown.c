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

static void keep(struct shown *s, struct shown_text *to, uint64_t hash,
		 enum symbolizer_demangle how, const struct shown_name *n)
{
	size_t size = (size_t)n->n_name + n->n_system_name;

	s->size -= to->text ? (size_t)to->n_name + to->n_system_name : 0;
	free(to->text);
	*to = (struct shown_text){ 0 };
	if (s->size + size > SHOWN_MAX_BYTES)
		shown_deinit(s);
	to->text = malloc(size + 1);
	if (!to->text)
		return;
	memcpy(to->text, n->system_name, n->n_system_name);
	memcpy(to->text + n->n_system_name, n->name, n->n_name);
	to->hash = hash;
	to->how = how;
	to->n_name = n->n_name;
	to->n_system_name = n->n_system_name;
	s->size += size;
}

struct shown_name shown_get(struct shown *s, const char *system_name, enum symbolizer_demangle how)
{
	size_t n = strlen(system_name);
	uint64_t hash = hash_bytes(hash_u64(HASH_SEED, how), system_name, n);
	struct shown_text *t = &s->slots[hash % SHOWN_SLOTS];
	struct shown_name made;

	if (t->text && t->hash == hash && t->how == how && t->n_system_name == n &&
	    !memcmp(t->text, system_name, n))
		return (struct shown_name){ t->text + n, t->text, t->n_name, t->n_system_name };
	made = (struct shown_name){ s->name, s->system_name, 0, 0 };
	made.n_name = (uint16_t)demangle(system_name, how, s->name);
	made.n_system_name = (uint16_t)utf8_copy(s->system_name, sizeof(s->system_name),
						 system_name, n);
	/* what had to be changed or cut is not the key any more */
	if (made.n_system_name == n && !memcmp(s->system_name, system_name, n))
		keep(s, t, hash, how, &made);
	return made;
}
