/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/door/audit.h"

#include <pthread.h>
#include <stdbool.h>

#include "daemon/serve/clock.h"
#include "daemon/serve/log.h"

#define EACH_NS (NS_PER_S / 20)
#define AHEAD_NS (100 * EACH_NS)
#define MAX_TARGET 300 /* bytes */
#define MAX_NAME 100

static struct kind {
	int64_t paid_ns;
	unsigned long left_out;
} kinds[2]; /* captures, refusals */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards kinds */

static void add_quoted(struct bytes *to, const char *key, const char *text, size_t max)
{
	size_t i;

	bytes_printf(to, " %s=\"", key);
	for (i = 0; text[i] && i < max; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			bytes_printf(to, "\\%c", c);
		else if (c < ' ' || c > '~')
			bytes_printf(to, "\\x%02x", c);
		else
			bytes_add(to, &text[i], 1);
	}
	bytes_puts(to, text[i] ? "...\"" : "\"");
}

void audit_line(struct bytes *to, const struct audit_entry *e)
{
	bytes_puts(to, "audit:");
	add_quoted(to, "client", e->client, MAX_NAME);
	if (*e->user)
		add_quoted(to, "user", e->user, MAX_NAME);
	if (e->pid)
		bytes_printf(to, " pid=%d", (int)e->pid);
	add_quoted(to, "path", e->target, MAX_TARGET);
	if (e->status)
		bytes_printf(to, " status=%u", e->status);
	else
		bytes_puts(to, " status=gone");
	bytes_printf(to, " ms=%lld bytes=%llu", (long long)(e->took_ns / NS_PER_MS),
		     (unsigned long long)e->n_bytes);
}

static bool may_tell(struct kind *k, unsigned long *ret_left_out)
{
	int64_t now_ns = monotonic_ns(), paid_ns;
	bool may;

	pthread_mutex_lock(&lock);
	paid_ns = (k->paid_ns > now_ns ? k->paid_ns : now_ns) + EACH_NS;
	may = paid_ns - now_ns <= AHEAD_NS;
	*ret_left_out = k->left_out;
	k->left_out = may ? 0 : k->left_out + 1;
	if (may)
		k->paid_ns = paid_ns;
	pthread_mutex_unlock(&lock);
	return may;
}

void audit_tell(const struct audit_entry *e)
{
	bool refusal = e->status == 401 || e->status == 403 || e->status == 429;
	struct bytes b = BYTES_INIT;
	unsigned long left_out;

	if (!may_tell(&kinds[refusal], &left_out))
		return;
	audit_line(&b, e);
	if (left_out)
		bytes_printf(&b, " left_out=%lu", left_out);
	if (bytes_text(&b))
		log_line("%s", b.data);
	bytes_deinit(&b);
}
