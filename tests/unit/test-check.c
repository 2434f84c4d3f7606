/* SPDX-License-Identifier: Apache-2.0 */

/* What --check tells of, against what serve answers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/endpoints.h"
#include "daemon/serve/profile.h"

static void test_endpoints_are_the_table_of_profiles(void **state)
{
	(void)state;
	assert_int_equal(n_profiles, N_ENDPOINTS);
	for (size_t i = 0; i < n_profiles; i++)
		assert_string_equal(profiles[i].name, endpoint_names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoints_are_the_table_of_profiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
