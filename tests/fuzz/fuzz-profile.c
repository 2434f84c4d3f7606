/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a profile that was kept, unpacked: it is refused, or can be had in every format. */

#include <assert.h>
#include <stdint.h>

#include "daemon/serve/format/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const enum format all[] = { FORMAT_TOP, FORMAT_FOLDED, FORMAT_SPEEDSCOPE, FORMAT_SVG, FORMAT_FIREFOX };
	struct loaded l;

	if (load_plain(data, n, &l) == 0)
		for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
			_cleanup_(bytes_deinit) struct bytes out = BYTES_INIT;

			format_write(all[i], l.capture, &l.naming, "x", &out);
		}
	loaded_deinit(&l);
	return 0;
}
