# SPDX-License-Identifier: Apache-2.0
# refuses.sh - in a kernel that is too old: one line that says so, and nothing else.
cd /t || exit 1
uname -r
./deep 300 >/dev/null &
./pprofd --pid $! --listen 127.0.0.1:6060 >/tmp/out 2>&1
status=$?
cat /tmp/out
[ $status = 1 ] && [ "$(wc -l </tmp/out)" = 1 ] && grep -q 'Linux 6.1 or newer' /tmp/out && echo "ok: refused"
