/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/format/gunzip.h"

#include <errno.h>
#include <zlib.h>

static int inflate_all(z_stream *z, size_t max, struct bytes *to)
{
	unsigned char block[16 << 10];
	size_t n = 0;
	int r;

	do {
		z->next_out = block;
		z->avail_out = sizeof(block);
		r = inflate(z, Z_NO_FLUSH);
		if (r != Z_OK && r != Z_STREAM_END)
			return r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
		n += sizeof(block) - z->avail_out;
		if (n > max)
			return -E2BIG;
		bytes_add(to, block, sizeof(block) - z->avail_out);
		if (r == Z_OK && z->avail_out && !z->avail_in)
			return -EBADMSG;
	} while (r != Z_STREAM_END && !to->bad);
	return to->bad ? -ENOMEM : 0;
}

int gunzip(const void *data, size_t n, size_t max, struct bytes *to)
{
	z_stream z = { .next_in = (unsigned char *)data, .avail_in = (uInt)n };
	int r;

	if (n > UINT32_MAX)
		return -E2BIG;
	if (inflateInit2(&z, MAX_WBITS + 16) != Z_OK)
		return -ENOMEM;
	r = inflate_all(&z, max, to);
	inflateEnd(&z);
	return r;
}
