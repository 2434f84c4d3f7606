/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/door/password.h"

#include <crypt.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#define N_DIGEST 32
#define N_RIGHT 1024 /* remembered; a newer one takes an older one's place */
#define N_WRONG 256
#define MAX_RUNNING 4
#define MAX_CREDENTIALS 1024 /* bytes, decoded */

struct digest {
	unsigned char of[N_DIGEST]; /* all 0: none */
};

struct passwords {
	unsigned char key[32];
	unsigned max_running;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t changed;
	struct digest right[N_RIGHT], wrong[N_WRONG];
	struct digest running[MAX_RUNNING];
	unsigned n_running, n_waiting;
	unsigned long n_checked;
};

int passwords_new(struct passwords **ret)
{
	_cleanup_(passwords_freep) struct passwords *p = calloc(1, sizeof(*p));
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	/* at most half of the machine */
	p->max_running = cpus < 4 ? 1 : cpus / 2 < MAX_RUNNING ? (unsigned)cpus / 2 : MAX_RUNNING;
	if (getrandom(p->key, sizeof(p->key), 0) != sizeof(p->key))
		return -EIO;
	*ret = TAKE_PTR(p);
	return 0;
}

void passwords_free(struct passwords *p)
{
	if (!p)
		return;
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	explicit_bzero(p, sizeof(*p));
	free(p);
}

/* RFC 4648, 4; padding may be absent. The number of bytes, or -1. */
static int decode(const char *text, size_t n, unsigned char *to, size_t max)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	size_t got = 0;
	int n_bits = 0;

	while (n && text[n - 1] == '=')
		n--;
	if (n % 4 == 1)
		return -1;
	for (size_t i = 0; i < n; i++) {
		const char *letter = text[i] ? strchr(letters, text[i]) : NULL;

		if (!letter || got == max)
			return -1;
		bits = bits << 6 | (uint32_t)(letter - letters);
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		to[got++] = (unsigned char)(bits >> n_bits);
	}
	return (int)got;
}

/* "Basic dXNlcjpwYXNz": user and password in `to`; the password's place, or NULL. */
static char *take_apart(const char *authorization, char to[MAX_CREDENTIALS + 1])
{
	size_t n;
	char *colon;
	int got;

	if (!authorization || strncasecmp(authorization, "Basic ", 6))
		return NULL;
	authorization += 6 + strspn(authorization + 6, " ");
	n = strlen(authorization);
	while (n && authorization[n - 1] == ' ')
		n--;
	got = decode(authorization, n, (unsigned char *)to, MAX_CREDENTIALS);
	if (got < 0)
		return NULL;
	to[got] = '\0';
	colon = memchr(to, ':', (size_t)got);
	/* bcrypt ends at a NUL, and what is behind it would not count */
	if (!colon || memchr(to, '\0', (size_t)got) || colon - to >= PASSWORD_MAX_USER)
		return NULL;
	*colon = '\0';
	return colon + 1;
}

/* false: no memory, and then nobody gets in. */
static bool digest_of(const struct passwords *p, const char *user, bool exists, const char *hash,
		      const char *password, struct digest *ret)
{
	gnutls_hmac_hd_t h;

	if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA256, p->key, sizeof(p->key)) < 0)
		return false;
	gnutls_hmac(h, user, strlen(user) + 1);
	gnutls_hmac(h, exists ? "1" : "0", 1);
	gnutls_hmac(h, hash, strlen(hash) + 1);
	gnutls_hmac(h, password, strlen(password));
	gnutls_hmac_deinit(h, ret->of);
	return true;
}

static bool is_same(const struct digest *a, const struct digest *b)
{
	return !gnutls_memcmp(a->of, b->of, N_DIGEST);
}

static struct digest *place(struct digest *table, size_t n, const struct digest *d)
{
	uint32_t i;

	memcpy(&i, d->of, sizeof(i));
	return &table[i % n];
}

static bool is_running(const struct passwords *p, const struct digest *d)
{
	for (unsigned i = 0; i < p->n_running; i++)
		if (is_same(&p->running[i], d))
			return true;
	return false;
}

static void ended(struct passwords *p, const struct digest *d, bool right)
{
	for (unsigned i = 0; i < p->n_running; i++) {
		if (!is_same(&p->running[i], d))
			continue;
		p->running[i] = p->running[--p->n_running];
		break;
	}
	*(right ? place(p->right, N_RIGHT, d) : place(p->wrong, N_WRONG, d)) = *d;
	pthread_cond_broadcast(&p->changed);
}

static bool fits(const char *hash, const char *password)
{
	_cleanup_(freep) struct crypt_data *data = calloc(1, sizeof(*data));
	const char *got = data ? crypt_rn(password, hash, data, sizeof(*data)) : NULL;
	bool same = got && strlen(got) == strlen(hash) && !gnutls_memcmp(got, hash, strlen(hash));

	if (data)
		explicit_bzero(data, sizeof(*data));
	return same;
}

/* The lock is held. OK and WRONG: it is known; BUSY: nobody knows and there is no room to find out; -1: find out, it has
 * been noted that you do. */
static int known(struct passwords *p, const struct digest *d)
{
	for (;;) {
		if (is_same(place(p->right, N_RIGHT, d), d))
			return PASSWORD_OK;
		if (is_same(place(p->wrong, N_WRONG, d), d))
			return PASSWORD_WRONG;
		/* whoever asks the same waits for that answer, in any number */
		if (is_running(p, d)) {
			pthread_cond_wait(&p->changed, &p->lock);
			continue;
		}
		if (p->n_running < p->max_running) {
			p->running[p->n_running++] = *d;
			p->n_checked++;
			return -1;
		}
		if (p->n_waiting == PASSWORD_MAX_WAITING)
			return PASSWORD_BUSY;
		p->n_waiting++;
		pthread_cond_wait(&p->changed, &p->lock);
		p->n_waiting--;
	}
}

static enum password_verdict look(struct passwords *p, const struct password_user *as, bool exists,
				  const struct digest *d, const char *password)
{
	bool right;
	int r;

	pthread_mutex_lock(&p->lock);
	r = known(p, d);
	pthread_mutex_unlock(&p->lock);
	if (r >= 0)
		return (enum password_verdict)r;
	right = fits(as->hash, password) && exists;
	pthread_mutex_lock(&p->lock);
	ended(p, d, right);
	pthread_mutex_unlock(&p->lock);
	return right ? PASSWORD_OK : PASSWORD_WRONG;
}

enum password_verdict password_check(struct passwords *p, const struct password_user *users, size_t n,
				     const char *authorization, char user[PASSWORD_MAX_USER])
{
	char text[MAX_CREDENTIALS + 1], *password = take_apart(authorization, text);
	enum password_verdict verdict = PASSWORD_WRONG;
	const struct password_user *as = NULL;
	struct digest d;
	uint32_t pick;

	*user = '\0';
	if (!password || !n)
		return PASSWORD_WRONG;
	memcpy(user, text, strlen(text) + 1);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(users[i].name, text))
			as = &users[i];
	/* A name that does not exist stands for one that does, always the same, so that both cost the same. */
	if (!digest_of(p, text, false, "", "", &d))
		return PASSWORD_BUSY;
	memcpy(&pick, d.of, sizeof(pick));
	if (digest_of(p, text, as != NULL, as ? as->hash : users[pick % n].hash, password, &d))
		verdict = look(p, as ? as : &users[pick % n], as != NULL, &d, password);
	else
		verdict = PASSWORD_BUSY;
	explicit_bzero(text, sizeof(text));
	return verdict;
}

unsigned long passwords_n_checked(struct passwords *p)
{
	unsigned long n;

	pthread_mutex_lock(&p->lock);
	n = p->n_checked;
	pthread_mutex_unlock(&p->lock);
	return n;
}
