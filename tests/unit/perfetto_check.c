/* SPDX-License-Identifier: Apache-2.0 */
#include "perfetto_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"

enum message {
	NUMBER, /* none: a number */
	TEXT,	/* none: bytes */
	TRACE,
	PACKET,
	BUNDLE,
	EVENT,
	SWITCH,
	WAKING,
	NEW,
	RENAME,
	EXIT,
	CALL,
	TREE,
	PROCESS,
	THREAD,
	SNAPSHOT,
	CLOCK,
	TRACK_EVENT,
	TRACK,
	OWNER, /* of a track: a process, or a thread of it */
	ANNOTATION,
	SAMPLE,
	INTERNED,
	STRING,
	FRAME,
	STACK,
	MAPPING,
	DEFAULTS,
	SAMPLE_DEFAULTS,
	TIMEBASE,
};

#define FUNCTION_NAMES 5
#define SOURCE_PATHS 18

static const struct field {
	enum message in;
	uint32_t number;
	enum message is;
} fields[] = {
	{ TRACE, 1, PACKET },
	{ PACKET, 1, BUNDLE }, { PACKET, 2, TREE }, { PACKET, 6, SNAPSHOT }, { PACKET, 8, NUMBER },
	{ PACKET, 10, NUMBER }, { PACKET, 11, TRACK_EVENT }, { PACKET, 12, INTERNED }, { PACKET, 13, NUMBER },
	{ PACKET, 59, DEFAULTS }, { PACKET, 60, TRACK }, { PACKET, 66, SAMPLE },
	{ BUNDLE, 1, NUMBER }, { BUNDLE, 2, EVENT }, { BUNDLE, 3, NUMBER },
	{ EVENT, 1, NUMBER }, { EVENT, 2, NUMBER }, { EVENT, 5, NUMBER }, { EVENT, 4, SWITCH }, { EVENT, 20, WAKING },
	{ EVENT, 235, NEW }, { EVENT, 236, RENAME }, { EVENT, 238, EXIT }, { EVENT, 329, CALL }, { EVENT, 330, CALL },
	{ SWITCH, 1, TEXT }, { SWITCH, 2, NUMBER }, { SWITCH, 3, NUMBER }, { SWITCH, 4, NUMBER }, { SWITCH, 5, TEXT },
	{ SWITCH, 6, NUMBER }, { SWITCH, 7, NUMBER },
	{ WAKING, 1, TEXT }, { WAKING, 2, NUMBER }, { WAKING, 3, NUMBER }, { WAKING, 4, NUMBER }, { WAKING, 5, NUMBER },
	{ NEW, 1, NUMBER }, { NEW, 2, TEXT }, { NEW, 3, NUMBER },
	{ RENAME, 1, NUMBER }, { RENAME, 2, TEXT }, { RENAME, 3, TEXT },
	{ EXIT, 1, TEXT }, { EXIT, 2, NUMBER }, { EXIT, 3, NUMBER }, { EXIT, 4, NUMBER },
	{ CALL, 1, NUMBER },
	{ TREE, 1, PROCESS }, { TREE, 2, THREAD },
	{ PROCESS, 1, NUMBER }, { PROCESS, 3, TEXT },
	{ THREAD, 1, NUMBER }, { THREAD, 2, TEXT }, { THREAD, 3, NUMBER },
	{ SNAPSHOT, 1, CLOCK }, { SNAPSHOT, 2, NUMBER },
	{ CLOCK, 1, NUMBER }, { CLOCK, 2, NUMBER },
	{ TRACK_EVENT, 9, NUMBER }, { TRACK_EVENT, 11, NUMBER }, { TRACK_EVENT, 23, TEXT },
	{ TRACK_EVENT, 4, ANNOTATION }, { TRACK_EVENT, 22, TEXT }, { ANNOTATION, 3, NUMBER }, { ANNOTATION, 10, TEXT },
	{ TRACK, 1, NUMBER }, { TRACK, 2, TEXT }, { TRACK, 3, OWNER }, { TRACK, 4, OWNER }, { TRACK, 5, NUMBER },
	{ OWNER, 1, NUMBER }, { OWNER, 2, NUMBER },
	{ SAMPLE, 1, NUMBER }, { SAMPLE, 2, NUMBER }, { SAMPLE, 3, NUMBER }, { SAMPLE, 4, NUMBER }, { SAMPLE, 5, NUMBER },
	{ INTERNED, FUNCTION_NAMES, STRING }, { INTERNED, 6, FRAME }, { INTERNED, 7, STACK }, { INTERNED, 17, STRING },
	{ INTERNED, SOURCE_PATHS, STRING }, { INTERNED, 19, MAPPING },
	{ STRING, 1, NUMBER }, { STRING, 2, TEXT },
	{ FRAME, 1, NUMBER }, { FRAME, 2, NUMBER }, { FRAME, 3, NUMBER }, { FRAME, 4, NUMBER }, { FRAME, 5, NUMBER },
	{ FRAME, 6, NUMBER },
	{ STACK, 1, NUMBER }, { STACK, 2, NUMBER },
	{ MAPPING, 1, NUMBER }, { MAPPING, 7, NUMBER },
	{ DEFAULTS, 58, NUMBER }, { DEFAULTS, 12, SAMPLE_DEFAULTS }, { SAMPLE_DEFAULTS, 1, TIMEBASE },
	{ TIMEBASE, 4, NUMBER },
};

struct known { /* when it was said last, in clearings of the state */
	uint32_t string[1 << 16], frame[1 << 16], stack[1 << 16];
};

struct reader {
	struct perfetto_check *ret;
	struct known *known;
	uint32_t clearings;
	uint64_t number[8]; /* of the innermost message, by field */
	uint64_t time;
};

static bool complain(struct reader *r, const char *what, uint64_t number)
{
	if (!r->ret->error[0])
		snprintf(r->ret->error, sizeof(r->ret->error), "packet %llu: %s %llu",
			 (unsigned long long)r->ret->n_packets, what, (unsigned long long)number);
	return false;
}

static bool known(struct reader *r, const uint32_t *table, uint64_t id, const char *what)
{
	return (id && id < 1 << 16 && table[id] == r->clearings) || complain(r, what, id);
}

static bool read_number(struct reader *r, enum message in, uint32_t field, uint64_t v)
{
	if (field < 8)
		r->number[field] = v;
	if (in == PACKET && field == 13 && v & 1)
		r->clearings++;
	if (in == FRAME && (field == 2 || field == 5))
		return known(r, r->known->string, v, "a frame of an unknown string");
	if (in == STACK && field == 2)
		return known(r, r->known->frame, v, "a stack of an unknown frame");
	if (in == SAMPLE && field == 4)
		return known(r, r->known->stack, v, "a sample of an unknown stack");
	if (in == BUNDLE && field == 3)
		r->ret->n_lost_bundles++;
	if (in == EVENT && field == 1)
		r->time = v;
	return true;
}

static void on_switch(struct reader *r)
{
	r->ret->n_from_idle += !r->number[2];
	r->ret->n_to_idle += !r->number[6];
	if (!r->ret->first)
		r->ret->first = r->time;
	r->ret->last = r->time;
}

/* What a message was, once it has been read. */
static bool done(struct reader *r, enum message m, uint32_t field)
{
	struct perfetto_check *c = r->ret;
	uint64_t id = r->number[1] & 0xffff;

	switch (m) {
	case PACKET:
		c->n_packets++;
		break;
	case BUNDLE:
		c->n_bundles++;
		break;
	case STRING:
		if (field == FUNCTION_NAMES || field == SOURCE_PATHS)
			r->known->string[id] = r->clearings;
		c->n_functions += field == FUNCTION_NAMES;
		break;
	case FRAME:
		r->known->frame[id] = r->clearings;
		c->n_frames++;
		break;
	case STACK:
		r->known->stack[id] = r->clearings;
		c->n_stacks++;
		break;
	case SAMPLE:
		c->n_samples++;
		break;
	case PROCESS:
		c->n_processes++;
		break;
	case THREAD:
		c->n_threads++;
		break;
	case TRACK_EVENT:
		c->n_notes++;
		break;
	case SWITCH:
		if (!r->number[2] && !r->number[6])
			return complain(r, "a switch of nobody", 0);
		on_switch(r);
		c->n_event[field]++;
		break;
	case WAKING:
	case NEW:
	case RENAME:
	case EXIT:
	case CALL:
		c->n_event[field]++;
		break;
	default:
		break;
	}
	return true;
}

static bool read_message(struct reader *r, enum message m, struct cursor c);

static bool read_field(struct reader *r, enum message in, struct cursor *c)
{
	uint64_t tag = cursor_uleb128(c);
	const struct field *f = NULL;
	struct cursor sub;

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (fields[i].in == in && fields[i].number == tag >> 3)
			f = &fields[i];
	if (!f)
		return complain(r, "an unknown field", tag >> 3 | (uint64_t)in << 32);
	if ((tag & 7) != (f->is == NUMBER ? 0 : 2))
		return complain(r, "the wrong type of field", tag >> 3);
	if (f->is == NUMBER)
		return read_number(r, in, f->number, cursor_uleb128(c)) && !c->bad;
	sub = cursor_sub(c, cursor_uleb128(c));
	if (c->bad)
		return complain(r, "a cut field", f->number);
	if (f->is == TEXT) {
		if (in == TRACK_EVENT)
			snprintf(r->ret->note, sizeof(r->ret->note), "%.*s", (int)cursor_left(&sub),
				 (const char *)sub.p);
		return true;
	}
	if (!read_message(r, f->is, sub))
		return false;
	return done(r, f->is, f->number);
}

static bool read_message(struct reader *r, enum message m, struct cursor c)
{
	memset(r->number, 0, sizeof(r->number));
	while (cursor_left(&c))
		if (!read_field(r, m, &c))
			return false;
	return !c.bad || complain(r, "a cut message", 0);
}

bool perfetto_check(const void *data, size_t n, struct perfetto_check *ret)
{
	struct reader r = { .ret = ret, .known = calloc(1, sizeof(struct known)) };
	bool good;

	memset(ret, 0, sizeof(*ret));
	good = r.known && read_message(&r, TRACE, cursor_over(data, n));
	free(r.known);
	return good;
}
