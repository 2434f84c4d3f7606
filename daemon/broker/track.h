/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* track.h - what --track names: functions that add to a profile, and functions that remove. Text only. */

#include "daemon/broker/options.h"

/* NAME=ADD[:ret|:fd|:arg N],REMOVE[:arg N], or fd, mmap, thread. Never returns for what it does not understand. */
void track_parse(struct options *o, const char *text);
