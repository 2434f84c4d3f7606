/* SPDX-License-Identifier: Apache-2.0 */

/* test-metrics.c - what /metrics and /sd write: both text formats, JSON, and what strangers put into names. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/serve/http.h"
#include "daemon/serve/metrics/page.h"
#include "daemon/serve/sd.h"

static void test_a_counter_a_gauge_and_a_histogram(void **state)
{
	static const double bounds[] = { 0.5, 1 };
	static const uint64_t counts[] = { 1, 0, 2 };
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
	struct metrics_text t = { .to = &b };

	(void)state;
	metrics_family(&t, "a", METRICS_COUNTER, "Some.");
	metrics_count(&t, METRICS_NO_LABELS, UINT64_MAX);
	metrics_family(&t, "b", METRICS_GAUGE, "More.");
	metrics_sample(&t, METRICS_LABELS({ "x", "1" }, { "y", "2" }), 0.1);
	metrics_family(&t, "c", METRICS_HISTOGRAM, "Most.");
	metrics_histogram(&t, METRICS_LABELS({ "x", "1" }), bounds, counts, 2, 7.25);
	metrics_end(&t);
	assert_string_equal(bytes_text(&b), "# HELP a_total Some.\n# TYPE a_total counter\na_total 18446744073709551615\n"
					    "# HELP b More.\n# TYPE b gauge\nb{x=\"1\",y=\"2\"} 0.1\n"
					    "# HELP c Most.\n# TYPE c histogram\n"
					    "c_bucket{x=\"1\",le=\"0.5\"} 1\nc_bucket{x=\"1\",le=\"1.0\"} 1\n"
					    "c_bucket{x=\"1\",le=\"+Inf\"} 3\nc_sum{x=\"1\"} 7.25\nc_count{x=\"1\"} 3\n");
}

static void test_open_metrics_differs_in_the_family_and_the_end(void **state)
{
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
	struct metrics_text t = { .to = &b, .open = true };

	(void)state;
	metrics_family(&t, "a", METRICS_COUNTER, "Some.");
	metrics_count(&t, METRICS_NO_LABELS, 7);
	metrics_end(&t);
	assert_string_equal(bytes_text(&b), "# HELP a Some.\n# TYPE a counter\na_total 7\n# EOF\n");
}

static void test_numbers_are_exact(void **state)
{
	static const struct {
		double v;
		const char *text;
	} all[] = { { 0, "a 0\n" }, { -1.5, "a -1.5\n" }, { 1e300, "a 1e+300\n" }, { 1.0 / 3, "a 0.33333333333333331\n" },
		    { (double)INFINITY, "a +Inf\n" }, { -(double)INFINITY, "a -Inf\n" }, { (double)NAN, "a NaN\n" },
		    { 9007199254740993.0, "a 9007199254740992\n" } };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
		struct metrics_text t = { .to = &b, .name = "a", .type = METRICS_GAUGE };

		metrics_sample(&t, METRICS_NO_LABELS, all[i].v);
		assert_string_equal(bytes_text(&b), all[i].text);
	}
}

static void test_a_hostile_label_stays_in_its_quotes(void **state)
{
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
	struct metrics_text t = { .to = &b, .name = "a", .type = METRICS_GAUGE };
	char value[METRICS_MAX_VALUE * 2];

	(void)state;
	metrics_count(&t, METRICS_LABELS({ "comm", "x\"} 1\nevil 2\n\\\xff\x01" }), 3);
	assert_string_equal(bytes_text(&b), "a{comm=\"x\\\"} 1?evil 2?\\\\??\"} 3\n");
	bytes_clear(&b);
	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	metrics_count(&t, METRICS_LABELS({ "comm", value }), 3);
	assert_int_equal(b.n, strlen("a{comm=\"\"} 3\n") + METRICS_MAX_VALUE);
}

static void test_open_metrics_where_it_is_asked_for(void **state)
{
	static const char *const yes[] = {
		"application/openmetrics-text",
		"application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		"text/plain;q=0.5, Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8; q=0.7",
		"application/openmetrics-text;version=0.0.1;q=0.75,application/openmetrics-text;version=1.0.0",
	};
	static const char *const no[] = { NULL,	 "", "*/*", "text/plain", "application/openmetrics-text;q=0", ",,;;,",
					  "application/openmetrics-text;version=0.0.1", "application/openmetrics-texts" };

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(metrics_wants_open(yes[i]));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(metrics_wants_open(no[i]));
}

static void test_a_capture_is_counted_in_its_place(void **state)
{
	struct tallies t = { 0 };
	struct tally_captures c;

	(void)state;
	tally_begin(&t, 3);
	tally_begin(&t, 3);
	tally_end(&t, 3, 5000000); /* at the bound: in it */
	tally_read(&t, 3, &c);
	assert_int_equal(c.n_running, 1);
	assert_int_equal(c.n[0], 1);
	tally_end(&t, 3, INT64_MAX);
	tally_begin(&t, 100000);
	tally_end(&t, 100000, -5);
	tally_read(&t, 3, &c);
	assert_int_equal(c.n_running, 0);
	assert_int_equal(c.n[TALLY_N_BOUNDS], 1);
	tally_read(&t, TALLY_MAX_PROFILES - 1, &c);
	assert_int_equal(c.n[0], 1);
	assert_int_equal(c.sum_ns, 0);
	assert_true(n_profiles < TALLY_MAX_PROFILES - 1);
}

/* Every line is a comment or a sample of the family before it, and no family comes twice. */
static void check_page(const char *text, bool open)
{
	_cleanup_(freep) char *copy = strdup(text);
	char family[128] = "", seen[16384] = " ";
	char *rest = copy;

	for (char *line; (line = strsep(&rest, "\n"));) {
		char key[160];

		if (!*line || !strncmp(line, "# HELP ", 7))
			continue;
		if (!strncmp(line, "# TYPE ", 7)) {
			assert_int_equal(sscanf(line, "# TYPE %127s", family), 1);
			snprintf(key, sizeof(key), " %s ", family);
			assert_null(strstr(seen, key));
			assert_true(strlen(seen) + strlen(key) < sizeof(seen));
			strcat(seen, key);
			continue;
		}
		if (open && !strcmp(line, "# EOF"))
			continue;
		assert_int_equal(strncmp(line, family, strlen(family)), 0);
		assert_non_null(strrchr(line, ' '));
	}
}

static void test_the_page_of_hostile_targets(void **state)
{
	static struct http_tally http;
	struct facts_target targets[2] = { { .pid = "1", .comm = "\"}\n# EOF\n", .alive = true, .cpu_s = 2, .heap_s = 1 },
					   { .pid = "2", .comm = "\xc3" } };
	struct facts f = { .kernel = CORE_READY, .has_usage = true, .n_targets = 2, .targets = targets };
	static struct tallies tally;

	(void)state;
	f.n_ends[PP_CPU][PP_END_OUTERMOST] = 1;
	f.n_ends[PP_CPU][PP_END_ZERO] = 2;
	http.answers[404] = 3;
	for (int open = 0; open < 2; open++) {
		_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
		struct metrics_text t = { .to = &b, .open = open };

		metrics_page(&t, &f, &tally, &http);
		assert_non_null(bytes_text(&b));
		check_page(b.data, open);
		assert_non_null(strstr(b.data, "pprofd_samples_total{collector=\"cpu\",outcome=\"complete\"} 3\n"));
		assert_non_null(strstr(b.data, "pprofd_target_overhead_ratio{pid=\"1\",comm=\"\\\"}?# EOF?\"} 0.5\n"));
		assert_non_null(strstr(b.data, "pprofd_http_requests_total{code=\"404\"} 3\n"));
		assert_null(strstr(b.data, "pprofd_target_cpu_seconds_total{pid=\"2\""));
	}
}

static void test_no_loss_goes_without_a_name(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FACTS_N_LOST; i++) {
		assert_non_null(facts_lost[i].what);
		for (unsigned k = 0; k < i; k++)
			assert_true(strcmp(facts_lost[i].what, facts_lost[k].what) ||
				    strcmp(facts_lost[i].reason, facts_lost[k].reason));
	}
	for (unsigned i = 0; i < FACTS_N_TARGET_LOST; i++) {
		assert_non_null(facts_target_lost[i].what);
		for (unsigned k = 0; k < i; k++)
			assert_true(strcmp(facts_target_lost[i].what, facts_target_lost[k].what) ||
				    strcmp(facts_target_lost[i].reason, facts_target_lost[k].reason));
	}
	for (unsigned i = 0; i < FACTS_N_LEFT_OUT; i++)
		assert_non_null(facts_left_out[i]);
}

static void test_a_target_in_json(void **state)
{
	const struct sd_target t = { .pid = 7, .comm = "a\"b\\c\n\xff", .exe = "", .unit = "x.service" };
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;

	(void)state;
	sd_begin(&b);
	sd_add(&b, "h:1", NULL, &t, 0);
	sd_add(&b, "h:1", "https", &(struct sd_target){ .pid = 8 }, 1);
	sd_end(&b);
	assert_string_equal(bytes_text(&b),
			    "[\n{\"targets\":[\"h:1\"],\"labels\":{\"__profile_path_prefix__\":\"/pid/7\",\"__meta_pprofd_pid\":\"7\","
			    "\"service_name\":\"x\",\"instance\":\"h:1/pid/7\",\"__meta_pprofd_comm\":\"a\\\"b\\\\c??\","
			    "\"__meta_pprofd_unit\":\"x.service\"}},\n"
			    "{\"targets\":[\"h:1\"],\"labels\":{\"__profile_path_prefix__\":\"/pid/8\",\"__meta_pprofd_pid\":\"8\","
			    "\"__scheme__\":\"https\",\"service_name\":\"unknown\",\"instance\":\"h:1/pid/8\"}}]\n");
}

static void test_no_target_is_an_empty_list(void **state)
{
	_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;

	(void)state;
	sd_begin(&b);
	sd_end(&b);
	assert_string_equal(bytes_text(&b), "[]\n");
}

static void test_what_a_service_is_called(void **state)
{
	static const struct {
		struct sd_target t;
		const char *name;
	} all[] = {
		{ { .name = "shop", .unit = "x.service", .container = "c", .comm = "d" }, "\"shop\"" },
		{ { .name = "", .unit = "x.service", .container = "c", .comm = "d" }, "\"x\"" },
		{ { .unit = ".service", .comm = "d" }, "\".service\"" },
		{ { .unit = "x.scope", .comm = "d" }, "\"x.scope\"" },
		{ { .container = "0123456789abcdef0123", .comm = "d" }, "\"0123456789ab\"" },
		{ { .container = "", .comm = "d" }, "\"d\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		_cleanup_(bytes_deinit) struct bytes b = BYTES_INIT;
		char want[64];

		sd_add(&b, "h", NULL, &all[i].t, 0);
		snprintf(want, sizeof(want), "\"service_name\":%s,", all[i].name);
		assert_non_null(bytes_text(&b));
		assert_non_null(strstr(b.data, want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_counter_a_gauge_and_a_histogram),
		cmocka_unit_test(test_open_metrics_differs_in_the_family_and_the_end),
		cmocka_unit_test(test_numbers_are_exact),
		cmocka_unit_test(test_a_hostile_label_stays_in_its_quotes),
		cmocka_unit_test(test_open_metrics_where_it_is_asked_for),
		cmocka_unit_test(test_a_capture_is_counted_in_its_place),
		cmocka_unit_test(test_the_page_of_hostile_targets),
		cmocka_unit_test(test_no_loss_goes_without_a_name),
		cmocka_unit_test(test_a_target_in_json),
		cmocka_unit_test(test_no_target_is_an_empty_list),
		cmocka_unit_test(test_what_a_service_is_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
