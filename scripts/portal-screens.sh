#!/usr/bin/env bash
# Pictures of all pages of the portal, in both languages and both themes, into
# docs/portal: a demo of its own is started for it and ended. Needs Chromium
# (CHROMIUM, /usr/bin/chromium) and the programs that `make demo` builds.
#
#   portal-screens.sh           all of them, some minutes
#   VIRGA_SCREENS_ONLY=vms      only pages whose name has this in it
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$(dirname "$0")/.."

STATE=$(mktemp -d)
readonly STATE
# Away from the usual ports, so that a demo that runs is left alone.
export VIRGA_DEMO_STATE=$STATE/demo VIRGA_DEMO_LISTEN=127.0.0.1:38443
export VIRGA_DEMO_NODE_LISTEN=127.0.0.1:38444 VIRGA_DEMO_FLEET_LISTEN=127.0.0.1:38446
export VIRGA_DEMO_HOSTS=${VIRGA_DEMO_HOSTS:-100} VIRGA_DEMO_VMS=${VIRGA_DEMO_VMS:-5000}
BIN=${VIRGA_DEMO_BIN:-${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/virga/target}/release}

finish() {
    trap - EXIT
    scripts/demo.sh --stop || true
    rm -rf "$STATE"
}
trap finish EXIT

scripts/web.sh build
scripts/demo.sh >"$STATE/demo.log" 2>&1 &
demo=$!
until grep -q '^ready:' "$STATE/demo.log"; do
    kill -0 "$demo" 2>/dev/null || die "the demo did not start: $(tail -n 5 "$STATE/demo.log")"
    sleep 0.5
done
say "the pages are pictured into docs/portal"
VIRGA_URL=https://$VIRGA_DEMO_LISTEN VIRGA_FLEET=$BIN/virga-fleet NODE_EXTRA_CA_CERTS=$VIRGA_DEMO_STATE/manager/ca.pem \
    scripts/web.sh run npm --prefix web run --silent screens
du -sh docs/portal
