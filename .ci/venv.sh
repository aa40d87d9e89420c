#!/bin/sh
# Creates an environment, or brings it up to date, with all that the demo and the tests need; `make` calls it.
#   venv.sh           .venv, with the newest versions of all packages
#   venv.sh lowest    .venv-lowest, with the lowest versions that pyproject.toml declares
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "Error: $1" >&2
    exit 1
}

case "${1:-}" in
"")
    venv=.venv
    last=14
    known="3.10, 3.11, 3.12, 3.13 or 3.14"
    # 3.14 comes last, because it is the least tested
    candidates="python3.13 python3.12 python3.11 python3.10 python3.14 python3"
    ;;
lowest)
    venv=.venv-lowest
    last=11
    known="3.10 or 3.11 (older NumPy has no builds for newer ones)"
    candidates="python3.10 python3.11 python3"
    ;;
*) fail "There is no environment $1; give nothing, or lowest." ;;
esac

is_suitable() {
    "$1" -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, $last))" >/dev/null 2>&1
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

# Uses the first candidate that can do it; where none can, the first is given what it lacks.
create_venv() {
    would=
    for python in $candidates; do
        if is_suitable "$python"; then
            rm -rf "$venv"
            if "$python" -m venv "$venv" >/dev/null 2>&1; then
                echo "Created $venv with $("$venv/bin/python" --version)."
                return
            fi
            would=${would:-$python}
        fi
    done
    if [ -z "$would" ]; then
        fail "Python $known is needed, and none was found.
Install one, for example with: apt-get install python3 python3-venv"
    fi
    install_venv_module "$would"
    rm -rf "$venv"
    "$would" -m venv "$venv" || fail "$would could not create $venv; its reason stands above."
}

pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

install() {
    if [ "$venv" = .venv-lowest ]; then
        "$venv/bin/python" -m uv pip install --quiet --python "$venv/bin/python" \
            --resolution lowest-direct --editable ".[$1]"
    else
        pip_install --editable ".[$1]"
    fi
}

if ! is_suitable "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    create_venv
fi
echo "Installing packages into $venv. The first time this takes about three minutes and 6 GB."
if [ "$venv" = .venv-lowest ]; then
    pip_install uv || fail "uv could not be installed; pip's reason stands above."
fi
install train,onnxruntime,openvino,track,demo,weights,dev,dev-train ||
    fail "The packages could not be installed; the reason stands above."
install modelopt ||
    echo "nvidia-modelopt could not be installed, so the tests that compare with it are skipped."
install tensorrt-rtx ||
    echo "TensorRT-RTX could not be installed, so targets rtx-* cannot be built here.
Run the demo without them: .venv/bin/tmkd-deploy run recipes/quickstart.yaml --target cpu"
