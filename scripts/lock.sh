#!/bin/sh
# Resolves every requirements file anew, with hashes, for all Python versions that a host may have.
# Usage: lock.sh [--upgrade]
set -eu
cd "$(dirname "$0")/.."
for name in requirements/control requirements/sbom roles/django_app/files/uv sample_app/requirements sample_app/requirements-test; do
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command 'make lock' "$@" "$name.in" -o "$name.txt"
done
