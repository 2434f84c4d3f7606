#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh DEB [ROOT] - a Debian 12 under systemd-nspawn, systemd as its first process, on this machine's kernel: installs
# the package, and tries there what inside.sh says. As root; needs systemd-container and, the first time, debootstrap
# (ROOT, else a cache of the user's). About a minute on an idle machine. Exit status 0: all of it held.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
deb=$(readlink -f "$1")
root=${2:-${XDG_CACHE_HOME:-$HOME/.cache}/pprofd/debian-systemd}
for tool in systemd-nspawn debootstrap dpkg-deb; do
	command -v $tool >/dev/null || { echo "run.sh: $tool is not installed" >&2; exit 77; }
done

if [ ! -x "$root/lib/systemd/systemd" ]; then
	mkdir -p "$root"
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,curl bookworm "$root" >/dev/null
fi
depends=$(dpkg-deb -f "$deb" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/,/ /g')
if ! chroot "$root" dpkg -s $depends >/dev/null 2>&1; then
	cp /etc/resolv.conf "$root/etc/" 2>/dev/null || :
	chroot "$root" sh -ec "apt-get update -qq; apt-get install -y -qq --no-install-recommends $depends" >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$deb" "$work/pprofd.deb"
cp "$here/inside.sh" "$work/"
cat >"$work/pprofd-test.service" <<-END
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /test/inside.sh
ExecStopPost=/bin/systemctl poweroff --force
StandardOutput=file:/test/log
StandardError=inherit
TimeoutStartSec=1100
END
# The root stays as it is: what happens is written to memory. bpffs and tracefs are the machine's.
# SYSTEMD_SECCOMP=0: nspawn's own filter refuses bpf(2) and perf_event_open(2).
binds=(--bind="$work:/test")
for fs in /sys/fs/bpf /sys/kernel/tracing; do
	! mountpoint -q $fs || binds+=(--bind=$fs)
done
SYSTEMD_SECCOMP=0 timeout 1200 systemd-nspawn --quiet --register=no --keep-unit --volatile=overlay --capability=all \
	"${binds[@]}" --bind-ro="$work/pprofd-test.service:/etc/systemd/system/pprofd-test.service" \
	--boot -D "$root" systemd.wants=pprofd-test.service </dev/null >"$work/console" 2>&1 || :
cat "$work/log" 2>/dev/null || { cat "$work/console"; exit 1; }
! grep -q '^not ok' "$work/log" && grep -q '^end' "$work/log"
