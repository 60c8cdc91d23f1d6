#!/bin/sh
# Start a worker of one pool in a clone of its own: worker.sh POOL [further options of `prefect worker start`].
#   VITRINE_RUNNER_CLONE  the clone; made from VITRINE_GIT when it is not there
#   VITRINE_GIT           what to clone and fetch commits from: a path or a URL
#   VITRINE_STORAGE       the DVC remote: a path or a URL; left alone where not set
set -eu
pool=${1:?usage: worker.sh POOL [OPTIONS]}
shift
: "${VITRINE_RUNNER_CLONE:?set it to the folder of the clone this worker may change}"
if [ ! -d "$VITRINE_RUNNER_CLONE/.git" ]; then
    git clone --no-checkout "${VITRINE_GIT:?set it to the repository to clone}" "$VITRINE_RUNNER_CLONE"
    git -C "$VITRINE_RUNNER_CLONE" checkout --quiet --force --detach
fi
cd "$VITRINE_RUNNER_CLONE"
if [ -n "${VITRINE_STORAGE:-}" ]; then
    dvc remote add --quiet --force --local --default storage "$VITRINE_STORAGE"
fi
exec prefect worker start --pool "$pool" --type process --with-healthcheck "$@"
