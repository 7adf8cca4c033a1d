#!/bin/sh
# The least that a first converge can take: the same packages and the same Python requirements as a server of
# Rootstock's has, installed without a look at what is there, and nothing configured.
# Usage: floor.sh DIRECTORY     (with uv.txt and requirements.txt, as root on a bare server)
set -eu
export DEBIAN_FRONTEND=noninteractive
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
export UV_SYSTEM_CERTS=1 UV_CACHE_DIR=/var/cache/rootstock/uv UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
cd "$1"

apt-get update
apt-get install --yes --no-install-recommends \
    nftables redis-server postgresql python3-psycopg2 sudo supervisor python3-venv nginx openssl
python3 -m venv uv
uv/bin/pip install --require-hashes --requirement uv.txt
uv/bin/uv venv --python /usr/bin/python3 environment
uv/bin/uv pip sync --python environment/bin/python --link-mode copy --require-hashes requirements.txt
