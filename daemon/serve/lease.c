/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/lease.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/serve/arming.h"
#include "daemon/serve/clock.h"
#include "daemon/serve/log.h"

int64_t lease_since(const struct target *t, int64_t armed_ns)
{
	return t->armed_ns > armed_ns ? t->armed_ns : armed_ns;
}

static bool is_leased(const struct target *t)
{
	return t->pid && t->leased;
}

/* Until no program is running that has seen the row. */
static void wait_for_programs(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		usleep(100000); /* nohz_full machines refuse it */
}

/* The lease_lock is held. From here on the slot is another's. */
static void release(struct core *c, struct target *t)
{
	uint32_t index = t->index;

	pthread_mutex_lock(&c->scan_lock);
	target_unpublish(c, t);
	carry_close(&t->carry);
	broker_unbind(&c->broker, index);
	if (c->kernel == CORE_READY)
		wait_for_programs();
	heap_leave(c, t);
	custom_leave(c, t);
	wait_leave(c, t);
	label_leave(c, t);
	pthread_mutex_lock(&c->lock);
	if (c->kernel == CORE_READY)
		pool_fold(&c->pool, &c->totals, &c->kept);
	c->created.n_before[index] = 0;
	target_clear(c, t);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->scan_lock);
	core_wake(c);
}

/* A slot that is free, or becomes so; NULL: none can. */
static struct target *free_slot(struct core *c)
{
	struct target *oldest = NULL;

	for (uint32_t i = 0; i < BROKER_MAX_TARGETS; i++) {
		struct target *t = &c->targets[i];

		if (!t->pid) {
			t->index = i;
			return t;
		}
		if (is_leased(t) && !t->n_open && (!oldest || t->asked_ns < oldest->asked_ns))
			oldest = t;
	}
	if (!oldest) {
		c->n_refused++;
		return NULL;
	}
	c->n_evicted++;
	release(c, oldest);
	return oldest;
}

static int bind_slot(struct core *c, const struct known_process *p, struct target **ret, char *error)
{
	struct target *t = free_slot(c);
	struct broker_target from;
	int fd;

	if (!t)
		return LEASE_FULL;
	fd = broker_bind(&c->broker, p->id, t->index, &from, error);
	if (fd < 0)
		return fd == -ESRCH ? LEASE_GONE : fd;
	t->uid = from.uid;
	t->pidfd = fd;
	t->known = p->id;
	t->perf_map_fd = -1;
	t->serial = ++c->next_serial;
	t->leased = t->windows_only = true;
	memcpy(t->comm, p->comm, sizeof(t->comm));
	t->comm[sizeof(t->comm) - 1] = '\0';
	pthread_mutex_lock(&c->lock);
	t->pid = from.pid;
	if (t->index >= c->n_targets)
		__atomic_store_n(&c->n_targets, t->index + 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&c->lock);
	core_wake(c);
	*ret = t;
	return LEASE_OK;
}

static struct target *find_known(struct core *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->n_targets; i++)
		if (c->targets[i].pid && c->targets[i].known == id)
			return &c->targets[i];
	return NULL;
}

int lease_take(struct core *c, const struct known_process *p, enum lease_wish wish, struct target **ret, char *error)
{
	struct target *t;
	int r = LEASE_OK;

	*error = '\0';
	pthread_mutex_lock(&c->lease_lock);
	t = find_known(c, p->id);
	if (!t)
		r = bind_slot(c, p, &t, error);
	if (r == LEASE_OK)
		t->n_open++;
	pthread_mutex_unlock(&c->lease_lock);
	if (r != LEASE_OK)
		return r;
	if (!core_wait_kernel(c)) { /* whoever asks says so */
		*ret = t;
		return LEASE_OK;
	}
	r = arming_scan(c, t);
	if (r == TARGET_GONE)
		r = LEASE_GONE;
	if (r == LEASE_OK)
		lease_wish(c, t, wish);
	if (r != LEASE_OK)
		lease_end(c, t);
	else
		*ret = t;
	return r;
}

struct target *lease_find(struct core *c, int32_t pid)
{
	struct target *found = NULL;

	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_targets; i++) /* of a number that was used again, the last one */
		if (c->targets[i].pid == pid && (!found || c->targets[i].serial > found->serial))
			found = &c->targets[i];
	if (found)
		found->n_open++;
	pthread_mutex_unlock(&c->lease_lock);
	return found;
}

void lease_hold(struct core *c, struct target *t)
{
	pthread_mutex_lock(&c->lease_lock);
	t->n_open++;
	pthread_mutex_unlock(&c->lease_lock);
}

void lease_end(struct core *c, struct target *t)
{
	pthread_mutex_lock(&c->lease_lock);
	t->n_open--;
	t->asked_ns = monotonic_ns();
	if (is_leased(t) && !t->n_open)
		core_wake(c);
	pthread_mutex_unlock(&c->lease_lock);
	if (__atomic_load_n(&c->untidy, __ATOMIC_RELAXED))
		lease_tidy(c);
}

void lease_wish(struct core *c, struct target *t, enum lease_wish wish)
{
	if (wish == LEASE_KEPT && t->leased)
		arming_keep(c, t);
}

/* When it is over; 0: not by itself. What has ended is told of for a while, too. */
static int64_t ends_at(struct core *c, const struct target *t)
{
	int64_t at = t->asked_ns + c->lease_ns, ended;

	if (!is_leased(t) || t->n_open)
		return 0;
	pthread_mutex_lock(&c->lock);
	ended = t->ended_ns;
	pthread_mutex_unlock(&c->lock);
	return ended && ended + TARGET_KEPT_NS > at ? ended + TARGET_KEPT_NS : at;
}

void lease_run(struct core *c)
{
	int64_t now = monotonic_ns();
	bool kept = false, any = false;

	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_targets; i++) {
		struct target *t = &c->targets[i];
		int64_t at = ends_at(c, t);

		if (at && at <= now) {
			release(c, t);
			any = true;
		}
		kept |= t->pid && !t->windows_only;
	}
	pthread_mutex_unlock(&c->lease_lock);
	if (!kept)
		arming_stop(c);
	if (any)
		lease_tidy(c);
}

int64_t lease_due(struct core *c)
{
	int64_t due = 0;

	pthread_mutex_lock(&c->lease_lock);
	for (uint32_t i = 0; i < c->n_targets; i++) {
		int64_t at = ends_at(c, &c->targets[i]);

		if (at && (!due || at < due))
			due = at;
	}
	pthread_mutex_unlock(&c->lease_lock);
	return due;
}

void lease_count(struct core *c, struct lease_counts *ret)
{
	pthread_mutex_lock(&c->lease_lock);
	*ret = (struct lease_counts){ .n_evicted = c->n_evicted, .n_refused = c->n_refused };
	for (uint32_t i = 0; i < c->n_targets; i++) {
		ret->n_taken += c->targets[i].pid != 0;
		ret->n_leased += is_leased(&c->targets[i]);
	}
	pthread_mutex_unlock(&c->lease_lock);
}
