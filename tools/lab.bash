# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# For the programs beside it that start a lab; see tests/lab/README.rst.

# run_lab MODULE WORD...: goes on as a program of tests/lab
run_lab() {
    local here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    if ! /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if ((EUID)); then
            echo 'error: the lab needs root' >&2
            exit 1
        fi
        echo 'installing python3 ...'
        export DEBIAN_FRONTEND=noninteractive
        local -a apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
        "${apt[@]}" update
        "${apt[@]}" install -y --no-install-recommends \
            python3 python3-venv >/dev/null
    fi
    # --json is relative to where the caller stands.
    export SVIRT_NOVA_LAB_CALLER=$PWD
    cd "$here"
    exec /usr/bin/python3 -m "$@"
}
