/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/door/rate.h"

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

#include "base/hash.h"
#include "daemon/serve/clock.h"

#define N_SETS 512
#define N_WAYS 4
#define LEAST_AHEAD 10 /* requests */

struct slot {
	uint64_t client;
	int64_t paid_ns; /* until when its requests would have taken at its rate; 0: nobody */
};

struct rates {
	int64_t each_ns, ahead_ns;
	uint64_t seed; /* who shares a set is not for clients to choose */
	pthread_mutex_t lock; /* guards slots */
	struct slot slots[N_SETS][N_WAYS];
};

int rates_new(unsigned per_second, struct rates **ret)
{
	struct rates *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->each_ns = NS_PER_S / per_second;
	r->ahead_ns = NS_PER_S > LEAST_AHEAD * r->each_ns ? NS_PER_S : LEAST_AHEAD * r->each_ns;
	if (getrandom(&r->seed, sizeof(r->seed), 0) != sizeof(r->seed))
		r->seed = (uint64_t)monotonic_ns();
	pthread_mutex_init(&r->lock, NULL);
	*ret = r;
	return 0;
}

void rates_free(struct rates *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static struct slot *find(struct rates *r, uint64_t client)
{
	struct slot *set = r->slots[hash_u64(hash_u64(HASH_SEED, r->seed), client) % N_SETS];
	struct slot *oldest = set;

	for (int i = 0; i < N_WAYS; i++) {
		if (set[i].paid_ns && set[i].client == client)
			return &set[i];
		if (set[i].paid_ns < oldest->paid_ns)
			oldest = &set[i];
	}
	*oldest = (struct slot){ .client = client };
	return oldest;
}

bool rates_take(struct rates *r, uint64_t client, int64_t now_ns, int64_t *ret_wait_ns)
{
	struct slot *s;
	int64_t paid_ns;
	bool may;

	pthread_mutex_lock(&r->lock);
	s = find(r, client);
	paid_ns = (s->paid_ns > now_ns ? s->paid_ns : now_ns) + r->each_ns;
	may = paid_ns - now_ns <= r->ahead_ns;
	if (may)
		s->paid_ns = paid_ns;
	pthread_mutex_unlock(&r->lock);
	*ret_wait_ns = may ? 0 : paid_ns - now_ns - r->ahead_ns;
	return may;
}
