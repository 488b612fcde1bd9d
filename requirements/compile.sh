#!/usr/bin/env bash
# Writes the lock: every third-party package of the workspace, pinned with hashes for all platforms,
# without an address, and the part of it that each image has. Our own packages are left out; they are
# installed from the clone. `UPGRADE=1` takes the newest versions instead of keeping the locked ones.
set -euo pipefail
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new"' EXIT

compile() {
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-annotate --no-header --quiet "$@" -o "$new" > /dev/null
}

if [ -z "${UPGRADE:-}" ] && [ -f requirements/lock.txt ]; then cp requirements/lock.txt "$new"; fi
compile --all-extras libs/*/pyproject.toml services/*/pyproject.toml tools/*/pyproject.toml requirements/dev.in
sed '/^-e /d' "$new" > requirements/lock.txt

part() { # target, source
    rm -f "$new"
    compile --constraints requirements/lock.txt "$2"
    sed '/^-e /d' "$new" > "$1"
}
part requirements/build.txt requirements/build.in
for service in services/*/; do part "$service"requirements.txt "$service"pyproject.toml; done
# Images of handlers have the sdk.
part libs/sdk/requirements.txt libs/sdk/pyproject.toml
