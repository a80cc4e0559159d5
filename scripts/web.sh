#!/usr/bin/env bash
# The portal in `web`: its packages, its build, its checks. Needs Node 20.19 or
# newer, which `scripts/setup.sh` provides.
#
#   scripts/web.sh build   web/dist, which the manager holds (default); nothing
#                          is done when nothing changed
#   scripts/web.sh try     the same, but without Node it only says so
#   scripts/web.sh check   format, lints, types, unit tests
#   scripts/web.sh run ... a program with this Node in its path
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

cd "$(dirname "$0")/.."
PATH=$(node_path)
export PATH

# One at a time: whoever comes second (tests run side by side) waits, and then
# finds that nothing is left to do. The lock is the folder's, and ends with us.
alone() {
    exec 8<web
    flock 8
}

# Packages exactly as the lock says, and only when it changed.
packages() {
    [ web/node_modules/.package-lock.json -nt web/package-lock.json ] && return 0
    say "installing the portal's packages (once, some ten seconds)"
    npm --prefix web ci --no-audit --no-fund --loglevel=error
}

# True when something that the portal is made of is newer than what was built.
changed() {
    [ -e web/dist/index.html ] || return 0
    [ -n "$(find web openapi/v1.json \( -name node_modules -o -name dist -o -name '*.gen.ts' \) -prune -o -type f -newer web/dist/index.html -print -quit)" ]
}

build() {
    alone
    changed || { say "the portal is up to date"; return 0; }
    packages
    say "building the portal into web/dist"
    npm --prefix web run --silent build -- | tail -n 1
}

mode=${1:-build}
case $mode in
    build)
        has_node || die "Node 20.19 or newer is missing: run scripts/setup.sh"
        build
        ;;
    try)
        if has_node; then build; else warn "the portal is left out: Node 20.19 or newer is missing (scripts/setup.sh installs it)"; fi
        ;;
    check)
        has_node || die "Node 20.19 or newer is missing: run scripts/setup.sh"
        alone
        packages
        npm --prefix web run --silent types
        npm --prefix web run --silent lint
        npm --prefix web run --silent check
        npm --prefix web run --silent test
        ;;
    run)
        has_node || die "Node 20.19 or newer is missing: run scripts/setup.sh"
        packages
        shift
        exec "$@"
        ;;
    *) die "usage: $0 [build|try|check|run]" ;;
esac
