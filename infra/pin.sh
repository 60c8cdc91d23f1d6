#!/bin/sh
# Pin the base images in infra/.env by the digests that their tags have today; what is pinned stays.
# Another file: pin.sh FILE. Needs docker with buildx, and the registry.
set -eu
file=${1:-$(dirname "$0")/.env}
for name in PYTHON_IMAGE POSTGRES_IMAGE; do
    image=$(sed -n "s/^$name=//p" "$file")
    case $image in
    "") echo "error: $file names no $name; copy it from infra/.env.example." >&2 && exit 2 ;;
    *@sha256:*) continue ;;
    esac
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
    case $digest in
    sha256:????????????????????????????????????????????????????????????????) ;;
    *) echo "error: the registry gave no digest of $image but '$digest'." >&2 && exit 4 ;;
    esac
    sed -i "s|^$name=.*|$name=$image@$digest|" "$file"
    echo "$name=$image@$digest"
done
