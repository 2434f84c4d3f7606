/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * clock.h - the clocks, in nanoseconds. The day's time jumps: it is what is shown as a date, and no difference of
 * it is taken (tests/doors.py). What outlives pprofd is told by the time since the boot.
 */

#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000ll
#define NS_PER_MS 1000000ll

static inline int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static inline int64_t monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static inline int64_t boottime_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

static inline int64_t realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}
