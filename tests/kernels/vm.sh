#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm.sh: boot kernel K under qemu (TCG) with an ext4 root made from a directory, run one
# command in it as root, give back its exit status and output.
#   vm.sh [-a x86_64|aarch64] [-t SECONDS] [-s CPUS] [-m MIB] [-o OUTDIR] [-q] [-S] [-i] [-A 'boot args']
#             -k KERNELDIR -r ROOTDIR|IMG -- command [args...]
# KERNELDIR: where "dpkg-deb -x linux-image-*.deb KERNELDIR" was run (7.x: linux-binary-* and
#            linux-modules-* into the same directory).
# In the guest: /out is collected into OUTDIR (a tar on a second disk); proc, sys, tracefs, debugfs, bpffs,
# cgroup2, devpts are mounted; $PWD=/.  Exit: the command's status; 124 the limit; 125 no result (panic?).
# -S: systemd (in ROOTDIR) is PID 1 and runs the command as a unit, after multi-user.target's other units were started
# -i: the guest's time is its own; on one thread of the host's
# Needs: qemu-system-x86 / qemu-system-arm, cpio, e2fsprogs, xz, a static busybox of the target
# architecture (BUSYBOX=... else /bin/busybox; for aarch64: busybox-static:arm64).
set -eu
arch=x86_64 limit=300 smp=2 mem=1536 out= quiet=0 kdir= root= xargs= sysd=0 counted=0
while getopts a:t:s:m:o:qSiA:k:r: o; do case $o in
 a) arch=$OPTARG;; t) limit=$OPTARG;; s) smp=$OPTARG;; m) mem=$OPTARG;; o) out=$OPTARG;; q) quiet=1;; S) sysd=1;; i) counted=1;;
 A) xargs=$OPTARG;; k) kdir=$OPTARG;; r) root=$OPTARG;; *) exit 2;; esac; done
shift $((OPTIND-1))
[ -n "$kdir" ] && [ -n "$root" ] && [ $# -gt 0 ] || { sed -n 2,14p "$0"; exit 2; }
w=$(mktemp -d /tmp/vmtest.XXXXXX); qpid=
trap '[ -z "$qpid" ] || kill -9 $qpid 2>/dev/null || :; rm -rf "$w"' EXIT
bb=${BUSYBOX:-/bin/busybox}
vml=$(find "$kdir" -name 'vmlinuz*' -type f | head -1)
mods=$(dirname "$(find "$kdir" -path '*/modules/*/kernel' -type d | head -1)")
# --- initramfs: busybox, the modules for a virtio disk, /init, the command
i=$w/i; mkdir -p $i/bin $i/m $i/n $i/proc $i/sys $i/dev; cp "$bb" $i/bin/busybox
for m in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_mmio virtio_blk \
         crc16 crc32c_generic libcrc32c mbcache jbd2 ext4; do
  f=$(find "$mods/kernel" -name "$m.ko*" | head -1); [ -n "$f" ] || continue
  case $f in *.xz) xz -dc "$f" >$i/m/$m.ko;; *.zst) zstd -qdc "$f" >$i/m/$m.ko;; *) cp "$f" $i/m/;; esac
  echo $m >>$i/m/order
done
printf '%q ' "$@" >$i/cmd; [ $sysd = 0 ] || : >$i/sysd
cat >$i/init <<'I'
#!/bin/busybox sh
b=/bin/busybox; $b mkdir -p /proc /sys /dev /n
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
[ -f /m/order ] && while read m; do $b insmod /m/$m.ko || echo "insmod $m failed"; done </m/order
n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do $b sleep 0.1; n=$((n+1)); done
$b mount -t ext4 /dev/vda /n || { echo "VMTEST no root"; $b poweroff -f; }
cd /n; $b mkdir -p proc sys dev tmp out run bin
if [ -f /sysd ]; then
  $b cp /bin/busybox busybox-vmtest; $b cp /cmd vmtest.cmd; u=etc/systemd/system; $b mkdir -p $u/multi-user.target.wants
  { echo '[Unit]'; echo 'After=systemd-user-sessions.service'; echo '[Service]'; echo 'StandardOutput=tty'; echo TTYPath=/dev/console
    echo 'ExecStart=/bin/sh -c "mkdir -p /out; (/bin/sh /vmtest.cmd; echo $$? >/out/.rc) 2>&1 | /busybox-vmtest tee /out/.log; /busybox-vmtest tar -C /out -cf /dev/vdb .; sync; /busybox-vmtest poweroff -f"'
  } >$u/vmtest.service; $b ln -sf /$u/vmtest.service $u/multi-user.target.wants/
  $b umount /proc /sys; $b mount --move /dev dev; exec $b switch_root /n /lib/systemd/systemd
fi
$b mount --move /proc proc; $b mount --move /sys sys; $b mount --move /dev dev
$b mkdir -p dev/pts dev/shm; $b mount -t devpts d dev/pts; $b mount -t tmpfs t dev/shm; $b mount -t tmpfs t run
$b mount -t tmpfs t tmp; $b mount -t tmpfs t out
$b mount -t tracefs t sys/kernel/tracing; $b mount -t debugfs t sys/kernel/debug; $b mount -t bpf b sys/fs/bpf
$b mount -t cgroup2 c sys/fs/cgroup; $b ip link set lo up
$b cp /bin/busybox tmp/.bb; $b cp /cmd tmp/.cmd
set -- $($b cat proc/uptime); echo "VMTEST start at uptime $1"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
: >out/.log; $b mknod /dev/null c 1 3; $b tail -f out/.log & # no pipe: what the command leaves behind would hold it
( $b chroot . /bin/sh /tmp/.cmd; echo $? >out/.rc ) >>out/.log 2>&1; $b sleep 1
set -- $($b cat proc/uptime); echo "VMTEST end at uptime $1"
$b tar -C out -cf dev/vdb . ; $b sync; $b poweroff -f
I
chmod +x $i/init
(cd $i && find . | cpio -o -H newc --quiet) >$w/initrd
# --- disks: root (never written back: snapshot=on) and the result
if [ -d "$root" ]; then
  sz=$(( $(du -sm "$root" | cut -f1) * 5 / 4 + 128 )); mke2fs -q -t ext4 -O ^orphan_file -d "$root" $w/root.img ${sz}M >/dev/null 2>&1 ||
    mke2fs -q -t ext4 -d "$root" $w/root.img ${sz}M >/dev/null
  img=$w/root.img
else img=$root; fi
truncate -s 256M $w/out.img
disks="-drive file=$img,format=raw,if=none,id=d0,snapshot=on -device virtio-blk-pci,drive=d0
       -drive file=$w/out.img,format=raw,if=none,id=d1 -device virtio-blk-pci,drive=d1"
case $arch in
 x86_64) q="qemu-system-x86_64 -machine q35 -cpu ${VMCPU:-max,cx16=off}"; con=ttyS0;;
 aarch64) q="qemu-system-aarch64 -machine virt,gic-version=3 -cpu ${VMCPU:-cortex-a76}"; con=ttyAMA0;;
esac
t0=$(date +%s)
# By icount the guest's time is what it executes, 8 ns an instruction: a busy host steals none of it, and nobody waits for a guest that idles.
accel='tcg,thread=single'
[ $counted = 0 ] || accel="tcg,thread=single -icount shift=3,sleep=off -rtc clock=vm"
$q -accel $accel -smp $smp -m $mem -nographic -no-reboot -nodefaults -serial file:$w/con -kernel "$vml" -initrd $w/initrd \
   -append "console=$con panic=-1 quiet loglevel=4 mitigations=off nokaslr rdinit=/init $xargs" $disks </dev/null >$w/q.log 2>&1 &
qpid=$!; rc=
while kill -0 $qpid 2>/dev/null; do
  [ $(( $(date +%s) - t0 )) -lt $limit ] || { rc=124; kill -9 $qpid; break; }; sleep 0.2; done
wait $qpid 2>/dev/null || :; qpid=
out=${out:-$w/o}; mkdir -p "$out"; tar -C "$out" -xf $w/out.img 2>/dev/null || :
cp $w/con "$out/.console" 2>/dev/null || :
[ $quiet = 1 ] && cat "$out/.log" 2>/dev/null || { cat $w/q.log; tr -d '\r' <$w/con; }
echo "vmtest: $(( $(date +%s) - t0 )) s wall, kernel $(basename "$vml")" >&2
[ -n "$rc" ] || rc=$(cat "$out/.rc" 2>/dev/null || echo 125)
exit $rc
