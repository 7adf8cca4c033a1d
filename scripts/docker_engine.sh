#!/bin/sh
# Makes sure that a Docker engine answers. Installs and starts one on Debian and
# Ubuntu where that is allowed; anywhere else says what to do and exits 1.
# The question is always whether an ENGINE answers: a client may be there without one.
set -eu

fail() {
    printf 'docker engine: %s\n' "$1" >&2
    exit 1
}

engine_answers() { docker info >/dev/null 2>&1; }

if engine_answers; then
    exit 0
fi

# An engine that runs and refuses this user needs rights, not an installation.
case $(docker version 2>&1 || :) in
    *"permission denied"*)
        fail "an engine runs, but user $(id -un) may not use its socket. Fix: sudo usermod -aG docker $(id -un), then log in again."
        ;;
esac

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    fail "no engine answers and there is neither root nor passwordless sudo to install one. Install Docker (or start it) and repeat."
fi

if ! command -v dockerd >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 ||
        fail "no engine answers, and it can be installed here only on Debian or Ubuntu. Install Docker and repeat."
    echo "docker engine: installing docker.io (about a minute)"
    log=$(mktemp)
    if ! { $as_root apt-get update -qq &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        fail "apt-get could not install docker.io (whole output: $log). Is the Debian mirror reachable? Nothing was changed if it is not."
    fi
    rm -f "$log"
fi

echo "docker engine: starting"
if [ -d /run/systemd/system ]; then
    $as_root systemctl start docker || fail "'systemctl start docker' failed; see 'journalctl -u docker'."
else
    # No systemd on this machine: the engine runs in a session of its own and outlives this script.
    # Large downloads stall in containers whose MTU is above that of the machine's own link.
    link=$(ip -o route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
    mtu=$(cat "/sys/class/net/${link:-none}/mtu" 2>/dev/null || echo 1500)
    log=/var/log/rootstock-dockerd.log
    $as_root sh -c "setsid dockerd --mtu $mtu >$log 2>&1 </dev/null &"
fi

waited=0
until engine_answers; do
    [ "$waited" -lt 60 ] || fail "the engine did not answer within 60 s; see ${log:-journalctl -u docker}."
    sleep 1
    waited=$((waited + 1))
done
