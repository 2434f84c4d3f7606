/* SPDX-License-Identifier: Apache-2.0 */
#include "symbolizer/functions.h"

#include <string.h>

uint32_t functions_add(struct functions *s, const struct function *f, const char *name,
		       const char *system_name, const char *file)
{
	size_t n = (size_t)f->n_name + f->n_system_name + f->n_file;
	struct function *to;
	char *text;

	if (s->at % FUNCTIONS_BYTES + n > FUNCTIONS_BYTES)
		s->at += FUNCTIONS_BYTES - s->at % FUNCTIONS_BYTES;
	while (s->first != s->end &&
	       (s->end - s->first == FUNCTIONS_SLOTS ||
		s->all[s->first % FUNCTIONS_SLOTS].at + FUNCTIONS_BYTES < s->at + n))
		s->first++;
	to = &s->all[s->end % FUNCTIONS_SLOTS];
	*to = *f;
	to->at = s->at;
	text = s->text + s->at % FUNCTIONS_BYTES;
	memcpy(text, name, f->n_name);
	memcpy(text + f->n_name, system_name, f->n_system_name);
	memcpy(text + f->n_name + f->n_system_name, file, f->n_file);
	s->at += n;
	return s->end++;
}
