/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/web_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "daemon/broker/web_ciphers.h"

#define BCRYPT_LENGTH 60
#define MAX_VALUE 4096 /* bytes of a header's value */
#define MAX_SAN 1024

struct reader {
	const char *name;
	yaml_document_t *doc;
	struct web_file *to;
	char *error;
	struct web_ciphers ciphers;
	unsigned min, max; /* TLS 1.x */
	struct bytes users, sans; /* behind the headers at last */
	bool bad;
};

struct key {
	const char *name;
	void (*take)(struct reader *r, const struct key *k, yaml_node_t *value);
	int which;
};

static void __attribute__((format(printf, 3, 4)))
wrong(struct reader *r, const yaml_mark_t *at, const char *format, ...)
{
	char text[WEB_FILE_MAX_TEXT / 2];
	va_list ap;

	if (r->bad)
		return;
	r->bad = true;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	for (char *s = text; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
	snprintf(r->error, WEB_FILE_MAX_TEXT, "%s:%zu: %s", r->name, at->line + 1, text);
}

/* The text of a value, or NULL: it was none, and that has been said. */
static const char *text_of(struct reader *r, const yaml_node_t *n, const char *what)
{
	if (n->type != YAML_SCALAR_NODE)
		wrong(r, &n->start_mark, "%s: a text is wanted", what);
	else if (memchr(n->data.scalar.value, '\0', n->data.scalar.length))
		wrong(r, &n->start_mark, "%s: has a NUL in it", what);
	else
		return (const char *)n->data.scalar.value;
	return NULL;
}

/* Nothing, as in "key:" alone. */
static bool is_null(const yaml_node_t *n)
{
	return n->type == YAML_SCALAR_NODE && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!n->data.scalar.length || !strcmp((const char *)n->data.scalar.value, "~") ||
		!strcmp((const char *)n->data.scalar.value, "null"));
}

/* Whether an earlier pair has the same key. */
static bool is_doubled(struct reader *r, const yaml_node_t *map, const yaml_node_pair_t *of, const char *name)
{
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < of; p++) {
		const yaml_node_t *key = yaml_document_get_node(r->doc, p->key);

		if (key->type == YAML_SCALAR_NODE && !strcmp((const char *)key->data.scalar.value, name))
			return true;
	}
	return false;
}

/* Calls `each` for every pair of the mapping. */
static void walk(struct reader *r, yaml_node_t *map, const char *what, const void *context,
		 void (*each)(struct reader *, const void *, yaml_node_t *, const char *, yaml_node_t *))
{
	if (is_null(map))
		return;
	if (map->type != YAML_MAPPING_NODE) {
		wrong(r, &map->start_mark, "%s: keys and values are wanted", what);
		return;
	}
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top && !r->bad; p++) {
		yaml_node_t *key = yaml_document_get_node(r->doc, p->key);
		const char *name = text_of(r, key, what);

		if (!name)
			return;
		if (is_doubled(r, map, p, name))
			wrong(r, &key->start_mark, "%s: is there twice", name);
		else
			each(r, context, key, name, yaml_document_get_node(r->doc, p->value));
	}
}

static void by_table(struct reader *r, const void *context, yaml_node_t *key, const char *name, yaml_node_t *value)
{
	for (const struct key *k = context; k->name; k++) {
		if (!strcmp(k->name, name)) {
			k->take(r, k, value);
			return;
		}
	}
	wrong(r, &key->start_mark, "unknown key \"%s\"", name);
}

/* Calls `each` for every text of a list. */
static void walk_list(struct reader *r, const struct key *k, yaml_node_t *list,
		      void (*each)(struct reader *, yaml_node_t *, const char *))
{
	if (is_null(list))
		return;
	if (list->type != YAML_SEQUENCE_NODE) {
		wrong(r, &list->start_mark, "%s: a list is wanted", k->name);
		return;
	}
	for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top && !r->bad; i++) {
		yaml_node_t *n = yaml_document_get_node(r->doc, *i);
		const char *text = text_of(r, n, k->name);

		if (text)
			each(r, n, text);
	}
}

static void add_text(struct bytes *to, const char *text)
{
	bytes_add(to, text, strlen(text) + 1);
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

static void take_pem(struct reader *r, const struct key *k, yaml_node_t *value)
{
	struct web_pem *p = &r->to->pem[k->which];
	bool inside = !strstr(k->name, "_file");
	const char *text = text_of(r, value, k->name);
	char *copy;

	if (!text || !*text)
		return;
	if (p->file || p->inside) {
		wrong(r, &value->start_mark, "%s: is given in two ways", k->name);
		return;
	}
	copy = strdup(text);
	if (!copy)
		r->to->text.bad = true;
	*(inside ? &p->inside : &p->file) = copy;
	p->line = value->start_mark.line + 1;
}

static void take_auth(struct reader *r, const struct key *k, yaml_node_t *value)
{
	static const char *const names[] = { [BROKER_CLIENT_NONE] = "NoClientCert",
					     [BROKER_CLIENT_REQUEST] = "RequestClientCert",
					     [BROKER_CLIENT_REQUIRE] = "RequireAnyClientCert",
					     [BROKER_CLIENT_VERIFY] = "VerifyClientCertIfGiven",
					     [BROKER_CLIENT_BOTH] = "RequireAndVerifyClientCert" };
	const char *text = text_of(r, value, k->name);

	for (int i = 0; text && i <= BROKER_CLIENT_BOTH; i++) {
		if (strcmp(text, names[i]) && (strcmp(text, "RequireClientCert") || i != BROKER_CLIENT_REQUIRE))
			continue;
		r->to->client_auth = (enum broker_client_auth)i;
		return;
	}
	if (text && *text)
		wrong(r, &value->start_mark, "client_auth_type: \"%s\" is unknown", text);
}

static void take_version(struct reader *r, const struct key *k, yaml_node_t *value)
{
	const char *text = text_of(r, value, k->name);
	unsigned v = !text ? 0 : !strcmp(text, "TLS12") ? 2 : !strcmp(text, "TLS13") ? 3 : 0;

	if (text && !v)
		wrong(r, &value->start_mark, "%s: TLS12 and TLS13 are spoken, \"%s\" is not", k->name, text);
	*(k->which ? &r->max : &r->min) = v;
}

static void add_cipher(struct reader *r, yaml_node_t *n, const char *name)
{
	if (!web_ciphers_add(&r->ciphers, name))
		wrong(r, &n->start_mark, "cipher_suites: \"%s\" is unknown, or not spoken here", name);
}

static void take_ciphers(struct reader *r, const struct key *k, yaml_node_t *value)
{
	const char *more;

	walk_list(r, k, value, add_cipher);
	more = web_ciphers_excess(&r->ciphers);
	if (more)
		wrong(r, &value->start_mark, "cipher_suites: key exchange and cipher are chosen apart here: with these, "
		      "%s would be allowed too", more);
}

static void add_curve(struct reader *r, yaml_node_t *n, const char *name)
{
	if (!web_ciphers_add_curve(&r->ciphers, name))
		wrong(r, &n->start_mark, "curve_preferences: \"%s\" is unknown", name);
}

static void take_curves(struct reader *r, const struct key *k, yaml_node_t *value)
{
	walk_list(r, k, value, add_curve);
}

static void add_san(struct reader *r, yaml_node_t *n, const char *name)
{
	if (r->to->n_sans++ == WEB_FILE_MAX_SANS || !*name || strlen(name) > MAX_SAN)
		wrong(r, &n->start_mark, "client_allowed_sans: at most %d, of 1 to %d bytes each", WEB_FILE_MAX_SANS, MAX_SAN);
	add_text(&r->sans, name);
}

static void take_sans(struct reader *r, const struct key *k, yaml_node_t *value)
{
	walk_list(r, k, value, add_san);
}

/* Both are what is done anyway: there is no HTTP/2 to switch off, and the server's order holds. */
static void take_bool(struct reader *r, const struct key *k, yaml_node_t *value)
{
	static const char *const known[] = { "true", "false", "yes", "no", "on", "off" };
	const char *text = text_of(r, value, k->name);

	for (unsigned i = 0; text && i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(text, known[i]))
			return;
	if (text)
		wrong(r, &value->start_mark, "%s: true or false is wanted", k->name);
}

static void take_header(struct reader *r, const struct key *k, yaml_node_t *value)
{
	static const char *const frames[] = { "deny", "sameorigin", NULL }, *const types[] = { "nosniff", NULL };
	const char *const *allowed = k->which == 1 ? frames : k->which == 2 ? types : NULL;
	const char *text = text_of(r, value, k->name);

	if (!text || !*text)
		return;
	while (allowed && *allowed && strcmp(*allowed, text))
		allowed++;
	if (!is_printable(text) || strlen(text) > MAX_VALUE || (allowed && !*allowed)) {
		wrong(r, &value->start_mark, "%s: may not be \"%.100s\"", k->name, text);
		return;
	}
	r->to->n_headers++;
	add_text(&r->to->text, k->name);
	add_text(&r->to->text, text);
}

static bool is_bcrypt(const char *hash, int *ret_cost)
{
	static const char digits[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

	if (strlen(hash) != BCRYPT_LENGTH || strncmp(hash, "$2", 2) || !hash[2] || !strchr("aby", hash[2]) ||
	    hash[3] != '$' || strspn(hash + 4, "0123456789") != 2 || hash[6] != '$' ||
	    strspn(hash + 7, digits) != BCRYPT_LENGTH - 7)
		return false;
	*ret_cost = (hash[4] - '0') * 10 + hash[5] - '0';
	return *ret_cost >= 4;
}

static void take_user(struct reader *r, const void *context, yaml_node_t *key, const char *name, yaml_node_t *value)
{
	const char *hash = text_of(r, value, name);
	int cost;

	(void)context;
	if (!hash)
		return;
	if (!is_printable(name) || strchr(name, ':') || strlen(name) > 255)
		wrong(r, &key->start_mark, "basic_auth_users: no name of a user: at most 255 bytes, no colon, no control characters");
	else if (!is_bcrypt(hash, &cost))
		wrong(r, &value->start_mark, "basic_auth_users: what \"%s\" has is no bcrypt hash ($2a$, $2b$ or $2y$)", name);
	else if (cost > WEB_FILE_MAX_COST)
		wrong(r, &value->start_mark, "basic_auth_users: a cost of at most %d is wanted, that of \"%s\" is %d",
		      WEB_FILE_MAX_COST, name, cost);
	else if (r->to->n_users++ == WEB_FILE_MAX_USERS)
		wrong(r, &key->start_mark, "basic_auth_users: more than %d", WEB_FILE_MAX_USERS);
	add_text(&r->users, name);
	add_text(&r->users, hash);
}

static void take_users(struct reader *r, const struct key *k, yaml_node_t *value)
{
	walk(r, value, k->name, NULL, take_user);
}

static void take_refused(struct reader *r, const struct key *k, yaml_node_t *value)
{
	wrong(r, &value->start_mark, "%s: cannot be done for all clients together: --max-rate is for each", k->name);
}

static void take_headers(struct reader *r, const struct key *k, yaml_node_t *value)
{
	static const struct key headers[] = { { "Strict-Transport-Security", take_header, 0 },
					      { "X-Frame-Options", take_header, 1 },
					      { "X-Content-Type-Options", take_header, 2 },
					      { "X-XSS-Protection", take_header, 0 },
					      { "Content-Security-Policy", take_header, 0 },
					      { 0 } };

	walk(r, value, k->name, headers, by_table);
}

static void take_http(struct reader *r, const struct key *k, yaml_node_t *value)
{
	static const struct key keys[] = { { "http2", take_bool, 0 }, { "headers", take_headers, 0 }, { 0 } };

	walk(r, value, k->name, keys, by_table);
}

static void judge_tls(struct reader *r, const yaml_mark_t *at)
{
	const struct web_file *f = r->to;
	bool ca = f->pem[BROKER_PEM_CA].file || f->pem[BROKER_PEM_CA].inside;
	bool verify = f->client_auth >= BROKER_CLIENT_VERIFY;

	if (!f->pem[BROKER_PEM_CERT].file && !f->pem[BROKER_PEM_CERT].inside)
		wrong(r, at, "tls_server_config: cert_file is missing");
	else if (!f->pem[BROKER_PEM_KEY].file && !f->pem[BROKER_PEM_KEY].inside)
		wrong(r, at, "tls_server_config: key_file is missing");
	else if (ca && f->client_auth == BROKER_CLIENT_NONE)
		wrong(r, at, "tls_server_config: client_ca_file without a client_auth_type");
	else if (verify && !ca)
		wrong(r, at, "tls_server_config: client certificates cannot be verified without client_ca_file");
	else if (f->n_sans && !verify)
		wrong(r, at, "tls_server_config: client_allowed_sans without a client_auth_type that verifies is no check");
	else if (r->min > r->max)
		wrong(r, at, "tls_server_config: min_version is above max_version");
}

static void take_tls(struct reader *r, const struct key *k, yaml_node_t *value)
{
	static const struct key keys[] = {
		{ "cert", take_pem, BROKER_PEM_CERT },
		{ "cert_file", take_pem, BROKER_PEM_CERT },
		{ "key", take_pem, BROKER_PEM_KEY },
		{ "key_file", take_pem, BROKER_PEM_KEY },
		{ "client_ca", take_pem, BROKER_PEM_CA },
		{ "client_ca_file", take_pem, BROKER_PEM_CA },
		{ "client_auth_type", take_auth, 0 },
		{ "client_allowed_sans", take_sans, 0 },
		{ "min_version", take_version, 0 },
		{ "max_version", take_version, 1 },
		{ "cipher_suites", take_ciphers, 0 },
		{ "prefer_server_cipher_suites", take_bool, 0 },
		{ "curve_preferences", take_curves, 0 },
		{ 0 },
	};

	if (is_null(value))
		return;
	r->to->tls = true;
	walk(r, value, k->name, keys, by_table);
	judge_tls(r, &value->start_mark);
}

static void read_document(struct reader *r)
{
	static const struct key keys[] = { { "tls_server_config", take_tls, 0 },
					   { "http_server_config", take_http, 0 },
					   { "basic_auth_users", take_users, 0 },
					   { "rate_limit", take_refused, 0 },
					   { 0 } };
	yaml_node_t *root = yaml_document_get_root_node(r->doc);

	if (root)
		walk(r, root, r->name, keys, by_table);
	bytes_add(&r->to->text, r->users.data, r->users.n);
	bytes_add(&r->to->text, r->sans.data, r->sans.n);
	r->to->text.bad |= r->users.bad || r->sans.bad;
	web_ciphers_write(&r->ciphers, r->min, r->max, r->to->priorities, sizeof(r->to->priorities));
}

static void read_all(struct reader *r, yaml_parser_t *parser)
{
	yaml_document_t document, second;
	yaml_mark_t at;

	if (!yaml_parser_load(parser, &document)) {
		at = parser->problem_mark.line ? parser->problem_mark : parser->context_mark;
		wrong(r, &at, "no YAML: %s", parser->problem ? parser->problem : "it cannot be read");
		return;
	}
	r->doc = &document;
	read_document(r);
	at = document.end_mark;
	yaml_document_delete(&document);
	if (r->bad)
		return;
	if (!yaml_parser_load(parser, &second)) {
		wrong(r, &parser->problem_mark, "no YAML: %s", parser->problem ? parser->problem : "it cannot be read");
		return;
	}
	if (yaml_document_get_root_node(&second))
		wrong(r, &at, "a second document");
	yaml_document_delete(&second);
}

int web_file_parse(const char *name, const void *data, size_t n, struct web_file *ret, char *error)
{
	struct web_file f = { 0 };
	struct reader r = { .name = name, .to = &f, .error = error, .min = 2, .max = 3 };
	yaml_parser_t parser;
	int err = 0;

	if (!yaml_parser_initialize(&parser)) {
		snprintf(error, WEB_FILE_MAX_TEXT, "%s: out of memory", name);
		return -ENOMEM;
	}
	yaml_parser_set_input_string(&parser, data, n);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	read_all(&r, &parser);
	yaml_parser_delete(&parser);
	bytes_deinit(&r.users);
	bytes_deinit(&r.sans);
	if (r.bad) {
		err = -EINVAL;
	} else if (f.text.bad) {
		snprintf(error, WEB_FILE_MAX_TEXT, "%s: out of memory", name);
		err = -ENOMEM;
	}
	if (err < 0)
		web_file_deinit(&f);
	else
		*ret = f;
	return err;
}

void web_file_deinit(struct web_file *f)
{
	for (int i = 0; i < BROKER_N_PEM; i++) {
		if (f->pem[i].inside)
			explicit_bzero(f->pem[i].inside, strlen(f->pem[i].inside));
		free(f->pem[i].inside);
		free(f->pem[i].file);
	}
	bytes_deinit(&f->text);
	*f = (struct web_file){ 0 };
}

bool web_file_authenticates(const struct web_file *f)
{
	return f->n_users || (f->tls && f->client_auth == BROKER_CLIENT_BOTH);
}
