#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# contract.sh BASEURL - does a server at BASEURL (http://host:port) answer as Go's /debug/pprof/?
#
# Prints a line "ok NAME" or "FAIL NAME: why" a probe and a total; exit 1 when one failed. Needs
# bash, curl, gzip and cmp. Probes of a profile kind stand in a function of its name and run when
# its row is in ROWS: a new row adds its name there and its function here. GO=1 is for a stock Go
# server: it leaves out what pprofd does on purpose otherwise. SLOW=1 adds a probe of 30 seconds.
# PROBES="index heap ..." runs these only, so that several can run at once.

BASE=${1:?usage: $0 http://host:port}
BASE=${BASE%/}
P=$BASE/debug/pprof
GO=${GO:-0}
ROWS="allocs block cmdline goroutine heap mutex profile symbol threadcreate trace"
[ "$GO" = 1 ] || ROWS="$ROWS growth offcpu wall"
TMP=$(mktemp -d) || exit 2
trap 'rm -rf "$TMP"' EXIT
n_ok=0
n_fail=0

TEXT='^Content-Type: text/plain; charset=utf-8$'
HTML='^Content-Type: text/html; charset=utf-8$'
BINARY='^Content-Type: application/octet-stream$'
NOSNIFF='^X-Content-Type-Options: nosniff$'
MARK='^X-Go-Pprof: 1$'
ALWAYS=('^Date: ' '!^(Content-Encoding|ETag|Cache-Control|Server):')
# An error of the handlers, and one of the layer above them; '!': no line may match.
ERROR=("$TEXT" "$NOSNIFF" "$MARK" '!^Content-Disposition')
PLAIN=("$TEXT" "$NOSNIFF" '!^X-Go-Pprof')

ok() {
	n_ok=$((n_ok + 1))
	printf 'ok %s\n' "$1"
}

fail() {
	n_fail=$((n_fail + 1))
	printf 'FAIL %s: %s\n' "$1" "$2"
}

# check NAME WHY COMMAND...: ok when the command succeeds
check() {
	local name=$1 why=$2

	shift 2
	if "$@"; then ok "$name"; else fail "$name" "$why"; fi
}

# ask CURL-ARGS...: leaves $code, $TMP/head (without carriage returns) and $TMP/body
ask() {
	: >"$TMP/body"
	: >"$TMP/raw"
	echo 0.000 >"$TMP/seconds"
	code=$(curl -sS -m 100 --path-as-is -D "$TMP/raw" -o "$TMP/body" -w '%{http_code} %{time_total}' "$@" \
		2>"$TMP/error") || code="curl: $(head -c 100 "$TMP/error")"
	case $code in
	curl*) ;;
	*)
		echo "${code#* }" >"$TMP/seconds"
		code=${code% *}
		;;
	esac
	tr -d '\r' <"$TMP/raw" >"$TMP/head"
}

# has_lines FILE PATTERN...: the first that is not as it should be is left in $why
has_lines() {
	local file=$1 one

	shift
	for one in "$@"; do
		why="unwanted ${one#!}"
		if [ "${one:0:1}" = '!' ]; then
			! grep -aqE -- "${one#!}" "$file" || return 1
		else
			why="no $one"
			grep -aqE -- "$one" "$file" || return 1
		fi
	done
}

is_gzip() {
	gzip -dc <"$1" >"$TMP/unzipped" 2>/dev/null
}

# probe NAME STATUS BODY CURL-ARGS... with the header patterns in the array H. BODY: "" for any,
# "=text" exactly (printf %b), "gz" for a gzip file that is whole, else a pattern.
probe() {
	local name=$1 status=$2 body=$3 why

	shift 3
	ask "$@"
	if [ "$code" != "$status" ]; then
		fail "$name" "status $code, not $status"
		return
	fi
	if ! has_lines "$TMP/head" "${ALWAYS[@]}" "${H[@]}"; then
		fail "$name" "header: $why"
		return
	fi
	case $body in
	'') ok "$name" ;;
	=*) check "$name" "body: $(head -c 90 "$TMP/body" | tr '\0\n' '~|')" \
		cmp -s "$TMP/body" <(printf '%b' "${body#=}") ;;
	gz) check "$name" "not a gzip file" is_gzip "$TMP/body" ;;
	*) check "$name" "body: no $body" has_lines "$TMP/body" "$body" ;;
	esac
}

# Milliseconds of a request, by a clock that nobody sets; its status is left in $code.
timed() {
	ask "$@"
	took=$(sed 's/[.,]\(...\).*/\1/; s/^0*\(.\)/\1/' "$TMP/seconds")
}

# still_waits NAME URL: no answer within two seconds, and then we hang up
still_waits() {
	local rc

	curl -sS -m 2 -o /dev/null "$2" 2>/dev/null
	rc=$?
	check "$1" "curl ended with $rc before two seconds" [ "$rc" = 28 ]
}

# raw TEXT: sends bytes (printf %b) at once and prints what comes until the end, for 30 s at most
raw() (
	host=${BASE#http://}
	trap '' PIPE
	exec {fd}<>"/dev/tcp/${host%:*}/${host##*:}" || return 1
	printf '%b' "$1" >"$TMP/request"
	cat "$TMP/request" >&"$fd"
	timeout 30 cat <&"$fd" | tr -d '\r'
)

index() {
	local row

	H=("$HTML" "$NOSNIFF" '!^X-Go-Pprof')
	probe 'index is a page' 200 '<title>/debug/pprof/</title>' "$P/"
	probe 'index names its table' 200 '^Types of profiles available:$' "$P/?debug=1"
	for row in $ROWS; do
		probe "index row $row" 200 \
			"^<tr><td>[0-9]+</td><td><a href='$row\?debug=1'>$row</a></td></tr>$" "$P/"
		probe "index description $row" 200 \
			"^<li><div class=profile-name>$row: </div> .+</li>$" "$P/"
	done
	for row in cmdline profile symbol trace $([ "$GO" = 1 ] || echo wall); do
		probe "index counts no $row" 200 "^<tr><td>0</td><td><a href='$row" "$P/"
	done
	ask "$P/"
	sed -n "s/^<tr><td>[0-9]*<.*<a href='\([^?]*\)?debug=1'>.*/\1/p" "$TMP/body" >"$TMP/rows"
	check 'index rows are sorted' "$(tr '\n' ' ' <"$TMP/rows")" \
		cmp -s "$TMP/rows" <(LC_ALL=C sort "$TMP/rows")
	check 'index ends without a newline' 'it has one' \
		[ "$(tail -c 7 "$TMP/body" | od -An -c | tr -d ' \n')" = '</html>' ]
	[ "$GO" = 1 ] || check 'index links no dump without its row' 'it does' \
		test "$(grep -c 'full goroutine stack dump' "$TMP/body")" = \
		"$(grep -c '^goroutine$' "$TMP/rows")"
	probe 'HEAD index' 200 '' -I "$P/"
}

redirects() {
	H=("$HTML" '^Location: /debug/pprof/$' '!^X-Content-Type-Options')
	probe 'no slash: 307' 307 '=<a href="/debug/pprof/">Temporary Redirect</a>.\n\n' "$P"
	probe 'HEAD without slash: 307' 307 '' -I "$P"
	H=('^Location: /debug/pprof/\?x=1&y=%41$')
	probe 'a redirect keeps the query' 307 \
		'=<a href="/debug/pprof/?x=1&amp;y=%41">Temporary Redirect</a>.\n\n' "$P?x=1&y=%41"
	H=('^Location: /debug/pprof/cmdline$')
	probe 'two slashes are cleaned' 307 '' "$P//cmdline"
	probe 'dots are cleaned' 307 '' "$P/x/.././cmdline"
	H=('^Location: /debug/pprof/cmdline\?a=b$')
	probe 'cleaning keeps the query' 307 '' "$P/../pprof/cmdline?a=b"
	H=('^Location: /[^/]')
	probe 'no redirect to another host' 307 '' "$BASE//example.org/..//x"
}

methods() {
	local m

	H=("${PLAIN[@]}" '^Allow: GET, HEAD$')
	for m in PUT DELETE OPTIONS PATCH; do
		probe "$m: 405" 405 '=Method Not Allowed\n' -X $m "$P/cmdline"
	done
	probe 'POST cmdline: 405' 405 '=Method Not Allowed\n' -d x "$P/cmdline"
	probe 'POST profile: 405' 405 '=Method Not Allowed\n' -X POST "$P/profile"
	probe 'DELETE of nothing: 405' 405 '=Method Not Allowed\n' -X DELETE "$P/nosuch"
	probe 'PUT index: 405' 405 '=Method Not Allowed\n' -X PUT "$P/"
}

errors() {
	H=("${ERROR[@]}")
	probe 'unknown profile' 404 '=Unknown profile\n' "$P/nosuch"
	probe 'unknown comes before parameters' 404 '=Unknown profile\n' "$P/nosuch?seconds=x"
	probe 'a slash behind a name' 404 '=Unknown profile\n' "$P/cmdline/"
	probe 'a path behind a name' 404 '=Unknown profile\n' "$P/cmdline/x"
	probe 'a NUL behind a name' 404 '=Unknown profile\n' "$P/cmdline%00"
	probe 'encoded dots are a name' 404 '=Unknown profile\n' "$P/%2e%2e/pprof/cmdline"
	H=("${ERROR[@]}" '^Content-Length: 16$')
	probe 'HEAD unknown' 404 '' -I "$P/nosuch"
	H=("${PLAIN[@]}")
	probe 'outside the tree' 404 '=404 page not found\n' "$BASE/nosuch"
	probe 'an encoded slash is none' 404 '=404 page not found\n' "$BASE/debug%2Fpprof/cmdline"
}

# What only the bytes on the wire show.
wire() {
	local get='GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n'
	local end='Connection: close\r\n\r\n'

	check 'keep-alive' 'a second connection' [ "$(curl -s -o /dev/null -o /dev/null \
		-w '%{num_connects}' "$P/cmdline" "$P/nosuch")" = 10 ]
	raw "$get\r\n$get$end" >"$TMP/wire"
	check 'pipelining' "$(head -c 90 "$TMP/wire" | tr '\0\n' '~|')" \
		[ "$(grep -ac '^HTTP/1.1 200 OK$\|HTTP/1.1 200 OK$' "$TMP/wire")" = 2 ]
	raw 'GET /debug/pprof/ HTTP/1.0\r\n\r\n' >"$TMP/wire"
	check 'HTTP/1.0 is answered as such' "$(head -1 "$TMP/wire")" \
		has_lines "$TMP/wire" '^HTTP/1.0 200 OK$' '!^Transfer-Encoding'
	raw 'GET / HTTP/1.1\r\n\r\n' >"$TMP/wire"
	check 'no Host: 400' "$(head -1 "$TMP/wire")" has_lines "$TMP/wire" '^HTTP/1.1 400 ' \
		'^400 Bad Request: missing required Host header'
	raw "GET http://localhost/debug/pprof/nosuch HTTP/1.1\r\nHost: localhost\r\n$end" \
		>"$TMP/wire"
	check 'absolute target' "$(head -1 "$TMP/wire")" has_lines "$TMP/wire" '^Unknown profile$'
	raw "GET / HTTP/9.0\r\nHost: localhost\r\n\r\n" >"$TMP/wire"
	check 'unknown version: 505' "$(head -1 "$TMP/wire")" has_lines "$TMP/wire" '^HTTP/1.1 505 '
}

# What Go does not do: pprofd looks after itself.
guards() {
	H=("$TEXT" "$NOSNIFF" "$MARK")
	probe 'a foreign Host: 403' 403 '--allow-host rebinding.example' \
		-H 'Host: rebinding.example:6060' "$P/"
	probe 'a foreign site: 403' 403 'another site' -H 'Sec-Fetch-Site: cross-site' "$P/"
	probe 'a foreign Origin: 403' 403 'another site' -H 'Origin: http://evil.example' "$P/"
	H=("$HTML")
	probe 'localhost is a name' 200 '' -H 'Host: localhost:1' "$P/"
	probe 'our own pages may ask' 200 '' -H 'Sec-Fetch-Site: same-origin' "$P/"
	H=()
	probe 'a large head: 431' 431 '' -H "X: $(printf '%050000d' 0)" "$P/"
	H=("$TEXT")
	head -c 1500000 /dev/zero >"$TMP/large"
	probe 'a large body: 413' 413 '' -H 'Expect:' --data-binary @"$TMP/large" "$P/cmdline"
}

cmdline() {
	H=("$TEXT" "$NOSNIFF" '!^Content-Disposition')
	probe 'cmdline' 200 '' "$P/cmdline"
	check 'cmdline is not empty' 'it is' [ -s "$TMP/body" ]
	check 'cmdline ends without NUL or newline' 'it has one' \
		[ "$(tail -c 1 "$TMP/body" | tr -d '\0\n' | wc -c)" = 1 ]
	probe 'cmdline ignores parameters' 200 '' "$P/cmdline?debug=1&seconds=9"
	probe 'cmdline percent-encoded' 200 '' "$P/%63mdlin%65"
	probe 'cmdline with a broken query' 200 '' "$P/cmdline?%zz;&=&%"
	probe 'HEAD cmdline' 200 '' -I "$P/cmdline"
	check 'HEAD cmdline has the length' "$(grep -i ^content-length "$TMP/head")" \
		grep -q "^Content-Length: $(curl -s "$P/cmdline" | wc -c)$" "$TMP/head"
}

profile() {
	local disposition='^Content-Disposition: attachment; filename="profile"$' bg

	H=("$BINARY" "$NOSNIFF" "$disposition" '!^X-Go-Pprof')
	timed "$P/profile?seconds=1"
	check 'profile lasts its seconds' "$took ms" [ "$took" -ge 1000 -a "$took" -lt 25000 ]
	probe 'profile' 200 gz "$P/profile?seconds=1"
	check 'profile has its types' 'strings are missing' has_strings samples count cpu nanoseconds
	probe 'profile ignores debug' 200 gz "$P/profile?seconds=1&debug=1"
	probe 'profile gzip is payload' 200 gz -H 'Accept-Encoding: gzip' "$P/profile?seconds=1"
	probe 'first seconds win' 200 gz "$P/profile?seconds=1&seconds=60"
	probe 'a bad pair is dropped alone' 200 gz "$P/profile?seconds=60;x&seconds=%zz&seconds=1"
	probe 'seconds=%2B1' 200 gz "$P/profile?seconds=%2B1"
	timed -I "$P/profile?seconds=1"
	check 'HEAD profile runs the profile' "$took ms, status $code" \
		[ "$code" = 200 -a "$took" -ge 1000 ]
	still_waits 'profile by default is long' "$P/profile"
	still_waits 'seconds=0 is the default' "$P/profile?seconds=0"
	still_waits 'seconds=-5 is the default' "$P/profile?seconds=-5"
	still_waits 'seconds=1.5 is the default' "$P/profile?seconds=1.5"
	still_waits 'seconds=+1 is a space and the default' "$P/profile?seconds=+1"
	still_waits 'seconds=1%00 is the default' "$P/profile?seconds=1%00"
	probe 'a hang-up frees the profiler' 200 gz "$P/profile?seconds=1"
	[ "$GO" = 1 ] && return
	curl -s -m 100 -o "$TMP/other" "$P/profile?seconds=2" &
	bg=$!
	sleep 0.5
	probe 'profiles overlap' 200 gz "$P/profile?seconds=1"
	wait $bg
	check 'the other one of them' 'not a gzip file' is_gzip "$TMP/other"
}

# What heap, allocs and growth have in common. $1: the name, $2...: strings of its proto
cumulative() {
	local name=$1 number='=invalid value for "seconds" - must be a positive integer\n' v
	local disposition="^Content-Disposition: attachment; filename=\"$name\"\$"

	shift
	H=("$BINARY" "$NOSNIFF" "$disposition" '!^X-Go-Pprof')
	timed "$P/$name"
	check "$name does not wait" "$took ms" [ "$took" -lt 25000 ]
	probe "$name" 200 gz "$P/$name"
	check "$name has its types" 'strings are missing' has_strings "$@"
	probe "$name debug=0" 200 gz "$P/$name?debug=0"
	probe "$name debug=garbage" 200 gz "$P/$name?debug=x"
	probe "$name gzip is payload" 200 gz -H 'Accept-Encoding: gzip' "$P/$name"
	probe "$name percent-encoded" 200 gz "$P/${name:0:1}$(printf '%%%02x' "'${name:1:1}")${name:2}"
	probe "$name, empty seconds" 200 gz "$P/$name?seconds="
	probe "HEAD $name" 200 '' -I "$P/$name"
	H=("$BINARY" "$NOSNIFF" "${disposition/%\"\$/-delta\"\$}" '!^X-Go-Pprof')
	timed "$P/$name?seconds=1"
	check "$name?seconds=1 takes that" "$took ms" [ "$took" -ge 1000 -a "$took" -lt 25000 ]
	probe "$name delta" 200 gz "$P/$name?seconds=%2B1&seconds=x&debug=0"
	check "$name delta has its types" 'strings are missing' has_strings "$@"
	H=("${ERROR[@]}")
	for v in x 0 -1 1.5 +1 99999999999999999999; do
		probe "$name seconds=$v: 400" 400 "$number" "$P/$name?seconds=$v"
	done
	probe "$name seconds come before debug" 400 "$number" "$P/$name?seconds=x&debug=1"
	probe "$name seconds and debug: 400" 400 '=seconds and debug params are incompatible\n' \
		"$P/$name?seconds=1&debug=1"
	H=("${PLAIN[@]}" '^Allow: GET, HEAD$')
	probe "POST $name: 405" 405 '=Method Not Allowed\n' -X POST "$P/$name"
	H=("${ERROR[@]}")
	probe "$name/: 404" 404 '=Unknown profile\n' "$P/$name/"
}

# The text of heap and allocs.
heap_text() {
	local name=$1 d

	H=("$TEXT" "$NOSNIFF" '!^X-Go-Pprof' '!^Content-Disposition')
	for d in 2 1; do
		probe "$name debug=$d" 200 \
			'^heap profile: [0-9]+: [0-9]+ \[[0-9]+: [0-9]+\] @ heap/[1-9][0-9]*$' "$P/$name?debug=$d"
	done
	check "$name has MemStats in their order" "$(grep -a '^# ' "$TMP/body" | head -3 | tr '\n' '|')" \
		[ "$(sed -n '/^# runtime.MemStats$/,$s/^# \([A-Za-z]*\) = .*/\1/p' "$TMP/body" | tr '\n' ' ')" = \
		"Alloc TotalAlloc Sys Lookups Mallocs Frees HeapAlloc HeapSys HeapIdle HeapInuse HeapReleased \
HeapObjects Stack MSpan MCache BuckHashSys GCSys OtherSys NextGC LastGC PauseNs PauseEnd NumGC \
NumForcedGC GCCPUFraction DebugGC MaxRSS " ]
	check "$name has 256 pauses" "$(grep -ac '^# Pause' "$TMP/body") lines" \
		[ "$(grep -aE '^# Pause(Ns|End) = \[[0-9]+( [0-9]+){255}\]$' "$TMP/body" | wc -l)" = 2 ]
	check "$name ends with MemStats" "$(tail -n 1 "$TMP/body")" \
		[ "$(tail -n 1 "$TMP/body" | grep -c '^# MaxRSS = [0-9]*$')" = 1 ]
	check "$name has in use and allocated apart" "$(head -n 1 "$TMP/body")" \
		[ "$(sed -n 's/^heap profile: \([0-9]*: [0-9]*\) .*/\1/p' "$TMP/body")" != \
		"$(sed -n 's/^heap profile: [^[]*\[\([^]]*\)\].*/\1/p' "$TMP/body")" ]
	check "$name has no objects of no count" "$(grep -aE '^0: [1-9-]' "$TMP/body" | head -n 1)" \
		[ -z "$(grep -aE '^0: [1-9-]' "$TMP/body")" ]
	check "$name has no line of 64 KiB" 'one is longer' \
		[ "$(awk 'length($0) > 65000' "$TMP/body" | wc -l)" = 0 ]
	probe "$name gc=1" 200 '^heap profile: ' "$P/$name?gc=1&debug=1"
	probe "$name debug=-1 is text" 200 '^heap profile: ' "$P/$name?debug=-1"
	probe "$name, the first debug wins" 200 '^heap profile: ' "$P/$name?debug=1&debug=0"
	probe "$name to HTTP/1.0" 200 '^heap profile: ' -0 "$P/$name?debug=1"
}

heap() {
	cumulative heap alloc_objects alloc_space inuse_objects inuse_space count bytes space
	heap_text heap
}

allocs() {
	cumulative allocs alloc_objects alloc_space inuse_objects inuse_space count bytes space
	heap_text allocs
}

# What goroutine and threadcreate have in common: the text of counts. $1: the name
count_text() {
	local name=$1 v bad

	H=("$TEXT" "$NOSNIFF" '!^X-Go-Pprof' '!^Content-Disposition')
	for v in 1 +1 01; do
		probe "$name debug=$v" 200 "^$name profile: total [1-9][0-9]*\$" "$P/$name?debug=${v/+/%2B}"
	done
	check "$name begins with its total" "$(head -n 1 "$TMP/body")" \
		[ "$(head -n 1 "$TMP/body" | cut -d' ' -f1-3)" = "$name profile: total" ]
	probe "$name debug=1 has groups" 200 '^[1-9][0-9]* @( 0x[0-9a-f]+)+$' "$P/$name?debug=1"
	probe "$name debug=1 has frames" 200 "^#	0x[0-9a-f]+	+.*\+0x[0-9a-f]+	+.*:[0-9]+\$" "$P/$name?debug=1"
	bad=$(grep -avE '^#|^$|^[1-9][0-9]* @( 0x[0-9a-f]+)+$' "$TMP/body" | tail -n +2 | head -n 1)
	check "$name debug=1 has no other lines" "$bad" [ -z "$bad" ]
	check "$name debug=1 adds up" "$(head -n 1 "$TMP/body")" [ \
		"$(sed -n 's/^\([0-9]*\) @.*/\1/p' "$TMP/body" | awk '{ n += $1 } END { print n }')" = \
		"$(sed -n '1s/.* //p' "$TMP/body")" ]
	probe "HEAD $name?debug=1" 200 '' -I "$P/$name?debug=1"
}

goroutine() {
	local bad v

	cumulative goroutine goroutine count
	count_text goroutine
	H=("$TEXT" "$NOSNIFF" '!^X-Go-Pprof' '!^Content-Disposition')
	for v in 2 3; do
		probe "goroutine debug=$v has headers" 200 '^goroutine [0-9]+ \[.+\]:$' "$P/goroutine?debug=$v"
		# all that a target has may be one thread, and that may run
		probe "goroutine debug=$v has calls" 200 '^[^	].*\(.*\)$|stack unavailable$' "$P/goroutine?debug=$v"
		probe "goroutine debug=$v has places" 200 '^	.+:[0-9]+( \+0x[0-9a-f]+)?$|stack unavailable$' "$P/goroutine?debug=$v"
		bad=$(grep -avE '^# pprofd: |^$|^goroutine [0-9]+ \[|^[^	].*\(.*\)$|^	.+:[0-9]+( \+0x[0-9a-f]+)?$' \
			"$TMP/body" | grep -avE '^created by |stack unavailable$' | head -n 1)
		check "goroutine debug=$v has no other lines" "$bad" [ -z "$bad" ]
	done
	H=("${ERROR[@]}")
	probe 'goroutine?debug=2&seconds=1: 400' 400 '=seconds and debug params are incompatible\n' \
		"$P/goroutine?debug=2&seconds=1"
	H=("$HTML")
	probe 'index links the dump' 200 '^<a href="goroutine\?debug=2">full goroutine stack dump</a>$' "$P/"
	probe 'index counts goroutines' 200 "^<tr><td>[1-9][0-9]*</td><td><a href='goroutine\?" "$P/"
}

threadcreate() {
	cumulative threadcreate threadcreate count
	count_text threadcreate
	H=("$HTML")
	probe 'index counts threads' 200 "^<tr><td>[1-9][0-9]*</td><td><a href='threadcreate\?" "$P/"
}

growth() {
	cumulative growth faults space count bytes
}

# The text of block and mutex. $2: its first word, $3: a line of its own, or none
contention_text() {
	local name=$1 d

	H=("$TEXT" "$NOSNIFF" '!^X-Go-Pprof' '!^Content-Disposition')
	for d in 2 1; do
		probe "$name debug=$d" 200 "^--- $2:\$" "$P/$name?debug=$d"
		check "$name debug=$d begins with its heads" "$(head -3 "$TMP/body" | tr '\n' '|')" \
			cmp -s <(sed -nE '1,2p;3{/^sampling/s/=[0-9]+$/=N/p}' "$TMP/body") \
			<(printf -- "--- $2:\ncycles/second=N\n$3" | sed "s/second=N/second=$(sed -n 's/^cycles.second=//p' "$TMP/body")/")
	done
	check "$name has rows and frames only" "$(contention_lines | head -1)" \
		[ -z "$(contention_lines)" ]
	[ "$GO" = 1 ] || probe "$name counts nanoseconds" 200 '^cycles/second=1000000000$' "$P/$name?debug=1"
}

contention_lines() {
	tail -n +3 "$TMP/body" | grep -avE \
		'^$|^sampling period=[0-9]+$|^[0-9]+ [0-9]+ @( 0x[0-9a-f]+)*$|^#|^# pprofd: '
}

block() {
	cumulative block contentions delay count nanoseconds
	contention_text block contention ''
}

mutex() {
	cumulative mutex contentions delay count nanoseconds
	contention_text mutex mutex 'sampling period=N\n'
}

offcpu() {
	cumulative offcpu off_cpu nanoseconds
}

wall() {
	local path

	for path in "$P/wall" "$BASE/debug/fgprof"; do
		H=("$BINARY" "$NOSNIFF" '^Content-Disposition: attachment; filename="[a-z]+"$' '!^X-Go-Pprof')
		timed "$path?seconds=1"
		check "${path#"$BASE"} lasts its seconds" "$took ms" [ "$took" -ge 1000 -a "$took" -lt 20000 ]
		probe "${path#"$BASE"}" 200 gz "$path?seconds=1"
		check "${path#"$BASE"} has its types" 'strings are missing' has_strings samples count time nanoseconds
		still_waits "${path#"$BASE"} by default is long" "$path"
	done
}

# In the profile that was asked for last.
has_strings() {
	local s

	for s in "$@"; do
		grep -aqF -- "$s" "$TMP/unzipped" || return 1
	done
}

# An address that answers show: where a thread waits, or of the first sample of a profile.
shown_pc() {
	local i

	for i in 1 2 3 4 5 6 7 8; do
		if [ "$GO" = 1 ]; then
			pc=$(curl -s "$P/goroutine?debug=1" | awk '/^#\t0x/ && $3 ~ /\+0x[0-9a-f]/ { print $2; exit }')
		else
			pc=$(curl -s "$BASE/pprof/profile?seconds=$i" | od -An -tx8 -j56 -N8 | sed 's/^ *0*/0x/; s/^0x$//')
		fi
		[ -n "$pc" ] && return
	done
}

symbol() {
	local pc=

	H=("$TEXT" "$NOSNIFF" '!^Content-Disposition')
	probe 'symbol of nothing' 200 '=num_symbols: 1\n' "$P/symbol"
	probe 'HEAD symbol' 200 '' -I "$P/symbol"
	probe 'symbol of what is none' 200 '=num_symbols: 1\n' "$P/symbol?zzz+0+0x1+debug=1"
	probe 'symbol: %2B parts nothing' 200 '=num_symbols: 1\n' "$P/symbol?0x1%2B0x2"
	shown_pc
	check 'there is an address' 'in no text' [ -n "$pc" ]
	probe 'symbol of an address' 200 "^$pc [^ ].*\$" "$P/symbol?$pc"
	probe 'symbol twice' 200 "^$pc " "$P/symbol?$pc+$pc"
	check 'symbol twice has two lines' "$(wc -l <"$TMP/body")" [ "$(grep -c "^$pc " "$TMP/body")" = 2 ]
	probe 'symbol, decimal' 200 "^$pc " "$P/symbol?$((pc))"
	probe 'symbol, upper case' 200 "^$pc " "$P/symbol?0X$(printf %X $((pc)))"
	probe 'symbol, zeros in front' 200 "^$pc " "$P/symbol?0x$(printf %016x $((pc)))"
	[ "$GO" = 1 ] && return # which refuses POST, and leaves its own client without names
	probe 'POST symbol' 200 "^$pc " -d "$pc+0x1" "$P/symbol"
	probe 'POST symbol as go tool pprof' 200 "^$pc " -H 'Content-Type: application/octet-stream' \
		-d "$pc+$pc" "$P/symbol"
	probe 'POST symbol has no query' 200 '=num_symbols: 1\n' -d zzz "$P/symbol?$pc"
}

trace() {
	H=("$BINARY" "$NOSNIFF" '^Content-Disposition: attachment; filename="trace"$' '!^X-Go-Pprof')
	timed "$P/trace?seconds=0.2"
	check 'trace takes parts of a second' "$took ms" [ "$code" = 200 -a "$took" -ge 200 ]
	probe 'trace is a Go trace' 200 '^go 1\.[0-9]+ trace' "$P/trace?seconds=1e-1"
	timed "$P/trace?seconds=x"
	check 'trace is of a second by default' "$took ms" [ "$code" = 200 -a "$took" -ge 1000 ]
}

# gperftools' own paths, of one process and by its number.
gperftools() {
	local base pid maps='^[0-9a-f]+-[0-9a-f]+ r-xp [0-9a-f]+ [0-9]+:[0-9]+ [0-9]+ /' name

	pid=$(curl -s "$BASE/?sort=pid" | sed -n 's,.*<a href="pid/\([0-9]*\)/.*,\1,p' | head -n 1)
	for base in "$BASE" "$BASE/pid/$pid"; do
		H=("$TEXT" "$NOSNIFF" '!^X-Go-Pprof' '!^Content-Disposition')
		probe "/pprof/heap${base#"$BASE"}" 200 \
			'^heap profile: [0-9]+: [0-9]+ \[[0-9]+: [0-9]+\] @ (heap_v2/[1-9][0-9]*|heapprofile)$' "$base/pprof/heap"
		check '/pprof/heap has maps' "$(tail -n 1 "$TMP/body")" has_lines "$TMP/body" '^MAPPED_LIBRARIES:$' "$maps"
		probe "/pprof/growth${base#"$BASE"}" 200 \
			'^heap profile: [0-9]+: [0-9]+ \[[0-9]+: [0-9]+\] @ growthz$' "$base/pprof/growth"
		check '/pprof/growth has maps' "$(tail -n 1 "$TMP/body")" has_lines "$TMP/body" '^MAPPED_LIBRARIES:$' "$maps"
		probe "/pprof/contention${base#"$BASE"}" 200 '^--- contention:$' "$base/pprof/contention"
		check '/pprof/contention has its lines' "$(head -n 4 "$TMP/body" | tr '\n' '|')" has_lines "$TMP/body" \
			'^cycles/second=1000000000$' '^sampling period=1$' '^--- Memory map: ---$' "$maps"
		probe "/pprof/symbol${base#"$BASE"}" 200 '=num_symbols: 1\n' "$base/pprof/symbol"
		probe "POST /pprof/symbol${base#"$BASE"}" 200 '=num_symbols: 1\n' -d 0x1 "$base/pprof/symbol"
		probe "/pprof/cmdline${base#"$BASE"}" 200 '' "$base/pprof/cmdline"
		check '/pprof/cmdline has a line an argument' 'not the same' \
			cmp -s "$TMP/body" <(curl -s "$base/debug/pprof/cmdline" | tr '\0' '\n'; echo)
	done
	H=("$BINARY" "$NOSNIFF" '!^X-Go-Pprof')
	timed "$BASE/pprof/profile?seconds=1"
	check '/pprof/profile lasts its seconds' "$took ms" [ "$took" -ge 1000 -a "$took" -lt 25000 ]
	probe '/pprof/profile' 200 "$maps" "$BASE/pprof/profile?seconds=1"
	check '/pprof/profile has its head' "$(od -An -tx8 -N40 "$TMP/body")" [ "$(od -An -tu8 -w8 -N40 "$TMP/body" |
		tr -d ' ' | tr '\n' ' ' | sed 's/0 3 0 [1-9][0-9]* 0 /good/')" = good ]
	still_waits '/pprof/profile by default is long' "$BASE/pprof/profile"
	H=("${PLAIN[@]}")
	for name in '' wall pmuprofile filteredprofile censusprofile heap/; do
		probe "/pprof/$name: 404" 404 '=404 page not found\n' "$BASE/pprof/$name"
	done
	H=("${PLAIN[@]}" '^Allow: GET, HEAD$')
	probe 'POST /pprof/heap: 405' 405 '=Method Not Allowed\n' -d x "$BASE/pprof/heap"
}

# What godeltaprof's clients ask for.
deltas() {
	local name

	for name in heap block mutex; do
		H=("$BINARY" "$NOSNIFF" "^Content-Disposition: attachment; filename=\"$name.pprof.gz\"\$" '!^X-Go-Pprof')
		probe "delta_$name" 200 gz "$P/delta_$name"
		timed "$P/delta_$name?seconds=30&debug=1&gc=1"
		check "delta_$name does not wait" "$took ms" [ "$code" = 200 -a "$took" -lt 25000 ]
		probe "HEAD delta_$name" 200 '' -I "$P/delta_$name"
	done
	H=("${ERROR[@]}")
	probe 'delta_allocs: 404' 404 '=Unknown profile\n' "$P/delta_allocs"
	H=("${PLAIN[@]}" '^Allow: GET, HEAD$')
	probe 'POST delta_heap: 405' 405 '=Method Not Allowed\n' -X POST "$P/delta_heap"
}

slow_profile() {
	timed "$P/profile?seconds=abc"
	check 'seconds=abc is 30 s' "$took ms" [ "$took" -ge 29000 -a "$took" -lt 40000 ]
}

ask "$BASE/"
case $code in
curl*)
	fail "$BASE" "$code"
	exit 1
	;;
esac
GROUPS_FIRST="index redirects methods errors wire"
[ "$GO" = 1 ] || GROUPS_FIRST="$GROUPS_FIRST guards gperftools deltas"
for probes in ${PROBES:-$GROUPS_FIRST $ROWS}; do
	case " $GROUPS_FIRST $ROWS " in
	*" $probes "*) $probes ;;
	*) fail "$probes" "no such probes: $GROUPS_FIRST $ROWS" ;;
	esac
	[ "${SLOW:-0}" = 1 ] && declare -F "slow_$probes" >/dev/null && "slow_$probes"
done
echo "total: $n_ok ok, $n_fail failed"
[ "$n_fail" = 0 ]
