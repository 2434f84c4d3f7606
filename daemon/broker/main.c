/* SPDX-License-Identifier: Apache-2.0 */

/* main.c - pprofd, the broker: what the user starts. Holds the capabilities; starts serve, which
 * has the sockets, the symbolizer, which has the strangers' files, and where it was told of servers those that
 * fetch from them; then waits for requests. */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/bytes.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/check.h"
#include "daemon/broker/confine.h"
#include "daemon/broker/diagnose.h"
#include "daemon/broker/procfs.h"
#include "daemon/broker/remote.h"
#include "daemon/broker/uprobe_link.h"

/* Serve is started again when it dies, but not for ever. */
#define MAX_RESTARTS 5
#define RESTART_WINDOW_S 60

/* Names of processes, and serve's words, are in it. */
static int complain(const char *text)
{
	char clean[1024];

	utf8_copy(clean, sizeof(clean), text, strlen(text));
	fprintf(stderr, "pprofd: %s\n", clean);
	return 1;
}

static int check_process(pid_t pid, struct process *ret)
{
	char text[200];
	int r = process_open(pid, ret);

	switch (r) {
	case PROCESS_OK:
		return 0;
	case PROCESS_NONE:
		snprintf(text, sizeof(text), "no process %d", pid);
		break;
	case PROCESS_KERNEL:
		snprintf(text, sizeof(text), "%d (%.15s) is a kernel thread", pid, ret->comm);
		break;
	case PROCESS_THREAD:
		snprintf(text, sizeof(text), "%d is a thread of process %d: give --pid %d", pid,
			 ret->pid, ret->pid);
		break;
	case PROCESS_32_BIT:
		snprintf(text, sizeof(text), "%d (%.15s) is a 32-bit program: not supported", pid,
			 ret->comm);
		break;
	case PROCESS_ZOMBIE:
		snprintf(text, sizeof(text), "%d (%.15s) has ended", pid, ret->comm);
		break;
	default:
		diagnose_process(pid, r, text, sizeof(text));
	}
	return complain(text);
}

static int open_processes(struct broker *b, struct process *processes)
{
	const struct options *o = b->options;

	for (unsigned i = 0; i < o->n_pids; i++) {
		bool again = false;

		for (unsigned k = 0; k < i; k++)
			again |= o->pids[k] == o->pids[i];
		if (again)
			continue;
		if (check_process(o->pids[i], &processes[b->n_processes]))
			return 1;
		processes[b->n_processes].known = census_add(&b->census, o->pids[i], b->n_processes);
		b->n_named = ++b->n_processes;
	}
	return 0;
}

/* Its standard error is ours, too: what it says is told apart by our name alone. */
static int start_command(struct broker *b, const sigset_t *signals)
{
	char told[COMMAND_MAX_TEXT], text[COMMAND_MAX_TEXT];
	struct options *o = (struct options *)b->options;
	int r;

	if (!o->command)
		return 0;
	r = command_start(o->command, o->heap != BROKER_HEAP_OFF, signals, &b->command, told);
	if (*told)
		complain(told);
	if (r < 0) {
		snprintf(text, sizeof(text), "%.200s: %s", o->command[0], strerror(-r));
		complain(text);
		return r == -ENOENT ? 127 : 126;
	}
	if (o->n_pids == BROKER_MAX_TARGETS)
		return complain("too many processes");
	o->pids[o->n_pids++] = b->command.pid;
	return 0;
}

/* It goes on, whatever becomes of us. */
static int wait_for_command(struct broker *b)
{
	complain("the command runs on, unprofiled");
	command_ended(&b->command, true);
	return b->command.status;
}

static int open_listeners(struct broker *b)
{
	char error[LISTEN_MAX_TEXT];
	bool open = b->options->insecure || web_file_authenticates(&b->web.file);
	size_t max = sizeof(b->listeners) / sizeof(b->listeners[0]);

	for (unsigned i = 0; i < b->notify.n_sockets && !b->options->record; i++) {
		int r = listen_adopt(NOTIFY_FIRST_FD + (int)i, open, b->listeners, max, &b->n_listeners, error);

		if (r != LISTEN_BOUND) {
			complain(error);
			return r > 0 ? EXIT_BAD_USAGE : 1;
		}
	}
	for (unsigned i = 0; i < b->options->n_listeners && !(b->n_listeners && b->options->default_listener); i++) {
		int r = listen_bind(b->options->listeners[i], open, b->listeners,
				    max, &b->n_listeners, error);

		if (r != LISTEN_BOUND) {
			complain(error);
			return r > 0 ? EXIT_BAD_USAGE : 1;
		}
	}
	for (size_t i = 0; i < b->n_listeners; i++) {
		b->web.open_listeners |= b->listeners[i].open && !b->options->insecure;
		if (b->listeners[i].open && b->web.file.n_users && !b->web.file.tls)
			fprintf(stderr, "pprofd: %s: passwords are not encrypted on their way: tls_server_config is missing\n",
				b->options->web_config);
	}
	return 0;
}

static int open_web(struct broker *b)
{
	char error[WEB_MAX_TEXT];
	int r = b->options->web_config ? web_open(&b->web, b->options->web_config, error) : 0;

	if (r == 0)
		return 0;
	complain(error);
	return r == -EINVAL ? EXIT_BAD_USAGE : 1;
}

static int open_keep(struct broker *b)
{
	char text[LISTEN_MAX_TEXT];

	b->keep = -1;
	if (!b->options->keep)
		return 0;
	b->keep = open(b->options->keep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->keep >= 0)
		return 0;
	snprintf(text, sizeof(text), "--keep-dir %s: %s", b->options->keep, strerror(errno));
	return complain(text);
}

/* Without a directory of its own choice a pprofd does without one. */
static int open_carry(struct broker *b)
{
	const struct options *o = b->options;
	char text[LISTEN_MAX_TEXT + sizeof(b->carry.path)];
	int r = carry_dir_open(o->record ? "none" : o->state, &b->carry);

	if (r == 0)
		return 0;
	snprintf(text, sizeof(text), "--state-dir %s: %s", b->carry.path,
		 r == -EPERM ? "it is not ours, or others may write there" : strerror(-r));
	return complain(text);
}

/* --cleanup: programs and probes go with the process that made them, so files are all that there is. */
static int clean_up(struct broker *b)
{
	unsigned n;

	if (open_carry(b))
		return 1;
	n = carry_clean(&b->carry, true);
	fprintf(stderr, "pprofd: %u files of counts removed%s%s; programs and probes end with the pprofd that made them\n", n,
		b->carry.fd < 0 ? "" : " from ", b->carry.fd < 0 ? "" : b->carry.path);
	return 0;
}

static int open_fetches(struct broker *b)
{
	const struct options *o = b->options;
	char text[LISTEN_MAX_TEXT + BROKER_MAX_PATH];
	int r = o->n_debuginfod ? fetches_init(&b->fetches, o->debuginfod, o->n_debuginfod, o->debuginfod_cache) : 0;

	if (r == 0)
		return 0;
	snprintf(text, sizeof(text), "the cache of debug files, %s: %s", b->fetches.cache.path,
		 r == -EPERM ? "others than us may write there" : strerror(-r));
	return complain(text);
}

/* `record`: the file is not emptied before there is something to write into it. */
static int open_output(struct broker *b, struct options *o)
{
	char text[LISTEN_MAX_TEXT];

	if (!o->record)
		return 0;
	if (o->format == FORMAT_AUTO && o->debug)
		o->format = FORMAT_PPROF; /* of no effect then */
	if (!strcmp(o->profile, "trace") && !o->output && isatty(STDOUT_FILENO))
		return complain("a trace is no text: give -o FILE");
	if (o->format == FORMAT_AUTO && !strcmp(o->profile, "trace"))
		o->format = FORMAT_GO;
	if (o->format == FORMAT_AUTO)
		o->format = o->output || !isatty(STDOUT_FILENO) ? FORMAT_PPROF : o->now ? FORMAT_DUMP : FORMAT_TOP;
	b->finish = eventfd(0, EFD_CLOEXEC);
	b->output = o->output ? open(o->output, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) :
				fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (b->output >= 0 && b->finish >= 0)
		return 0;
	snprintf(text, sizeof(text), "%s: %s", o->output ? o->output : "standard output",
		 strerror(errno));
	return complain(text);
}

/* The rights that BPF asks for are those over the whole machine: root of a user namespace has them in
 * name only, and could not change users for the children either. */
static int check_namespace(void)
{
	const ino_t initial = 0xeffffffd; /* linux/nsfs.h: USER_NS_INIT_INO */
	struct stat st;

	if (stat("/proc/self/ns/user", &st) < 0 || st.st_ino == initial)
		return 0;
	return complain("not permitted: this is a user namespace, and BPF needs rights outside of it");
}

/* Root without these could not leave root to the processes that have no rights. */
static int check_user(void)
{
	if (geteuid() || (diagnose_has(CAP_SETUID) && diagnose_has(CAP_SETGID)))
		return 0;
	return complain("not permitted: as root, CAP_SETUID and CAP_SETGID are needed, because our processes without rights run as another "
			"user; or be run as another user, with capabilities");
}

static int check_kernel(void)
{
	char text[KERNEL_MAX_TEXT];
	struct utsname u;

	return uname(&u) == 0 && diagnose_hopeless(u.release, text, sizeof(text)) ? complain(text) : 0;
}

/* From here on we open nothing that needs more than profiling does. */
static int confine(struct broker *b)
{
	if (check_user())
		return 1;
	if (!b->options->check && child_begin() < 0)
		return complain("cannot start the process that starts the others");
	confine_capabilities();
	if (b->keep >= 0 && faccessat(b->keep, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return complain("--keep-dir: it must be a directory of our own user, whose mode lets us write there");
	return confine_calls() < 0 ? complain("cannot shut ourselves in: seccomp is missing") : 0;
}

static int check(struct broker *b)
{
	b->keep = -1;
	return check_namespace() || confine(b) ? 1 : check_run(b->options);
}

static int load(struct broker *b)
{
	struct kernel_clock clock = { .hz = b->options->hz };
	char error[KERNEL_MAX_TEXT];

	if (kernel_load(b->options->btf, clock, &b->kernel, error) < 0)
		return complain(error);
	if (census_start(&b->census, b->options->btf, error) < 0)
		complain(error); /* they are found all the same, by looking */
	if (b->census.news && !procfs_sees_machine())
		complain("we see the processes of our PID namespace only (all of the machine: hostPID: true, --pid=host)");
	return 0;
}

static void say_ready(struct broker *b)
{
	const struct options *o = b->options;
	/* Where the one process is; or the list of them. */
	const char *path = o->n_pids == 1 && !o->descriptions.n && !o->descriptions.follow ? "/debug/pprof/" : "/";
	char lines[LISTEN_MAX_TEXT + 100];

	b->ready = false;
	for (size_t i = 0; i < b->n_listeners; i++) {
		const struct listener *l = &b->listeners[i];

		bool tls = b->web.file.tls && !strncmp(l->shown, "http:", 5);

		fprintf(stderr, "pprofd: serving %s%s%s%s\n", tls ? "https" : "", l->shown + (tls ? 4 : 0),
			strncmp(l->shown, "unix:", 5) ? path : "",
			l->assumed_loopback ? " (loopback only; with authentication or --insecure: every address)" :
					      "");
	}
	snprintf(lines, sizeof(lines), "READY=1\nSTATUS=serving %s", b->n_listeners ? b->listeners[0].shown : "nobody");
	notify_say(&b->notify, lines);
}

static int take_systemd(struct broker *b)
{
	char text[LISTEN_MAX_TEXT];
	int r = notify_init(&b->notify);

	if (r == 0)
		return 0;
	snprintf(text, sizeof(text), "what systemd gave us (LISTEN_FDS, NOTIFY_SOCKET): %s", strerror(-r));
	return complain(text);
}

/* Serve has ended: everything that it had armed is taken off; it starts afresh. */
static int restart_serve(struct broker *b, unsigned *n, time_t *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	kernel_disarm(b->kernel, PP_CPU);
	kernel_disarm(b->kernel, PP_GROWTH);
	kernel_disarm(b->kernel, PP_CREATE);
	traces_free(TAKE_PTR(b->traces));
	waits_free(TAKE_PTR(b->waits));
	customs_free(TAKE_PTR(b->customs));
	uprobes_free(TAKE_PTR(b->uprobes));
	uprobes_loading_free(TAKE_PTR(b->loading));
	child_stop(&b->serve);
	child_stop(&b->symbolizer);
	for (uint32_t i = b->n_named; i < b->n_processes; i++)
		broker_release(b, i);
	if (b->options->record)
		return complain("pprofd-serve has died");
	if (now.tv_sec - *since > RESTART_WINDOW_S) {
		*since = now.tv_sec;
		*n = 0;
	}
	if (++*n > MAX_RESTARTS)
		return complain("pprofd-serve keeps dying");
	complain("pprofd-serve has died and is started again");
	return broker_start_serve(b) < 0 ? complain("cannot start pprofd-serve") : 0;
}

static int sooner(int a, int b) /* ms; -1: never */
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Of what is armed. */
static int look_at_clocks(struct broker *b)
{
	int ms = b->kernel ? kernel_look_at_clocks(b->kernel) : -1;

	return b->traces ? sooner(ms, traces_look_at_clocks(b->traces)) : ms;
}

/* Whether it ends us. */
static bool take_signal(struct broker *b, int signals)
{
	struct signalfd_siginfo info;
	uint64_t one = 1;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return true;
	if (b->command.pid) {
		command_signal(&b->command, (int)info.ssi_signo, info.ssi_code == SI_KERNEL);
		return false;
	}
	if (info.ssi_signo == SIGHUP && b->web.path) {
		broker_look_web(b, true);
		return false;
	}
	return !b->options->record || info.ssi_signo == SIGHUP || write(b->finish, &one, sizeof(one)) < 0;
}

/* Answers requests until a signal, or until the one-shot run is over. */
static int run(struct broker *b, int signals)
{
	struct pollfd f[3 + FETCHES_AT_ONCE + CENSUS_FDS] = { { .fd = signals, .events = POLLIN },
							      { .events = POLLIN } };
	struct pollfd *census = f + 2 + FETCHES_AT_ONCE, *command = census + CENSUS_FDS;
	unsigned n_restarts = 0;
	time_t since = 0;

	while (!b->done) {
		int timeout = sooner(fetches_poll(&b->fetches, f + 2), census_poll(&b->census, census));

		timeout = sooner(timeout, look_at_clocks(b));

		f[1].fd = b->serve.socket;
		*command = (struct pollfd){ .fd = b->command.pidfd, .events = POLLIN };
		if (poll(f, 3 + FETCHES_AT_ONCE + CENSUS_FDS, timeout) < 0 && errno != EINTR)
			return complain(strerror(errno));
		if (f[0].revents && take_signal(b, signals))
			return 0;
		if (b->command.pid && command_ended(&b->command, false))
			return b->command.status;
		if (f[1].revents && broker_answer(b) < 0 &&
		    restart_serve(b, &n_restarts, &since))
			return 1;
		fetches_run(&b->fetches, f + 2);
		census_run(&b->census, census);
		if (b->ready)
			say_ready(b);
	}
	return b->status ? complain(b->error) : 0;
}

static int block_signals(sigset_t *ret_before)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, SIGTERM);
	sigaddset(&s, SIGINT);
	sigaddset(&s, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &s, ret_before);
	return signalfd(-1, &s, SFD_CLOEXEC);
}

static void end(struct broker *b)
{
	struct stat st;

	notify_say(&b->notify, "STOPPING=1");
	child_stop(&b->serve);
	child_stop(&b->symbolizer);
	carry_dir_close(&b->carry, b->processes, b->n_processes);
	fetches_deinit(&b->fetches);
	child_end();
	census_deinit(&b->census);
	web_close(&b->web);
	for (size_t i = 0; i < b->n_listeners; i++)
		if (!strncmp(b->listeners[i].shown, "unix:", 5) && !b->listeners[i].adopted)
			unlink(b->listeners[i].shown + 5);
	if (b->options->output && b->status && fstat(b->output, &st) == 0 && st.st_size == 0)
		unlink(b->options->output);
	uprobe_links_wait();
	if (uprobes_are_loading(b->loading) || waits_are_loading(b->waits) ||
	    traces_are_loading(b->traces) || customs_are_loading(b->customs))
		return; /* the end of the process ends that, too, and nothing of it stays */
	traces_free(b->traces);
	waits_free(b->waits);
	customs_free(b->customs);
	uprobes_free(b->uprobes);
	uprobes_loading_free(b->loading);
	kernel_free(b->kernel);
}

int main(int argc, char **argv)
{
	static struct process processes[BROKER_MAX_TARGETS];
	static struct options o;
	static struct broker b = { .options = &o,
				   .processes = processes,
				   .notify = NOTIFY_NONE,
				   .output = -1,
				   .finish = -1,
				   .web = WEB_NONE,
				   .carry = { .fd = -1 },
				   .serve = CHILD_NONE,
				   .symbolizer = CHILD_NONE,
				   .command = COMMAND_NONE,
				   .status = -1 };
	char error[REMOTE_MAX_TEXT];
	sigset_t before;
	int signals, r;

	options_parse(argc, argv, &o);
	if (o.remote)
		return remote_record(&o, error) < 0 ? complain(error) : 0;
	if (o.check)
		return check(&b);
	if (o.cleanup)
		return clean_up(&b);
	signals = block_signals(&before);
	debug_file_cache(b.debug_cache);
	census_init(&b.census, &o.descriptions);
	r = check_kernel();
	if (!r)
		r = take_systemd(&b);
	if (!r && !o.command)
		r = open_processes(&b, processes);
	if (!r)
		r = open_web(&b);
	if (!r)
		r = open_listeners(&b);
	if (!r)
		r = open_output(&b, &o);
	if (!r)
		r = open_keep(&b);
	if (!r)
		r = open_carry(&b);
	if (!r)
		r = open_fetches(&b);
	if (!r)
		r = check_namespace();
	if (!r && o.command) { /* before it would inherit what confines us */
		r = start_command(&b, &before);
		if (!r)
			r = open_processes(&b, processes);
	}
	if (!r)
		r = confine(&b);
	if (!r)
		r = broker_start_serve(&b) < 0 ? complain("cannot start pprofd-serve") : 0;
	if (!r)
		r = load(&b);
	if (!r && o.record && !o.now && !o.seconds_given)
		fprintf(stderr, "pprofd: recording until Ctrl-C, %d minutes at most\n", OPTIONS_MAX_SECONDS / 60);
	if (!r)
		r = run(&b, signals);
	if (b.command.pid && !b.command.ended)
		r = wait_for_command(&b);
	end(&b);
	return r;
}
