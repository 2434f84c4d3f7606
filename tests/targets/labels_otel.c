/* SPDX-License-Identifier: Apache-2.0 */
/* labels_otel.c - what OpenTelemetry's SDKs (OTEP 4719, 4947) and Polar Signals' library write, written by hand. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define BARRIER() __asm__ volatile("" ::: "memory")

struct __attribute__((packed)) record {
	uint8_t trace[16], span[8], valid, flags;
	uint16_t n;
	uint8_t attributes[64];
};
struct string {
	size_t n;
	const char *bytes;
};
struct label {
	struct string key, value;
};
struct set {
	struct label *storage;
	size_t n, capacity;
};

EXPORTED __thread struct record *otel_thread_ctx_v1;
EXPORTED __thread struct set *custom_labels_current_set;
EXPORTED uint32_t custom_labels_abi_version = 1;

#define WORK(name)                                              \
	__attribute__((noinline)) void name(void);              \
	void name(void)                                         \
	{                                                       \
		for (volatile int i = 0; i < 300000; i++)       \
			;                                       \
	}
WORK(under_record)
WORK(under_set)
WORK(under_invalid)
WORK(under_nothing)

static size_t put(unsigned char *to, unsigned field, const void *data, size_t n)
{
	to[0] = (unsigned char)(field << 3 | 2);
	to[1] = (unsigned char)n; /* below 128 */
	memcpy(to + 2, data, n);
	return n + 2;
}

/* threadlocal.attribute_key_map: two keys. */
static void publish(void)
{
	static const char name[] = "threadlocal.attribute_key_map";
	static const char *const keys[] = { "http.route", "method" };
	static unsigned char payload[128];
	unsigned char values[64], value[96], pair[120], text[32];
	struct {
		char signature[8];
		uint32_t version, size;
		uint64_t published_ns;
		void *payload;
	} header = { { 0 }, 2, 0, 12345, payload };
	size_t n = 0, n_pair;
	int fd = memfd_create("OTEL_CTX", MFD_CLOEXEC);
	char *at;

	for (int i = 0; i < 2; i++)
		n += put(values + n, 1, text, put(text, 1, keys[i], strlen(keys[i])));
	n = put(value, 5, values, n);
	n_pair = put(pair, 1, name, strlen(name));
	n_pair += put(pair + n_pair, 2, value, n);
	header.size = (uint32_t)put(payload, 1, pair, n_pair);
	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return;
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return;
	memcpy(header.signature, "OTEL_CTX", 8);
	memcpy(at, &header, sizeof(header));
}

int main(int argc, char **argv)
{
	static struct record record = { .valid = 1, .span = { 0xab, 0xcd }, .trace = { 0x12, 0x34 }, .n = 22,
					/* the last of a key counts; of an unknown key, nothing */
					.attributes = "\0\6/users\1\3GET\11\1x\1\4POST" };
	static struct record invalid = { .valid = 0, .span = { 1 }, .trace = { 1 } };
	static struct label labels[] = { { { 4, "city" }, { 5, "Paris" } }, { { 0, NULL }, { 1, "x" } },
					 { { 4, "city" }, { 4, "Rome" } }, { { 1, "k" }, { 3, "abc" } } };
	static struct set set = { labels, 4, 4 };

	(void)argc, (void)argv;
	publish();
	puts("ready");
	fflush(stdout);
	for (;;) {
		otel_thread_ctx_v1 = &record;
		BARRIER();
		under_record();
		BARRIER();
		otel_thread_ctx_v1 = &invalid;
		BARRIER();
		under_invalid();
		BARRIER();
		otel_thread_ctx_v1 = NULL;
		custom_labels_current_set = &set;
		BARRIER();
		under_set();
		BARRIER();
		custom_labels_current_set = NULL;
		BARRIER();
		under_nothing();
		BARRIER();
	}
}
