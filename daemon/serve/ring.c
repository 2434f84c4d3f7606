/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

int ring_init(struct ring *r, int fd, uint32_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *consumer, *producer;

	*r = (struct ring){ .fd = fd, .size = size };
	consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (consumer == MAP_FAILED)
		return -errno;
	producer = mmap(NULL, page + 2ul * size, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (producer == MAP_FAILED) {
		int err = -errno;

		munmap(consumer, page);
		return err;
	}
	r->consumer = consumer;
	r->producer = producer;
	r->records = (const char *)producer + page;
	return 0;
}

void ring_deinit(struct ring *r)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (r->consumer) {
		munmap(r->consumer, page);
		munmap((void *)r->producer, page + 2ul * r->size);
	}
	close_fd(&r->fd);
}

void ring_read(struct ring *r, ring_fn *notice, void *context)
{
	uint64_t at = __atomic_load_n(r->consumer, __ATOMIC_RELAXED);
	/* What comes meanwhile is for the next time: this one ends however fast it comes. */
	uint64_t end = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);

	while (at < end) {
		const char *record = r->records + (at & (r->size - 1));
		uint32_t head = __atomic_load_n((const uint32_t *)(const void *)record,
						__ATOMIC_ACQUIRE);
		uint32_t n = head & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (head & BPF_RINGBUF_BUSY_BIT)
			return;
		if (!(head & BPF_RINGBUF_DISCARD_BIT) && n == sizeof(struct pp_notice)) {
			struct pp_notice copy;

			memcpy(&copy, record + BPF_RINGBUF_HDR_SZ, sizeof(copy));
			notice(context, &copy);
		}
		at += (n + BPF_RINGBUF_HDR_SZ + 7) & ~7u;
		__atomic_store_n(r->consumer, at, __ATOMIC_RELEASE);
	}
}
