#!/bin/sh
# Installs the program into a container's Python; the Dockerfile runs it. $1: torch's build, cpu or cu130 for example.
# Versions are those of requirements.lock. Its hashes are left out: pip wants hashes for everything or nothing, and torch's
# builds share a version number.
set -eu
cd "$(dirname "$0")/.."
build=${1:-cpu}
torch=$(sed -n 's/^ *"\(torch==[^"]*\)",$/\1/p' pyproject.toml)
pins=$(mktemp)
sed -n 's/^\([A-Za-z0-9._-]*==[^ ;\\]*\).*/\1/p' requirements.lock >"$pins"

pip install --no-cache-dir --index-url "https://download.pytorch.org/whl/$build" "$torch"
pip install --no-cache-dir --constraint "$pins" ".[pose,backbones,h5]"
rm "$pins"
feel-steps --help >/dev/null
