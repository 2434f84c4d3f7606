#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# inside.sh - run by systemd, as root, in what systemd.sh boots: containers whose cgroups are systemd's. Prints "ok" and "not ok"
# lines, and "end".
set -u
n=0
claim() { # WHAT COMMAND...
	local what=$1
	shift
	n=$((n + 1))
	if "$@" >/tmp/said 2>&1; then echo "ok $n - $what"; else
		echo "not ok $n - $what"
		sed 's/^/#   /' /tmp/said | head -20
		tail -3 /test/pprofd.log | sed 's/^/# /'
	fi
}
eventually() { # COMMAND...: within a minute
	for ((i = 0; i < 120; i++)); do
		"$@" && return 0
		sleep 0.5
	done
	return 1
}

files=$(ulimit -Hn)
[ "$files" != unlimited ] && [ "$files" -lt 20000 ] || files=20000
mkdir -p /etc/containers
printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=20000:20000"]\nnetns = "none"\npids_limit = 0\n[engine]\n' "$files" "$files" \
	>/etc/containers/containers.conf
printf 'cgroup_manager = "systemd"\nevents_logger = "none"\nruntime = "runc"\n' >>/etc/containers/containers.conf
printf '[storage]\ndriver = "vfs"\ngraphroot = "/test/graph"\nrunroot = "/test/run"\n' >/etc/containers/storage.conf

# podman: a scope
tar -C /test/image -c . | podman import -q - localhost/t:1 >/dev/null
podman run -d --name scope localhost/t:1 /rungs-static 600 >/dev/null
scope=$(podman inspect -f '{{.Id}}' scope)
# podman: a service that is a container
cat >/run/systemd/system/whole.service <<-END
	[Service]
	Type=notify
	NotifyAccess=all
	Delegate=yes
	Restart=always
	ExecStart=/usr/bin/podman run --name whole --replace --rm --cgroups=split --sdnotify=conmon -d localhost/t:1 /rungs-static 600
	END
systemctl daemon-reload
systemctl start whole
# podman of a user without rights, and a service of his
useradd -m -u 1000 someone
echo someone:100000:65536 | tee /etc/subuid >/etc/subgid
loginctl enable-linger someone
eventually test -S /run/user/1000/bus
mkdir -p /test/home
cp -a /test/image /test/home/
chown -R someone /test/home
cat >/test/rootless.sh <<-'END'
	export XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus HOME=/test/home
	cd $HOME
	mkdir -p .config/containers
	printf '[storage]\ndriver = "vfs"\ngraphroot = "/test/home/graph"\nrunroot = "/run/user/1000/c"\n' >.config/containers/storage.conf
	tar -C image -c . | podman import -q - localhost/t:1
	podman run -d --name mine localhost/t:1 /rungs-static 600
	podman inspect -f '{{.Id}}' mine >id
	systemd-run --user --unit=own.service /test/image/rungs-static 600
END
setpriv --reuid 1000 --regid 1000 --clear-groups bash /test/rootless.sh >/dev/null 2>&1
mine=$(cat /test/home/id)
# Docker
systemctl stop docker.socket docker 2>/dev/null
export DOCKER_HOST=unix:///test/docker.sock
dockerd --data-root /test/docker --exec-root /test/docker-run -H $DOCKER_HOST --pidfile /test/docker.pid --iptables=false --ip6tables=false \
	--bridge=none --exec-opt native.cgroupdriver=systemd --default-ulimit nofile=$files:$files >/test/dockerd.log 2>&1 &
eventually docker version >/dev/null 2>&1
tar -C /test/image -c . | docker import - t:1 >/dev/null
docker run -d --name docker --network none t:1 /rungs-static 600 >/dev/null
docker=$(docker inspect -f '{{.Id}}' docker)

echo "# $(uname -sr), $(systemctl --version | head -n 1), $(podman --version), $(docker --version), $(runc --version | head -n 1)"
/test/pprofd/bin/pprofd --all --unit own --name own --unit whole --container "$scope" --container "${mine:0:12}" --container "$docker" --hz 500 \
	--listen localhost:6060 >/test/pprofd.log 2>&1 &
pprofd=$!
ready() { curl -s localhost:6060/-/ready | grep -q ready; }
eventually ready
get() { curl -sS --max-time 100 "http://localhost:6060$1"; }
row() { get /sd | grep "\"$1\""; } # the row of /sd that has the word
has() { row "$1" | grep -F "$2"; }
lacks() { row "$1" | { ! grep -F "$2"; }; }
profiled() { # PLACE: functions by name, whole stacks
	for seconds in 1 3 10; do
		get "$1/debug/pprof/profile?seconds=$seconds&format=top" >/tmp/profile
		grep -q rung_leaf /tmp/profile && ! grep -q broken: /tmp/profile && return 0
	done
	cat /tmp/profile
	return 1
}
claim "podman: the scope of a container" has "$scope" "/machine.slice/libpod-$scope.scope"
claim "podman: profiled by id" profiled "/t/${scope:0:12}"
claim "podman: the container is called by its id" has "$scope" "\"service_name\":\"${scope:0:12}\""
claim "docker: the scope of a container" has "$docker" "/system.slice/docker-$docker.scope"
claim "docker: profiled by id" profiled "/t/$docker"
claim "a service that is a container: its unit" has whole.service '"service_name":"whole"'
claim "a service that is a container: its container" has whole.service "\"__meta_pprofd_container\":\"$(podman inspect -f '{{.Id}}' whole)"
claim "a service that is a container: profiled by its unit" profiled /t/whole
claim "a user's container: in his manager's slice" has "$mine" "/user@1000.service/user.slice/libpod-$mine.scope"
claim "a user's container: it is not his manager" lacks "$mine" __meta_pprofd_unit
claim "a user's container: profiled by id" profiled "/t/${mine:0:12}"
claim "a user's service: profiled by its unit" profiled /t/own
claim "what watches containers is none" test "$(get /sd | grep conmon | grep -c meta_pprofd_container)" = 0
old=$(row whole.service | grep -o '"__meta_pprofd_pid":"[0-9]*"')
other() { [ -n "$(row whole.service)" ] && [ "$(row whole.service | grep -o '"__meta_pprofd_pid":"[0-9]*"')" != "$old" ]; }
systemctl restart whole
claim "a service that is a container, restarted: another process" eventually other
claim "a service that is a container, restarted: at the same address" profiled /t/whole
kill $pprofd
wait $pprofd
claim "pprofd ends" test $? = 0
docker rm -f docker >/dev/null 2>&1
podman rm -fa -t 0 >/dev/null 2>&1
echo end
