#!/bin/sh
# The power supply of one host: boot.sh GROUP COMMAND... with GROUP a cgroup such as /fleetd-lab/RUN/web-1
#
# Runs systemd-nspawn in a mount namespace of its own, where /sys/fs/cgroup is the unified hierarchy
# whatever the machine has mounted there, and where nspawn's own files leave no trace.
# A host that reboots itself comes back (133 is nspawn's word for it); one that powers off stays off.
# A power cut kills GROUP, and this script with it.
set -u

# In a chroot the root of the mount namespace is another one than ours, and who enters a namespace, as
# `docker exec` does, lands there: out of the chroot. So our root is made the namespace's first.
if [ -z "${LAB_AT_ROOT-}" ]; then
    LAB_AT_ROOT=1
    export LAB_AT_ROOT
    exec 3</
    # shellcheck disable=SC2016  # expanded by the inner shell
    exec nsenter --mount=/proc/self/ns/mnt sh -c '
        cd /proc/self/fd/3 || exit
        if [ "$(stat -c %d:%i .)" != "$(stat -c %d:%i /)" ]; then
            # `unshare` made what is inside of the chroot private, not what is outside of it.
            mount --make-rprivate / && mkdir -p run/fleetd-lab-outside || exit
            pivot_root . run/fleetd-lab-outside && cd / && umount -l /run/fleetd-lab-outside || exit
        fi
        exec sh "$0" "$@" 3<&-' "$0" "$@"
fi

group=/sys/fs/cgroup$1
shift
umount -R /sys/fs/cgroup 2>/dev/null # not mounted everywhere
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit
mkdir -p "$group/power" "$group/machine" /run/systemd || exit
echo $$ >"$group/power/cgroup.procs" || exit
mount -t tmpfs -o mode=755 tmpfs /run/systemd || exit

while :; do
    # shellcheck disable=SC2016  # expanded by the inner shell, which must be the one that enters
    sh -c 'echo $$ >"$0/machine/cgroup.procs" && exec "$@"' "$group" "$@"
    rc=$?
    [ "$rc" -eq 133 ] || exit "$rc"
done
