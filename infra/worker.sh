#!/bin/sh
# Start a worker of one pool in a clone of its own: worker.sh POOL [further options of `prefect worker start`].
#   VITRINE_RUNNER_CLONE  the clone; made from VITRINE_GIT when it is not there
#   VITRINE_GIT           what to clone and fetch commits from: a path or a URL
#   VITRINE_STORAGE       the DVC remote: a path or a URL; left alone where not set
#   PREFECT_WORKER_WEBSERVER_HOST  where its health can be asked; loopback where not set
set -eu
export PREFECT_WORKER_WEBSERVER_HOST="${PREFECT_WORKER_WEBSERVER_HOST:-127.0.0.1}"
pool=${1:?usage: worker.sh POOL [OPTIONS]}
shift
if [ -r "${VITRINE_GIT:-}/infra/.env" ]; then
    echo "error: VITRINE_GIT is a working tree with infra/.env, so the worker could read the passwords of the" \
        "services; name a bare repository (git clone --bare)." >&2
    exit 2
fi
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
