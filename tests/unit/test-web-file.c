/* SPDX-License-Identifier: Apache-2.0 */

/* The file of --web.config.file: what is taken, and that nothing else is. */

#include <errno.h>
#include <gnutls/gnutls.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/broker/web_file.h"

#define HASH "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
#define PEMS "  cert_file: c.pem\n  key_file: k.pem\n"
#define TLS "tls_server_config:\n" PEMS

static int parse(const char *text, struct web_file *f, char *error)
{
	*error = '\0';
	return web_file_parse("web.yml", text, strlen(text), f, error);
}

static void takes(const char *text, struct web_file *f)
{
	char error[WEB_FILE_MAX_TEXT];
	gnutls_priority_t p;

	if (parse(text, f, error) < 0)
		fail_msg("%s: %s", text, error);
	assert_int_equal(gnutls_priority_init(&p, f->priorities, NULL), 0);
	gnutls_priority_deinit(p);
}

static void test_nothing(void **state)
{
	static const char *const texts[] = { "", "# nothing\n", "{}\n", "basic_auth_users:\n", "tls_server_config:\nhttp_server_config:\n",
					     "---\n...\n", "http_server_config: {http2: false, headers: }\n" };
	struct web_file f;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		takes(texts[i], &f);
		assert_false(f.tls);
		assert_int_equal(f.n_users + f.n_headers + f.n_sans, 0);
		assert_false(web_file_authenticates(&f));
		web_file_deinit(&f);
	}
}

static void test_everything(void **state)
{
	static const char text[] =
		"tls_server_config:\n" PEMS
		"  client_ca_file: /etc/ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
		"  client_allowed_sans: [a.example, 10.0.0.1]\n  min_version: TLS12\n  max_version: TLS13\n"
		"  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  - TLS_AES_128_GCM_SHA256\n"
		"  prefer_server_cipher_suites: true\n  curve_preferences: [X25519, CurveP256]\n"
		"http_server_config:\n  http2: true\n  headers:\n    Strict-Transport-Security: max-age=1; includeSubDomains\n"
		"    X-Frame-Options: sameorigin\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: ''\n"
		"    Content-Security-Policy: \"default-src 'self'\"\n"
		"basic_auth_users:\n  prom: " HASH "\n  'b c': " HASH "\n";
	static const char texts[] = "Strict-Transport-Security\0max-age=1; includeSubDomains\0X-Frame-Options\0sameorigin\0"
				    "X-Content-Type-Options\0nosniff\0Content-Security-Policy\0default-src 'self'\0"
				    "prom\0" HASH "\0b c\0" HASH "\0a.example\0" "10.0.0.1";
	struct web_file f;

	takes(text, &f);
	assert_true(f.tls && web_file_authenticates(&f));
	assert_int_equal(f.client_auth, BROKER_CLIENT_BOTH);
	assert_string_equal(f.pem[BROKER_PEM_CERT].file, "c.pem");
	assert_string_equal(f.pem[BROKER_PEM_KEY].file, "k.pem");
	assert_string_equal(f.pem[BROKER_PEM_CA].file, "/etc/ca.pem");
	assert_int_equal(f.pem[BROKER_PEM_KEY].line, 3);
	assert_int_equal(f.n_headers, 4);
	assert_int_equal(f.n_users, 2);
	assert_int_equal(f.n_sans, 2);
	assert_int_equal(f.text.n, sizeof(texts));
	assert_memory_equal(f.text.data, texts, sizeof(texts));
	assert_string_equal(f.priorities, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:-CIPHER-ALL:+AES-128-GCM:"
			    "-MAC-ALL:+AEAD:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:%SERVER_PRECEDENCE");
	web_file_deinit(&f);
}

static void test_inside(void **state)
{
	struct web_file f;

	takes("tls_server_config:\n  cert: |\n    one\n    two\n  key: k\n", &f);
	assert_string_equal(f.pem[BROKER_PEM_CERT].inside, "one\ntwo\n");
	assert_null(f.pem[BROKER_PEM_CERT].file);
	web_file_deinit(&f);
}

static void test_policies(void **state)
{
	static const struct {
		const char *name;
		enum broker_client_auth is;
		bool alone;
	} claims[] = {
		{ "NoClientCert", BROKER_CLIENT_NONE, false },
		{ "RequestClientCert", BROKER_CLIENT_REQUEST, false },
		{ "RequireAnyClientCert", BROKER_CLIENT_REQUIRE, false },
		{ "RequireClientCert", BROKER_CLIENT_REQUIRE, false },
		{ "VerifyClientCertIfGiven", BROKER_CLIENT_VERIFY, false },
		{ "RequireAndVerifyClientCert", BROKER_CLIENT_BOTH, true },
	};
	struct web_file f;
	char text[512];

	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		snprintf(text, sizeof(text), TLS "  client_auth_type: %s\n%s", claims[i].name,
			 claims[i].is ? "  client_ca_file: ca\n" : "");
		takes(text, &f);
		assert_int_equal(f.client_auth, claims[i].is);
		assert_int_equal(web_file_authenticates(&f), claims[i].alone);
		web_file_deinit(&f);
	}
}

static void test_all_suites_and_versions(void **state)
{
	struct web_file f;

	takes(TLS "  min_version: TLS13\n", &f);
	assert_non_null(strstr(f.priorities, "VERS-TLS1.3:-KX"));
	web_file_deinit(&f);
	takes(TLS "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305, "
		  "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]\n", &f);
	assert_non_null(strstr(f.priorities, "-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA:+ECDHE-ECDSA:-CIPHER-ALL:+CHACHA20-POLY1305:"));
	web_file_deinit(&f);
}

/* Each in one line, with the line that is wrong. */
static void test_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} claims[] = {
		{ "tls_server_confg:\n", "web.yml:1: unknown key \"tls_server_confg\"" },
		{ TLS "  cert_fil: x\n", "web.yml:4: unknown key \"cert_fil\"" },
		{ TLS "  cert_file: x\n", "web.yml:4: cert_file: is there twice" },
		{ TLS "  cert: x\n", "web.yml:4: cert: is given in two ways" },
		{ "tls_server_config:\n  cert_file: x\n", "web.yml:2: tls_server_config: key_file is missing" },
		{ "tls_server_config:\n  key_file: x\n", "web.yml:2: tls_server_config: cert_file is missing" },
		{ "tls_server_config:\n  min_version: TLS12\n", "web.yml:2: tls_server_config: cert_file is missing" },
		{ TLS "  client_ca_file: x\n", "web.yml:2: tls_server_config: client_ca_file without a client_auth_type" },
		{ TLS "  client_auth_type: RequireAndVerifyClientCert\n", "without client_ca_file" },
		{ TLS "  client_auth_type: Require\n", "web.yml:4: client_auth_type: \"Require\" is unknown" },
		{ TLS "  client_auth_type: RequestClientCert\n  client_allowed_sans: [a]\n", "is no check" },
		{ TLS "  min_version: TLS10\n", "web.yml:4: min_version: TLS12 and TLS13 are spoken, \"TLS10\" is not" },
		{ TLS "  min_version: TLS13\n  max_version: TLS12\n", "min_version is above max_version" },
		{ TLS "  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n", "\"TLS_RSA_WITH_AES_128_CBC_SHA\" is unknown, or not spoken" },
		{ TLS "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n",
		  "with these, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 would be allowed too" },
		{ TLS "  cipher_suites: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n", "web.yml:4: cipher_suites: a list is wanted" },
		{ TLS "  curve_preferences: [P256]\n", "curve_preferences: \"P256\" is unknown" },
		{ "tls_server_config: 7\n", "web.yml:1: tls_server_config: keys and values are wanted" },
		{ "http_server_config:\n  http2: maybe\n", "web.yml:2: http2: true or false is wanted" },
		{ "http_server_config:\n  headers:\n    Access-Control-Allow-Origin: '*'\n", "web.yml:3: unknown key" },
		{ "http_server_config:\n  headers:\n    X-Frame-Options: allow\n", "web.yml:3: X-Frame-Options: may not be \"allow\"" },
		{ "http_server_config:\n  headers:\n    X-XSS-Protection: \"1\\r\\nX: y\"\n", "X-XSS-Protection: may not be \"1??X: y\"" },
		{ "basic_auth_users:\n  a: secret\n", "web.yml:2: basic_auth_users: what \"a\" has is no bcrypt hash" },
		{ "basic_auth_users:\n  a: $2x$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n", "no bcrypt hash" },
		{ "basic_auth_users:\n  a: $2y$17$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n", "a cost of at most 16" },
		{ "basic_auth_users:\n  a: $2y$03$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n", "no bcrypt hash" },
		{ "basic_auth_users:\n  a:b: " HASH "\n", "no name of a user" },
		{ "basic_auth_users:\n  [a]: " HASH "\n", "a text is wanted" },
		{ "basic_auth_users:\n  a: [" HASH "]\n", "web.yml:2: a: a text is wanted" },
		{ "basic_auth_users:\n  \"a\\0b\": " HASH "\n", "has a NUL in it" },
		{ "rate_limit:\n  burst: 1\n", "web.yml:2: rate_limit: cannot be done" },
		{ "- a\n", "keys and values are wanted" },
		{ "a: [\n", "no YAML: " },
		{ "a: b: c\n", "web.yml:1: no YAML: " },
		{ "{}\n---\n{}\n", "a second document" },
		{ "x: &a [*a]\n", "unknown key" },
		{ "\t\xff\xfe", "no YAML: " },
	};
	char error[WEB_FILE_MAX_TEXT];
	struct web_file f;

	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		assert_int_equal(parse(claims[i].text, &f, error), -EINVAL);
		if (strncmp(error, "web.yml:", 8) || strchr(error, '\n') || !strstr(error, claims[i].says))
			fail_msg("%s\nsays %s\nnot %s", claims[i].text, error, claims[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_all_suites_and_versions),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
