#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# systemd.sh TARBALL [ROOT] - containers where systemd gives the cgroups: a Debian 12 under systemd-nspawn with podman, runc and
# Docker (drivers "systemd"), a container of a user without rights, one that is a service, a service of a user's; tries there
# what inside.sh says with what tools/make-tarball made. As root; needs systemd-container, debootstrap the first time (ROOT, else a
# cache of the user's), a build in PPROFD_BUILD (build/) and busybox-static. Exit status 0: all of it held.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tarball=$(readlink -f "$1")
root=${2:-${XDG_CACHE_HOME:-$HOME/.cache}/pprofd/debian-containers}
targets=${PPROFD_BUILD:-$here/../../build}/tests/targets
for tool in systemd-nspawn debootstrap busybox; do
	command -v $tool >/dev/null || { echo "systemd.sh: $tool is not installed" >&2; exit 77; }
done
packages="podman runc conmon uidmap slirp4netns dbus-user-session libpam-systemd docker.io containerd fuse-overlayfs curl"
if [ ! -x "$root/lib/systemd/systemd" ]; then
	mkdir -p "$root"
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,curl bookworm "$root" >/dev/null
fi
if ! chroot "$root" dpkg -s $packages >/dev/null 2>&1; then
	cp /etc/resolv.conf "$root/etc/" 2>/dev/null || :
	chroot "$root" sh -ec "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages" >/dev/null
fi

work=$(mktemp -d)
left=$(ls -d /sys/fs/cgroup/payload /sys/fs/cgroup/*/payload 2>/dev/null || :)
end() { # where no systemd is the machine's first process, nspawn's cgroups stay
	[ -n "$left" ] || find /sys/fs/cgroup/payload /sys/fs/cgroup/*/payload -depth -type d -exec rmdir {} + 2>/dev/null || :
	rm -rf "$work"
}
trap end EXIT
chmod 755 "$work"
mkdir -p "$work"/{pprofd,image/{tmp,proc,dev,sys,etc}}
tar -xJf "$tarball" -C "$work/pprofd" --strip-components=1
cp "$targets/rungs-static" "$(command -v busybox)" "$work/image/"
cp "$here/inside.sh" "$work/"
cat >"$work/pprofd-test.service" <<-END
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /test/inside.sh
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=file:/test/log
StandardError=inherit
TimeoutStartSec=500
END
binds=(--bind="$work:/test")
for fs in /sys/fs/bpf /sys/kernel/tracing; do
	! mountpoint -q $fs || binds+=(--bind=$fs)
done
# As tests/systemd/run.sh boots it, with the one hierarchy of cgroups, whatever the machine has.
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_SECCOMP=0 timeout 600 systemd-nspawn --quiet --register=no --keep-unit --volatile=overlay \
	--capability=all "${binds[@]}" --bind-ro="$work/pprofd-test.service:/etc/systemd/system/pprofd-test.service" \
	--boot -D "$root" systemd.wants=pprofd-test.service </dev/null >"$work/console" 2>&1 || :
cat "$work/log" 2>/dev/null || { cat "$work/console"; exit 1; }
! grep -q '^not ok' "$work/log" && grep -q '^end' "$work/log"
