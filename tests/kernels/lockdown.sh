# SPDX-License-Identifier: Apache-2.0
# lockdown.sh - in a kernel that is locked down: what cannot be says so, once and clearly; what says that it can, can.
cd /t || exit 1
failed=0
check() { # TEXT COMMAND...
	what=$1
	shift
	if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; failed=1; fi
}
uname -r
mount -t securityfs s /sys/kernel/security
cat /sys/kernel/security/lockdown
./deep 300 >/dev/null &
deep=$!
./pprofd --check $deep >/tmp/check 2>&1
status=$?
cat /tmp/check
./pprofd record profile --pid $deep --seconds 4 --format top >/tmp/top 2>/tmp/said
recorded=$?
head -n 1 /tmp/top
cat /tmp/said
if grep -q '\[confidentiality\]' /sys/kernel/security/lockdown; then
	check "it is told what is missing" [ $status = 1 ]
	check "the reason is lockdown, of each endpoint" sh -c "! grep missing /tmp/check | grep -v lockdown | grep ."
	check "the profile is refused" [ $recorded != 0 ]
	check "in one line" [ "$(wc -l </tmp/said)" = 1 ]
	check "with the reason" grep -q lockdown /tmp/said
else
	check "nothing is missing" [ $status = 0 ]
	check "a profile is one" grep -q ', 0 truncated at 255 frames, 0 broken' /tmp/top
fi
kill $deep
exit $failed
