/* SPDX-License-Identifier: Apache-2.0 */

/* What the command line says of processes, and what /proc/PID/cgroup tells of one. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/broker/describe.h"
#include "daemon/broker/procfs.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct broker_known server = {
	.pid = 7, .uid = 1000, .comm = "a-long-program-", .exe = "/usr/sbin/a-long-program-name",
	.cgroup = "/system.slice/web.service/part", .unit = "web.service", .container = ID,
};

static bool holds(enum broker_described kind, const char *what)
{
	struct descriptions d = { 0 };
	char error[DESCRIBE_MAX_TEXT];

	if (describe_add(&d, kind, what, error) < 0)
		fail_msg("%s", error);
	return describe_matches(&d, &server) == 1;
}

static void test_what_holds(void **state)
{
	assert_true(holds(BROKER_BY_COMM, "a-long-program-"));
	assert_true(holds(BROKER_BY_COMM, "a-long-program-name")); /* the kernel cuts it off, too */
	assert_false(holds(BROKER_BY_COMM, "a-long-program"));
	assert_true(holds(BROKER_BY_EXE, "a-long-*"));
	assert_true(holds(BROKER_BY_EXE, "/usr/*/a-long-program-name"));
	assert_false(holds(BROKER_BY_EXE, "/bin/*"));
	assert_false(holds(BROKER_BY_EXE, "sbin"));
	assert_true(holds(BROKER_BY_CGROUP, "/system.slice"));
	assert_true(holds(BROKER_BY_CGROUP, "/sys/fs/cgroup/system.slice/web.service/"));
	assert_true(holds(BROKER_BY_CGROUP, "/"));
	assert_false(holds(BROKER_BY_CGROUP, "/system.sl"));
	assert_true(holds(BROKER_BY_UNIT, "web.service"));
	assert_true(holds(BROKER_BY_UNIT, "web"));
	assert_false(holds(BROKER_BY_UNIT, "we"));
	assert_false(holds(BROKER_BY_UNIT, "web.socket"));
	assert_true(holds(BROKER_BY_CONTAINER, "01234567"));
	assert_false(holds(BROKER_BY_CONTAINER, "12345678"));
	assert_true(holds(BROKER_BY_USER, "1000"));
	assert_false(holds(BROKER_BY_USER, "root"));
	assert_true(holds(BROKER_BY_ALL, ""));
	assert_true(holds(BROKER_BY_PID, "7"));
}

static void refused(enum broker_described kind, const char *what)
{
	struct descriptions d = { 0 };
	char error[DESCRIBE_MAX_TEXT] = "";

	assert_int_equal(describe_add(&d, kind, what, error), -EINVAL);
	assert_true(*error && !strchr(error, '\n'));
	assert_int_equal(d.n, 0);
}

static void test_what_is_no_description(void **state)
{
	refused(BROKER_BY_COMM, "");
	refused(BROKER_BY_CGROUP, "system.slice");
	refused(BROKER_BY_CONTAINER, "abc");
	refused(BROKER_BY_CONTAINER, "my-container");
	refused(BROKER_BY_USER, "nobody-of-this-name");
	refused(BROKER_BY_USER, "99999999999");
}

static void test_names(void **state)
{
	static const struct {
		enum broker_described kind;
		const char *what, *name;
	} claims[] = {
		{ BROKER_BY_COMM, "redis", "redis" },	       { BROKER_BY_COMM, "a/b\n", "a_b_" },
		{ BROKER_BY_EXE, "/usr/bin/redis", "redis" },  { BROKER_BY_EXE, "/usr/bin/*", "" },
		{ BROKER_BY_UNIT, "web.service", "web" },      { BROKER_BY_UNIT, "web", "web" },
		{ BROKER_BY_CGROUP, "/a/b.slice/", "b.slice" }, { BROKER_BY_USER, "root", "root" },
		{ BROKER_BY_ALL, "", "" },
	};
	struct descriptions d = { 0 };
	struct broker_description told[BROKER_MAX_DESCRIPTIONS];
	char error[DESCRIBE_MAX_TEXT], longest[65];

	assert_int_equal(describe_name(&d, "x", error), -EINVAL); /* of nothing */
	for (unsigned i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
		assert_int_equal(describe_add(&d, claims[i].kind, claims[i].what, error), 0);
		assert_string_equal(d.all[i].name, claims[i].name);
	}
	assert_int_equal(describe_name(&d, "cache", error), 0);
	assert_int_equal(describe_name(&d, "a/b", error), -EINVAL);
	assert_int_equal(describe_name(&d, "", error), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[64] = '\0';
	assert_int_equal(describe_name(&d, longest, error), -EINVAL);
	longest[63] = '\0';
	assert_int_equal(describe_name(&d, longest, error), 0);
	assert_int_equal(describe_tell(&d, told), d.n);
	assert_string_equal(told[d.n - 1].name, longest);
	while (d.n < BROKER_MAX_DESCRIPTIONS)
		assert_int_equal(describe_add(&d, BROKER_BY_ALL, "", error), 0);
	assert_int_equal(describe_add(&d, BROKER_BY_ALL, "", error), -EINVAL);
	assert_true(describe_matches(&d, &server) >> 63);
}

static void test_units_and_containers(void **state)
{
	static const struct {
		const char *path, *unit, *container, *pod;
	} claims[] = {
		{ "/", "", "", "" },
		{ "/system.slice/web.service", "web.service", "", "" },
		{ "/system.slice/web.service/sub/group", "web.service", "", "" },
		{ "/user.slice/user-1000.slice/user@1000.service/app.slice/mine.service", "mine.service", "", "" },
		{ "/user.slice/user-1000.slice/session-2.scope", "", "", "" },
		{ "/system.slice/.service", "", "", "" },
		{ "/system.slice/we<b>.service", "", "", "" },
		{ "/system.slice/docker-" ID ".scope", "", ID, "" },
		{ "/docker/" ID, "", ID, "" },
		{ "/docker/" ID "0", "", "", "" },
		{ "/machine.slice/libpod-" ID ".scope/container", "", ID, "" },
		{ "/machine.slice/libpod-conmon-" ID ".scope", "", "", "" },
		{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice/"
		  "cri-containerd-" ID ".scope", "", ID, "01234567-89ab-cdef-0123-456789abcdef" },
		{ "/kubepods/besteffort/pod01234567-89ab-cdef-0123-456789abcdef/" ID, "", ID,
		  "01234567-89ab-cdef-0123-456789abcdef" },
		{ "/kubepods/pod0123456789abcdef0123456789abcdef/crio-" ID, "", ID, "0123456789abcdef0123456789abcdef" },
		{ "/podman/pods/pod/kubepods", "", "", "" },
	};

	for (unsigned i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
		struct broker_known k = { 0 };

		procfs_cgroup(claims[i].path, &k);
		assert_string_equal(k.unit, claims[i].unit);
		assert_string_equal(k.container, claims[i].container);
		assert_string_equal(k.pod, claims[i].pod);
	}
}

static void test_which_cgroup(void **state)
{
	static const struct {
		const char *text, *path;
	} claims[] = {
		{ "", "" },
		{ "0::/a/b\n", "/a/b" },
		{ "12:cpu:/x\n1:name=systemd:/s\n0::/\n", "/s" },
		{ "12:cpu:/x\n1:name=systemd:/s\n0::/u\n", "/u" },
		{ "12:cpu:/x\n", "/x" },
		{ "nonsense\n::\n:\n", "" },
		{ "0::/no end", "/no end" },
	};
	char path[16];

	for (unsigned i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
		procfs_choose_cgroup(claims[i].text, path, sizeof(path));
		assert_string_equal(path, claims[i].path);
	}
	procfs_choose_cgroup("0::/0123456789abcdefghij\n", path, sizeof(path));
	assert_string_equal(path, "/0123456789abcd");
}

static void test_a_process_of_ours(void **state)
{
	struct broker_known k;

	assert_int_equal(procfs_read(getpid(), &k), PROCFS_OK);
	assert_int_equal(k.pid, getpid());
	assert_int_equal(k.parent, getppid());
	assert_int_equal(k.uid, getuid());
	assert_true(!strncmp(k.comm, "test-describe", 15) && strstr(k.exe, "/test-describe") && k.start);
	assert_int_equal(procfs_read(-1, &k), PROCFS_NONE);
	assert_int_equal(procfs_read(2, &k), PROCFS_NONE); /* the kernel's, or nobody */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_holds),
		cmocka_unit_test(test_what_is_no_description),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_units_and_containers),
		cmocka_unit_test(test_which_cgroup),
		cmocka_unit_test(test_a_process_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
