#!/bin/sh
# Runs as the container's first process: works a little, then tries what a container must not be able to do.
# Ends with 1 if any attempt succeeds, or could not even be made.
escaped=0

heading() { printf '\n  %s\n' "$1"; }

# refused REASON COMMAND...: the command must fail; its own words are shown.
refused() {
    reason=$1
    shift
    # The braces keep the shell's own "Killed" off the screen.
    { words=$("$@" 2>&1); code=$?; } 2>/dev/null
    [ "$code" -ne 137 ] || words='killed by signal 9'
    # 126 and 127 are this script's own mistakes, not the kernel's refusal.
    if [ "$code" -eq 0 ] || [ "$code" -eq 126 ] || [ "$code" -eq 127 ]; then
        printf '    ALLOWED   %-36s %s\n' "$*" "$words"
        escaped=1
    else
        words=$(printf '%s' "$words" | tail -n 1)
        printf '    refused   %-36s %-32s %s\n' "$*" "${words##*: }" "$reason"
    fi
}

overwrite() { echo 1 >"$1"; }
reveal() { head -c 1 "$1" | grep . || { echo 'nothing to read'; false; }; }
hog() { dd if=/dev/zero of=/dev/null bs="$1" count=1; }
swarm() { for _ in $(seq "$1"); do sleep 1 & done; wait; }
# 126 is what the shell says of a program that the kernel will not execute.
bring_and_run() { cp /bin/busybox "$1" && "$1" true || { echo 'permission denied'; return 1; }; }

heading 'an ordinary process at work'
printf '    process %s of %s on host "%s", network devices: %s\n' \
    "$$" "$(ps | tail -n +2 | wc -l)" "$(hostname)" "$(ls /sys/class/net | tr '\n' ' ')"
seq 200000 >/tmp/numbers && printf '    wrote %s numbers to /tmp\n' "$(wc -l </tmp/numbers)"

heading 'what it may do, by /proc/self'
grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp_filters)' /proc/self/status | sed 's/^/    /'
sed 's/^ */    uid_map /' /proc/self/uid_map

heading 'what it tries, and what it is told'
refused 'the root file system is read-only' touch /etc/passwd
refused 'what is writable is not executable' bring_and_run /tmp/busybox
refused 'no capability to mount' mount -t tmpfs none /tmp
refused 'no capability to make devices' mknod /tmp/disk b 8 0
refused 'no capability to change the root' chroot /tmp /bin/true
refused 'no capability to rename the host' hostname intruder
refused 'seccomp: no new namespaces' unshare -U true
refused 'seccomp: no reading of the kernel log' dmesg
refused 'kernel settings are read-only' overwrite /proc/sys/kernel/panic
refused 'masked: it reads as empty' reveal /proc/timer_list
refused 'no device but its own' head -c 1 /dev/sda
refused 'no network but its own' nc -w 1 192.0.2.1 80
refused 'no process but its own' kill -9 "$HOST_PID"
refused 'limit of memory: the kernel kills it' hog 2000M
refused 'limit of processes' swarm 1000

exit "$escaped"
