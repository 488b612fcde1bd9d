#!/usr/bin/env bash
# Writes requirements/lock.txt: every third-party package of the workspace, pinned with hashes for
# all platforms, without an address. Our own packages are left out; they are installed from the clone.
# `UPGRADE=1` takes the newest versions instead of keeping the locked ones.
set -euo pipefail
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new"' EXIT
if [ -z "${UPGRADE:-}" ] && [ -f requirements/lock.txt ]; then cp requirements/lock.txt "$new"; fi
uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --no-header --quiet --all-extras \
    libs/*/pyproject.toml services/*/pyproject.toml tools/*/pyproject.toml requirements/dev.in \
    -o "$new" > /dev/null
sed '/^-e /d' "$new" > requirements/lock.txt
