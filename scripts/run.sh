#!/usr/bin/env bash
# Runs Virga on this machine: the manager, the agent of this host, and a demo VM.
# Stays in the foreground; Ctrl-C ends manager and agent. VMs and libvirtd run on,
# and a second start finds them again. scripts/stop.sh removes everything.
#
# Needs the programs that `make build` makes. Settings (environment):
#   VIRGA_STATE         state folder                 (/var/lib/virga)
#   VIRGA_LISTEN        address of the API           (127.0.0.1:8443)
#   VIRGA_NODE_LISTEN   address for agents           (127.0.0.1:8444)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

become_root "$@"

HERE=$(cd "$(dirname "$0")" && pwd)
STATE=${VIRGA_STATE:-/var/lib/virga}
LISTEN=${VIRGA_LISTEN:-127.0.0.1:8443}
NODE_LISTEN=${VIRGA_NODE_LISTEN:-127.0.0.1:8444}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/virga
BIN=${CARGO_TARGET_DIR:-$CACHE/target}/release
GUEST=${VIRGA_GUEST_DIR:-$CACHE/guest}
HOST_NAME=$(uname -n | cut -d. -f1)
readonly HERE STATE LISTEN NODE_LISTEN CACHE BIN GUEST HOST_NAME
readonly DEMO=demo IMAGE=tiny NETWORK=nat
readonly LINK=/usr/local/bin/virga
# The token lives 12 h; a new one is written well before.
readonly TOKEN_RENEW_S=21600

# The command line's settings. The token stays in a file: an argument or a
# variable could be read by others.
export VIRGA_URL=https://$LISTEN VIRGA_CA=$STATE/manager/ca.pem VIRGA_TOKEN_FILE=$STATE/admin-token

MANAGER_PID=
AGENT_PID=

phase() { printf 'run: [%3d s] %s\n' "$SECONDS" "$*"; }

virga() { "$BIN/virga" "$@" 8>&-; }

# Items of a list, whether it comes as a page or as a plain array.
items() { jq -c '(.items? // .)[]'; }

# The lock is held as long as this script lives; children must not inherit it.
claim() {
    mkdir -p "$VIRGA_RUN_DIR"
    exec 8>>"$VIRGA_RUN_DIR/run.lock"
    flock -n 8 || die "another 'make run' is active here (pid $(cat "$VIRGA_RUN_DIR/run.pid" 2>/dev/null || echo unknown)); 'make stop' ends it"
    printf '%s\n' "$$" >"$VIRGA_RUN_DIR/run.pid"
}

check_programs() {
    local program
    for program in virga-manager virga-agent virga; do
        [ -x "$BIN/$program" ] || die "$BIN/$program is missing: run 'make build' first"
    done
}

# Marks the state folder as ours: stop.sh deletes no folder without this mark.
# QEMU may run as another user and must be able to pass through.
prepare_state() {
    if [ -d "$STATE" ] && [ ! -e "$STATE/.virga" ] && [ -n "$(ls -A "$STATE")" ]; then
        die "$STATE is not empty and was not made by Virga: set VIRGA_STATE to another folder"
    fi
    mkdir -p "$STATE" "$STATE/log"
    chmod 755 "$STATE"
    : >"$STATE/.virga"
    install -d -m 700 "$STATE/manager"
    install -d -m 711 "$STATE/agent"
}

# tail_of LOG: the end of a log, for messages about a failure.
tail_of() { tail -n 15 "$1" 2>/dev/null | sed 's/^/    /' >&2; }

alive() { [ -n "${1:-}" ] || return 1; case $(process_state "$1") in '' | Z | X) return 1 ;; esac; }

# start_child NAME ARGS...: a program in the background in a session of its own,
# so that Ctrl-C reaches this script only and the order of ending is ours. Sets
# CHILD_PID.
start_child() {
    local name=$1
    shift
    # Left over when a former run.sh was killed.
    stop_pid "$VIRGA_RUN_DIR/$name.pid" "$name"
    setsid "$BIN/$name" "$@" </dev/null >>"$STATE/log/$name.log" 2>&1 8>&- &
    CHILD_PID=$!
    printf '%s\n' "$CHILD_PID" >"$VIRGA_RUN_DIR/$name.pid"
}

# wait_child SECONDS NAME PID COMMAND...: waits for COMMAND, but not longer than
# the child lives.
wait_child() {
    local seconds=$1 name=$2 pid=$3 deadline
    shift 3
    deadline=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        if ! alive "$pid"; then
            tail_of "$STATE/log/$name.log"
            die "$name ended; its log is $STATE/log/$name.log"
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            tail_of "$STATE/log/$name.log"
            die "$name is not ready after $seconds s; its log is $STATE/log/$name.log"
        fi
        sleep 0.2
    done
}

manager_answers() {
    curl -fsS --noproxy '*' --max-time 5 --cacert "$VIRGA_CA" "$VIRGA_URL/v1/ping"
}

write_token() {
    "$BIN/virga-manager" token --state-dir "$STATE/manager" --out "$VIRGA_TOKEN_FILE"
}

start_manager() {
    phase "starting the manager"
    start_child virga-manager run --state-dir "$STATE/manager" --listen "$LISTEN" --node-listen "$NODE_LISTEN"
    MANAGER_PID=$CHILD_PID
    wait_child 60 virga-manager "$MANAGER_PID" manager_answers
    write_token
    phase "the manager answers on $VIRGA_URL"
}

host_json() { virga host list -o json | items | jq -c --arg name "$HOST_NAME" 'select(.name == $name)'; }
host_is_up() { [ "$(host_json | jq -r .state)" = up ]; }

# Joins once. The mark is set only when the host is up, so a join that was cut
# short is tried again with a fresh token.
start_agent() {
    local join=()
    if [ ! -e "$STATE/host-joined" ]; then
        phase "joining this machine as host $HOST_NAME"
        rm -f "$STATE/join"
        if virga host join-token --name "$HOST_NAME" --out "$STATE/join" 2>"$STATE/log/join.log"; then
            join=(--join-file "$STATE/join")
        elif [ -z "$(host_json)" ]; then
            tail_of "$STATE/log/join.log"
            die "no join token for this host"
        fi
    fi
    phase "starting the agent"
    start_child virga-agent run --state-dir "$STATE/agent" "${join[@]}"
    AGENT_PID=$CHILD_PID
    wait_child 60 virga-agent "$AGENT_PID" host_is_up
    : >"$STATE/host-joined"
    rm -f "$STATE/join"
    phase "host $HOST_NAME is up"
}

image_state() { virga image list -o json | items | jq -r --arg name "$IMAGE" 'select(.name == $name) | .state'; }

import_image() {
    case $(image_state) in
        ready) return 0 ;;
        '') ;;
        *)
            # An import that was cut short; it holds no content.
            virga image delete "$IMAGE" --yes
            ;;
    esac
    phase "importing the image $IMAGE"
    virga image import "$IMAGE" "$GUEST/tiny.qcow2" >/dev/null
}

# Makes the demo VM, or takes the one of an earlier run as it is.
start_demo() {
    local key=$STATE/demo-key shown
    [ -s "$key" ] || ssh-keygen -q -t ed25519 -N '' -C virga-demo -f "$key"
    if shown=$(virga vm show "$DEMO" -o json 2>/dev/null); then
        phase "taking over the VM $DEMO"
        [ "$(jq -r .desired <<<"$shown")" = running ] || virga vm start "$DEMO" >/dev/null
    else
        phase "making the VM $DEMO"
        virga vm create "$DEMO" --image "$IMAGE" --cpus 1 --memory 256MiB --network "$NETWORK" \
            --ssh-key-file "$key.pub" --start >/dev/null
    fi
    phase "waiting for its guest agent to tell an address"
    if ! DEMO_IP=$(virga vm wait "$DEMO" --for ip --timeout 120s); then
        tail_of "$STATE/log/virga-agent.log"
        die "the VM $DEMO told no address within 120 s: see 'virga vm show $DEMO' and $STATE/log"
    fi
    DEMO_IP=${DEMO_IP##*$'\n'}
    phase "the VM $DEMO is up"
}

# Lets the user type `virga ...` with nothing before it.
install_command() {
    COMMAND=$BIN/virga
    if [ ! -e "$LINK" ] && [ ! -L "$LINK" ]; then
        ln -s "$BIN/virga" "$LINK" && COMMAND=virga
    elif [ "$(readlink "$LINK" 2>/dev/null)" = "$BIN/virga" ]; then
        COMMAND=virga
    fi
    # The token can be read by root only, so through sudo this is root's context.
    if [ -n "${SUDO_USER:-}" ]; then
        COMMAND="sudo $COMMAND"
        HOME=$(getent passwd root | cut -d: -f6)
        export HOME
    fi
    if [ ! -e "$STATE/context-added" ]; then
        virga context add local --url "$VIRGA_URL" --ca "$VIRGA_CA" --token-file "$VIRGA_TOKEN_FILE" >/dev/null
        : >"$STATE/context-added"
    fi
}

report() {
    local facts accelerator password=$STATE/manager/admin-password
    facts=$(host_json)
    accelerator=$(jq -r '.facts.accelerator' <<<"$facts")
    case $accelerator in
        kvm) accelerator="KVM (hardware virtualization)" ;;
        tcg) accelerator="emulation (TCG): slow. $(jq -r '.facts.accelerator_why // "This machine offers no KVM."' <<<"$facts")" ;;
    esac
    echo
    echo "  API              $VIRGA_URL/   (its CA: $VIRGA_CA; every operation: $VIRGA_URL/docs)"
    if [ -e "$password" ]; then
        echo "  sign in          user admin, one-time password $(cat "$password")   (also in $password)"
    else
        echo "  sign in          user admin, with the password you chose"
    fi
    echo "  command line     $COMMAND vm list"
    echo "  demo console     $COMMAND vm console $DEMO"
    echo "  demo VM          $DEMO_IP   ssh -i $STATE/demo-key root@$DEMO_IP"
    echo "  guests run with  $accelerator"
    echo "  logs             $STATE/log"
    echo "  Ctrl-C           ends manager and agent; VMs run on. 'make stop' removes everything."
    echo
    printf 'ready: %s/\n' "$VIRGA_URL"
}

# Runs at every exit. The agent first: it reports its last state to the manager.
# shellcheck disable=SC2317 # called by a trap
cleanup() {
    trap '' INT TERM
    [ -z "$AGENT_PID" ] || stop_pid "$VIRGA_RUN_DIR/virga-agent.pid" virga-agent
    [ -z "$MANAGER_PID" ] || stop_pid "$VIRGA_RUN_DIR/virga-manager.pid" virga-manager
    rm -f "$VIRGA_RUN_DIR/run.pid"
}

# check_child NAME PID: stops everything when one of the two programs is no more.
check_child() {
    alive "$2" && return 0
    tail_of "$STATE/log/$1.log"
    die "$1 ended by itself; its log is $STATE/log/$1.log"
}

# Until a signal comes. The short sleep runs in the background because a signal
# interrupts `wait`, but not a program in the foreground.
serve() {
    local renew_at=$((SECONDS + TOKEN_RENEW_S))
    while :; do
        check_child virga-manager "$MANAGER_PID"
        check_child virga-agent "$AGENT_PID"
        if [ "$SECONDS" -ge "$renew_at" ]; then
            write_token
            renew_at=$((SECONDS + TOKEN_RENEW_S))
        fi
        sleep 1 8>&- &
        wait $!
    done
}

check_programs
claim
trap cleanup EXIT
trap 'echo; say "ending manager and agent; VMs run on"; exit 0' INT
trap 'say "ending manager and agent; VMs run on"; exit 0' TERM

prepare_state
phase "libvirt and Open vSwitch"
"$HERE/libvirtd.sh" start 8>&-
"$HERE/ovs.sh" start 8>&-
start_manager
start_agent
"$HERE/guest-image.sh" "$GUEST" >/dev/null 8>&-
import_image
start_demo
install_command
report
serve
