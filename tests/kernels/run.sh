#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh BUILD [KERNEL...] - boots other kernels (Debian's packages, under qemu without KVM) and runs there what
# shows that pprofd works: each kind of profile of targets that know the truth, and the oracle. 5.10 has to refuse.
#
# KERNEL: a version as Debian names its packages ("6.1", "6.12") or "newest"; without, 5.10, 6.1, 6.12 and newest. "6.12:many": the same with
# six CPUs; ":odd": odd.sh; ":integrity", ":confidentiality": lockdown.sh in a kernel that is locked down. "6.12-16k": of arm64, with pages of 16 KiB.
# Packages go to a cache of the user's. Needs qemu-system-x86, cpio, e2fsprogs, busybox-static, apt. Some minutes a kernel.
#
# LIMIT: seconds for each kernel (1200). SECTIONS: of guest.sh's, these alone ("threads trace").
#
# A BUILD for arm64 (tools/cross-arm64) runs on arm64's 6.1 without a KERNEL, else on arm64's kernels of these versions. SYSROOT names
# the root it was built with. Needs qemu-system-arm instead.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
shift
machine=x86_64 debian=amd64
if readelf -h "$build/pprofd" | grep -q AArch64; then
	machine=aarch64 debian=arm64
	: "${SYSROOT:?names the root that the build was made with}"
	[ $# -gt 0 ] || set -- 6.1
fi
[ $# -gt 0 ] || set -- 5.10 6.1 6.12 newest

cache=${XDG_CACHE_HOME:-$HOME/.cache}/pprofd/kernels
[ $debian = amd64 ] || cache=$cache-$debian
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for tool in qemu-system-$machine cpio mke2fs busybox dpkg-deb; do
	command -v $tool >/dev/null || { echo "run.sh: $tool is not installed" >&2; exit 77; }
done

# A private apt, so that the machine's own lists stay as they are.
private_apt() {
	local mirror
	mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 || :)
	[ -n "$mirror" ] || { echo "run.sh: apt's sources name no Debian archive" >&2; exit 77; }
	mkdir -p "$cache"/apt/{lists/partial,cache/archives/partial}
	for suite in bullseye bookworm trixie trixie-backports; do
		echo "deb [arch=$debian signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
	done >"$work/sources.list"
	cmp -s "$work/sources.list" "$cache/apt/sources.list" || rm -rf "$cache/apt/lists"
	mkdir -p "$cache/apt/lists/partial"
	cp "$work/sources.list" "$cache/apt/sources.list"
	cat >"$cache/apt/apt.conf" <<-END
	APT::Architecture "$debian";
	APT::Architectures { "$debian"; };
	Dir::Etc::sourcelist "$cache/apt/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Dir::State::lists "$cache/apt/lists";
	Dir::Cache "$cache/apt/cache";
	END
	export APT_CONFIG=$cache/apt/apt.conf
	[ -n "$(find "$cache/apt/lists" -name '*Packages*' -mtime -1 | head -n 1)" ] || apt-get update -qq
}

# What to run, and where: script, and vm.sh's arguments.
choose() { # KERNEL:HOW
	script=guest.sh arguments=(-s 2)
	case $1 in
	5.10) script=refuses.sh ;;
	*:many) arguments=(-s 6) ;;
	*:odd) script=odd.sh arguments=(-i -s 3) ;;
	*:integrity | *:confidentiality) script=lockdown.sh arguments=(-i -A "lockdown=${1#*:}") ;;
	*:*) echo "run.sh: $1: no such thing" >&2; exit 2 ;;
	esac
	[ $machine = x86_64 ] || arguments+=(-i) # x86-64 6.1 does not get up with it
}

fetch_kernel() { # VERSION, or "newest" -> the directory of its files
	local release dir package version=${1%-16k} flavour=cloud-$debian
	[ "$version" = "$1" ] || flavour=$debian-16k
	version=${version//./\\.}
	[ "$version" != newest ] || version='[0-9]+\.[0-9]+'
	release=$(apt-cache pkgnames linux-image- | sed -nE "s/^linux-image-($version\..*[0-9]-$flavour)\$/\1/p" | grep -v unsigned | sort -V | tail -n 1)
	[ -n "$release" ] || { echo "run.sh: no kernel $1 in Debian's archive" >&2; exit 1; }
	dir=$cache/$release
	if [ ! -d "$dir" ]; then
		rm -rf "$work/kernel" && mkdir "$work/kernel"
		for package in image binary modules; do # from 7.x on in three parts
			package=linux-$package-$release
			apt-cache show "$package" >/dev/null 2>&1 || continue
			(cd "$work" && apt-get download -qq "$package" 2>/dev/null && dpkg-deb -x ./"$package"_*.deb kernel)
		done
		mv "$work/kernel" "$dir"
	fi
	echo "$dir"
}

put() { # a program or library with what it links, at the same place below the root
	local file=$1
	if [ $machine = aarch64 ]; then
		put_needed "$file"
		return
	fi
	mkdir -p "$work/root$(dirname "$file")"
	cp -n "$(readlink -f "$file")" "$work/root$file" 2>/dev/null || :
	ldd "$file" 2>/dev/null | grep -oE '/[^ ]+' | while read -r library; do
		mkdir -p "$work/root$(dirname "$library")"
		cp -n "$(readlink -f "$library")" "$work/root$library" 2>/dev/null || :
	done
}

put_needed() { # what an arm64 program links, out of the root that it was built with
	local name library
	for name in $(readelf -d "$1" 2>/dev/null | sed -nE 's/.*NEEDED.*\[(.*)\]/\1/p') ld-linux-aarch64.so.1; do
		[ ! -e "$work/root/lib/$name" ] || continue
		for library in "$SYSROOT"/{lib,usr/lib}/{,aarch64-linux-gnu/}"$name"; do
			[ ! -e "$library" ] || break
		done
		mkdir -p "$work/root/lib"
		cp -L "$library" "$work/root/lib/$name"
		put_needed "$work/root/lib/$name"
	done
}

make_root() {
	mkdir -p "$work"/root/{bin,sbin,usr/bin,etc,root,proc,sys,dev,tmp,run,out,t}
	cp "$busybox" "$work/root/bin/busybox"
	for applet in $(busybox --list | grep -vx busybox); do ln -sf busybox "$work/root/bin/$applet"; done
	printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$work/root/etc/passwd"
	echo '127.0.0.1 localhost' >"$work/root/etc/hosts"
	for program in pprofd pprofd-serve pprofd-symbolizer oracle tests/targets/deep tests/targets/shapes tests/targets/heap tests/targets/heap-loop \
		tests/targets/labels tests/targets/custom-gcc-o3 tests/targets/said tests/targets/threads tests/targets/waits tests/targets/traced tests/targets/track tests/trace-check tests/ask-http libpprofd-alloc.so; do
		put "$build/$program"
		cp "$build/$program" "$work/root/t/"
	done
	for program in "$build"/tests/targets/{deep,threads}-signed; do
		[ ! -e "$program" ] || cp "$program" "$work/root/t/"
	done
	[ $machine = aarch64 ] || put /lib/x86_64-linux-gnu/libgcc_s.so.1
	cp "$here"/{guest,refuses,odd,lockdown}.sh "$work/root/t/"
}

busybox=$(command -v busybox)
[ $machine = x86_64 ] || busybox=$SYSROOT/bin/busybox
private_apt
make_root
failed=0
for kernel; do
	choose "$kernel"
	dir=$(fetch_kernel "${kernel%:*}")
	echo "== $kernel: ${dir##*/}"
	unset APT_CONFIG
	BUSYBOX=$busybox bash "$here/vm.sh" -a $machine -q "${arguments[@]}" -t "${LIMIT:-1200}" -m 2048 -k "$dir" -r "$work/root" -o "$work/out" -- sh "/t/$script" ${SECTIONS:-} >/dev/null || failed=1
	cat "$work/out/.log" 2>/dev/null || { echo "no result"; failed=1; }
	export APT_CONFIG=$cache/apt/apt.conf
done
exit $failed
