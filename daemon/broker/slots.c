/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "daemon/broker/answer.h"
#include "daemon/broker/diagnose.h"

#define ALL_SIDES (BROKER_SIDE_ALLOC | BROKER_SIDE_FREE | BROKER_SIDE_TOLD)

void broker_release(struct broker *b, uint32_t slot)
{
	struct process *p = &b->processes[slot];

	if (slot < b->n_named || slot >= b->n_processes || !p->pid)
		return;
	if (b->uprobes)
		uprobes_unprobe(b->uprobes, slot, ALL_SIDES);
	if (b->customs && !customs_are_loading(b->customs))
		customs_off(b->customs, slot);
	if (b->waits && !waits_are_loading(b->waits))
		waits_release(b->waits, p->pid);
	if (b->kernel && p->host_tgid)
		kernel_forget(b->kernel, p->host_tgid, slot);
	close_fd(&p->pidfd);
	*p = (struct process){ .pidfd = -1 };
}

static int bind_slot(struct broker *b, const struct broker_bind *q, char *error)
{
	const struct broker_known *k = census_find(&b->census, q->known);
	int r;

	if (q->slot < b->n_named || q->slot >= BROKER_MAX_TARGETS || b->processes[q->slot].pid)
		return -EINVAL;
	if (!k)
		return -ESRCH;
	r = process_take(k, &b->processes[q->slot]);
	if (r < 0 && r != -ESRCH)
		diagnose_process(k->pid, r, error, KERNEL_MAX_TEXT);
	if (r == 0 && q->slot >= b->n_processes)
		b->n_processes = q->slot + 1;
	return r;
}

void answer_bind(struct broker *b, struct answer *a)
{
	const struct broker_bind *from = record_payload(a->r, struct broker_bind);
	struct broker_bind q = from ? *from : (struct broker_bind){ 0 };
	char error[KERNEL_MAX_TEXT] = "";
	int r = from ? bind_slot(b, &q, error) : -EINVAL;
	struct broker_target t;

	answer_text(a, r, error);
	if (r < 0)
		return;
	t = broker_describe(b, q.slot);
	memcpy(a->r->data, &t, sizeof(t));
	a->r->n = sizeof(t);
	a->r->fds[a->r->n_fds++] = b->processes[q.slot].pidfd;
}

void answer_release(struct broker *b, struct answer *a)
{
	const uint32_t *slot = record_payload(a->r, uint32_t);

	a->r->status = slot && *slot < BROKER_MAX_TARGETS ? 0 : -EINVAL;
	if (a->r->status == 0 && *slot >= b->n_named && b->processes[*slot].pid)
		carry_remove(&b->carry, &b->processes[*slot]);
	if (a->r->status == 0)
		broker_release(b, *slot);
	a->r->n = 0;
}
