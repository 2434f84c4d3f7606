/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "symbolizer/client.h"
#include "symbolizer/client_parts.h"

static bool good_custom(const struct symbolizer_custom *x)
{
	bool fine = x->status == PROBE_FINE, site = fine && x->kind != CUSTOM_PROFILE;

	if (!x->kind || x->kind >= CUSTOM_N_KINDS || x->status >= PROBE_N_STATUS ||
	    x->n_name >= sizeof(x->name) || x->offset > INT64_MAX ||
	    (fine && x->kind == CUSTOM_PROFILE && !x->n_name))
		return false;
	for (unsigned i = 0; i < SYMBOLIZER_N_ARGUMENTS; i++)
		if (!client_good_argument(&x->arguments[i]) ||
		    (x->arguments[i].kind != SYMBOLIZER_NOTHING) != (site && (i < 2 || !x->n_name)))
			return false;
	for (unsigned i = 0; i < sizeof(x->name); i++)
		if ((x->name[i] != 0) != (i < x->n_name))
			return false;
	return true;
}

static int take_customs(struct symbolizer_customs *to, const struct record *r)
{
	size_t n = r->n / sizeof(struct symbolizer_custom);

	if (!n || r->n % sizeof(struct symbolizer_custom) || to->all.n + n > SYMBOLIZER_MAX_CUSTOM)
		return -EBADMSG;
	if (vec_reserve(&to->all, to->all.n + n) < 0)
		return -ENOMEM;
	memcpy(to->all.data + to->all.n, r->data, r->n);
	for (size_t i = 0; i < n; i++)
		if (!good_custom(&to->all.data[to->all.n + i]))
			return -EBADMSG;
	to->all.n += n;
	return 0;
}

static int receive_customs(struct symbolizer *s, struct symbolizer_customs *ret)
{
	int r;

	for (;;) {
		r = client_receive(s);
		if (r < 0)
			return r;
		if (s->record.type == SYMBOLIZER_END)
			break;
		r = s->record.type == SYMBOLIZER_CUSTOM ? take_customs(ret, &s->record) : -EBADMSG;
		if (r < 0)
			return r;
	}
	if (s->record.status < 0)
		return client_status(&s->record);
	if (s->record.n != sizeof(ret->end))
		return -EBADMSG;
	memcpy(&ret->end, s->record.data, sizeof(ret->end));
	return ret->end.n_probes == ret->all.n ? 0 : -EBADMSG;
}

static int take_answer(struct symbolizer *s, int r, struct symbolizer_customs *ret)
{
	struct symbolizer_customs customs = { 0 };

	if (r == 0)
		r = receive_customs(s, &customs);
	if (r < 0)
		symbolizer_customs_deinit(&customs);
	else
		*ret = customs;
	return r;
}

int symbolizer_ask_custom(struct symbolizer *s, const struct symbolizer_object *o,
			  struct symbolizer_customs *ret)
{
	struct symbolizer_question q = client_question(o);

	return take_answer(s, client_ask(s, SYMBOLIZER_CUSTOM, o, &q, NULL), ret);
}

int symbolizer_ask_track(struct symbolizer *s, const struct symbolizer_object *o,
			 const struct symbolizer_track *tracks, uint32_t n, struct symbolizer_customs *ret)
{
	uint64_t words[SYMBOLIZER_MAX_TRACKS * sizeof(*tracks) / 8];
	struct symbolizer_question q = client_question(o);

	if (n > SYMBOLIZER_MAX_TRACKS)
		return -EINVAL;
	memcpy(words, tracks, n * sizeof(*tracks));
	q.n = (uint32_t)(n * sizeof(*tracks) / 8);
	return take_answer(s, client_ask(s, SYMBOLIZER_TRACK, o, &q, words), ret);
}

void symbolizer_customs_deinit(struct symbolizer_customs *c)
{
	vec_deinit(&c->all);
}
