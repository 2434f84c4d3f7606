/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/format/load.h"

#include <errno.h>

#include "bpf/event.h"
#include "daemon/serve/encode.h"
#include "daemon/serve/format/gunzip.h"
#include "proto/profile.pb-c.h"

typedef Perftools__Profiles__Profile message;

/* In the message, or "": what is no string of its table. */
static const char *text(const message *m, int64_t i)
{
	return i > 0 && (uint64_t)i < m->n_string_table ? m->string_table[i] : "";
}

/* Ids are places, from 1: as we write them. */
static bool is_ours(const message *m)
{
	for (size_t i = 0; i < m->n_location; i++)
		if (m->location[i]->id != i + 1 || m->location[i]->mapping_id > m->n_mapping)
			return false;
	for (size_t i = 0; i < m->n_function; i++)
		if (m->function[i]->id != i + 1)
			return false;
	for (size_t i = 0; i < m->n_mapping; i++)
		if (m->mapping[i]->id != i + 1)
			return false;
	return m->n_sample_type && m->n_sample_type <= CAPTURE_MAX_VALUES && m->n_location < UINT32_MAX &&
	       m->n_function < UINT32_MAX;
}

static void take_head(const message *m, struct loaded *to)
{
	struct profile *p = &to->profile;

	p->name = "";
	p->help = "";
	p->n_values = (unsigned)m->n_sample_type;
	for (unsigned i = 0; i < p->n_values; i++)
		p->values[i] = (struct profile_value){ text(m, m->sample_type[i]->type), text(m, m->sample_type[i]->unit) };
	if (m->period_type)
		p->period_type = (struct profile_value){ text(m, m->period_type->type), text(m, m->period_type->unit) };
	p->default_type = *text(m, m->default_sample_type) ? text(m, m->default_sample_type) : NULL;
}

static int take_comments(const message *m, struct capture *c)
{
	int r = 0;

	c->time_ns = m->time_nanos;
	c->duration_ns = m->duration_nanos;
	c->period = m->period;
	for (size_t i = 0; i < m->n_comment && r == 0; i++)
		r = capture_comment(c, "%s", text(m, m->comment[i]));
	return r;
}

static int take_functions(const message *m, struct naming *n)
{
	for (size_t i = 0; i < m->n_function; i++) {
		const Perftools__Profiles__Function *f = m->function[i];

		if (vec_push(&n->functions, ((struct naming_function){ text(m, f->name), text(m, f->system_name),
								       text(m, f->filename), (uint32_t)f->start_line })) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < m->n_mapping; i++) {
		const Perftools__Profiles__Mapping *p = m->mapping[i];

		if (vec_push(&n->mappings, ((struct naming_mapping){ p->memory_start, p->memory_limit, p->file_offset,
								     text(m, p->filename), text(m, p->build_id),
								     p->has_filenames, p->has_line_numbers,
								     p->has_inline_frames })) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Of the kernel is what its mapping says: the one thing that a writer asks of a word. */
static uint64_t word_of(const message *m, uint64_t id)
{
	uint64_t mapping = m->location[id - 1]->mapping_id;
	bool kernel = mapping && !strncmp(text(m, m->mapping[mapping - 1]->filename), "[kernel", 7);

	return (kernel ? PP_FRAME_KERNEL : PP_FRAME_RAW) << 56 | id;
}

static int take_locations(const message *m, struct naming *n)
{
	for (size_t i = 0; i < m->n_location; i++) {
		const Perftools__Profiles__Location *l = m->location[i];
		uint64_t word = word_of(m, i + 1);
		struct naming_location to = { .address = l->address, .mapping = (uint32_t)l->mapping_id,
					      .first_line = (uint32_t)n->lines.n };

		for (size_t k = 0; k < l->n_line; k++) {
			uint64_t f = l->line[k]->function_id;

			if (!f || f > m->n_function || l->n_line > PP_MAX_WORDS)
				return -EBADMSG;
			if (vec_push(&n->lines, ((struct naming_line){ (uint32_t)f - 1, (uint32_t)l->line[k]->line })) < 0)
				return -ENOMEM;
		}
		to.n_lines = (uint32_t)l->n_line;
		if (vec_push(&n->locations, to) < 0 || vec_push(&n->words, word) < 0 ||
		    hash_put(&n->word_index, hash_u64(HASH_SEED, word), (uint32_t)i) < 0)
			return -ENOMEM;
	}
	return 0;
}

static uint32_t take_labels(const message *m, const Perftools__Profiles__Sample *s, struct capture *c)
{
	struct capture_label all[CAPTURE_MAX_LABELS];
	uint32_t n = 0;

	for (size_t i = 0; i < s->n_label && n < CAPTURE_MAX_LABELS; i++) {
		const char *key = text(m, s->label[i]->key), *value = text(m, s->label[i]->str);

		all[n] = (struct capture_label){ capture_string(c, key, strlen(key)), capture_string(c, value, strlen(value)),
						 *value ? 0 : s->label[i]->num };
		if (all[n].key == HASH_NONE || all[n].value == HASH_NONE)
			return HASH_NONE;
		n++;
	}
	return capture_label_set(c, all, n);
}

static int take_sample(const message *m, const Perftools__Profiles__Sample *s, struct capture *c)
{
	struct capture_sample to = { 0 };
	uint64_t words[PP_MAX_WORDS];

	if (s->n_value != m->n_sample_type || s->n_location_id > PP_MAX_WORDS)
		return -EBADMSG;
	for (size_t i = 0; i < s->n_location_id; i++) {
		if (!s->location_id[i] || s->location_id[i] > m->n_location)
			return -EBADMSG;
		words[i] = word_of(m, s->location_id[i]);
	}
	for (size_t i = 0; i < s->n_value; i++)
		to.values[i] = s->value[i];
	to.stack = capture_stack(c, words, (uint32_t)s->n_location_id);
	to.labels = take_labels(m, s, c);
	return to.stack == HASH_NONE || to.labels == HASH_NONE ? -ENOMEM : capture_add(c, to);
}

static int take(const message *m, struct loaded *to)
{
	int r;

	if (!is_ours(m))
		return -EBADMSG;
	take_head(m, to);
	r = capture_new(&to->profile, &to->capture);
	if (r == 0)
		r = take_comments(m, to->capture);
	if (r == 0)
		r = take_functions(m, &to->naming);
	if (r == 0)
		r = take_locations(m, &to->naming);
	for (size_t i = 0; i < m->n_sample && r == 0; i++)
		r = take_sample(m, m->sample[i], to->capture);
	return r;
}

int load_plain(const void *data, size_t n, struct loaded *ret)
{
	*ret = (struct loaded){ .message = perftools__profiles__profile__unpack(NULL, n, data) };
	return ret->message ? take(ret->message, ret) : -EBADMSG;
}

int load_pprof(const void *data, size_t n, struct loaded *ret)
{
	_cleanup_(bytes_deinit) struct bytes plain = BYTES_INIT;
	int r = gunzip(data, n, ENCODE_MAX_BYTES, &plain);

	*ret = (struct loaded){ 0 };
	return r < 0 ? r : load_plain(plain.data, plain.n, ret);
}

void loaded_deinit(struct loaded *l)
{
	capture_free(l->capture);
	naming_free(&l->naming);
	if (l->message)
		perftools__profiles__profile__free_unpacked(l->message, NULL);
	*l = (struct loaded){ 0 };
}

int load_and_write(const struct bytes *pprof, enum format f, const char *title, struct bytes *ret)
{
	struct loaded l;
	int r = load_pprof(pprof->data, pprof->n, &l);

	if (r == 0)
		r = format_write(f, l.capture, &l.naming, title, ret);
	loaded_deinit(&l);
	return r;
}
