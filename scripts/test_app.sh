#!/bin/sh
# Tests the sample app, and the package that hardens workers, in a container that has PostgreSQL, Redis, Nginx and
# Chromium, so that this machine needs only Docker. Pictures of the pages are left in .cache/screenshots.
# With --bench it runs a benchmark there (bench/NAME.py) and tests nothing.
# Usage: test_app.sh [pytest arguments | --bench NAME [ARGUMENT...]]
set -eu
cd "$(dirname "$0")/.."

image=rootstock/test-app:bookworm
packages="python3-venv postgresql redis-server nginx-light chromium chromium-driver fonts-dejavu-core openssl"
# Part of the image's label: change it together with the recipe, and the image is made again.
recipe=2
container=rootstock-test-app-$$
log=$(mktemp)

fail() {
    printf 'test-app: %s\n' "$1" >&2
    exit 1
}

scripts/docker_engine.sh
trap 'docker rm -f "$container" >/dev/null 2>&1 || true; rm -f "$log" "$log.2"' EXIT
trap 'exit 130' INT TERM

# Behind a proxy with its own CA, apt, pip and uv must trust what this machine trusts.
trust_extra_authorities() {
    for file in /usr/local/share/ca-certificates/*.crt; do
        [ ! -e "$file" ] || docker cp "$file" "$container:/usr/local/share/ca-certificates/" >/dev/null
    done
    docker exec "$container" update-ca-certificates >/dev/null 2>&1
}

if [ "$(docker image inspect -f '{{ index .Config.Labels "rootstock.recipe" }}' "$image" 2>/dev/null)" != "app-$recipe" ]; then
    scripts/base_image.sh bookworm
    echo "test-app: making $image (about a minute)"
    docker run -d --name "$container" rootstock/debian:bookworm sleep infinity >/dev/null
    trust_extra_authorities
    # No cluster of Debian's own: the tests make theirs.
    docker exec "$container" sh -ec "
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            -o DPkg::Lock::Timeout=300 $packages
        rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
    " >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        fail "the packages of $image could not be installed: is the Debian mirror reachable from a container?"
    }
    docker commit --change 'CMD ["sleep", "infinity"]' --change "LABEL rootstock.recipe=app-$recipe" \
        "$container" "$image" >/dev/null
    docker rm -f "$container" >/dev/null
fi

# Chromium's renderers need more shared memory than a container has by default.
docker run -d --init --name "$container" --shm-size 512m -v rootstock-test-app:/var/cache/test-app \
    -v rootstock-uv:/var/cache/rootstock/uv "$image" sleep infinity >/dev/null
trust_extra_authorities
# A server has one; workers tell by it which of them are of the same server.
docker exec "$container" sh -ec '[ -s /etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id'
docker cp roles/django_app/files/uv.txt "$container:/opt/uv.txt" >/dev/null
docker cp sample_app "$container:/opt/sample_app" >/dev/null
for script in roles/django_app/files/migrate.py roles/django_app/files/database.py \
    roles/django_app/files/cache_proof.py roles/celery/files/celery_audit.py; do
    docker cp "$script" "$container:/opt/" >/dev/null
done
docker cp roles/celery/files/rootstock_worker "$container:/opt/rootstock_worker" >/dev/null
docker cp playbooks/files/status_application.py "$container:/opt/" >/dev/null
docker cp tests/runtime "$container:/opt/runtime" >/dev/null
PYTHONPATH=tests .venv/bin/python tests/redis_users.py >"$log"
docker cp "$log" "$container:/opt/runtime/users.acl" >/dev/null

# One environment per set of requirements, kept in the volume; half-made ones have no name yet.
docker exec "$container" sh -ec '
    export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt UV_CACHE_DIR=/var/cache/rootstock/uv
    cd /var/cache/test-app
    wanted=$(cat /opt/uv.txt /opt/sample_app/requirements-test.txt | sha256sum | cut -c1-16)
    if [ ! -e "$wanted" ]; then
        rm -rf ./*
        python3 -m venv uv
        uv/bin/pip install --quiet --require-hashes -r /opt/uv.txt
        uv/bin/uv venv --quiet --relocatable new
        uv/bin/uv pip sync --quiet --link-mode copy --compile-bytecode --python new/bin/python --require-hashes \
            /opt/sample_app/requirements-test.txt
        mv new "$wanted"
    fi
    ln -s "$PWD/$wanted" /opt/venv
    mkdir /opt/home /opt/screenshots
    chown -R postgres:postgres /opt/sample_app /opt/runtime /opt/home /opt/screenshots
' >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    fail "the locked packages could not be installed: is PyPI reachable from a container?"
}

if [ "${1:-}" = --bench ]; then
    bench=$2
    shift 2
    # Benchmarks share the Redis that bench/worker.py starts.
    for script in bench/worker.py "bench/$bench.py"; do
        docker cp "$script" "$container:/opt/runtime/" >/dev/null
    done
    status=0
    docker exec --user postgres --workdir /opt/runtime --env HOME=/opt/home --env PYTHONPATH=/opt:/opt/runtime \
        --env PYTHONDONTWRITEBYTECODE=1 "$container" /opt/venv/bin/python "$bench.py" /opt/home/results "$@" || status=$?
    docker cp "$container:/opt/home/results/." bench/results >/dev/null
    exit "$status"
fi

# The package that role celery loads into workers, with the same Celery, beside the sample app's tests and in two
# halves, each with a Redis of its own: all of them mostly wait.
test_runtime() { # pytest arguments
    docker exec --user postgres --workdir /opt/runtime --env HOME=/opt/home --env RUNTIME_PACKAGE=/opt/rootstock_worker \
        --env AUDIT_SCRIPT=/opt/celery_audit.py --env STATUS_SCRIPT=/opt/status_application.py \
        --env CACHE_PROOF_SCRIPT=/opt/cache_proof.py \
        --env PYTHONDONTWRITEBYTECODE=1 "$container" /opt/venv/bin/python -m pytest "$@"
}
runtime=
if [ "$#" -eq 0 ]; then
    test_runtime --ignore test_holders.py --ignore test_taking.py >"$log" 2>&1 &
    runtime=$!
    test_runtime test_holders.py test_taking.py >"$log.2" 2>&1 &
    runtime="$runtime $!"
fi
# PostgreSQL refuses to run as root. No test collected is exit code 5: a failure, as it should be.
status=0
docker exec --user postgres --workdir /opt/sample_app --env HOME=/opt/home --env SCREENSHOTS=/opt/screenshots \
    --env MIGRATE_SCRIPT=/opt/migrate.py --env DATABASE_SCRIPT=/opt/database.py --env PYTHONPATH=/opt \
    "$container" /opt/venv/bin/python -m pytest -p no:cacheprovider "$@" || status=$?
if [ -n "$runtime" ]; then
    for half in $runtime; do
        wait "$half" || status=$?
    done
    cat "$log" "$log.2"
fi
mkdir -p .cache/screenshots
docker cp "$container:/opt/screenshots/." .cache/screenshots >/dev/null
exit "$status"
