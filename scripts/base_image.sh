#!/bin/sh
# Makes the image of a bare Debian server with systemd: rootstock/debian:<codename>.
# The root file system comes from the registry where one answers, else from
# debootstrap; the packages on top of it are the same either way.
# Usage: base_image.sh <bookworm|trixie> [...]
set -eu

packages="systemd systemd-sysv dbus python3 python3-apt sudo ca-certificates iproute2 procps openssh-server"
# Part of the image's label: change it together with the recipe, and the image is made again.
recipe=5

fail() {
    printf 'base image: %s\n' "$1" >&2
    exit 1
}

make_root() { # codename image
    # A registry that cannot be reached may take minutes to say so.
    if timeout 60 docker pull -q "debian:$1-slim" >/dev/null 2>&1; then
        docker tag "debian:$1-slim" "$2"
        return
    fi
    echo "base image: no registry answers, building $1 with debootstrap (about a minute)"
    [ "$(id -u)" -eq 0 ] || fail "debootstrap needs root: run as root once, or make debian:$1-slim reachable."
    if ! command -v debootstrap >/dev/null 2>&1; then
        if ! { apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap; } >"$work/log" 2>&1; then
            tail -n 3 "$work/log" >&2
            fail "debootstrap could not be installed: is the Debian mirror reachable?"
        fi
    fi
    if ! debootstrap --variant=minbase "$1" "$work/root" >"$work/log" 2>&1; then
        tail -n 3 "$work/log" >&2
        fail "debootstrap of $1 failed: is the Debian mirror reachable?"
    fi
    tar -C "$work/root" -c . | docker import - "$2" >/dev/null
}

for codename in "$@"; do
    case $codename in
        bookworm | trixie) ;;
        *) fail "release '$codename' is not one of: bookworm, trixie." ;;
    esac
    image=rootstock/debian:$codename
    if [ "$(docker image inspect -f '{{ index .Config.Labels "rootstock.recipe" }}' "$image" 2>/dev/null)" = "$recipe" ]; then
        continue
    fi
    work=$(mktemp -d)
    container=rootstock-image-$codename-$$
    trap 'docker rm -f "$container" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT INT TERM
    echo "base image: making $image"
    make_root "$codename" "rootstock/root:$codename"
    # docker-clean would throw away the downloads that the test hosts share in a volume.
    docker run --name "$container" "rootstock/root:$codename" sh -ec "
        rm -f /etc/apt/apt.conf.d/docker-clean
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
        rm -rf /var/cache/apt/archives/*.deb /etc/ssh/ssh_host_*
        : >/etc/machine-id
        mkdir /etc/systemd/system/ssh.service.d
        printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\n' >/etc/systemd/system/ssh.service.d/host-keys.conf
    " >"$work/log" 2>&1 || {
        tail -n 5 "$work/log" >&2
        fail "the packages of $image could not be installed: is the Debian mirror reachable from a container?"
    }
    docker commit --change 'CMD ["/lib/systemd/systemd"]' \
        --change "LABEL rootstock.recipe=$recipe" "$container" "$image" >/dev/null
    docker rm -f "$container" >/dev/null
    rm -rf "$work"
    trap - EXIT INT TERM
done
