/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/trace/go_state.h"

#define P(cpu) ((uint64_t)(cpu) + 1) /* 0 is the outside's */

static void put(struct go_trace *g, uint64_t t, struct go_thread *th, enum go_event event, uint32_t n,
		const uint64_t *args)
{
	go_wire_event(&g->wire, &th->stream, th->tid, t, event, n, args);
}

#define PUT(g, t, th, event, ...)                                                                  \
	({                                                                                         \
		const uint64_t _args[] = { __VA_ARGS__ };                                          \
		put((g), (t), (th), (event), sizeof(_args) / sizeof(*_args), _args);               \
	})
#define PUT_OUTSIDE(g, t, event, ...)                                                              \
	GO_EVENT(g, &(g)->outside, GO_OUTSIDE, (t), (event), __VA_ARGS__)

/* How many CPUs there are; a reader wants it from a running thread. */
static void say_cpus(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	if (!g->said_cpus)
		PUT(g, t, th, GO_PROCS_CHANGE, g->n_cpus, 0);
	g->said_cpus = true;
}

void go_say_status(struct go_trace *g, uint64_t t, struct go_thread *th, enum go_status status, bool own_m)
{
	uint64_t args[4] = { th->tid, own_m ? th->tid : GO_NONE, status, 0 };
	struct go_stream *s = own_m ? &th->stream : &g->outside;
	uint64_t m = own_m ? th->tid : GO_OUTSIDE;

	th->status = (uint8_t)status;
	th->sequence = 0;
	if (g->wire.version < 23) {
		go_wire_event(&g->wire, s, m, t, GO_STATUS, 3, args);
	} else {
		args[3] = go_thread_name_stack(g, th);
		go_wire_event(&g->wire, s, m, t, GO_STATUS_STACK, 4, args);
	}
	if (status == GO_RUNNING)
		say_cpus(g, t, th);
}

static void take_cpu(struct go_trace *g, struct go_thread *th, uint32_t cpu)
{
	struct go_cpu *c = &g->cpus.data[cpu];

	c->known = true;
	c->status = GO_P_RUNNING;
	c->owner = th;
	th->cpu = (int32_t)cpu;
}

static void proc_start(struct go_trace *g, uint64_t t, struct go_thread *th, uint32_t cpu)
{
	struct go_cpu *c = &g->cpus.data[cpu];

	if (!c->known)
		PUT_OUTSIDE(g, t, GO_PROC_STATUS, P(cpu), GO_P_IDLE);
	PUT(g, t, th, GO_PROC_START, P(cpu), ++c->sequence);
	take_cpu(g, th, cpu);
}

static void proc_stop(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	struct go_cpu *c = &g->cpus.data[th->cpu];

	put(g, t, th, GO_PROC_STOP, 0, NULL);
	c->status = GO_P_IDLE;
	c->owner = NULL;
	th->cpu = -1;
}

static void created(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	th->declared_at = t;
	th->declared_in = g->wire.generation;
	th->renamed = false;
}

/* In the first generation, a reader believes that what it is told about a new goroutine was so from the start. */
static void declare_first(struct go_trace *g, uint64_t t, struct go_thread *th, enum go_status status,
			  uint32_t cpu)
{
	if (status == GO_RUNNING) {
		go_cpu_free(g, t, cpu);
		if (g->cpus.data[cpu].known) {
			proc_start(g, t, th, cpu);
		} else {
			PUT(g, t, th, GO_PROC_STATUS, P(cpu), GO_P_RUNNING);
			take_cpu(g, th, cpu);
		}
		go_say_status(g, t, th, status, true);
	} else if (status == GO_WAITING && th->listed_in_call) {
		go_say_status(g, t, th, GO_SYSCALL, true);
	} else {
		go_say_status(g, t, th, status, false);
	}
}

/* Later there is only creation, as for a second thread of the same number. */
void go_declare(struct go_trace *g, uint64_t t, struct go_thread *th, enum go_status status, uint32_t cpu)
{
	if (th->status)
		return;
	if (!g->first || th->dead) {
		th->dead = false;
		go_repair(g, GO_LOST_NEW);
		go_create(g, t, th, NULL, 0);
		if (status == GO_RUNNING)
			go_start(g, t, th, cpu);
		return;
	}
	created(g, t, th);
	declare_first(g, t, th, status, cpu);
}

/* The stack of a call that goes on; of one that began in another generation only the call is known. */
static uint32_t call_stack(struct go_trace *g, const struct go_thread *th)
{
	return th->call_generation == g->wire.generation ? th->call_stack : go_stack(g, 0, th->call);
}

void go_create(struct go_trace *g, uint64_t t, struct go_thread *th, struct go_thread *creator, uint32_t stack)
{
	uint32_t name = go_thread_name_stack(g, th);

	created(g, t, th);
	th->status = GO_RUNNABLE;
	th->sequence = 0;
	if (!creator) {
		PUT_OUTSIDE(g, t, GO_CREATE, th->tid, name, stack);
		return;
	}
	go_call_end(g, t, creator); /* only who runs may create */
	PUT(g, t, creator, GO_CREATE, th->tid, name, stack);
	if (creator->call >= 0)
		go_call_begin(g, t, creator, call_stack(g, creator));
}

static void say_name(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	if (th->renamed && th->declared_in < g->wire.generation)
		PUT(g, t, th, GO_LABEL, go_wire_string(&g->wire, th->name));
	th->renamed = false;
}

void go_start(struct go_trace *g, uint64_t t, struct go_thread *th, uint32_t cpu)
{
	go_cpu_free(g, t, cpu);
	if (th->status != GO_RUNNABLE) {
		go_repair(g, GO_LOST_WAKING);
		go_unblock(g, t, th, NULL, go_wire_say(&g->wire, "[wake-up not seen]"));
	}
	proc_start(g, t, th, cpu);
	PUT(g, t, th, GO_START, th->tid, ++th->sequence);
	th->status = GO_RUNNING;
	say_cpus(g, t, th);
	say_name(g, t, th);
	if (th->resume && th->call >= 0)
		go_call_begin(g, t, th, call_stack(g, th));
	th->resume = false;
}

void go_call_begin(struct go_trace *g, uint64_t t, struct go_thread *th, uint32_t stack)
{
	struct go_cpu *c = &g->cpus.data[th->cpu];

	PUT(g, t, th, GO_SYSCALL_BEGIN, ++c->sequence, stack);
	c->status = GO_P_SYSCALL;
	th->status = GO_SYSCALL;
}

void go_call_end(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	if (th->status != GO_SYSCALL || th->cpu < 0)
		return;
	put(g, t, th, GO_SYSCALL_END, 0, NULL);
	g->cpus.data[th->cpu].status = GO_P_RUNNING;
	th->status = GO_RUNNING;
}

static void leave(struct go_trace *g, uint64_t t, struct go_thread *th, enum go_event event,
		  const char *reason, uint32_t stack)
{
	go_call_end(g, t, th);
	PUT(g, t, th, event, go_wire_string(&g->wire, reason), stack);
	th->status = event == GO_STOP ? GO_RUNNABLE : GO_WAITING;
	th->resume = th->call >= 0;
	proc_stop(g, t, th);
}

void go_stop(struct go_trace *g, uint64_t t, struct go_thread *th, const char *reason, uint32_t stack)
{
	leave(g, t, th, GO_STOP, reason, stack);
}

void go_block(struct go_trace *g, uint64_t t, struct go_thread *th, const char *reason, uint32_t stack)
{
	leave(g, t, th, GO_BLOCK, reason, stack);
}

void go_block_in_call(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	proc_stop(g, t, th);
}

void go_unblock(struct go_trace *g, uint64_t t, struct go_thread *th, struct go_thread *waker, uint32_t stack)
{
	if (th->status == GO_SYSCALL) {
		put(g, t, th, GO_SYSCALL_END_BLOCKED, 0, NULL);
		th->resume = th->call >= 0;
	} else if (waker) {
		PUT(g, t, waker, GO_UNBLOCK, th->tid, ++th->sequence, stack);
	} else {
		PUT_OUTSIDE(g, t, GO_UNBLOCK, th->tid, ++th->sequence, stack);
	}
	th->status = GO_RUNNABLE;
}

/* Who is on no CPU ends on the outside's. */
void go_destroy(struct go_trace *g, uint64_t t, struct go_thread *th)
{
	if (th->cpu >= 0) {
		go_call_end(g, t, th);
		put(g, t, th, GO_DESTROY, 0, NULL);
		proc_stop(g, t, th);
	} else {
		if (th->status != GO_RUNNABLE)
			go_unblock(g, t, th, NULL, go_wire_say(&g->wire, "[exit not seen]"));
		PUT_OUTSIDE(g, t, GO_START, th->tid, ++th->sequence);
		go_wire_event(&g->wire, &g->outside, GO_OUTSIDE, t, GO_DESTROY, 0, NULL);
	}
	th->status = 0;
	th->call = -1;
	go_regions_forget(th);
}

void go_cpu_free(struct go_trace *g, uint64_t t, uint32_t cpu)
{
	struct go_thread *owner = g->cpus.data[cpu].owner;

	if (!owner)
		return;
	go_repair(g, GO_LOST_OUT);
	go_stop(g, t, owner, "lost event", 0);
}
