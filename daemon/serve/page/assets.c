/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/page/assets.h"

#include <errno.h>
#include <string.h>

#include "daemon/serve/format/gunzip.h"
#include "daemon/serve/http.h"

const struct asset *asset_find(const char *name)
{
	for (size_t i = 0; i < n_assets; i++)
		if (!strcmp(assets[i].name, name))
			return &assets[i];
	return NULL;
}

void asset_address(struct bytes *to, const char *root, const char *name)
{
	bytes_printf(to, "%s%s%s/%s", root, &ASSET_TREE[1], asset_hash, name);
}

bool asset_answer(const struct http_request *q, const char *rest, struct http_response *ret)
{
	size_t n = strlen(asset_hash);
	const struct asset *a = NULL;
	int r = 0;

	if (!strncmp(rest, asset_hash, n) && rest[n] == '/')
		a = asset_find(rest + n + 1);
	if (!a)
		return false;
	ret->status = 200;
	ret->kind = HTTP_FILE;
	ret->type = a->type;
	ret->gzip = q->gzip;
	if (q->gzip)
		bytes_add(&ret->body, a->data, a->n_data);
	else
		r = gunzip(a->data, a->n_data, a->n, &ret->body);
	if (r < 0)
		http_error(ret, 500, "%s", strerror(-r));
	return true;
}
