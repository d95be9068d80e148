#!/usr/bin/env bash
# Makes .venv hold what requirements.lock says (run and development packages, this project
# editable), with uv where it is present and else with pip. Done once: a stamp inside .venv carries
# the SHA-256 of what it was made from and is written last, so an interrupted install is redone.
# Whatever is missing on the machine ends in one sentence that says what to do.
#
#   scripts/environment.sh          make it, unless it is there; PYTHON=... names the interpreter
#   scripts/environment.sh lock     write requirements.lock anew, keeping versions that still fit

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A caller's settings must not lead into another environment, nor forbid bytecode: without it the
# imports of ART and Ray take five times as long.
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX UV_PROJECT_ENVIRONMENT

readonly VENV=.venv
readonly LOG=$VENV/install.log

main() {
    if [ "${1:-}" = lock ]; then
        write_lock "${@:2}"
        return
    fi
    local stamp
    stamp=$VENV/.stamp-$(fingerprint)
    if ready "$stamp"; then return; fi
    # One installation at a time; the loser of the race finds the winner's stamp.
    exec 9<requirements.lock
    if command -v flock >/dev/null; then flock 9 || true; fi
    if ready "$stamp"; then return; fi
    create "$stamp"
}

fail() {
    echo "environment: $1" >&2
    exit 2
}

ready() { [ -e "$1" ] && "$VENV/bin/python" -c '' 2>/dev/null; }

# The lock, the build and dependency tables of pyproject.toml, and this folder's path: scripts in
# .venv/bin hold it, so a moved checkout needs a new environment.
fingerprint() {
    { cat requirements.lock
      awk '/^\[/ { keep = !/^\[tool\./ || /^\[tool\.hatch/ } keep' pyproject.toml
      pwd -P
    } | if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c 1-64
}

has_uv() { uv --version >/dev/null 2>&1; }

# The interpreter itself, never a shim or the one of an active environment (perhaps .venv).
find_python() {
    local candidate found candidates=(python3.11 python3 python)
    if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        found=$("$candidate" -c 'import sys; sys.version_info[:2] == (3, 11) and print(
            getattr(sys, "_base_executable", None) or sys.executable)' 2>/dev/null) || continue
        if [ -n "$found" ]; then echo "$found"; return; fi
    done
    fail "Python 3.11 is needed and ${PYTHON:-python3.11 (or python3)} is not it: install Python\
 3.11 (Debian: apt install python3.11 python3.11-venv) or name it: make PYTHON=/path/to/python3.11"
}

create() {
    local python installer=pip needed=13
    python=$(find_python)
    if has_uv; then
        installer=uv needed=7
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        fail "$python has no venv and ensurepip modules: install them (Debian: apt install\
 python3.11-venv), or install uv"
    fi
    # torch brings CUDA on Linux: 6 GB, and with pip as much again while it unpacks.
    if [ "$(uname -s)" != Linux ]; then needed=4; fi
    rm -rf "$VENV"
    local free
    free=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1000000))
    if [ "$free" -lt "$needed" ]; then
        fail "the environment needs $needed GB of disk here and $free GB are free: free some and\
 run this again"
    fi
    mkdir "$VENV"
    echo "environment: installing with $installer into $VENV, once; progress is in $LOG" >&2
    if ! "install_with_$installer" "$python" >"$LOG" 2>&1; then explain "$installer"; fi
    touch "$1"
}

install_with_uv() {
    # The folder is there for the log; --allow-existing is what keeps it.
    uv venv --quiet --allow-existing --python "$1" "$VENV" &&
        uv pip install --python "$VENV/bin/python" --compile-bytecode \
            --require-hashes -r requirements.lock &&
        uv pip install --python "$VENV/bin/python" --no-deps --no-build-isolation --offline -e .
}

install_with_pip() {
    # Unpacking 3 GB of wheels belongs on this disk, not in a small /tmp.
    mkdir "$VENV/tmp" &&
        "$1" -m venv "$VENV" &&
        TMPDIR=$PWD/$VENV/tmp "$VENV/bin/python" -m pip install --disable-pip-version-check \
            --no-input --progress-bar off --require-hashes -r requirements.lock &&
        "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input \
            --no-deps --no-build-isolation --no-index -e . &&
        rm -rf "$VENV/tmp"
}

# Ends with the one sentence that fits the installer's log.
explain() {
    local says="grep -qiE"
    if $says 'no space left|disk quota|os error 28' "$LOG"; then
        fail "the disk filled up while installing: free some space and run this again"
    elif $says 'do not match the hashes|hash mismatch' "$LOG"; then
        fail "a downloaded package does not match its hash in requirements.lock: check the package\
 index that $1 is set to use, then run this again (details: $LOG)"
    elif $says 'error sending request|dns error|name resolution|connection (refused|reset|broken)|timed? ?out|NewConnectionError|ProxyError|network (is unreachable|was disabled)|from versions: none|failed to fetch' "$LOG"; then
        fail "the package index cannot be reached: connect this machine to the network, or set\
 $1's index to a mirror, and run this again (details: $LOG)"
    fi
    tail -n 20 "$LOG" >&2
    fail "$1 could not install requirements.lock: see the lines above and $LOG"
}

write_lock() {
    has_uv || fail "writing requirements.lock takes uv: install uv"
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-header --extra ray --extra pdf --extra mlflow --group dev pyproject.toml \
        -o requirements.lock "$@"
}

main "$@"
