/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* http_response.h - what every answer has besides its bytes. Pure but for libmicrohttpd's list of headers. */

#include <microhttpd.h>

#include "daemon/serve/http.h"

/* Makes up what the handler left open: the body of a redirect; an error where memory was short. */
void http_response_finish(struct http_response *a);
/* go-endpoints.md 1.2. close: say that the connection ends. */
void http_response_head(const struct http_response *a, bool close, struct MHD_Response *to);
