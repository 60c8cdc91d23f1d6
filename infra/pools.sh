#!/bin/sh
# Make the work pools and deployments of prefect.yaml; doing it again changes nothing.
set -eu
for pool in cpu gpu; do
    prefect work-pool inspect "$pool" >/dev/null 2>&1 || prefect work-pool create "$pool" --type process
done
cd "$(dirname "$0")/.."
prefect --no-prompt deploy --all
