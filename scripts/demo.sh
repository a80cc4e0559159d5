#!/usr/bin/env bash
# A whole installation to try, without KVM and without root: the real manager,
# and a fleet of simulated hosts with the real agent (docs/guide/demo.md).
# Stays in the foreground; Ctrl-C ends both. Every start is a fresh one: what a
# former demo left is removed first.
#
# Needs the programs that `make demo` builds. Settings (environment):
#   VIRGA_DEMO_STATE        state folder              (~/.cache/virga/demo)
#   VIRGA_DEMO_LISTEN       address of the API        (127.0.0.1:8443)
#   VIRGA_DEMO_NODE_LISTEN  address for agents        (127.0.0.1:8444)
#   VIRGA_DEMO_FLEET_LISTEN address of the agents     (127.0.0.1:8446)
#   VIRGA_DEMO_HOSTS        simulated hosts           (100)
#   VIRGA_DEMO_VMS          simulated VMs             (5000)
#   VIRGA_DEMO_BIN          folder of the programs    (the release build's)
#
#   demo.sh          run it
#   demo.sh --stop   end the one that runs, also when its script was killed
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/virga
BIN=${VIRGA_DEMO_BIN:-${CARGO_TARGET_DIR:-$CACHE/target}/release}
STATE=${VIRGA_DEMO_STATE:-$CACHE/demo}
LISTEN=${VIRGA_DEMO_LISTEN:-127.0.0.1:8443}
NODE_LISTEN=${VIRGA_DEMO_NODE_LISTEN:-127.0.0.1:8444}
FLEET_LISTEN=${VIRGA_DEMO_FLEET_LISTEN:-127.0.0.1:8446}
HOSTS=${VIRGA_DEMO_HOSTS:-100}
VMS=${VIRGA_DEMO_VMS:-5000}
readonly CACHE BIN STATE LISTEN NODE_LISTEN FLEET_LISTEN HOSTS VMS
# Time in which manager and fleet must be up; a slow machine needs more than the
# ten seconds of a usual one.
readonly UP_S=300

export VIRGA_FLEET_STATE=$STATE/fleet

phase() { say "[$SECONDS s] $*"; }

alive() { [ -n "${1:-}" ] || return 1; case $(process_state "$1") in '' | Z | X) return 1 ;; esac; }

# tail_of LOG: the end of a log, for messages about a failure.
tail_of() { tail -n 15 "$1" 2>/dev/null | sed 's/^/    /' >&2; }

check_programs() {
    local program
    for program in virga-manager virga-fleet virga; do
        [ -x "$BIN/$program" ] || die "$BIN/$program is missing: run 'make demo', which builds it"
    done
}

# One demo at a time in a folder: two would remove each other's state.
claim() {
    mkdir -p "$STATE"
    [ -e "$STATE/.virga-demo" ] || [ -z "$(ls -A "$STATE")" ] || die "$STATE is not empty and was not made by a demo: set VIRGA_DEMO_STATE to another folder"
    : >"$STATE/.virga-demo"
    exec 8>>"$STATE/lock"
    flock -n 8 || die "another demo runs in $STATE (pid $(cat "$STATE/demo.pid" 2>/dev/null || echo unknown)); 'make demo-stop' ends it"
    printf '%s\n' "$$" >"$STATE/demo.pid"
}

# What a killed demo left running is ended, and its state goes.
clear_state() {
    stop_pid "$STATE/virga-fleet.pid" virga-fleet
    stop_pid "$STATE/virga-manager.pid" virga-manager
    rm -rf "$STATE/manager" "$STATE/fleet" "$STATE/admin-token" "$STATE"/*.log "$STATE/env"
    chmod 700 "$STATE"
}

# start_child NAME ARGS...: a program in the background in a session of its own,
# so that Ctrl-C reaches this script only and the order of ending is ours.
start_child() {
    local name=$1
    shift
    setsid "$BIN/$name" "$@" </dev/null >>"$STATE/$name.log" 2>&1 8>&- &
    printf '%s\n' "$!" >"$STATE/$name.pid"
}

# wait_child NAME COMMAND...: waits for COMMAND, but not longer than the child
# lives.
wait_child() {
    local name=$1 pid
    shift
    pid=$(cat "$STATE/$name.pid")
    until "$@" >/dev/null 2>&1; do
        if ! alive "$pid" || [ "$SECONDS" -ge "$UP_S" ]; then
            tail_of "$STATE/$name.log"
            die "$name did not come up; its log is $STATE/$name.log"
        fi
        sleep 0.1
    done
}

finish() {
    trap - EXIT INT TERM
    # The fleet first: its last reports need no manager, and the manager's log
    # stays free of hosts that go away.
    stop_pid "$STATE/virga-fleet.pid" virga-fleet || true
    stop_pid "$STATE/virga-manager.pid" virga-manager || true
    rm -f "$STATE/demo.pid"
}

manager_answers() { virga_quiet system; }
virga_quiet() { "$BIN/virga" "$@" 8>&-; }
fleet_reports() { grep -q '^fleet: .* hosts report' "$STATE/virga-fleet.log"; }

if [ "${1:-}" = --stop ]; then
    stop_pid "$STATE/demo.pid" bash 40
    stop_pid "$STATE/virga-fleet.pid" virga-fleet
    stop_pid "$STATE/virga-manager.pid" virga-manager
    exit 0
fi

check_programs
claim
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
clear_state

phase "preparing $HOSTS simulated hosts with $VMS simulated VMs"
"$BIN/virga-fleet" prepare --manager-state "$STATE/manager" --state-dir "$STATE/fleet" --node-address "$NODE_LISTEN" \
    --listen "$FLEET_LISTEN" --hosts "$HOSTS" --vms "$VMS" >>"$STATE/virga-fleet.log" 2>&1 8>&- || {
    tail_of "$STATE/virga-fleet.log"
    die "the fleet could not be prepared"
}
"$BIN/virga-manager" token --state-dir "$STATE/manager" --out "$STATE/admin-token" >/dev/null 2>>"$STATE/virga-manager.log" 8>&-
export VIRGA_URL=https://$LISTEN VIRGA_CA=$STATE/manager/ca.pem VIRGA_TOKEN_FILE=$STATE/admin-token

phase "starting manager and fleet"
# The portal of the demo can break the fleet; nothing but this script gives a manager that setting.
start_child virga-manager run --state-dir "$STATE/manager" --listen "$LISTEN" --node-listen "$NODE_LISTEN" \
    --demo-fleet "$STATE/fleet/control.sock"
start_child virga-fleet run --state-dir "$STATE/fleet"
wait_child virga-manager manager_answers
wait_child virga-fleet fleet_reports

cat >"$STATE/env" <<END
export VIRGA_URL=$VIRGA_URL VIRGA_CA=$VIRGA_CA VIRGA_TOKEN_FILE=$VIRGA_TOKEN_FILE
export VIRGA_FLEET_STATE=$VIRGA_FLEET_STATE PATH=$BIN:\$PATH
END
cat <<END
ready: $VIRGA_URL after $SECONDS s; user admin, one-time password in $STATE/manager/admin-password
       Hosts and VMs are simulated. Ctrl-C ends the demo; the next one begins anew.
       Try, in another terminal:
         . $STATE/env
         virga host list
         virga vm list --filter 'state = running and label.app = "db"' --limit 10
         virga vm stop sim-00001 && virga vm start sim-00001
         virga-fleet break power rack-01-host-07 off
         virga event list --limit 10
END

# Until Ctrl-C, or until one of the two ends.
while alive "$(cat "$STATE/virga-manager.pid")" && alive "$(cat "$STATE/virga-fleet.pid")"; do
    sleep 1 &
    wait $! || true
done
tail_of "$STATE/virga-manager.log"
tail_of "$STATE/virga-fleet.log"
die "manager or fleet ended by itself; the logs are in $STATE"
