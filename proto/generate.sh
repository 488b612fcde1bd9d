#!/usr/bin/env bash
# Writes the checked-in stubs below libs/contracts/src/backbone from the protos beside this script.
set -euo pipefail
cd "$(dirname "$0")"
out=../libs/contracts/src
find "$out/backbone" -name '*_pb2*' -delete
python -m grpc_tools.protoc --proto_path=. --python_out="$out" --grpc_python_out="$out" \
    --mypy_out="$out" --mypy_grpc_out="$out" $(find backbone -name '*.proto' | sort)
find "$out/backbone" -type d -exec touch {}/__init__.py \;
touch "$out/backbone/py.typed"
