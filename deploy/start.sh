#!/bin/sh
# Install Pillarbox into .venv and start all of it on embedded defaults. Arguments go to `pillarbox up`.
. "$(dirname "$0")/environment.sh"
install '.[fast,mx,postgres]'
exec .venv/bin/pillarbox up "$@"
