/* SPDX-License-Identifier: Apache-2.0 */

/* plugin-host.c - a C program that loads plugin.cc:
 *
 *   plugin-host PLUGIN         and lets it work
 *   plugin-host PLUGIN deep    with RTLD_DEEPBIND: it frees our objects past the preloaded free */

#include "tests/preload/shim.h"

#define OBJECTS 2000

int main(int argc, char **argv)
{
	int deep = argc > 2 ? RTLD_DEEPBIND : 0;
	void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | deep), *p[OBJECTS];
	int (*work)(void);
	void (*foreign_free)(void *p);

	if (!plugin)
		fprintf(stderr, "%s\n", dlerror());
	CHECK(plugin);
	*(void **)&work = dlsym(plugin, "plugin_work");
	*(void **)&foreign_free = dlsym(plugin, "plugin_free");
	shim_start();
	CHECK(work() == 1);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < OBJECTS; i++)
			CHECK((p[i] = malloc((size_t)(1 + i % 500))));
		for (int i = 0; i < OBJECTS; i++)
			foreign_free(p[i]);
	}
	CHECK(dlclose(plugin) == 0);
	plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | deep);
	*(void **)&work = dlsym(plugin, "plugin_work");
	CHECK(work() == 1);
	shim_print();
	return 0;
}
