#!/bin/sh
# Makes the root filesystem that tests/engines_software runs: a minimal Debian with servers, interpreters and a compiler.
#
#   prepare.sh DIR      leaves DIR/root, DIR/root.tar and DIR/key
#
# Everything comes from Debian's archive through apt, configured by the packages' own scripts. Needs root.
# A second call with the same recipe does nothing.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=$1
suite=bookworm
packages="nginx-light redis-server postgresql-15 python3 python3-venv nodejs gcc libc6-dev make procps vim-tiny"

key=$(cat "$here/prepare.sh" $(find "$here/image" -type f | sort) | sha256sum | cut -d' ' -f1)
mkdir -p "$dir"
# Tests run as processes of their own: the second one waits for the first one's image.
exec 9>"$dir/lock"
flock 9
if [ -f "$dir/root.tar" ] && [ "$(cat "$dir/key" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
[ "$(id -u)" = 0 ] || { echo "prepare.sh: making the root filesystem needs root" >&2; exit 1; }

rm -rf "$dir/root" "$dir/root.tar" "$dir/key"
# The drop is what no program here reads and what would double the time every engine takes to import the image.
mmdebstrap --quiet --variant=minbase --include="$(echo $packages | tr ' ' ,)" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
    --essential-hook='mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
    --customize-hook='chroot "$1" apt-get -q -y download hello >/dev/null 2>&1 && mv "$1"/hello_*.deb "$1/srv/hello.deb"' \
    --skip=cleanup/apt/lists \
    "$suite" "$dir/root" >"$dir/debootstrap.log" 2>&1 || { tail -40 "$dir/debootstrap.log" >&2; exit 1; }

root=$dir/root
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
cp -R "$here/image/." "$root/"
chmod 0755 "$root"/usr/local/bin/*
mkdir -p "$root/data"
echo "made by tests" >"$root/var/www/html/index.html"
# As server images do: the log of a server is what the container writes.
ln -sf /dev/stdout "$root/var/log/nginx/access.log"
ln -sf /dev/stderr "$root/var/log/nginx/error.log"
useradd --root "$root" --create-home --uid 1000 --shell /bin/bash user
tar --numeric-owner -C "$root" -cf "$root.tar" .
echo "$key" >"$dir/key"
