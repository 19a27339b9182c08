#!/bin/sh
# Builds the root filesystem that hosts of one release start from: base.sh DIR RELEASE
#
# Debian (or Ubuntu) with systemd, sshd, podman and docker (off until a host wants it), the login shells that
# operators use, and nothing that would help fleetd by accident: no wget, and curl only where a host
# is asked for with it.
# The cache is keyed by the hash of this file, so an edit here is a new image.
# Run it in a mount namespace of its own: what it mounts goes away with it.
set -eu
root=$1
release=$2

mirror=http://deb.debian.org/debian
components=main
engines='podman netavark aardvark-dns docker.io'
case $release in
bullseye) engines='podman containernetworking-plugins docker.io' ;;
trixie) engines="$engines docker-cli nftables" ;; # netavark runs nft, and says so nowhere
focal) engines=docker.io ;;
jammy) engines='podman containernetworking-plugins docker.io' ;;
esac
case $release in
focal | jammy)
    mirror=http://archive.ubuntu.com/ubuntu
    components=main,universe
    ;;
esac
debootstrap --variant=minbase --components="$components" \
    --include=systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,procps,ca-certificates \
    "$release" "$root" "$mirror"

mount -t proc proc "$root/proc"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # nothing starts while we install
chmod 755 "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
# podman fails inside debootstrap's --include. crun is left out: it wants CAP_SYS_RESOURCE.
# As hosts are: the docker that focal began with is 19.03, and jammy's first runc fails without a memory controller.
case $release in
focal | jammy)
    echo "deb $mirror $release-updates main universe" >>"$root/etc/apt/sources.list"
    chroot "$root" apt-get update
    ;;
esac
# shellcheck disable=SC2086  # several words
chroot "$root" apt-get install -y --no-install-recommends \
    $engines runc zsh fish tcsh dash busybox-static python3 \
    libpam-systemd curl
mkdir -p "$root/usr/lib/lab"
mv "$root/usr/bin/curl" "$root/usr/lib/lab/curl"
chroot "$root" apt-get clean
rm -rf "$root/usr/sbin/policy-rc.d" "$root"/var/lib/apt/lists/*
umount "$root/proc"

# Identity is each host's own; the lab writes it before the first boot.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
: >"$root/etc/resolv.conf" # debootstrap copied the machine's; the hosts' network has no name server
rm -f "$root/var/lib/dbus/machine-id"

# "*" and not "!": without PAM an account locked by "!" is refused even with a good key.
chroot "$root" useradd -m -s /bin/bash -u 1000 -p '*' fleet
echo 'fleet ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/fleet"
chmod 440 "$root/etc/sudoers.d/fleet"
cat >"$root/etc/ssh/sshd_config.d/lab.conf" <<'CONF'
PasswordAuthentication no
UseDNS no
MaxStartups 200
CONF

chroot "$root" systemctl set-default multi-user.target
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    fstrim.timer podman.service podman.socket podman-auto-update.service podman-auto-update.timer \
    podman-restart.service \
    docker.service docker.socket containerd.service; do
    chroot "$root" systemctl disable "$unit" || true # not every release has every one
done
# No console, no modules to load, and a network that the lab makes.
chroot "$root" systemctl mask console-getty.service getty.target systemd-firstboot.service \
    systemd-modules-load.service \
    apt-daily.service apt-daily-upgrade.service e2scrub_reap.service \
    systemd-networkd.service systemd-resolved.service

# As on a real machine, the network's kernel settings can be written (each host has its own). Only
# those: the rest of /proc/sys belongs to the machine under the lab.
cat >"$root/etc/systemd/system/lab-sysctl.service" <<'CONF'
[Unit]
Description=Writable kernel settings of the network
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount --bind /proc/sys/net /proc/sys/net
ExecStart=/bin/mount -o remount,bind,rw /proc/sys/net
ExecStart=/sbin/sysctl -qw net.ipv4.ip_forward=1
[Install]
WantedBy=sysinit.target
CONF
chroot "$root" systemctl enable lab-sysctl.service

mkdir -p "$root/var/log/journal" "$root/etc/systemd/journald.conf.d" "$root/etc/docker" \
    "$root/etc/containers"
# docker 29 would keep images in containerd, under other ids than podman's, which tests of images compare.
case $release in jammy) echo '{"features": {"containerd-snapshotter": false}}' >"$root/etc/docker/daemon.json" ;; esac
cat >"$root/etc/systemd/journald.conf.d/lab.conf" <<'CONF'
[Journal]
Storage=persistent
SystemMaxUse=16M
SystemMaxFileSize=4M
CONF
# No memory or pids controller reaches the hosts when the machine has cgroup v1 mounted.
cat >"$root/etc/containers/containers.conf" <<'CONF'
[containers]
pids_limit = 0
[engine]
runtime = "runc"
CONF
