#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [WORD]... - pprofd and real container runtimes, on this machine: podman, Docker, containerd and LXC, those that are
# installed (Debian: podman crun runc buildah docker.io containerd lxc busybox-static). As root, with a build in
# PPROFD_BUILD (build/). No registry is asked: images are made of the build's targets. Engines run on storage of their own,
# which goes in the end; nothing of the machine's own containers is touched.
#   TARBALL=FILE     what tools/make-tarball made: then the image of packaging/ is built, and run as daemonset.yaml says
#   BASE=DIR         a Debian 12 (debootstrap), which stands for the image that the Containerfile begins with
# Runs claims.py twice: with cgroups as the machine has them, and, if that is version 1 or mixed, where /sys/fs/cgroup is the one
# hierarchy. WORD: only claims that hold it in their names. Exit status 0: all held; 77: no runtime is installed.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PPROFD_BUILD=${PPROFD_BUILD:-$here/../../build}
work=$(mktemp -d)
export PPROFD_CONTAINERS=$work
[ "$(id -u)" = 0 ] || { echo "run.sh: as root" >&2; exit 1; }
command -v podman dockerd containerd lxc-execute >/dev/null || { echo "run.sh: no container runtime is installed" >&2; exit 77; }

# What may be had here: without CAP_SYS_RESOURCE nobody raises a limit.
files=$(ulimit -Hn) processes=$(ulimit -Hu)
[ "$files" != unlimited ] && [ "$files" -lt 20000 ] || files=20000
[ "$processes" != unlimited ] && [ "$processes" -lt 20000 ] || processes=20000
cat >"$work/containers.conf" <<-END
	[containers]
	default_ulimits = ["nofile=$files:$files", "nproc=$processes:$processes"]
	[engine]
	cgroup_manager = "cgroupfs"
	events_logger = "none"
	END
cat >"$work/storage.conf" <<-END
	[storage]
	driver = "overlay"
	graphroot = "$work/graph"
	runroot = "$work/run"
	END
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
export DOCKER_HOST=unix://$work/docker.sock

pids=()
start() { # NAME SOCKET COMMAND...
	local name=$1 socket=$2
	shift 2
	command -v "$1" >/dev/null || return 0
	timeout 3600 "$@" >"$work/$name.log" 2>&1 &
	pids+=($!)
	for ((i = 0; i < 300; i++)); do
		[ ! -S "$socket" ] || return 0
		sleep 0.1
	done
	echo "run.sh: $name does not start:"
	tail -5 "$work/$name.log"
}
end() {
	! command -v docker >/dev/null || [ ! -S "$work/docker.sock" ] || docker ps -aq | xargs -r docker rm -f >/dev/null 2>&1
	! command -v podman >/dev/null || podman rm -fa -t 0 >/dev/null 2>&1
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
	wait 2>/dev/null
	find /sys/fs/cgroup -depth -type d -name 'lxc.*.pprofd-test*' -exec rmdir {} + 2>/dev/null
	awk -v w="$work/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r -n 1 umount -l 2>/dev/null
	find /sys/fs/cgroup -depth -type d \( -path '*pprofd-test*' -o -path '*/libpod_parent*' \) -exec rmdir {} + 2>/dev/null
	rm -rf "$work" 2>/dev/null
}
trap end EXIT
trap 'exit 1' INT TERM

start docker "$work/docker.sock" dockerd --data-root "$work/docker" --exec-root "$work/docker-run" -H "$DOCKER_HOST" \
	--pidfile "$work/docker.pid" --iptables=false --ip6tables=false --bridge=none --default-ulimit "nofile=$files:$files" \
	--cgroup-parent /pprofd-test-docker
printf 'version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "%s"\n' \
	"$work/containerd" "$work/containerd-run" "$work/containerd.sock" >"$work/containerd.toml"
start containerd "$work/containerd.sock" containerd --config "$work/containerd.toml"

status=0
python3 "$here/claims.py" "$@" || status=$?
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
	echo "# with one hierarchy"
	unshare -m sh -c 'umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec python3 "$@"' sh "$here/claims.py" "$@" ||
		status=$?
fi
exit $status
