#!/bin/sh
# Writes what an application's locked requirements bring with them as a CycloneDX bill of materials (JSON).
# Usage: sbom.sh REQUIREMENTS OUTPUT
set -eu
cd "$(dirname "$0")/.."
[ -r "$1" ] || {
    printf "sbom: there is no file '%s'. FILE names the requirements file of an application, with hashes\n" "$1" >&2
    exit 1
}
tool=.cache/sbom
.venv/bin/uv venv --quiet --allow-existing "$tool"
.venv/bin/uv pip sync --quiet --python "$tool/bin/python" --require-hashes requirements/sbom.txt
mkdir -p "$(dirname "$2")"
"$tool/bin/cyclonedx-py" requirements --output-reproducible --output-file "$2" "$1"
echo "sbom: $2"
