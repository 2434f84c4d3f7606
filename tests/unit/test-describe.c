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

#define OUTER "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char cgroups[] = "5:memory:/elsewhere\n1:name=systemd:/system.slice/web.service/docker/" OUTER "/docker/" ID "\n"
			      "0::/system.slice/web.service/part\n";

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
	return describe_matches(&d, &server, cgroups) == 1;
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
	assert_true(holds(BROKER_BY_CGROUP, "/elsewhere")); /* of any hierarchy */
	assert_false(holds(BROKER_BY_CGROUP, "/system.sl"));
	assert_true(holds(BROKER_BY_UNIT, "web.service"));
	assert_true(holds(BROKER_BY_UNIT, "web"));
	assert_false(holds(BROKER_BY_UNIT, "we"));
	assert_false(holds(BROKER_BY_UNIT, "web.serv"));
	assert_false(holds(BROKER_BY_UNIT, "web.socket"));
	assert_true(holds(BROKER_BY_CONTAINER, "01234567"));
	assert_true(holds(BROKER_BY_CONTAINER, ID));
	assert_true(holds(BROKER_BY_CONTAINER, "fedcba98")); /* the one around it */
	assert_true(holds(BROKER_BY_CONTAINER, "containerd://" ID));
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
	refused(BROKER_BY_CONTAINER, "docker://");
	refused(BROKER_BY_CONTAINER, ID "0");
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
		{ BROKER_BY_CONTAINER, "0123abcd", "0123abcd" }, { BROKER_BY_CONTAINER, "docker://" ID, "0123456789ab" },
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
	assert_true(describe_matches(&d, &server, cgroups) >> 63);
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
		{ "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.editor@abc.scope", "user@1000.service", "", "" },
		{ "/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service", "", "" },
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
		/* docker with its systemd driver, and what systemd in a container makes there */
		{ "/system.slice/docker-" ID ".scope/init.scope", "", ID, "" },
		{ "/machine.slice/libpod-" ID ".scope/container/system.slice/web.service", "web.service", ID, "" },
		/* in one another: the inner one */
		{ "/docker/" OUTER "/docker/" ID, "", ID, "" },
		{ "/system.slice/docker-" OUTER ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
		  "kubelet-kubepods-besteffort-pod01234567_89ab_cdef_0123_456789abcdef.slice/cri-containerd-" ID ".scope", "", ID,
		  "01234567-89ab-cdef-0123-456789abcdef" },
		/* an engine's own service is not what the container is */
		{ "/system.slice/docker.service/docker/" ID, "", ID, "" },
		{ "/system.slice/containerd.service/kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice:cri-containerd:" ID,
		  "", ID, "01234567-89ab-cdef-0123-456789abcdef" },
		{ "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container", "", ID, "" },
		{ "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_" OUTER ".slice/libpod-" ID ".scope", "", ID,
		  "" },
		{ "/system.slice/containerd.service", "containerd.service", "", "" },
		/* a service that is one (podman's quadlets) */
		{ "/system.slice/web.service/libpod-payload-" ID, "web.service", ID, "" },
		{ "/system.slice/web.service/runtime", "web.service", "", "" },
		/* static pods; cri-o; podman kube play; containerd's own names, which are none of ours to know */
		{ "/kubepods/burstable/pod0123456789abcdef0123456789abcdef/" ID, "", ID, "0123456789abcdef0123456789abcdef" },
		{ "/kubepods.slice/kubepods-pod01234567_89ab_cdef_0123_456789abcdef.slice/crio-" ID ".scope/container", "", ID,
		  "01234567-89ab-cdef-0123-456789abcdef" },
		{ "/kubepods.slice/kubepods-pod01234567_89ab_cdef_0123_456789abcdef.slice/crio-conmon-" ID ".scope", "", "",
		  "01234567-89ab-cdef-0123-456789abcdef" },
		{ "/libpod_parent/libpod-" ID, "", ID, "" },
		{ "/libpod_parent/conmon", "", "", "" },
		{ "/machine.slice/machine-libpod_pod_" OUTER ".slice/libpod-" ID ".scope", "", ID, "" },
		{ "/default/web", "", "", "" },
		{ "/system.slice/nerdctl-" ID ".scope", "", ID, "" },
		{ "/ecs/0123456789abcdef0123456789abcdef/" ID, "", ID, "" },
		/* machines without ids */
		{ "/lxc.payload.web/system.slice/cron.service", "cron.service", "", "" },
		{ "/lxc/web", "", "", "" },
		{ "/machine.slice/machine-web.scope/payload/system.slice/cron.service", "cron.service", "", "" },
		{ "/system.slice/systemd-nspawn@web.service/payload/init.scope", "systemd-nspawn@web.service", "", "" },
		/* seen from a cgroup namespace whose root is elsewhere */
		{ "/../../system.slice/web.service", "web.service", "", "" },
		{ "/../cri-containerd-" ID ".scope", "", ID, "" },
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
		{ "12:cpu:/x\n1:name=systemd:/\n0::/\n", "/x" }, /* no systemd, a hierarchy for it all the same */
		{ "1:name=systemd:/\n0::/\n", "/" },
		{ "3:a:b:/x\n", "b:/x" },
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

static void test_which_of_several(void **state)
{
	/* docker of 2020 on a mixed machine: its processes stay where their engine is in the one hierarchy */
	static const char mixed[] = "11:pids:/docker/" ID "\n2:cpu,cpuacct:/docker/" ID "\n1:name=systemd:/docker/" ID "\n"
				    "0::/system.slice/containerd.service\n";
	struct broker_known k = { 0 };

	procfs_choose_cgroup(mixed, k.cgroup, sizeof(k.cgroup));
	assert_string_equal(k.cgroup, "/docker/" ID);
	procfs_cgroup(k.cgroup, &k);
	assert_string_equal(k.container, ID);
	assert_string_equal(k.unit, "");
	assert_true(procfs_in_cgroup(mixed, "/docker", 7));
	assert_true(procfs_in_cgroup(mixed, "/system.slice", 13));
	assert_true(procfs_in_cgroup(mixed, "/", 1));
	assert_false(procfs_in_cgroup(mixed, "/dock", 5));
	assert_false(procfs_in_cgroup("", "/", 1));
	assert_true(procfs_in_container(mixed, "0123"));
	assert_false(procfs_in_container(mixed, "123"));
	assert_false(procfs_in_container("0::/machine.slice/libpod-conmon-" ID ".scope\n", "0123"));
}

static void from_root(const char *text, const char *root, const char *expected)
{
	char copy[256];

	snprintf(copy, sizeof(copy), "%s", text);
	procfs_from_root(copy, root);
	assert_string_equal(copy, expected);
}

static void test_from_the_root(void **state)
{
	from_root("0::/a/b\n", "0::/\n", "0::/a/b\n");
	from_root("0::/a/b\n", "", "0::/a/b\n");
	from_root("0::/../../a.slice/b\n", "0::/../..\n", "0::/a.slice/b\n");
	from_root("0::/../..\n", "0::/../..\n", "0::/\n");
	from_root("0::/../sibling\n", "0::/../..\n", "0::/../sibling\n"); /* who knows what ours is called */
	from_root("0::/\n", "0::/../..\n", "0::/\n");
	from_root("0::/../..x\n", "0::/..\n", "0::/..x\n");
	from_root("0::/..x\n", "0::/..\n", "0::/..x\n");
	/* each hierarchy has its own */
	from_root("4:memory:/../../x\n1:cpu:/x\n0::/../y", "4:memory:/../..\n1:cpu:/\n0::/..\n", "4:memory:/x\n1:cpu:/x\n0::/y");
	from_root("nonsense\n::\n:\n0::/../a\n", "nonsense\n0::/..\n", "::\n0::/a\n");
}

static void key(const char *what, bool several, const char *expected)
{
	struct description d = { .kind = BROKER_BY_CGROUP, .what = what };

	describe_cgroup(&d, several);
	assert_int_equal(d.n_key, strlen(expected));
	assert_memory_equal(d.key, expected, d.n_key);
}

static void test_paths_of_cgroups(void **state)
{
	key("/a/b/", false, "/a/b");
	key("/", false, "/");
	key("///", false, "/");
	key("/sys/fs/cgroup/a", false, "/a");
	key("/sys/fs/cgroup/", false, "/");
	key("/sys/fs/cgroup/memory/a", false, "/memory/a");
	key("/sys/fs/cgroup/memory/a", true, "/a");
	key("/sys/fs/cgroup/memory", true, "/");
	key("/sys/fs/cgroup/memory/", true, "/");
	key("/sys/fs/cgroup/unified/a/", true, "/a");
	key("/sys/fs/cgroup/cpu,cpuacct/docker/1", true, "/docker/1");
	key("/sys/fs/cgroup/system.slice/a", true, "/system.slice/a");
	key("/sys/fs/cgroup/cpu,,x/a", true, "/cpu,,x/a");
	key("/memory/a", true, "/memory/a");
}

static void test_a_process_of_ours(void **state)
{
	static char text[PROCFS_MAX_CGROUPS];
	struct broker_known k;

	assert_int_equal(procfs_read(getpid(), &k, text), PROCFS_OK);
	assert_true(!*text || procfs_in_cgroup(text, k.cgroup, strlen(k.cgroup)));
	assert_int_equal(k.pid, getpid());
	assert_int_equal(k.parent, getppid());
	assert_int_equal(k.uid, getuid());
	assert_true(!strncmp(k.comm, "test-describe", 15) && strstr(k.exe, "/test-describe") && k.start);
	assert_int_equal(procfs_read(-1, &k, NULL), PROCFS_NONE);
	assert_int_equal(procfs_read(2, &k, text), PROCFS_NONE); /* the kernel's, or nobody */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_holds),
		cmocka_unit_test(test_what_is_no_description),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_units_and_containers),
		cmocka_unit_test(test_which_cgroup),
		cmocka_unit_test(test_which_of_several),
		cmocka_unit_test(test_from_the_root),
		cmocka_unit_test(test_paths_of_cgroups),
		cmocka_unit_test(test_a_process_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
