/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* log.h - what serve tells its operator: one line on standard error. Only the edge speaks: main,
 * sessions, http. */

void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
