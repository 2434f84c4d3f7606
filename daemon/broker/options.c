/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/options.h"

#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker/settings.h"
#include "daemon/broker/track.h"
#include "version.h"

enum { KEY_HZ = 0x100, KEY_INSECURE, KEY_BTF, KEY_ALLOW_HOST, KEY_FORMAT,
       KEY_HEAP, KEY_MAX_OVERHEAD, KEY_KEEP, KEY_WAIT, KEY_DEBUGINFOD, KEY_DEBUGINFOD_CACHE, KEY_DEBUG,
       KEY_TRACK, KEY_REMOTE, KEY_CONFIG, KEY_CHECK, KEY_CHECK_CONFIG, KEY_STATE, KEY_CLEANUP, KEY_WEB_CONFIG, KEY_MAX_RATE,
       KEY_REDACT, KEY_AUDIT, KEY_NAME, KEY_FOLLOW, KEY_LEASE, KEY_DESCRIBED };

const char *argp_program_version = "pprofd " PPROFD_VERSION;

static const struct argp_option common[] = {
	{ "hz", KEY_HZ, "N", 0, "CPU samples a second and CPU, 1 to 1000 (default 100)", 0 },
	{ "heap", KEY_HEAP, "WHAT", 0,
	  "what to see of the heap: inuse (default), allocs (what is allocated, not what is freed: half "
	  "the cost), off",
	  0 },
	{ "max-overhead", KEY_MAX_OVERHEAD, "PERCENT", 0,
	  "how much of its CPU time probes may cost the process (default 2; 0: no probes; none: no limit)",
	  0 },
	{ "wait", KEY_WAIT, "HOW", 0,
	  "how to see threads wait: on (default: scheduler events), strict (events of the process's own "
	  "threads: nothing for other processes, and no mutex profile), off",
	  0 },
	{ "track", KEY_TRACK, "NAME=ADD,REMOVE", 0,
	  "a profile of what the function ADD gives back and REMOVE is given first; ADD:arg N, REMOVE:arg N: what it is "
	  "given as its Nth argument (1 to 3); ADD:fd: an int that is not negative. fd, mmap and thread are ready-made. "
	  "May be given several times",
	  0 },
	{ "debuginfod", KEY_DEBUGINFOD, "URL", 0,
	  "a server to fetch debug files from that are not here, by their build-ids (http or https); may be given "
	  "several times (default: none is asked)",
	  0 },
	{ "debuginfod-cache", KEY_DEBUGINFOD_CACHE, "DIR", 0,
	  "where to keep them (default, for root: /var/cache/pprofd/debuginfod)", 0 },
	{ "btf", KEY_BTF, "FILE", 0, "kernel type information, where /sys/kernel/btf/vmlinux is absent",
	  0 },
	{ 0 },
};

static const struct argp_option serving[] = {
	{ "pid", 'p', "PID", 0, "the process to profile; may be given several times", 0 },
	{ "listen", 'l', "ADDR", 0,
	  "where to serve HTTP: :6060 (loopback), HOST:PORT, [::1]:0, unix:/PATH; may be given "
	  "several times (default localhost:6060)",
	  0 },
	{ "web.config.file", KEY_WEB_CONFIG, "FILE", 0,
	  "TLS, client certificates, users and headers, as Prometheus' exporter-toolkit has them (YAML); read again "
	  "when it changes", 0 },
	{ "max-rate", KEY_MAX_RATE, "N", 0,
	  "requests a second of one address (IPv6: /64) or user of a Unix socket (default 1000; 0: any number)", 0 },
	{ "redact", KEY_REDACT, "WHAT", 0,
	  "what to keep back: cmdline (arguments), paths (directories), or both with a comma", 0 },
	{ "audit", KEY_AUDIT, "WHETHER", 0, "a line on standard error for each capture: on (default), off", 0 },
	{ "insecure", KEY_INSECURE, NULL, 0,
	  "serve addresses other than loopback although there is no authentication", 0 },
	{ "comm", KEY_DESCRIBED + BROKER_BY_COMM, "NAME", 0,
	  "processes that are called so. Each of these may be given several times; what they describe is found at "
	  "/pid/PID/debug/pprof/ and under its name at /t/NAME/debug/pprof/",
	  1 },
	{ "exe", KEY_DESCRIBED + BROKER_BY_EXE, "GLOB", 0, "that run this file: its path, or its name where there is no slash", 1 },
	{ "cgroup", KEY_DESCRIBED + BROKER_BY_CGROUP, "PATH", 0, "in this cgroup, or below", 1 },
	{ "unit", KEY_DESCRIBED + BROKER_BY_UNIT, "NAME.service", 0, "of this systemd service", 1 },
	{ "container", KEY_DESCRIBED + BROKER_BY_CONTAINER, "ID", 0, "of this container: its id, or the beginning", 1 },
	{ "user", KEY_DESCRIBED + BROKER_BY_USER, "NAME", 0, "of this user, by name or number", 1 },
	{ "all", KEY_DESCRIBED + BROKER_BY_ALL, NULL, 0, "all of them", 1 },
	{ "name", KEY_NAME, "NAME", 0, "what those are called that the option before it describes", 1 },
	{ "follow", KEY_FOLLOW, NULL, 0, "children of what is described, too", 1 },
	{ "lease", KEY_LEASE, "SECONDS", 0,
	  "how long what is described is still looked at after it was last asked for (default 600)", 1 },
	{ "keep-dir", KEY_KEEP, "DIR", 0,
	  "where to write the heap profile of a process that has ended", 0 },
	{ "state-dir", KEY_STATE, "DIR", 0,
	  "where counts outlive a pprofd that is killed, for the next one to go on from; given here, one that is stopped, too "
	  "(default, for root: /run/pprofd; none: nowhere)", 0 },
	{ "cleanup", KEY_CLEANUP, NULL, 0, "remove what a pprofd that was killed has left there, and end", 0 },
	{ "allow-host", KEY_ALLOW_HOST, "NAME", 0,
	  "a name by which clients reach this server, for its Host check; * for any", 0 },
	{ "config", KEY_CONFIG, "FILE", 0,
	  "more options, from a YAML file of lines like \"listen: [:6060, unix:/run/pprofd.sock]\" (default: "
	  OPTIONS_CONFIG " where there is one; none: no file). What is given here adds to lists and goes before single values", 0 },
	{ "check-config", KEY_CHECK_CONFIG, NULL, 0, "say what the file means, or what is wrong with it, and end", 0 },
	{ "check", KEY_CHECK, NULL, 0,
	  "say what of all this works here, for the processes PID..., or what is missing for it, and end", 0 },
	{ 0 },
};

static const struct argp_option recording[] = {
	{ "pid", 'p', "PID", 0, "the process to profile", 0 },
	{ "seconds", 's', "N", 0,
	  "length of the window, 1 to 3600 (default: until Ctrl-C, an hour at most; of goroutine none: as it is now; "
	  "with --remote 10 of profile and wall, else what the server has)", 0 },
	{ "output", 'o', "FILE", 0, "write the profile there", 0 },
	{ "remote", KEY_REMOTE, "URL", 0,
	  "instead of --pid: ask a running pprofd, http://HOST:PORT, http://HOST:PORT/pid/PID or unix:/PATH", 0 },
	{ "debug", KEY_DEBUG, "N", 0, "1 or 2: the text that ?debug=N shows, after the window", 0 },
	{ "format", KEY_FORMAT, "FORMAT", 0,
	  "pprof, top, folded; of goroutine also dump; of trace go or perfetto (default: pprof, of trace go; to a "
	  "terminal: top, of goroutine dump)", 0 },
	{ 0 },
};

/* "FILE:LINE: " while an option is a file's. */
static char where[BROKER_MAX_PATH + 16];
static int bad_status = EXIT_BAD_USAGE;

const char *options_where(void)
{
	return where;
}

int options_bad_status(void)
{
	return bad_status;
}

/* Not argp_error, which adds a line that says where help is. */
static void __attribute__((format(printf, 1, 2), noreturn)) bad_usage(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fprintf(stderr, "pprofd: %s", where);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(bad_status);
}

static unsigned number_from(unsigned min, const char *arg, const char *what, unsigned max)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(arg, &end, 10);
	if (errno || *end || end == arg || *arg == '-' || v < min || v > max)
		bad_usage("--%s %s: a number from %u to %u is wanted", what, arg, min, max);
	return (unsigned)v;
}

static unsigned number(const char *arg, const char *what, unsigned max)
{
	return number_from(1, arg, what, max);
}

static enum broker_heap_mode heap_mode(const char *arg)
{
	static const char *const names[] = { [BROKER_HEAP_INUSE] = "inuse",
					     [BROKER_HEAP_ALLOCS] = "allocs",
					     [BROKER_HEAP_OFF] = "off" };

	for (int i = 0; i <= BROKER_HEAP_OFF; i++)
		if (!strcmp(arg, names[i]))
			return (enum broker_heap_mode)i;
	bad_usage("--heap %s: inuse, allocs or off is wanted", arg);
}

static enum broker_wait_mode wait_mode(const char *arg)
{
	static const char *const names[] = { [BROKER_WAIT_ON] = "on",
					     [BROKER_WAIT_OFF] = "off",
					     [BROKER_WAIT_STRICT] = "strict" };

	for (int i = 0; i <= BROKER_WAIT_STRICT; i++)
		if (!strcmp(arg, names[i]))
			return (enum broker_wait_mode)i;
	bad_usage("--wait %s: on, strict or off is wanted", arg);
}

static uint32_t overhead(const char *arg)
{
	char *end;
	double v = strtod(arg, &end);

	if (!strcmp(arg, "none"))
		return BROKER_NO_LIMIT;
	if (*end == '%')
		end++;
	if (*end || end == arg || !(v >= 0 && v <= 100))
		bad_usage("--max-overhead %s: a number of percent from 0 to 100, or none, is wanted", arg);
	return (uint32_t)(v * 10000);
}

/* As far as shapes go: who is there is found out later. Without a slash at its end. */
static const char *server_url(char *arg)
{
	size_t n = strlen(arg), scheme = !strncmp(arg, "http://", 7) ? 7 : !strncmp(arg, "https://", 8) ? 8 : 0;

	while (n > scheme && arg[n - 1] == '/')
		arg[--n] = '\0';
	if (!scheme || n == scheme || arg[scheme] == '/' || n >= FETCH_MAX_URL)
		bad_usage("--debuginfod %s: http://HOST[:PORT] or https://HOST[:PORT] is wanted", arg);
	for (size_t i = 0; i < n; i++)
		if (arg[i] <= ' ' || arg[i] > '~' || arg[i] == '?' || arg[i] == '#' || arg[i] == '@')
			bad_usage("--debuginfod %s: http://HOST[:PORT] or https://HOST[:PORT] is wanted", arg);
	return arg;
}

static void add_server(struct options *o, char *arg)
{
	if (o->n_debuginfod == FETCH_MAX_URLS)
		bad_usage("more than %d debuginfod servers", FETCH_MAX_URLS);
	o->debuginfod[o->n_debuginfod++] = server_url(arg);
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'p':
		if (o->n_pids == BROKER_MAX_TARGETS)
			bad_usage("more than %d processes", BROKER_MAX_TARGETS);
		o->pids[o->n_pids++] = (pid_t)number(arg, "pid", 1u << 22);
		o->last_pid = arg;
		return 0;
	case KEY_HZ:
		o->hz = number(arg, "hz", 1000);
		return 0;
	case KEY_WAIT:
		o->wait = wait_mode(arg);
		return 0;
	case KEY_HEAP:
		o->heap = heap_mode(arg);
		return 0;
	case KEY_MAX_OVERHEAD:
		o->max_overhead = overhead(arg);
		return 0;
	case KEY_TRACK:
		track_parse(o, arg);
		return 0;
	case KEY_DEBUGINFOD:
		add_server(o, arg);
		return 0;
	case KEY_DEBUGINFOD_CACHE:
		o->debuginfod_cache = arg;
		return 0;
	case KEY_BTF:
		o->btf = arg;
		return 0;
	case ARGP_KEY_END:
		if (!o->n_pids && !o->remote && !o->check && !o->cleanup && !o->command && !o->descriptions.n)
			bad_usage(o->record ? "which process? Give --pid PID" :
					      "which process? Give --pid PID, --comm NAME, --all, or -- COMMAND");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* getopt's line says what is wrong; argp's own, which would follow it, goes nowhere. */
static void begin(struct argp_state *state)
{
	state->child_inputs[0] = state->input;
	state->err_stream = NULL;
}

static void describe(struct options *o, enum broker_described kind, const char *arg)
{
	char error[DESCRIBE_MAX_TEXT];

	o->last_pid = NULL;
	if (describe_add(&o->descriptions, kind, arg ? arg : "", error) < 0)
		bad_usage("%s", error);
}

/* --pid alone needs no description: it has no other name. */
static void name(struct options *o, const char *arg)
{
	char error[DESCRIBE_MAX_TEXT];

	if (o->last_pid)
		describe(o, BROKER_BY_PID, o->last_pid);
	if (describe_name(&o->descriptions, arg, error) < 0)
		bad_usage("%s", error);
}

static uint32_t redact(const char *arg)
{
	static const char *const names[] = { "cmdline", "paths" };
	uint32_t bits = 0;
	size_t n;

	for (const char *s = arg; ; s += n + 1) {
		uint32_t bit = 0;

		n = strcspn(s, ",");
		for (uint32_t i = 0; i < 2; i++)
			if (strlen(names[i]) == n && !strncmp(s, names[i], n))
				bit = 1u << i;
		if (!bit)
			bad_usage("--redact %s: cmdline, paths or cmdline,paths is wanted", arg);
		bits |= bit;
		if (!s[n])
			return bits;
	}
}

static bool on_or_off(const char *arg, const char *what)
{
	if (strcmp(arg, "on") && strcmp(arg, "off"))
		bad_usage("--%s %s: on or off is wanted", what, arg);
	return !strcmp(arg, "on");
}

static error_t parse_serving(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		begin(state);
		return 0;
	case 'p':
		return parse_common(key, arg, state);
	case 'l':
		if (o->n_listeners == OPTIONS_MAX_LISTENERS)
			bad_usage("more than %d addresses", OPTIONS_MAX_LISTENERS);
		o->listeners[o->n_listeners++] = arg;
		return 0;
	case KEY_DESCRIBED + BROKER_BY_COMM ... KEY_DESCRIBED + BROKER_BY_ALL:
		describe(o, (enum broker_described)(key - KEY_DESCRIBED), arg);
		return 0;
	case KEY_NAME:
		name(o, arg);
		return 0;
	case KEY_LEASE:
		o->lease_s = number(arg, "lease", 1u << 20);
		return 0;
	case KEY_FOLLOW:
		o->descriptions.follow = true;
		return 0;
	case KEY_KEEP:
		o->keep = arg;
		return 0;
	case KEY_STATE:
		o->state = arg;
		return 0;
	case KEY_CLEANUP:
		o->cleanup = true;
		return 0;
	case KEY_INSECURE:
		o->insecure = true;
		return 0;
	case KEY_WEB_CONFIG:
		o->web_config = arg;
		return 0;
	case KEY_MAX_RATE:
		o->max_rate = number_from(0, arg, "max-rate", 1000000);
		return 0;
	case KEY_REDACT:
		o->redact = redact(arg);
		return 0;
	case KEY_AUDIT:
		o->audit = on_or_off(arg, "audit");
		return 0;
	case KEY_ALLOW_HOST:
		if (o->n_hosts == OPTIONS_MAX_HOSTS || strlen(arg) > 253)
			bad_usage("--allow-host %s: too long, or too many", arg);
		o->hosts[o->n_hosts++] = arg;
		return 0;
	case KEY_CONFIG: /* taken before */
		if (o->config && strcmp(arg, o->config) != 0)
			bad_usage("--config %s: one file, and the option in full, is wanted", arg);
		return 0;
	case KEY_CHECK_CONFIG:
		return 0;
	case KEY_CHECK:
		o->check = true;
		return 0;
	case ARGP_KEY_ARG:
		if (o->check)
			return parse_common('p', arg, state);
		bad_usage("%s: not understood (pprofd record PROFILE writes one profile)", arg);
	}
	return ARGP_ERR_UNKNOWN;
}

static void parse_format(struct options *o, const char *arg)
{
	static const char *const names[] = { [FORMAT_PPROF] = "pprof",
					     [FORMAT_TOP] = "top",
					     [FORMAT_FOLDED] = "folded",
					     [FORMAT_DUMP] = "dump",
					     [FORMAT_GO] = "go",
					     [FORMAT_PERFETTO] = "perfetto" };

	for (int f = FORMAT_PPROF; f <= FORMAT_PERFETTO; f++) {
		if (!strcmp(arg, names[f])) {
			o->format = (enum options_format)f;
			return;
		}
	}
	bad_usage("--format %s: pprof, top, folded, dump, go or perfetto is wanted", arg);
}

/* Else the server would answer with formats that are not ours to ask for. */
static void check_format(const struct options *o)
{
	bool trace = !strcmp(o->profile, "trace");

	if (trace && o->format && o->format < FORMAT_GO)
		bad_usage("--format: of trace go or perfetto is wanted");
	if ((!trace && o->format >= FORMAT_GO) || (o->format == FORMAT_DUMP && strcmp(o->profile, "goroutine")))
		bad_usage("--format: of %.64s pprof, top%s folded is wanted", o->profile,
			  strcmp(o->profile, "goroutine") ? " or" : ", dump or");
}

static error_t parse_recording(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		begin(state);
		return 0;
	case 'p':
		return parse_common(key, arg, state);
	case 's':
		o->now = false;
		o->seconds_given = true;
		o->seconds = number(arg, "seconds", OPTIONS_MAX_SECONDS);
		return 0;
	case 'o':
		o->output = arg;
		return 0;
	case KEY_FORMAT:
		parse_format(o, arg);
		return 0;
	case KEY_REMOTE:
		o->remote = arg;
		return 0;
	case KEY_DEBUG:
		o->debug = number(arg, "debug", 2);
		return 0;
	case ARGP_KEY_ARG:
		if (o->profile)
			bad_usage("%s: one profile at a time", arg);
		o->profile = arg;
		return 0;
	case ARGP_KEY_END:
		if (!o->profile)
			bad_usage("which profile? For example: pprofd record profile");
		if (o->n_pids > 1 || (o->n_pids && o->remote))
			bad_usage("one process at a time");
		check_format(o);
		o->now = o->now && !strcmp(o->profile, "goroutine");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp common_argp = { .options = common, .parser = parse_common };
static const struct argp_child children[] = { { &common_argp, 0, NULL, 0 }, { 0 } };

static const struct argp serving_argp = {
	.options = serving,
	.parser = parse_serving,
	.children = children,
	.args_doc = "[-- COMMAND ARG...]",
	.doc = "Serve the /debug/pprof/ endpoints of a Go program for any running native process, "
	       "from outside.\v"
	       "Then: go tool pprof http://localhost:6060/debug/pprof/profile\n"
	       "\n`pprofd record profile --pid PID` writes one profile and ends; see "
	       "`pprofd record --help`.",
};

static const struct argp recording_argp = {
	.options = recording,
	.parser = parse_recording,
	.children = children,
	.args_doc = "PROFILE",
	.doc = "Write one profile of a running process and end.\v"
	       "An interrupt (Ctrl-C) or SIGTERM ends the window; what was seen so far is written.",
};

/* Which file, before anything else is parsed: what stands in it comes first. NULL: none is to be read. */
static const char *find_config(int argc, char **argv, bool *ret_check)
{
	static const char *const no_run[] = { "--help", "-?", "--usage", "--version", "-V" };
	const char *path = OPTIONS_CONFIG;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		for (size_t k = 0; k < sizeof(no_run) / sizeof(no_run[0]); k++)
			if (!strcmp(argv[i], no_run[k]))
				return NULL;
		if (!strcmp(argv[i], "--check-config"))
			*ret_check = true;
		else if (!strcmp(argv[i], "--config") && i + 1 < argc)
			path = argv[++i];
		else if (!strncmp(argv[i], "--config=", 9))
			path = argv[i] + 9;
	}
	return path;
}

static void say_config(const struct config *c)
{
	argp_parser_t parser;

	for (size_t i = 0; i < c->n; i++) {
		const struct argp_option *o = settings_find(&serving_argp, c->items[i].key, &parser);

		if (o && o->arg && c->items[i].value)
			printf("--%s=%s\n", c->items[i].key, c->items[i].value);
		else if (o && !settings_is_off(o, &c->items[i]))
			printf("--%s\n", c->items[i].key);
	}
}

/* The options point into it for as long as we run. */
static void read_config(int argc, char **argv, struct options *o)
{
	static struct config c;
	char error[CONFIG_MAX_TEXT];
	bool check = false;
	int r;

	o->config = find_config(argc, argv, &check);
	if (!o->config)
		return;
	bad_status = check ? 1 : EXIT_BAD_USAGE;
	r = strcmp(o->config, "none") ? config_read(o->config, &c, error) : 0;
	if (r == -ENOENT && !strcmp(o->config, OPTIONS_CONFIG))
		r = 0;
	if (r < 0)
		bad_usage("%s:%s%s", o->config, *error ? "" : " ", *error ? error : r == -EFBIG ? "larger than 64 KiB" : strerror(-r));
	for (size_t i = 0; i < c.n; i++) {
		snprintf(where, sizeof(where), "%.*s:%u: ", BROKER_MAX_PATH - 1, o->config, c.items[i].line);
		if (settings_apply(&serving_argp, o, &c.items[i], error) < 0)
			bad_usage("%s", error);
	}
	*where = '\0';
	bad_status = EXIT_BAD_USAGE;
	if (!check)
		return;
	say_config(&c);
	exit(0);
}

/* What is behind -- is no option of ours. Never returns where nothing is. */
static int take_command(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--"))
			continue;
		if (i + 1 == argc)
			bad_usage("--: which command?");
		o->command = argv + i + 1;
		return i;
	}
	return argc;
}

void options_parse(int argc, char **argv, struct options *ret)
{
	struct options o = { .hz = 100, .lease_s = 600, .seconds = OPTIONS_MAX_SECONDS, .now = true, .max_overhead = 20000,
			     .max_rate = 1000, .audit = true };
	const struct argp *argp = &serving_argp;

	argv[0] = (char *)"pprofd";
	if (argc > 1 && !strcmp(argv[1], "record")) {
		o.record = true;
		argp = &recording_argp;
		argv++, argc--;
		argv[0] = (char *)"pprofd record";
	}
	if (!o.record)
	{
		argc = take_command(argc, argv, &o);
		read_config(argc, argv, &o);
	}
	if (argp_parse(argp, argc, argv, 0, NULL, &o))
		exit(EXIT_BAD_USAGE);
	o.default_listener = !o.record && !o.n_listeners;
	if (o.default_listener)
		o.listeners[o.n_listeners++] = "localhost:6060";
	*ret = o;
}
