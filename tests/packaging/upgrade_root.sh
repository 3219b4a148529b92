#!/bin/bash
# Run by test_upgrade.py in a mount namespace: upgrade_root.sh DIRECTORY UPGRADE_SERVICES. Two services "run": one heeds
# SIGUSR2, the other does not. What upgrade-services asks of systemctl is printed, and then what the first one became.
set -eu
directory=$1
upgrade_services=$2

mount -t tmpfs tmpfs "$directory"
mkdir "$directory"/{upper,work,bin,run}
mkdir "$directory/run/system"
mkdir -p /run/systemd
mount --bind "$directory/run" /run/systemd
mount -t overlay overlay -o "lowerdir=/usr/bin,upperdir=$directory/upper,workdir=$directory/work" /usr/bin
cp /usr/bin/sleep /usr/bin/uroboros

bash -c 'trap "exec uroboros 100" USR2; touch "$0"; while :; do sleep 0.05; done' "$directory/heeds" &
heeds=$!
bash -c 'trap "" USR2; touch "$0"; while :; do sleep 0.05; done' "$directory/ignores" &
ignores=$!

cat >"$directory/bin/systemctl" <<TEXT
#!/bin/sh
case \$* in
list-units*) printf '%s\n' 'uroboros.service loaded active running A' 'uroboros@shop.service loaded active running B' ;;
*MainPID*uroboros.service) echo $heeds ;;
*MainPID*uroboros@shop.service) echo $ignores ;;
*ActiveState*)
    # "reloading" when it is asked for the first time
    if mkdir "$directory/asked-\${*##* }" 2>/dev/null; then echo reloading; else echo active; fi
    ;;
*StatusText*) echo 'serving; the last upgrade failed: this and that' ;;
*) echo "\$@" ;;
esac
TEXT
chmod +x "$directory/bin/systemctl"
until [ -e "$directory/heeds" ] && [ -e "$directory/ignores" ]; do sleep 0.05; done

PATH="$directory/bin:$PATH" "$upgrade_services"
basename "$(readlink "/proc/$heeds/exe")"
kill -KILL "$heeds" "$ignores"
