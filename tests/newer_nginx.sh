#!/usr/bin/env bash
# nginx of a newer Debian suite with the libraries it needs, unpacked into DIR and installed nowhere: DIR/nginx runs it.
# The tests ask for it because nginx passes early hints on since 1.29.
#
#   tests/newer_nginx.sh DIR [SUITE]
set -euo pipefail

dir=$(realpath -m "$1")
suite=${2:-forky}
[ -x "$dir/nginx" ] && exit 0

mkdir -p "$dir"/{root,apt/lists/partial,apt/archives/partial}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] http://deb.debian.org/debian $suite main" >"$dir/apt/sources.list"
: >"$dir/apt/status"
apt=(apt-get -qq -o "Dir::State=$dir/apt" -o "Dir::State::status=$dir/apt/status" -o "Dir::Cache=$dir/apt"
    -o "Dir::Etc::SourceList=$dir/apt/sources.list" -o Dir::Etc::SourceParts=/nonexistent
    -o Debug::NoLocking=1 -o "Acquire::Languages=none")
"${apt[@]}" update
(cd "$dir/apt/archives" && "${apt[@]}" download nginx libc6 libcrypt1 libpcre2-8-0 libssl3t64 libzstd1 zlib1g)
for package in "$dir"/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$dir/root"
done

loader=$(find "$dir/root" -name 'ld-linux*' -o -name 'ld64.so*' | head -n 1)
libraries=$(find "$dir/root" -name 'libc.so.6' -printf '%h' -quit)
program=$(find "$dir/root" -path '*/sbin/nginx' | head -n 1)
cat >"$dir/nginx" <<TEXT
#!/bin/sh
exec "$loader" --library-path "$libraries" "$program" "\$@"
TEXT
chmod +x "$dir/nginx"
"$dir/nginx" -v
