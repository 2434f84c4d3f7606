# SPDX-License-Identifier: Apache-2.0
# odd.sh - in another kernel, with three CPUs: settings of an operator's, CPUs that go and come, a clock that jumps. Numbers are compared
# with the kernel's account of the process, by what an untouched machine gives: an emulated one loses ticks of its own.
cd /t || exit 1
failed=0
check() { # TEXT COMMAND...
	what=$1
	shift
	if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; failed=1; fi
}
used() { # clock ticks of 10 ms
	awk '{ print $14 + $15 }' "/proc/$deep/stat"
}
get() {
	./ask-http 6060 "$1"
}
share() { # samples in FILE of 100 ticks, since the account stood at BEFORE
	n=$(sed -nE 's/^# process .*: ([0-9]+) samples,.*/\1/p' "$1")
	part=$((${n:-0} * 100 / ($(used) - $2 + 1)))
	grep -E '^# (broken|clock)' "$1" | sed 's/^/	/'
	echo "	$part samples of 100"
}
profile() { # of four seconds
	before=$(used)
	get '/debug/pprof/profile?seconds=4&format=top' >/tmp/top
	share /tmp/top "$before"
}
as_much() { # TEXT: as on an untouched machine, or it says what is missing
	check "$1: as much, or it says what is missing" sh -c "[ $((part * 100)) -gt $((usual * 75)) ] || grep -q '^# clock: ' /tmp/top"
}
begin() { # the target keeps still meanwhile: it would take half of the time
	kill -STOP $deep
	./pprofd --pid $deep --heap off --wait off --listen 127.0.0.1:6060 2>>/tmp/log &
	daemon=$!
	until get /-/ready >/dev/null 2>&1; do
		kill -0 $daemon || { cat /tmp/log; echo "FAILED: it is not ready"; exit 1; }
		sleep 1
	done
	kill -CONT $deep
	for i in 1 2; do get '/debug/pprof/profile?seconds=2' >/dev/null; done # names take their time at first
}

uname -r
./deep 30000 >/dev/null &
deep=$!
begin
profile
usual=$part
check "an untouched machine" [ "$usual" -gt 70 ]

echo "== the kernel stops clocks"
sys=/proc/sys/kernel
percent=$(cat $sys/perf_cpu_time_max_percent)
rate=$(cat $sys/perf_event_max_sample_rate)
echo "	at most $rate a second"
echo 1 >$sys/perf_cpu_time_max_percent
profile
as_much "perf_cpu_time_max_percent is 1"
echo "	at most $(cat $sys/perf_event_max_sample_rate) a second"
echo "$percent" >$sys/perf_cpu_time_max_percent
for limit in 1000 200; do
	echo $limit >$sys/perf_event_max_sample_rate
	profile
	as_much "perf_event_max_sample_rate is $limit"
done
echo "$rate" >$sys/perf_event_max_sample_rate
get /metrics >/tmp/metrics
check "the metrics say it, too" sh -c "! grep -q '^# clock: ' /tmp/top || grep -qE '^pprofd_clock_stood_seconds_total .*[1-9]' /tmp/metrics"

echo "== CPUs go and come"
taskset -p 1 $deep >/dev/null
before=$(used)
get '/debug/pprof/profile?seconds=20&format=top' >/tmp/top &
window=$!
sleep 4
echo 0 >/sys/devices/system/cpu/cpu1/online
sleep 3
echo 1 >/sys/devices/system/cpu/cpu1/online
sleep 3
taskset -p 2 $deep >/dev/null
wait $window
share /tmp/top "$before"
check "a CPU that came back is looked at" [ $((part * 100)) -gt $((usual * 70)) ]
echo 0 >/sys/devices/system/cpu/cpu2/online
profile
check "with a CPU off" [ $((part * 100)) -gt $((usual * 70)) ]
echo 1 >/sys/devices/system/cpu/cpu2/online
taskset -p 4 $deep >/dev/null
profile
check "with it on again" [ $((part * 100)) -gt $((usual * 70)) ]
taskset -p 7 $deep >/dev/null

echo "== a clock that jumps"
get '/debug/pprof/profile?seconds=2&keep=1' >/dev/null
for jump in 31536000 -31536000; do
	get '/debug/pprof/profile?seconds=8&format=top' >/tmp/top &
	window=$!
	get '/debug/pprof/trace?seconds=6' >/tmp/trace &
	tracing=$!
	sleep 3
	date -s @$(($(date +%s) + jump)) >/dev/null
	wait $window $tracing
	grep -E '^(Duration|Time)' /tmp/top
	check "a window of 8 s lasts 8 s, $jump" grep -qE '^Duration: ([89]|1[0-9])\.' /tmp/top
	check "a trace is one, $jump" sh -c './trace-check -d /tmp/trace >/tmp/events'
	get /metrics >/tmp/metrics
	check "nothing in the metrics is negative, $jump" sh -c "! grep -E '^[a-z].* -[0-9]' /tmp/metrics"
	check "capture times are sane, $jump" sh -c "! grep -E '^pprofd_.*seconds_(sum|total).* ([0-9.]+e\+0[6-9]|[0-9]{6})' /tmp/metrics"
	grep -E '^process_start_time|uptime' /tmp/metrics
	get /-/history | head -c 600
	echo
	get '/debug/pprof/goroutine?debug=2' >/tmp/dump
	check "threads, $jump" grep -qE '^(leaf_spin\(|goroutine .*\[running)' /tmp/dump
	check "ready, $jump" sh -c './ask-http 6060 /-/ready >/dev/null'
done
check "the capture is kept" sh -c './ask-http 6060 /-/history | grep -q "\"id\""'
echo "the log:"
cat /tmp/log
check "the log is short" [ "$(grep -vc audit /tmp/log)" -lt 12 ]
check "the daemon is there" kill -0 $daemon
kill $daemon
wait $daemon

echo "== settings"
for setting in kernel/perf_event_paranoid:4 kernel/kptr_restrict:2 kernel/unprivileged_bpf_disabled:2 net/core/bpf_jit_harden:2; do
	echo ${setting#*:} >/proc/sys/${setting%:*} || echo "	${setting%:*} is not there"
done
: >/tmp/log
begin
profile
check "all stacks are complete" grep -q ', 0 truncated at 255 frames, 0 broken' /tmp/top
check "as much as ever" [ $((part * 100)) -gt $((usual * 75)) ]
cat /tmp/log
kill $daemon
kill $deep
exit $failed
