# Sourced by start.sh and test.sh: a virtual environment in .venv with Pillarbox in it. POSIX shell.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

find_python() {
    for candidate in python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    say "Pillarbox needs Python 3.11 or newer (Debian 12: apt-get install python3 python3-venv)."
    return 1
}

make_venv() {
    python=$(find_python)
    # Debian ships Python without ensurepip; a venv made without it would have no pip.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package="$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"
        say "$python cannot make virtual environments; installing $package"
        if [ "$(id -u)" = 0 ]; then
            apt-get update -qq && apt-get install -y -qq "$package" >&2
        elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
            sudo -n apt-get update -qq && sudo -n apt-get install -y -qq "$package" >&2
        else
            say "Run this once as root, then start again: apt-get install $package"
            return 1
        fi
    fi
    "$python" -m venv .venv
}

install() {
    [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
    # Dependency groups need pip 25.1, which an environment made by hand may not have.
    .venv/bin/python -c 'import sys; from importlib.metadata import version
sys.exit(tuple(map(int, version("pip").split(".")[:2])) < (25, 1))' ||
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
}
