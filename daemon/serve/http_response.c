/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve/http_response.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/serve/path.h"

#define RETRY_S 5

void http_error(struct http_response *ret, unsigned status, const char *format, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	ret->status = status;
	ret->kind = HTTP_ERROR;
	ret->gzip = false;
	*ret->filename = '\0';
	bytes_clear(&ret->body);
	bytes_puts(&ret->body, text ? text : "out of memory");
	bytes_puts(&ret->body, "\n");
}

const char *http_said(struct http_response *r)
{
	if (r->body.n && r->body.data[r->body.n - 1] == '\n')
		r->body.n--;
	return r->body.n && bytes_text(&r->body) ? r->body.data : "no answer";
}

void http_response_deinit(struct http_response *r)
{
	bytes_deinit(&r->body);
	bytes_deinit(&r->location);
	if (r->stream.free)
		r->stream.free(r->stream.context);
	r->stream = (struct http_stream){ 0 };
}

static void add_disposition(struct MHD_Response *r, const char *how, const char *filename)
{
	char value[128], name[64];

	snprintf(name, sizeof(name), "%s", filename);
	for (char *s = name; *s; s++) {
		if ((unsigned char)*s < ' ' || *s & 0x80 || strchr("\"\\/\x7f", *s))
			*s = '_';
	}
	snprintf(value, sizeof(value), "%s; filename=\"%s\"", how, name);
	MHD_add_response_header(r, "Content-Disposition", value);
}

/* A page runs scripts of ours and sends what it knows to us alone, whatever the names in it are. A picture does nothing. */
#define PAGE_POLICY                                                                                                        \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "       \
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
#define PICTURE_POLICY "default-src 'none'; frame-ancestors 'none'"

/* What the page needs besides what Go has. */
static void add_page(const struct http_response *a, struct MHD_Response *r)
{
	if (a->kind == HTTP_PAGE || a->kind == HTTP_SVG) {
		MHD_add_response_header(r, "Content-Security-Policy", a->kind == HTTP_PAGE ? PAGE_POLICY : PICTURE_POLICY);
		MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
	}
	if (a->kind == HTTP_PAGE)
		MHD_add_response_header(r, "Cache-Control", "no-store");
	if (a->kind == HTTP_FILE) {
		MHD_add_response_header(r, "Cache-Control", "public, max-age=31536000, immutable");
		MHD_add_response_header(r, "Vary", "Accept-Encoding");
	}
	if (a->gzip)
		MHD_add_response_header(r, "Content-Encoding", "gzip");
	if (*a->kept)
		MHD_add_response_header(r, "X-Pprofd-Capture", a->kept);
}

/* go-endpoints.md 1.2. A header that MHD has no memory for is missing. */
void http_response_head(const struct http_response *a, bool close, struct MHD_Response *r)
{
	static const char *const types[] = {
		[HTTP_TEXT] = "text/plain; charset=utf-8",
		[HTTP_HTML] = "text/html; charset=utf-8",
		[HTTP_BINARY] = "application/octet-stream",
		[HTTP_ERROR] = "text/plain; charset=utf-8",
		[HTTP_REDIRECT] = "text/html; charset=utf-8",
		[HTTP_JSON] = "application/json",
		[HTTP_METRICS] = "text/plain; version=0.0.4; charset=utf-8",
		[HTTP_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
		[HTTP_PAGE] = "text/html; charset=utf-8",
		[HTTP_SVG] = "image/svg+xml",
	};

	char seconds[16];

	MHD_add_response_header(r, "Content-Type", a->kind == HTTP_FILE ? a->type : types[a->kind]);
	if (a->kind != HTTP_REDIRECT)
		MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
	if (a->challenge)
		MHD_add_response_header(r, "WWW-Authenticate", "Basic realm=\"pprofd\", charset=\"UTF-8\"");
	if (a->retry_after_s) {
		snprintf(seconds, sizeof(seconds), "%u", a->retry_after_s);
		MHD_add_response_header(r, "Retry-After", seconds);
	}
	if (a->kind == HTTP_ERROR)
		MHD_add_response_header(r, "X-Go-Pprof", "1");
	if (a->exited)
		MHD_add_response_header(r, "X-Pprofd-Target", "exited");
	if (a->kind == HTTP_BINARY || *a->filename)
		add_disposition(r, a->kind == HTTP_SVG ? "inline" : "attachment", a->filename);
	add_page(a, r);
	if (a->location.data)
		MHD_add_response_header(r, "Location", a->location.data);
	if (a->allow)
		MHD_add_response_header(r, "Allow", a->allow);
	if (close)
		MHD_add_response_header(r, "Connection", "close");
}

void http_response_finish(struct http_response *a)
{
	if (a->kind == HTTP_REDIRECT && !bytes_text(&a->location))
		a->body.bad = true;
	else if (a->kind == HTTP_REDIRECT && !a->body.n)
		path_redirect_body(&a->body, a->location.data);
	if (a->status == 503 && !a->retry_after_s)
		a->retry_after_s = RETRY_S;
	if (a->body.bad) {
		bytes_deinit(&a->location);
		a->allow = NULL;
		http_error(a, 500, "out of memory");
	}
}
