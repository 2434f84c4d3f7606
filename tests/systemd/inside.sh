#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# inside.sh - run by systemd, as root, in what run.sh boots; /test/pprofd.deb is the package. Prints "ok" and
# "not ok" lines, with the journal after the latter, and "end".
set -u
n=0
ok() { n=$((n + 1)); echo "ok $n - $*"; }
not_ok() {
	n=$((n + 1))
	echo "not ok $n - $*"
	systemctl status --no-pager -l pprofd.service pprofd.socket 2>&1 | sed 's/^/# /' | head -30
	journalctl --no-pager -n 25 2>&1 | sed 's/^/# /'
}
claim() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@" >/tmp/said 2>&1; then ok "$what"; else not_ok "$what"; sed 's/^/#   /' /tmp/said | head -20; fi
}
eventually() { # COMMAND...: within two minutes
	local i
	for ((i = 0; i < 240; i++)); do
		"$@" && return 0
		sleep 0.5
	done
	return 1
}
get() { curl -sS --max-time 100 "$@"; }
show() { systemctl show -P "$1" "${2:-pprofd.service}"; }
has() { pprofd --help | grep -qE -e "$1( |=)"; }
is() { [ "$(show "$1" "${3:-pprofd.service}")" = "$2" ]; }
children() { pgrep -P "$(show MainPID)"; }
serve() { pgrep -P "$(show MainPID)" pprofd-serve; }
restarted_since() { [ "$(show NRestarts)" -gt "$1" ] && is ActiveState active; }

# The targets: services that are always busy, of another user, in places that the service does not see itself.
mkdir -p /home/someone
cp /bin/bash /home/someone/bash-home
cp /bin/bash /tmp/bash-tmp
for which in home tmp; do
	cat >/run/systemd/system/busy-$which.service <<-END
	[Service]
	User=daemon
	ExecStart=$(ls /home/someone/bash-$which /tmp/bash-$which 2>/dev/null) -c 'while :; do f() { x=\$1; }; f \$RANDOM; done'
	CPUWeight=20
	END
done
systemctl daemon-reload
systemctl start busy-home busy-tmp
home=$(show MainPID busy-home) tmp=$(show MainPID busy-tmp)
# Whose profiles: what this pprofd understands (without descriptions of processes, by number).
describe() {
	mkdir -p /run/systemd/system/pprofd.service.d "/run/systemd/system/pprofd@.service.d"
	if ! has --config; then
		printf '[Service]\nExecStart=\nExecStart=/usr/bin/pprofd --pid %s --pid %s --state-dir /run/pprofd/counts\n' "$home" "$tmp" \
			>/run/systemd/system/pprofd.service.d/what.conf
	elif ! has --all; then
		printf 'pid: [%s, %s]\n' "$home" "$tmp" >/etc/pprofd.conf
	fi
	if ! has --unit; then
		printf '[Service]\nExecStart=\nExecStart=/usr/bin/pprofd %s --pid %s --listen unix:/run/pprofd@%%i/http.sock --state-dir /run/pprofd@%%i/counts\n' \
			"$(has --config && echo --config none)" "$home" >"/run/systemd/system/pprofd@.service.d/what.conf"
	fi
	# so that the watchdog need not be waited for so long
	printf '[Service]\nWatchdogSec=15\n' >/run/systemd/system/pprofd.service.d/watchdog.conf
	systemctl daemon-reload
}
T=http://localhost:6060/pid/$home
base() { [ "$(get -o /dev/null -w '%{http_code}' "$T/debug/pprof/" 2>/dev/null)" = 200 ]; }
profiled() { # PID: functions of bash, by name, by its tables
	get "http://localhost:6060/pid/$1/debug/pprof/profile?seconds=3&format=top" >/tmp/cpu
	cat /tmp/cpu
	grep -q execute_command /tmp/cpu && ! grep -q NO_TABLE /tmp/cpu
}

echo "# $(uname -sr), $(systemctl --version | head -n 1)"
claim "the package installs" dpkg -i /test/pprofd.deb
describe
systemctl restart pprofd
claim "there is a user pprofd" getent passwd pprofd
claim "the service is active after start" eventually is ActiveState active
claim "it is of Type=notify, and said what it does" bash -c '[ "$(systemctl show -P StatusText pprofd | cut -c1-12)" = "serving http" ]'
claim "and is enabled" systemctl is-enabled pprofd.service
claim "the endpoints answer" eventually base
claim "the broker is not root" bash -c '! ps -o user= -p $(systemctl show -P MainPID pprofd) | grep -q root'
grep -E '^Cap(Eff|Bnd|Amb)' /proc/$(show MainPID)/status | sed 's/^/# /'
for pid in $(children); do echo "# child $(cat /proc/$pid/comm): $(grep -E '^CapEff' /proc/$pid/status)"; done

claim "CPU profile of a binary in /home" profiled "$home"
claim "CPU profile of a binary in /tmp" profiled "$tmp"
claim "kernel frames have names" bash -c 'get() { curl -sS --max-time 100 "$@"; }; get "'"$T"'/debug/pprof/profile?seconds=3&format=folded" | grep -qE "(asm_|sysvec|irq|entry_|hrtimer|task_tick|timer)"'
for kind in allocs heap growth block mutex offcpu goroutine threadcreate; do
	claim "$kind" bash -c 'code=$(curl -sS --max-time 100 -o /tmp/x -w "%{http_code}" "'"$T"'/debug/pprof/'$kind'?debug=1"); head -c 300 /tmp/x; [ $code = 200 ]'
done
claim "a trace" bash -c 'code=$(curl -sS --max-time 100 -o /tmp/x -w "%{http_code}" "'"$T"'/debug/pprof/trace?seconds=1"); head -c 300 /tmp/x; [ $code = 200 ] && [ $(stat -c %s /tmp/x) -gt 1000 ]'
claim "nothing of it was refused by a filter or a missing right" bash -c '! journalctl -t pprofd --no-pager | grep -v unrecognized | grep -iE "not permitted|denied|cannot|failed|not probed|without names"'

claim "systemd-analyze security: at most 2.5" systemd-analyze security --threshold=25 --no-pager pprofd.service
tail -n 1 /tmp/said | sed 's/^/# /'
claim "systemd-analyze verify: the service" systemd-analyze verify --man=no pprofd.service
claim "systemd-analyze verify: the template" systemd-analyze verify --man=no pprofd@x.service
claim "systemd-analyze verify: the socket" systemd-analyze verify --man=no pprofd.socket

claim "journal has its lines" bash -c 'journalctl -u pprofd --no-pager -o cat | grep -q "serving http://127.0.0.1:6060/"'

# Watchdog: nothing happens to one that lives, ...
before=$(show NRestarts)
sleep 20
claim "nothing restarts what lives, past the watchdog's time" is NRestarts "$before"
# ... and a serve that hangs is noticed, ...
kill -STOP "$(serve)"
claim "serve hangs: the watchdog has it restarted" eventually restarted_since "$before"
claim "and it answers again" eventually base
# ... and so is a broker,
before=$(show NRestarts)
kill -STOP "$(show MainPID)"
claim "the broker hangs: likewise" eventually restarted_since "$before"
claim "and it answers again" eventually base
before=$(show NRestarts)
kill -KILL "$(show MainPID)"
claim "the broker is killed: restarted" eventually restarted_since "$before"
claim "and it answers again" eventually base
main=$(show MainPID)
kill -KILL "$(serve)"
claim "serve is killed: the broker starts another" eventually base
claim "without the service being restarted" is MainPID "$main"

counts() { [ -n "$(ls /run/pprofd/counts)" ]; }
claim "there are counts that outlive a restart" eventually counts
claim "restart" systemctl restart pprofd
claim "they are still there" counts
claim "stop" systemctl stop pprofd
claim "and they went with it" test ! -e /run/pprofd
claim "and nothing is left of it" bash -c '! pgrep pprofd'
claim "and it did not fail" is ActiveState inactive
claim "the result is success" is Result success

# Sockets.
claim "the socket unit starts" systemctl start pprofd.socket
claim "the service does not run" is ActiveState inactive
claim "the first request starts it, and is answered" bash -c 'curl -sS --max-time 100 http://127.0.0.1:6060/ -o /tmp/x && [ -s /tmp/x ]'
claim "it is active" eventually is ActiveState active
claim "the Unix socket answers root" bash -c 'curl -sS --max-time 100 --unix-socket /run/pprofd.sock http://localhost/ -o /tmp/x && [ -s /tmp/x ]'
claim "and the other family" bash -c '[ ! -e /proc/net/if_inet6 ] || curl -sS --max-time 100 "http://[::1]:6060/" -o /tmp/x'
claim "a restart refuses nobody" bash -c 'systemctl restart --no-block pprofd; for i in $(seq 20); do curl -sS --max-time 100 -o /dev/null http://127.0.0.1:6060/ || exit 1; done'
systemctl stop pprofd.socket pprofd
claim "the socket's file goes with the socket unit" bash -c '[ ! -e /run/pprofd.sock ] || systemctl show -P RemoveOnStop pprofd.socket | grep -q no'

# One description.
claim "an instance starts" systemctl start pprofd@busy-home
claim "and answers on its own socket" bash -c 'eventually() { for i in $(seq 60); do "$@" && return; sleep 1; done; return 1; }; eventually curl -sS --max-time 100 --unix-socket /run/pprofd@busy-home/http.sock -o /tmp/x http://localhost/debug/pprof/ && grep -q profile /tmp/x'
claim "a stranger is not let in" bash -c '[ "$(setpriv --reuid=65534 --clear-groups curl -sS -o /dev/null -w "%{http_code}" --unix-socket /run/pprofd@busy-home/http.sock http://localhost/debug/pprof/)" = 403 ]'
claim "the instance stops" systemctl stop pprofd@busy-home

# Bad configuration is not retried.
printf '[Service]\nExecStart=\nExecStart=/usr/bin/pprofd --nonsense\n' >/run/systemd/system/pprofd.service.d/zz.conf
systemctl daemon-reload
systemctl start pprofd 2>/dev/null
sleep 3
claim "bad usage is not tried again and again" bash -c '[ "$(systemctl show -P NRestarts pprofd)" = 0 ] && [ "$(systemctl show -P ActiveState pprofd)" = failed ]'
rm /run/systemd/system/pprofd.service.d/zz.conf
systemctl daemon-reload
systemctl reset-failed pprofd

systemctl start pprofd
claim "upgrade to the same version, while it runs" dpkg --force-confold -i /test/pprofd.deb
claim "it is active after it" eventually is ActiveState active
claim "remove" dpkg -r pprofd
claim "nothing runs after it" bash -c '! pgrep pprofd'
claim "the configuration is kept" test -e /etc/pprofd.conf
claim "purge" dpkg -P pprofd
claim "no user after it" bash -c '! getent passwd pprofd'
rm -rf /run/systemd/system/pprofd*.d
left=$(find / -xdev \( -path /proc -o -path /test -o -path /var/lib/dpkg -o -path /var/log \) -prune -o -iname '*pprofd*' ! -name 'pprofd-test*' -print)
claim "no file after it $left" test -z "$left"
systemctl stop busy-home busy-tmp
echo "# $n claims"
echo end
