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
        printf '    refused   %-36s %-32s %s\n' "$*" "${words##*: }" "$reason"
    fi
}

overwrite() { echo 1 >"$1"; }
reveal() { head -c 1 "$1" | grep . || { echo 'nothing to read'; false; }; }
swarm() { for _ in $(seq 64); do sleep 1 & done; wait; }

heading 'an ordinary process at work'
printf '    I am %s on host "%s", process %s of %s\n' "$(whoami)" "$(hostname)" "$$" "$(ps | tail -n +2 | wc -l)"
printf '    network devices: %s\n' "$(ls /sys/class/net | tr '\n' ' ')"
seq 200000 >/data/numbers
printf '    %s numbers, sha256 %.16s…, in a tmpfs of its own\n' "$(wc -l </data/numbers)" "$(sha256sum </data/numbers)"

heading 'what it may do, by /proc/self/status'
grep -E '^(Uid|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp)' /proc/self/status | sed 's/^/    /'

heading 'what it tries, and what it is told'
refused 'the root file system is read-only' touch /etc/passwd
refused 'no capability to mount' mount -t tmpfs none /data
refused 'no capability to make devices' mknod /data/disk b 8 0
refused 'no capability to change the root' chroot /data /bin/true
refused 'no capability to give files away' chown guest /data/numbers
refused 'no capability to rename the host' hostname intruder
refused 'seccomp: no new namespaces' unshare -U true
refused 'seccomp: no reading of the kernel log' dmesg
refused 'kernel settings are read-only' overwrite /proc/sys/kernel/panic
refused 'masked: it reads as empty' reveal /proc/timer_list
refused 'the devices rule: not the disk' head -c 1 /dev/disk
refused 'no network but its own' nc -w 1 192.0.2.1 80
refused 'no process but its own' kill -9 "$HOST_PID"
refused 'limit of 64 MiB: the kernel kills it' dd if=/dev/zero of=/dev/null bs=99M
refused 'limit of 32 processes' swarm

exit "$escaped"
