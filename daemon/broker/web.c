/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/broker/web.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"

static struct web_stamp stamp_of(const struct stat *st)
{
	return (struct web_stamp){ st->st_dev, st->st_ino, (uint64_t)st->st_size,
				   st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec,
				   st->st_ctim.tv_sec * 1000000000ll + st->st_ctim.tv_nsec };
}

static struct web_stamp stamp_at(const char *path)
{
	struct stat st;

	return *path && stat(path, &st) == 0 ? stamp_of(&st) : (struct web_stamp){ 0 };
}

/* A regular file of at most `max` bytes; a descriptor or -errno. */
static int open_file(const char *path, size_t max, struct web_stamp *ret)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	*ret = stamp_of(&st);
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return (uint64_t)st.st_size <= max ? TAKE_FD(fd) : -EFBIG;
}

/* A sealed file in memory. */
static int memory_file(const void *data, size_t n)
{
	_cleanup_(closep) int fd = memfd_create("web", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const char *from = data;

	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < n;) {
		ssize_t k = write(fd, from + i, n - i);

		if (k < 0 && errno != EINTR)
			return -errno;
		i += k < 0 ? 0 : (size_t)k;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* A name in the file is relative to where the file is. */
static int resolve(const char *config, const char *name, char to[WEB_MAX_PATH])
{
	const char *slash = strrchr(config, '/');
	int n = *name == '/' || !slash ? 0 : (int)(slash + 1 - config);

	return snprintf(to, WEB_MAX_PATH, "%.*s%s", n, config, name) < WEB_MAX_PATH ? 0 : -ENAMETOOLONG;
}

static int say(char *error, const char *name, size_t line, const char *what, int r)
{
	if (line)
		snprintf(error, WEB_MAX_TEXT, "%s:%zu: %s: %s", name, line, what, strerror(-r));
	else
		snprintf(error, WEB_MAX_TEXT, "%s: %s", name, strerror(-r));
	return r;
}

static int open_pems(struct web *next, char *error)
{
	for (int i = 0; i < BROKER_N_PEM; i++) {
		const struct web_pem *p = &next->file.pem[i];
		int r = 0;

		if (p->inside) {
			r = next->fds[i] = memory_file(p->inside, strlen(p->inside));
		} else if (p->file) {
			r = resolve(next->path, p->file, next->paths[i]);
			if (r == 0)
				r = next->fds[i] = open_file(next->paths[i], BROKER_MAX_WEB, &next->seen[1 + i]);
		}
		if (r < 0)
			return say(error, next->path, p->line, p->file ? p->file : "inline", r);
	}
	return 0;
}

static int read_file(struct web *next, char *error)
{
	_cleanup_(freep) char *data = malloc(WEB_FILE_MAX + 1);
	_cleanup_(closep) int fd = open_file(next->path, WEB_FILE_MAX, &next->seen[0]);
	size_t n = 0;
	ssize_t k = 1;
	int r;

	if (fd < 0 || !data)
		return say(error, next->path, 0, "", data ? fd : -ENOMEM);
	while (k > 0 && n <= WEB_FILE_MAX) {
		k = read(fd, data + n, WEB_FILE_MAX + 1 - n);
		n += k > 0 ? (size_t)k : 0;
	}
	if (k < 0 || n > WEB_FILE_MAX)
		return say(error, next->path, 0, "", k < 0 ? -errno : -EFBIG);
	r = web_file_parse(next->path, data, n, &next->file, error);
	explicit_bzero(data, n);
	return r;
}

/* What a new file must not do while we run. */
static int compare(const struct web *now, const struct web *next, char *error)
{
	if (!now->generation)
		return 0;
	if (now->file.tls != next->file.tls)
		snprintf(error, WEB_MAX_TEXT, "%s: TLS can be switched on and off at a start only", next->path);
	else if (now->open_listeners && !web_file_authenticates(&next->file))
		snprintf(error, WEB_MAX_TEXT, "%s: no authentication is left, and addresses beyond loopback are served",
			 next->path);
	else
		return 0;
	return -EINVAL;
}

static void drop(struct web *w)
{
	web_file_deinit(&w->file);
	for (int i = 0; i < BROKER_N_PEM; i++)
		close_fd(&w->fds[i]);
}

static int load(struct web *w, char *error)
{
	struct web *next = calloc(1, sizeof(*next));
	int r;

	if (!next)
		return say(error, w->path, 0, "", -ENOMEM);
	*next = (struct web)WEB_NONE;
	next->path = w->path;
	next->open_listeners = w->open_listeners;
	r = read_file(next, error);
	if (r == 0)
		r = open_pems(next, error);
	if (r == 0)
		r = compare(w, next, error);
	/* of a file that is no good, too: it is not looked at again until it changes */
	memcpy(w->seen, next->seen, sizeof(w->seen));
	if (!w->seen[0].ino)
		w->seen[0] = stamp_at(w->path);
	if (*next->paths[BROKER_PEM_CERT] || *next->paths[BROKER_PEM_KEY] || *next->paths[BROKER_PEM_CA])
		memcpy(w->paths, next->paths, sizeof(w->paths));
	if (r == 0) {
		next->generation = w->generation + 1 ? w->generation + 1 : 1;
		drop(w);
		*w = *next;
	} else {
		for (int i = 0; i < BROKER_N_PEM; i++)
			w->seen[1 + i] = stamp_at(w->paths[i]);
		drop(next);
	}
	free(next);
	return r < 0 ? r : 1;
}

int web_open(struct web *w, const char *path, char *error)
{
	int r;

	w->path = path;
	r = load(w, error);
	return r < 0 ? r : 0;
}

void web_close(struct web *w)
{
	drop(w);
	w->path = NULL;
}

int web_look(struct web *w, bool even_if_same, char *error)
{
	bool same = !even_if_same;

	if (!w->path)
		return 0;
	for (int i = 0; i <= BROKER_N_PEM && same; i++) {
		struct web_stamp now = stamp_at(i ? w->paths[i - 1] : w->path);

		same = !memcmp(&now, &w->seen[i], sizeof(now));
	}
	return same ? 0 : load(w, error);
}

static int add_fd(struct record *r, int fd)
{
	if (fd < 0)
		return fd;
	r->fds[r->n_fds++] = fd;
	return 0;
}

int web_record(const struct web *w, uint32_t has_generation, struct record *r)
{
	struct broker_web to = { .generation = w->generation,
				 .tls = w->file.tls,
				 .client_auth = w->file.client_auth,
				 .n_text = (uint32_t)w->file.text.n,
				 .n_headers = w->file.n_headers,
				 .n_users = w->file.n_users,
				 .n_sans = w->file.n_sans };
	int err;

	r->n = 0;
	if (has_generation == w->generation)
		return 0;
	err = add_fd(r, memory_file(w->file.text.data, w->file.text.n));
	for (uint32_t i = 0; i < BROKER_N_PEM && err == 0; i++) {
		if (w->fds[i] < 0)
			continue;
		to.has |= 1u << i;
		err = add_fd(r, fcntl(w->fds[i], F_DUPFD_CLOEXEC, 3));
	}
	if (err < 0) {
		record_close_fds(r);
		return err == -1 ? -errno : err;
	}
	memcpy(to.priorities, w->file.priorities, sizeof(to.priorities));
	memcpy(r->data, &to, sizeof(to));
	r->n = sizeof(to);
	return 0;
}
