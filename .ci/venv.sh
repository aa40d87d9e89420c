#!/bin/sh
# Creates .venv, or brings it up to date, with all that the demo and the tests need; `make` calls it.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "Error: $1" >&2
    exit 1
}

is_suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

# Debian and Ubuntu keep what `python -m venv` needs in a package of its own.
install_venv_module() {
    package="$1-venv"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root="sudo -n"
    fi
    echo "$1 cannot create virtual environments; installing $package."
    { $as_root apt-get update && $as_root apt-get install -y "$package"; } >/dev/null ||
        fail "$package could not be installed.
Install it as an administrator: apt-get install $package"
}

# Uses the newest Python that can do it; where none can, the newest is given what it lacks.
create_venv() {
    would=
    for python in python3.13 python3.12 python3.11 python3.10 python3; do
        if is_suitable "$python"; then
            rm -rf .venv
            if "$python" -m venv .venv >/dev/null 2>&1; then
                echo "Created .venv with $(.venv/bin/python --version)."
                return
            fi
            would=${would:-$python}
        fi
    done
    if [ -z "$would" ]; then
        fail "Python 3.10, 3.11, 3.12 or 3.13 is needed, and none was found.
Install one, for example with: apt-get install python3 python3-venv"
    fi
    install_venv_module "$would"
    rm -rf .venv
    "$would" -m venv .venv || fail "$would could not create .venv; its reason stands above."
}

install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$1]"
}

if ! is_suitable .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    create_venv
fi
echo "Installing packages into .venv. The first time this takes about three minutes and 6 GB."
install train,onnxruntime,track,demo,dev ||
    fail "The packages could not be installed; pip's reason stands above."
install tensorrt-rtx ||
    echo "TensorRT-RTX could not be installed, so targets rtx-* cannot be built here.
Run the demo without them: .venv/bin/tmkd-deploy run recipes/quickstart.yaml --target cpu"
