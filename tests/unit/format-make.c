/* SPDX-License-Identifier: Apache-2.0 */

/* format-make.c - writes the world of format_world.h in a format: FORMAT THREADS [loaded], the latter after it has been a
 * pprof in between. "pages" writes the two pages of html.h instead. */

#include <errno.h>
#include <stdlib.h>

#include "daemon/serve/encode.h"
#include "daemon/serve/format/load.h"
#include "daemon/serve/page/html.h"
#include "tests/unit/format_world.h"

static int pages(void)
{
	struct page_row rows[] = { { .pid = 1, .name = "<script>", .service = "a/<b>", .known = true, .n_threads = 2 },
				   { .pid = 2, .name = "\"'&\x1b\xff", .ended = true } };
	struct profile custom = profiles[0];
	struct page_target t = { .name = "<script>", .pid = 7, .cmdline = "</code><script>alert(1)</script> \"'", .root = "../../",
				 .several = rows, .n_several = 2, .n_all = 3, .profiles = &custom, .n_profiles = 1 };
	struct bytes b = BYTES_INIT;

	custom.name = "\"><script>/..?#%\\'";
	page_list(&b, rows, 2, PAGE_BY_NAME);
	bytes_puts(&b, "\n=====\n");
	page_target(&b, &t);
	fwrite(b.data, 1, b.n, stdout);
	bytes_deinit(&b);
	return 0;
}

int main(int argc, char **argv)
{
	struct bytes pprof = BYTES_INIT, out = BYTES_INIT;
	struct format_world w;
	enum format f;
	int r;

	if (argc == 2 && !strcmp(argv[1], "pages"))
		return pages();
	if (argc < 3)
		return 2;
	f = format_find(argv[1]);
	world_init(&w, "profile", (unsigned)atoi(argv[2]));
	r = encode_pprof(w.c, &w.n, &pprof);
	if (r == 0 && f != FORMAT_PPROF)
		r = argc > 3 ? load_and_write(&pprof, f, "<title> & \"more\"", &out) :
			       format_write(f, w.c, &w.n, "<title> & \"more\"", &out);
	if (r == 0)
		fwrite(f == FORMAT_PPROF ? pprof.data : out.data, 1, f == FORMAT_PPROF ? pprof.n : out.n, stdout);
	bytes_deinit(&pprof);
	bytes_deinit(&out);
	world_deinit(&w);
	return r < 0;
}
