#!/bin/sh
# Install Pillarbox and its test tools into .venv and run every check. Arguments go to pytest.
. "$(dirname "$0")/environment.sh"
install --group dev --editable '.[fast,postgres]'
exec .venv/bin/python -m pytest "$@"
