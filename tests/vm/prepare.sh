#!/bin/sh
# Makes what tests/vm boots: Debian's cloud kernel and one ext4 image with systemd, dbus, uidmap and busybox.
#
#   prepare.sh DIR      leaves DIR/vmlinuz, DIR/root.ext4 and DIR/key
#
# Everything comes from Debian's archive through apt, nothing is compiled. Needs root (file owners in the image).
# A second call with the same recipe does nothing.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=$1
packages="systemd systemd-sysv dbus dbus-user-session uidmap busybox-static kmod runc crun"
# Pulled in by maintainer scripts that do not run here, or by nothing that this guest starts.
unused="perl|perl-base|perl-modules-.*|libperl5.*|libfile-find-rule-perl|libnumber-compare-perl|libtext-glob-perl"
unused="$unused|usrmerge|debconf|adduser|dpkg|tar|libdb5.*|libgdbm.*|libc-bin|criu"

key=$(cat "$here/prepare.sh" $(find "$here/image" -type f | sort) | sha256sum | cut -d' ' -f1)
mkdir -p "$dir"
# Tests run as processes of their own: the second one waits for the first one's image.
exec 9>"$dir/lock"
flock 9
if [ -f "$dir/root.ext4" ] && [ "$(cat "$dir/key" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
[ "$(id -u)" = 0 ] || { echo "prepare.sh: making the image needs root" >&2; exit 1; }

rm -rf "$dir/build" "$dir/key"
mkdir -p "$dir/build/root" "$dir/build/kernel" "$dir/debs/partial"
cd "$dir/build"
: >no-packages-installed

download() {
    apt-get -q -y -o Dir::State::status="$dir/build/no-packages-installed" -o Dir::Cache::archives="$dir/debs" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=300 \
        --no-install-recommends --download-only install "$@" >"$dir/build/apt.log" 2>&1
}

# A fresh machine has no package lists, or stale ones.
fetch() {
    download $packages && return
    apt-get -q update >/dev/null 2>&1 || true
    download $packages || { cat "$dir/build/apt.log" >&2; exit 1; }
}

fetch
image_package=$(apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-/ {print $2; exit}')
(cd "$dir/build/kernel" && apt-get -q -o APT::Sandbox::User=root download "$image_package" >"$dir/build/apt.log" 2>&1) ||
    { cat "$dir/build/apt.log" >&2; exit 1; }

# Debian's packages still name /bin and /lib; the merged layout has to be there before they arrive.
root=$dir/build/root
for top in bin sbin lib; do
    mkdir -p "$root/usr/$top"
    ln -s "usr/$top" "$root/$top"
done
mkdir -p "$root/usr/lib64" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp" "$root/payload" \
    "$root/root" "$root/home/user" "$root/var/tmp" "$root/mnt"
ln -s usr/lib64 "$root/lib64"
for deb in "$dir"/debs/*.deb; do
    name=${deb##*/}
    name=${name%%_*}
    if ! echo "$name" | grep -Eqx "$unused"; then
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root" \
            --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' \
            --exclude='./usr/share/i18n' --exclude='./usr/lib/udev/hwdb.d'
    fi
done

dpkg-deb --fsys-tarfile kernel/*.deb | tar -x -C kernel
# The I/O scheduler with weights, layers, quotas and networks are all that any case needs: disk, ext4 and serial port are
# built in. What loads the others is the kernel itself, by modprobe.
modules=$(cd kernel/lib/modules && echo *)
mkdir -p "$root/lib/modules/$modules"
(
    cd "kernel/lib/modules/$modules"
    cp modules.builtin modules.builtin.modinfo modules.order "$root/lib/modules/$modules/"
    find kernel/net/802 kernel/net/llc kernel/net/bridge kernel/net/netfilter kernel/net/ipv4/netfilter \
        kernel/net/ipv6/netfilter kernel/drivers/net/veth.ko kernel/drivers/net/macvlan.ko kernel/lib/libcrc32c.ko \
        kernel/block/bfq.ko kernel/fs/overlayfs/overlay.ko kernel/fs/quota/quota_tree.ko kernel/fs/quota/quota_v2.ko \
        -name '*.ko' | tar -c -T - | tar -x -C "$root/lib/modules/$modules"
)
chroot "$root" /usr/sbin/depmod "$modules"

cp -R "$here/image/." "$root/"
chmod 0755 "$root/sbin/vm-init"
chmod 1777 "$root/tmp" "$root/var/tmp"
chown 1000:1000 "$root/home/user"
# No getty, no timers, no generators' surprises: the guest boots to the driver and nothing else.
for unit in getty.target timers.target systemd-journal-flush.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-networkd.service systemd-resolved.service \
    systemd-timesyncd.service systemd-random-seed.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
    systemd-firstboot.service systemd-sysusers.service systemd-machine-id-commit.service kmod-static-nodes.service \
    systemd-hwdb-update.service ldconfig.service systemd-binfmt.service systemd-tmpfiles-clean.timer \
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service \
    systemd-modules-load.service systemd-repart.service dev-hugepages.mount dev-mqueue.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /etc/systemd/system/casemate-vm.target "$root/etc/systemd/system/default.target"
for applet in $(chroot "$root" /bin/busybox --list); do
    [ -e "$root/usr/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
done
ldconfig -r "$root"

# Twice the content: the guest's writes go to a snapshot that is thrown away.
size=$(du -sm "$root" | cut -f1)
mkfs.ext4 -q -F -E lazy_itable_init=1 -O ^has_journal -d "$root" root.ext4 "$((size * 2 + 192))M"
mv "kernel/boot/vmlinuz-$modules" "$dir/vmlinuz"
mv root.ext4 "$dir/root.ext4"
cd /
rm -rf "$dir/build"
echo "$key" >"$dir/key"
