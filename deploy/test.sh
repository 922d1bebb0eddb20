#!/bin/sh
# Install Pillarbox and its test tools into .venv and run every check, on two cores. Arguments, where there are any, go
# to pytest instead.
. "$(dirname "$0")/environment.sh"
install --group dev --editable '.[fast,postgres]'
[ $# -gt 0 ] || set -- -n 2
exec .venv/bin/python -m pytest "$@"
