/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "base/cleanup.h"

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the current one; deleted with the next */
	struct config *c;
	char *error;
};

static unsigned line(const yaml_mark_t *m)
{
	return (unsigned)m->line + 1;
}

static int bad(struct reader *r, const char *what)
{
	snprintf(r->error, CONFIG_MAX_TEXT, "%u: %s", line(&r->event.start_mark), what);
	return -EBADMSG;
}

/* What stands for something else, or gives a thing a type of its own, is nothing that a file of options needs. */
static int check(struct reader *r)
{
	const yaml_event_t *e = &r->event;
	const yaml_char_t *anchor = NULL, *tag = NULL;

	if (e->type == YAML_SCALAR_EVENT)
		anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
	if (e->type == YAML_SEQUENCE_START_EVENT)
		anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
	if (e->type == YAML_MAPPING_START_EVENT)
		anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
	if (e->type == YAML_ALIAS_EVENT || anchor)
		return bad(r, "anchors and aliases are not taken");
	if (tag || (e->type == YAML_DOCUMENT_START_EVENT &&
		    e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end))
		return bad(r, "tags are not taken");
	return 0;
}

static int next(struct reader *r)
{
	yaml_event_delete(&r->event);
	if (yaml_parser_parse(&r->parser, &r->event))
		return check(r);
	memset(&r->event, 0, sizeof(r->event));
	if (r->parser.error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	snprintf(r->error, CONFIG_MAX_TEXT, "%u: %s%s%s", line(&r->parser.problem_mark),
		 r->parser.problem ? r->parser.problem : "not YAML", r->parser.context ? ", " : "",
		 r->parser.context ? r->parser.context : "");
	return -EBADMSG;
}

/* A copy of the event's scalar; `ret` is NULL where nothing stands. */
static int take_scalar(struct reader *r, char **ret)
{
	const char *value = (const char *)r->event.data.scalar.value;
	size_t n = r->event.data.scalar.length;
	bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	*ret = NULL;
	if (plain && (!n || !strcmp(value, "~") || !strcmp(value, "null")))
		return 0;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
			return bad(r, "a control character");
	*ret = strndup(value, n);
	return *ret ? 0 : -ENOMEM;
}

static int add(struct reader *r, const char *key, char *value)
{
	struct config *c = r->c;
	struct config_item item = { .value = value, .line = line(&r->event.start_mark) };

	if (c->n == CONFIG_MAX_ITEMS) {
		free(value);
		return bad(r, "too many values");
	}
	item.key = strdup(key);
	if (!item.key) {
		free(value);
		return -ENOMEM;
	}
	c->items[c->n++] = item;
	return 0;
}

static int read_scalar(struct reader *r, const char *key)
{
	char *value;
	int e = take_scalar(r, &value);

	return e < 0 ? e : add(r, key, value);
}

static int read_list(struct reader *r, const char *key)
{
	int e = next(r);

	if (e == 0 && r->event.type == YAML_SEQUENCE_END_EVENT)
		return bad(r, "an empty list");
	while (e == 0 && r->event.type != YAML_SEQUENCE_END_EVENT) {
		if (r->event.type != YAML_SCALAR_EVENT)
			return bad(r, "a list holds values, no lists and no mappings");
		e = read_scalar(r, key);
		if (e == 0)
			e = next(r);
	}
	return e;
}

static bool known(const struct config *c, size_t from, const char *key)
{
	for (size_t i = from; i < c->n; i++)
		if (!strcmp(c->items[i].key, key))
			return true;
	return false;
}

static int read_value(struct reader *r, const char *key)
{
	int e = next(r);

	if (e < 0)
		return e;
	if (r->event.type == YAML_SCALAR_EVENT)
		return read_scalar(r, key);
	if (r->event.type == YAML_SEQUENCE_START_EVENT)
		return read_list(r, key);
	return bad(r, "a value or a list of values is wanted");
}

static int read_pairs(struct reader *r)
{
	size_t first = r->c->n;
	int e = next(r);

	while (e == 0 && r->event.type != YAML_MAPPING_END_EVENT) {
		_cleanup_(freep) char *key = NULL;

		if (r->event.type != YAML_SCALAR_EVENT)
			return bad(r, "a key is the name of an option");
		e = take_scalar(r, &key);
		if (e == 0 && (!key || !*key))
			return bad(r, "a key is missing");
		if (e == 0 && known(r->c, first, key))
			return bad(r, "the key is there already; several values are a list");
		if (e == 0)
			e = read_value(r, key);
		if (e == 0)
			e = next(r);
	}
	return e;
}

/* Several of them, one after the other. */
static int read_groups(struct reader *r)
{
	int e = next(r);

	while (e == 0 && r->event.type != YAML_SEQUENCE_END_EVENT) {
		if (r->event.type != YAML_MAPPING_START_EVENT)
			return bad(r, "lines like \"option: value\" are wanted");
		e = read_pairs(r);
		if (e == 0)
			e = next(r);
	}
	return e;
}

/* An empty file is one without options. */
static int read_all(struct reader *r)
{
	int e = next(r); /* the stream's start */

	if (e == 0)
		e = next(r);
	if (e < 0 || r->event.type == YAML_STREAM_END_EVENT)
		return e;
	e = next(r);
	if (e == 0 && r->event.type == YAML_MAPPING_START_EVENT)
		e = read_pairs(r);
	else if (e == 0 && r->event.type == YAML_SEQUENCE_START_EVENT)
		e = read_groups(r);
	else if (e == 0 && (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.length))
		return bad(r, "lines like \"option: value\" are wanted");
	if (e == 0)
		e = next(r); /* the document's end */
	if (e == 0)
		e = next(r);
	return e == 0 && r->event.type != YAML_STREAM_END_EVENT ? bad(r, "one document is wanted") : e;
}

int config_parse(const char *text, size_t n, struct config *ret, char *error)
{
	struct config c = { .items = calloc(CONFIG_MAX_ITEMS, sizeof(*c.items)) };
	struct reader r = { .c = &c, .error = error };
	int e;

	*error = '\0';
	if (!c.items || !yaml_parser_initialize(&r.parser)) {
		free(c.items);
		return -ENOMEM;
	}
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
	e = n > CONFIG_MAX_BYTES ? -EFBIG : read_all(&r);
	yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	if (e < 0)
		config_deinit(&c);
	else
		*ret = c;
	return e;
}

int config_read(const char *path, struct config *ret, char *error)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	_cleanup_(freep) char *text = malloc(CONFIG_MAX_BYTES + 1);
	struct stat st;
	size_t n = 0;
	ssize_t got;

	*error = '\0';
	if (fd < 0)
		return -errno;
	if (!text)
		return -ENOMEM;
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return -EISDIR;
	while ((got = read(fd, text + n, CONFIG_MAX_BYTES + 1 - n)) > 0)
		n += (size_t)got;
	return got < 0 ? -errno : config_parse(text, n, ret, error);
}

void config_deinit(struct config *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free(c->items[i].key);
		free(c->items[i].value);
	}
	free(c->items);
	*c = (struct config){ 0 };
}
