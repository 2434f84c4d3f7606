# SPDX-License-Identifier: Apache-2.0
# guest.sh [SECTION...] - what runs in the other kernel: these of the functions below, or all. Everything is slow there: nothing is timed.
cd /t || exit 1
failed=0
check() { # TEXT COMMAND...
	what=$1
	shift
	if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; failed=1; fi
}

get() { # what the daemon answers
	./ask-http 6060 "$1"
}
ready() {
	until get /-/ready >/dev/null 2>&1; do sleep 1; done
}

try_cpu() {
	./deep 3000 >/dev/null &
	deep=$!
	sleep 1
	./pprofd record profile --pid $deep --seconds 5 --heap off --wait off --format top >/tmp/top 2>&1
	head -n 1 /tmp/top
	check "every stack is complete" grep -q ', 0 truncated at 255 frames, 0 broken' /tmp/top
	check "functions have names and lines" grep -q 'leaf_spin.*deep.cc:' /tmp/top
	check "kernel functions have names" grep -qE '(do_syscall_64|entry_SYSCALL|el0_svc|invoke_syscall)' /tmp/top
	check "oracle, clock" ./oracle $deep perf 5
	kill $deep
}

try_signed() {
	[ -e deep-signed ] || return 0
	grep -qw paca /proc/cpuinfo && echo "this CPU signs"
	./deep-signed 3000 >/dev/null &
	deep=$!
	sleep 1
	./pprofd record profile --pid $deep --seconds 5 --heap off --wait off --format top >/tmp/top 2>&1
	head -n 1 /tmp/top
	check "signed code: every stack is complete" grep -q ', 0 truncated at 255 frames, 0 broken' /tmp/top
	check "signed code: names and lines" grep -q 'leaf_spin.*deep.cc:' /tmp/top
	kill $deep
	./threads-signed deadlock 3 >/dev/null &
	threads=$!
	sleep 1
	./pprofd record goroutine --pid $threads --heap off --wait off --format dump >/tmp/dump 2>&1
	check "signed code: every thread has its stack" [ "$(grep -c '^take_two(' /tmp/dump)" = 3 ]
	kill $threads
}

try_heap() {
	./heap 3000 2 50 >/dev/null &
	heap=$!
	sleep 1
	./pprofd record allocs --pid $heap --seconds 10 --max-overhead none --format top >/tmp/allocs 2>&1
	grep -E '^#|site_' /tmp/allocs
	check "allocations have their sites" grep -q 'site_e.*heap.cc:' /tmp/allocs
	check "large ones too" grep -q 'site_d.*heap.cc:' /tmp/allocs
	for i in 1 2 3 4; do # one fault of 16 is looked at, and there are few
		./pprofd record growth --pid $heap --seconds 15 --format top >/tmp/growth 2>&1
		head -n 2 /tmp/growth
		! grep -q 'site_c\|one_round' /tmp/growth || break
	done
	check "growth is seen" grep -q 'site_c\|one_round' /tmp/growth
	kill $heap
}

try_sampler() {
	./pprofd --listen 127.0.0.1:6060 -- ./heap 3000 2 50 >/dev/null 2>/tmp/said &
	daemon=$!
	ready
	for i in 1 2 3 4 5 6 7 8 9 10; do
		sleep 5
		get '/debug/pprof/heap?format=top' >/tmp/heap
		! grep -q 'site_' /tmp/heap || break
	done
	grep -E '^#|site_' /tmp/heap
	cat /tmp/said
	check "a program that was started with the sampler" grep -q 'site_.*heap.cc:' /tmp/heap
	check "which is what it tells" grep -q "the process's own samples" /tmp/heap
	kill $daemon
	wait $daemon
}

try_labels() {
	./labels >/dev/null &
	labels=$!
	sleep 1
	for how in profile offcpu allocs; do
		./pprofd record $how --pid $labels --seconds 5 --max-overhead none -o /tmp/labels.pb
		gunzip -c /tmp/labels.pb >/tmp/labels
		check "labels are seen, $how" grep -q allocating /tmp/labels
	done
	kill $labels
}

try_things() {
	(n=1; while sleep 1; do echo here $n 10; n=$((n + 10)); done) 2>/dev/null | ./custom-gcc-o3 >/dev/null 2>&1 &
	sleep 1
	custom=$(pidof custom-gcc-o3)
	./pprofd record things --pid $custom --seconds 15 --max-overhead none --debug 1 >/tmp/things 2>&1
	head -n 3 /tmp/things
	check "values that are held" grep -q '^things profile: total [1-9]' /tmp/things
	check "who added them" grep -q site_here /tmp/things
	kill $custom
}

try_track() {
	(while sleep 1; do echo own; echo descriptors; done) 2>/dev/null | ./track >/dev/null 2>&1 &
	sleep 1
	track=$(pidof track)
	for what in 'own things=own_new:ret,own_delete:arg 2' fd; do
		./pprofd record "${what%%=*}" --track "$what" --pid $track --seconds 10 --max-overhead none --debug 1 >/tmp/things 2>&1
		head -n 3 /tmp/things
		check "what --track watches, ${what%%=*}" grep -q 'own_new\|site_open' /tmp/things
	done
	kill $track
}

try_threads() {
	./threads deadlock 3 >/dev/null &
	threads=$!
	sleep 1
	./pprofd record goroutine --pid $threads --heap off --wait off --format dump >/tmp/dump 2>&1
	head -n 1 /tmp/dump
	check "a deadlock is found" grep -q '^# pprofd: deadlock: ' /tmp/dump
	check "every thread has its stack" [ "$(grep -c '^take_two(' /tmp/dump)" = 3 ]
	./pprofd --pid $threads --listen 127.0.0.1:6060 --heap off --wait off 2>/dev/null &
	daemon=$!
	ready
	for i in 1 2 3 4 5 6; do
		get '/debug/pprof/goroutine?debug=2' >/tmp/dump$i &
		dumps="$dumps $!"
	done
	wait $dumps
	check "of six dumps at once, too" [ "$(cat /tmp/dump[1-6] | grep -c '^take_two(')" = 18 ]
	kill $daemon
	wait $daemon
	kill $threads
	./threads states altstack >/dev/null &
	threads=$!
	sleep 1
	./pprofd record goroutine --pid $threads --heap off --wait off --format dump >/tmp/dump 2>&1
	check "a stack below a signal stack" grep -q '^in_altstack(' /tmp/dump
	kill $threads
	./threads churn 20 >/dev/null &
	threads=$!
	sleep 1
	./pprofd record threadcreate --pid $threads --seconds 5 --format top >/tmp/created 2>&1
	head -n 2 /tmp/created
	check "creators are seen" grep -q ' churn' /tmp/created
	kill $threads
}

try_waits() {
	(sleep 3; echo begin; sleep 3000) 2>/dev/null | ./waits mutex 4 >/dev/null 2>&1 &
	waits=$!
	sleep 1
	for how in on strict; do
		./pprofd record block --pid $waits --seconds 5 --heap off --wait $how --format top >/tmp/block 2>&1
		grep -E '^#|site_' /tmp/block
		check "waits are seen, $how" grep -q 'site_short' /tmp/block
	done
	./pprofd record mutex --pid $waits --seconds 5 --heap off --format top >/tmp/mutex 2>&1
	grep -E '^#|site_' /tmp/mutex
	check "holders are seen" grep -q 'site_long' /tmp/mutex
	./pprofd record offcpu --pid $waits --seconds 5 --heap off --format top >/tmp/offcpu 2>&1
	check "sleeps are seen" grep -q 'nap\|nanosleep' /tmp/offcpu
	kill $waits
}

try_trace() {
	mkdir /tmp/work
	./traced work /tmp/work >/tmp/tids &
	traced=$!
	sleep 1
	tid_of() { sed -n "s/^thread $1 //p" /tmp/tids; }
	./pprofd record trace --pid $traced --seconds 3 --heap off --wait off -o /tmp/trace
	check "a trace is one" sh -c './trace-check -d /tmp/trace >/tmp/events'
	check "the receiver waits for the network" grep -q "G=$(tid_of receiver) GoBlock .*network" /tmp/events
	check "its waker is seen" grep -q "G=$(tid_of sender) GoUnblock $(tid_of receiver)," /tmp/events
	check "a sleeper's is none of the threads" sh -c "! grep 'G=.* GoUnblock $(tid_of sleeper),' /tmp/events"
	grep -m 3 -a -o 'in all: [ -~]*' /tmp/trace
	kill $traced
	sleep 3000 2>/dev/null | ./said >/dev/null &
	sleep 1
	said=$(pidof said)
	./pprofd record trace --pid $said --seconds 3 --heap off --wait off -o /tmp/said
	check "a program's words are a trace" sh -c './trace-check -d /tmp/said >/tmp/events'
	check "tasks, regions, logs" sh -c 'grep -q "TaskBegin.*request" /tmp/events && grep -q "RegionBegin.*outer" /tmp/events && grep -q "Log.*message" /tmp/events'
	kill $said
}

try_oracle() {
	for kind in sigaltstack drap throw; do
		./shapes $kind 3000 &
		target=$!
		check "oracle, $kind" ./oracle $target perf 4
		kill $target
	done
	./shapes futex 3000 &
	target=$!
	check "oracle, futex" ./oracle $target futex 4
	kill $target
	./shapes malloc 3000 &
	target=$!
	sleep 1
	libc=$(grep -m 1 -o '/[^ ]*/libc.so.6' /proc/$target/maps)
	check "oracle, uprobe" ./oracle $target "uprobe:$libc:malloc" 4
	kill $target
}

# Whether libc's code in memory is what the file has.
untouched() { # PID
	line=$(grep -m 1 'r-xp .*/libc.so.6' /proc/$1/maps)
	range=${line%% *}
	from=$((0x${range%-*} / 4096))
	n=$((0x${range#*-} / 4096 - from))
	offset=$(echo "$line" | cut -d ' ' -f 3)
	dd if=/proc/$1/mem bs=4096 skip=$from count=$n of=/tmp/there 2>/dev/null
	dd if="/${line#*/}" bs=4096 skip=$((0x$offset / 4096)) count=$n of=/tmp/file 2>/dev/null
	[ -s /tmp/there ] && cmp -n "$(stat -c %s /tmp/file)" /tmp/there /tmp/file >/dev/null
}

# It is ended while it takes its probes out, which are many.
try_stop() {
	for i in 1 2 3 4 5 6; do
		(sleep 8; echo; sleep 3000) 2>/dev/null | ./heap-loop slices 3000 >/dev/null &
		sleep 1
		loop=$(pidof heap-loop)
		./pprofd --pid $loop 2>/tmp/stopped &
		pprofd=$!
		ready
		until [ $i -ne 1 ] || ! untouched $loop; do sleep 1; done
		until grep -q 'from now on' /tmp/stopped; do usleep 10000; done
		kill $pprofd
		wait $pprofd
		check "no breakpoint stays" untouched $loop
		kill $loop
		sleep 1
	done
}

uname -rm
[ $# -gt 0 ] || set -- cpu signed heap sampler labels things track threads waits stop trace oracle
for section; do "try_$section"; done
exit $failed
