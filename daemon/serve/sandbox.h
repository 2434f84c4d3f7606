/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* sandbox.h - what serve may still ask of the kernel once it has its orders: sockets it was given,
 * threads, memory, the maps it was handed. No file is opened, no program started, no connection
 * made. */

/* 0 or -errno. */
int sandbox_enter_serve(void);
