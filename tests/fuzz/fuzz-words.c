/* SPDX-License-Identifier: Apache-2.0 */

/* Short words of strangers, each read by a few lines of ours: heads of requests, numbers of symbol, cgroups, addresses of
 * servers, paths that are redacted. The first byte says by which. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/broker/procfs.h"
#include "daemon/broker/remote.h"
#include "daemon/serve/answer_target.h"
#include "daemon/serve/door/redact.h"
#include "daemon/serve/http_peer.h"
#include "daemon/serve/symbol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* "name: value" */
static void read_head(char *text)
{
	static const struct http_peer_names own = { "host", "host.example.org" };
	static const char *const hosts[] = { "profiles.example.org" };
	static const struct http_peers peers = { .hosts = hosts, .n_hosts = 1 };
	struct http_peer_head head = { 0 };
	char *colon = strchr(text, ':');

	if (http_peer_host(&own, &peers, text) == HTTP_PEER_OK)
		assert(!strpbrk(text, "/ \t\"<>"));
	if (http_peer_origin(text, "localhost:6060"))
		assert(strcasestr(text, "://localhost:6060"));
	if (!colon)
		return;
	*colon = '\0';
	http_peer_header(&head, text, colon + 1);
	assert(head.n_host <= 1 && (!head.host || head.host == colon + 1));
}

static void read_place(char *text)
{
	struct place p;

	place_parse(text, &p);
	assert(p.rest >= text && p.rest <= text + strlen(text) && p.pid >= 0);
	assert(strnlen(p.name, sizeof(p.name)) < sizeof(p.name));
	if (http_peer_page(text)) /* nothing that starts anything */
		assert(!strchr(p.rest + (*p.rest == '/'), '/') || p.kind == PLACE_PID);
}

static void read_number(char *text)
{
	uint64_t v = 0;

	if (symbol_number(text, strlen(text), &v))
		assert(text[strspn(text, "0123456789abcdefABCDEFxXoO_")] == '\0');
}

static void read_cgroup(char *text)
{
	struct broker_known k = { 0 };

	procfs_choose_cgroup(text, k.cgroup, sizeof(k.cgroup));
	assert(strnlen(k.cgroup, sizeof(k.cgroup)) < sizeof(k.cgroup) && !strchr(k.cgroup, '\n'));
	procfs_cgroup(k.cgroup, &k);
	assert(strnlen(k.unit, sizeof(k.unit)) < sizeof(k.unit));
	assert(strspn(k.container, "0123456789abcdef") == strlen(k.container));
	assert(strspn(k.pod, "0123456789abcdef-") == strlen(k.pod));
}

static void read_address(char *text)
{
	static const struct options o = { .profile = "heap" };
	struct remote_place p;
	char target[1024];

	if (remote_parse(text, &p) < 0)
		return;
	remote_target(&o, p.base, false, target, sizeof(target));
	assert(!strpbrk(target, " \r\n") && !strpbrk(p.host, " \r\n"));
}

static void redact(char *text)
{
	size_t n = strlen(text);

	assert(strlen(redact_words(text)) <= n);
	n = strlen(text);
	assert(strlen(redact_path(text)) <= n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static void (*const readers[])(char *text) = { read_head,   read_place,	  read_number,
						       read_cgroup, read_address, redact };
	_cleanup_(freep) char *text = n ? strndup((const char *)data + 1, n - 1) : NULL;

	if (text)
		readers[data[0] % (sizeof(readers) / sizeof(readers[0]))](text);
	return 0;
}
