#!/bin/sh
# Run by test_rpm.py in a mount namespace: rpm_root.sh DIRECTORY RPM. Prints one line for each thing seen.
set -eu
directory=$1
rpm=$2
port=8474
settings=/etc/uroboros/uroboros.toml

# On a disk of its own: an overlay does not lie on an overlay.
mount -t tmpfs tmpfs "$directory"
mkdir "$directory/upper" "$directory/work" "$directory/root"
root=$directory/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
rm -rf "$root"/usr/lib/*/android "$root"/usr/lib/*/liburing* "$root/run/systemd/system" "$root/etc/uroboros"
mkdir -p "$root/var/lib/rpm"
sed -i '/^uroboros:/d' "$root/etc/passwd" "$root/etc/group" "$root/etc/shadow" "$root/etc/gshadow"

# This root's packages are not in a database of rpm's, so what the package requires is not looked for.
rpm --root "$root" --nodeps --install "$rpm" >&2
chroot "$root" uroboros --version
chroot "$root" id --user --name uroboros | sed 's/^/user /'
chroot "$root" stat --format '%n of %U' /run/uroboros
chroot "$root" ldd /usr/bin/uroboros | sed -n 's,.*=> /usr/bin/\.\./lib/uroboros/\(lib[a-z]*\.so\.[0-9]\).*,/usr/lib/uroboros/\1,p' | sort

cat >"$root$settings" <<TEXT
wsgi_app = "hello:app"
chdir = "/usr/share/uroboros/examples"
user = "uroboros"
bind = "127.0.0.1:$port"
TEXT
chroot "$root" uroboros --config "$settings" --check-config >&2 && echo settings good
chroot "$root" uroboros --config "$settings" >&2 &
daemon=$!
curl --silent --retry 50 --retry-delay 1 --retry-connrefused --max-time 20 "http://127.0.0.1:$port/"
kill "$daemon"
wait "$daemon"

rpm --root "$root" --nodeps --erase uroboros >&2
[ -e "$root$settings.rpmsave" ] && echo edited settings kept
rm -r "$root/etc/uroboros"
# What was written since lies in the upper directory, where what was removed is a character device.
left=$(find "$directory"/upper/usr "$directory"/upper/etc "$directory"/upper/var -name '*uroboros*' ! -type c)
[ -z "$left" ] && echo nothing left || echo "left: $left"
