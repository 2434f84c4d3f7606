/* SPDX-License-Identifier: Apache-2.0 */

/* What a program's own profiles cannot be seen for now is tried again. There is no broker: who asks it fails. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/serve/custom/custom.h"
#include "tests/unit/heap_world.h"

static int setup(void **state)
{
	struct custom *x;
	struct world *w;

	if (world_setup(state) < 0)
		return -1;
	w = *state;
	x = &w->c.custom;
	x->states = calloc(PP_MAX_PROCESSES, sizeof(*x->states));
	x->profiles = calloc((size_t)PP_MAX_PROCESSES * PP_MAX_CUSTOM, sizeof(*x->profiles));
	x->state = CUSTOM_READY;
	w->t->published = true;
	return x->states && x->profiles ? 0 : -1;
}

static int teardown(void **state)
{
	struct world *w = *state;

	free(w->c.custom.states);
	free(w->c.custom.profiles);
	vec_deinit(&w->t->custom.files);
	return world_teardown(state);
}

static struct object *map_file(struct world *w, const char *name)
{
	const struct broker_file file = { .ino = 5 };
	struct symbolizer_custom site = { .kind = CUSTOM_ADD, .status = PROBE_FINE };
	struct target_mapping m = { .start = 0x1000, .end = 0x2000, .name = strdup("/lib.so") };
	struct object *x = objects_get(&w->c.objects, SYMBOLIZER_FILE, &file, -1, "/lib.so");

	assert_non_null(x);
	m.object = x->id;
	x->custom_asked = true;
	if (name) {
		site.n_name = (uint32_t)strlen(name);
		memcpy(site.name, name, site.n_name);
		assert_int_equal(vec_push(&x->custom.all, site), 0);
	}
	assert_int_equal(vec_push(&w->t->mappings, m), 0);
	return x;
}

static void test_what_cannot_be_probed_is_tried_again(void **state)
{
	struct world *w = *state;
	struct target_custom *t = &w->t->custom;
	struct object *x = map_file(w, "things");
	int64_t last = 0;

	custom_follow(&w->c, w->t, false);
	for (int i = 0; i < 10; i++) { /* later and later, never in the past */
		assert_int_equal(t->files.n, 1);
		assert_false(t->files.data[0].attached);
		assert_true(strstr(t->why, "cannot be probed"));
		assert_true(t->again_ns > monotonic_ns() && t->again_ns < monotonic_ns() + 61 * NS_PER_S);
		assert_true(t->pause_ns >= last);
		last = t->pause_ns;
		custom_again(&w->c, w->t);
	}
	x->custom.all.n = 0; /* nothing of it can fail */
	custom_again(&w->c, w->t);
	assert_true(t->files.data[0].attached);
	assert_string_equal(t->why, "");
	assert_int_equal(t->again_ns, 0);
	free(w->t->mappings.data[0].name);
}

/* Children that are rid of the probes, pauses: each time all sites are gone through. */
static void test_what_is_refused_is_counted_once(void **state)
{
	struct world *w = *state;

	map_file(w, "heap");
	for (int i = 0; i < 3; i++) {
		custom_follow(&w->c, w->t, false);
		custom_clean(&w->c, w->t);
		assert_int_equal(w->t->custom.files.n, 1);
		assert_int_equal(w->t->custom.files.data[0].n_reserved, 1);
	}
	free(w->t->mappings.data[0].name);
}

/* The slot is nobody's, or the programs are not there: nothing that stays due. */
static void test_nothing_stays_due(void **state)
{
	struct world *w = *state;

	map_file(w, NULL);
	w->t->custom.again_ns = 1;
	custom_again(&w->c, w->t);
	assert_int_equal(w->t->custom.again_ns, 0);
	w->t->published = false;
	w->t->custom.again_ns = 1;
	custom_again(&w->c, w->t);
	assert_int_equal(w->t->custom.again_ns, 0);
	w->t->published = true;
	w->c.custom.state = CUSTOM_FAILED;
	w->t->custom.again_ns = 1;
	custom_again(&w->c, w->t);
	assert_int_equal(w->t->custom.again_ns, 0);
	free(w->t->mappings.data[0].name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_cannot_be_probed_is_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_refused_is_counted_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_stays_due, setup, teardown),
	};

	return cmocka_run_group_tests_name("custom-attach", tests, NULL, NULL);
}
