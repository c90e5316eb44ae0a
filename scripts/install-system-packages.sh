#!/bin/sh
# Install the programs the demo and the tests start privately: PostgreSQL with PostGIS and Redis (Debian, Ubuntu).
# Does nothing when they are there. Creates no database cluster and starts no service: hazfence starts its own.
set -eu

have_postgis() { ls /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1 && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }
have_redis() { command -v redis-server >/dev/null 2>&1; }
have_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

missing=""
have_postgis || missing="$missing postgresql-postgis"
have_redis || missing="$missing redis-server"
have_venv || missing="$missing python3-venv"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "hazfence needs PostgreSQL with PostGIS and redis-server; install with your system's package manager:$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "hazfence needs system packages, and this user may not install them; run: sudo apt-get install$missing" >&2
    exit 1
fi

log=$(mktemp)
guard=""
undo() {
    [ -z "$guard" ] || $sudo rm -f "$guard"
    rm -f "$log"
}
trap undo EXIT
trap 'exit 130' INT TERM

# Debian would create and start a "main" cluster and a Redis on the standard ports; both have a documented switch.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    $sudo mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
if [ ! -e /usr/sbin/policy-rc.d ]; then
    guard=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$guard" >/dev/null
    $sudo chmod 755 "$guard"
fi

echo "installing$missing (apt-get)" >&2
# shellcheck disable=SC2086 # the list is meant to be split
if ! { $sudo apt-get update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold $missing; } >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    echo "hazfence could not install system packages; run yourself: apt-get install$missing" >&2
    exit 1
fi
have_postgis && have_redis && have_venv || {
    echo "apt-get ended well but something is still missing; install yourself:$missing" >&2
    exit 1
}
