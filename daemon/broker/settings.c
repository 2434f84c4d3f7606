/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/settings.h"

#include <errno.h>
#include <string.h>

#define MAX_SHOWN 60

/* What names a file, or another way to be run, stands on the command line. */
static const char *const not_in_files[] = { "config", "check-config", "check", "cleanup" };

const struct argp_option *settings_find(const struct argp *argp, const char *name, argp_parser_t *ret)
{
	const struct argp_option *o = argp->options, *main = o, *found = NULL;

	for (; o && (o->name || o->key || o->doc); o++) {
		if (!(o->flags & OPTION_ALIAS))
			main = o;
		if (!o->name || (o->flags & OPTION_DOC) || strcmp(o->name, name) != 0)
			continue;
		*ret = argp->parser;
		return main;
	}
	for (const struct argp_child *c = argp->children; c && c->argp && !found; c++)
		found = settings_find(c->argp, name, ret);
	return found;
}

static bool among(const char *value, const char *a, const char *b, const char *c)
{
	return !strcmp(value, a) || !strcmp(value, b) || !strcmp(value, c);
}

bool settings_is_off(const struct argp_option *o, const struct config_item *item)
{
	return !o->arg && item->value && among(item->value, "false", "no", "off");
}

int settings_apply(const struct argp *argp, void *input, const struct config_item *item, char *error)
{
	struct argp_state state = { .root_argp = argp, .input = input };
	argp_parser_t parser = NULL;
	const struct argp_option *o = settings_find(argp, item->key, &parser);

	for (size_t i = 0; i < sizeof(not_in_files) / sizeof(not_in_files[0]); i++)
		if (!strcmp(item->key, not_in_files[i]))
			o = NULL;
	if (!o || !parser) {
		snprintf(error, CONFIG_MAX_TEXT, "%.*s: there is no such option", MAX_SHOWN, item->key);
		return -EINVAL;
	}
	if (o->arg && !item->value && !(o->flags & OPTION_ARG_OPTIONAL)) {
		snprintf(error, CONFIG_MAX_TEXT, "%s: a value is wanted", o->name);
		return -EINVAL;
	}
	if (settings_is_off(o, item))
		return 0;
	if (!o->arg && (!item->value || !among(item->value, "true", "yes", "on"))) {
		snprintf(error, CONFIG_MAX_TEXT, "%s: true or false is wanted", o->name);
		return -EINVAL;
	}
	if (parser(o->key, o->arg ? item->value : NULL, &state) == 0)
		return 0;
	snprintf(error, CONFIG_MAX_TEXT, "%s: not taken", o->name);
	return -EINVAL;
}
