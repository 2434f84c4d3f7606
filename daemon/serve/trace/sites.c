/* SPDX-License-Identifier: Apache-2.0 */

/* sites.c - where a target says what it does (preload/pprofd.h: tasks, regions, logs): probed while
 * traces are recorded, and their names, which stand in its files. */

#include <errno.h>
#include <string.h>

#include "daemon/serve/log.h"
#include "daemon/serve/trace/recording.h"

static const uint32_t kinds[CUSTOM_N_KINDS] = {
	[CUSTOM_TASK_BEGIN] = PP_TRACE_TASK_BEGIN,
	[CUSTOM_TASK_END] = PP_TRACE_TASK_END,
	[CUSTOM_REGION_BEGIN] = PP_TRACE_REGION_BEGIN,
	[CUSTOM_REGION_END] = PP_TRACE_REGION_END,
	[CUSTOM_LOG] = PP_TRACE_LOG,
};

/* The number of a name, + 1; 0: there is no room. */
static uint32_t add_name(struct core *c, const char name[SYMBOLIZER_PROBE_NAME])
{
	struct trace_recording *r = c->traces.recording;
	struct feed_text text;
	uint32_t site = 0;

	_Static_assert(sizeof(text.text) == SYMBOLIZER_PROBE_NAME, "a name fits");
	memcpy(text.text, name, sizeof(text.text));
	pthread_mutex_lock(&c->traces.lock);
	for (uint32_t i = 0; i < r->sites.n && !site; i++)
		if (!memcmp(&r->sites.data[i], &text, sizeof(text)))
			site = i + 1;
	if (!site && r->sites.n < PP_MAX_TRACE_SITES && vec_push(&r->sites, text) == 0)
		site = (uint32_t)r->sites.n;
	pthread_mutex_unlock(&c->traces.lock);
	return site;
}

static bool translate(struct core *c, const struct symbolizer_custom *from,
		      struct broker_custom_probe *to)
{
	*to = (struct broker_custom_probe){ .offset = from->offset };
	if (from->status != PROBE_FINE || !kinds[from->kind])
		return false;
	to->probe.kind = kinds[from->kind];
	to->probe.row = from->n_name ? add_name(c, from->name) : 0;
	memcpy(to->probe.arguments, from->arguments, sizeof(to->probe.arguments));
	return to->probe.row || !from->n_name;
}

static void probe_some(struct core *c, struct target *t, const struct target_mapping *m, uint32_t n,
		       const struct broker_custom_probe *probes)
{
	struct broker_probes q = { .target = t->index, .start = m->start, .end = m->end, .n = n };
	char error[BROKER_MAX_TEXT] = "";
	int r = n ? broker_trace_probe(&c->broker, &q, probes, error) : 0;

	if (r < 0)
		log_line("%s: what it says in traces is not seen: %s", m->name,
			 *error ? error : strerror(-r));
}

static void probe_file(struct core *c, struct target *t, const struct target_mapping *m,
		       const struct object *x)
{
	struct broker_custom_probe probes[BROKER_MAX_PROBES] = { 0 };
	uint32_t n = 0, n_refused = 0;

	for (size_t i = 0; i < x->custom.all.n; i++) {
		n_refused += kinds[x->custom.all.data[i].kind] && x->custom.all.data[i].status != PROBE_FINE;
		n += translate(c, &x->custom.all.data[i], &probes[n]);
		if (n < BROKER_MAX_PROBES)
			continue;
		probe_some(c, t, m, n, probes);
		n = 0;
	}
	probe_some(c, t, m, n, probes);
	if (n_refused)
		log_line("%s: %u places that say something in traces cannot be probed", m->name, n_refused);
}

static bool is_first(const struct target *t, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (t->mappings.data[k].object == t->mappings.data[i].object)
			return false;
	return true;
}

void recording_probe(struct core *c, struct target *t)
{
	struct trace_feed *f = &c->traces.recording->feeds[t->index];
	uint32_t image = t->images.n ? t->images.data[t->images.n - 1] : 0;

	if (f->probed == image)
		return;
	f->probed = image;
	for (size_t i = 0; i < t->mappings.n; i++) {
		const struct object *x = objects_find(&c->objects, t->mappings.data[i].object);

		if (x && x->custom.all.n && is_first(t, i))
			probe_file(c, t, &t->mappings.data[i], x);
	}
}
