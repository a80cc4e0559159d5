#!/usr/bin/env bash
# Ends what scripts/run.sh started and removes all it made: manager, agent, VMs,
# networks, bridges, state. What stays: installed packages, and the caches of the
# guest image and of cargo.
#
# Touches only what is Virga's: VMs that carry its metadata, networks named
# virga-*, bridges named vg-* or marked external_ids:virga.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

become_root "$@"

HERE=$(cd "$(dirname "$0")" && pwd)
STATE=${VIRGA_STATE:-/var/lib/virga}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/virga
BIN=${CARGO_TARGET_DIR:-$CACHE/target}/release
readonly HERE STATE CACHE BIN
readonly NAMESPACE=https://virga.dev/xmlns/vm/1
readonly LINK=/usr/local/bin/virga

virsh_system() { timeout 60 virsh -q -c qemu:///system "$@" </dev/null; }
libvirt_answers() { virsh_system version >/dev/null 2>&1; }
lock_free() { flock -n "$VIRGA_RUN_DIR/run.lock" true; }

# The script ends its two children by itself. Only while it holds the lock is the
# number in its pid file really its own.
stop_runner() {
    local pid
    if [ -e "$VIRGA_RUN_DIR/run.lock" ] && ! lock_free && pid=$(pid_of "$VIRGA_RUN_DIR/run.pid" bash); then
        say "ending run.sh (pid $pid)"
        kill -TERM "$pid" 2>/dev/null || true
        # Its two programs may take 20 s each; past that they are ended below.
        if ! wait_until 45 no_pid_of "$VIRGA_RUN_DIR/run.pid" bash; then
            warn "run.sh (pid $pid) does not end: killing it"
            kill -KILL "$pid" 2>/dev/null || true
        fi
    fi
    # Left over when run.sh was killed.
    stop_pid "$VIRGA_RUN_DIR/virga-agent.pid" virga-agent
    stop_pid "$VIRGA_RUN_DIR/virga-manager.pid" virga-manager
}

# A VM may run on although libvirtd does not: then it is started for the clean-up.
reach_libvirt() {
    libvirt_answers && return 0
    [ -e "$STATE/.virga" ] && command -v libvirtd >/dev/null || return 1
    "$HERE/libvirtd.sh" start
}

remove_vms() {
    local uuid name xml
    for uuid in $(virsh_system list --all --uuid); do
        xml=$(virsh_system dumpxml "$uuid" 2>/dev/null) || continue
        [[ $xml == *"$NAMESPACE"* ]] || continue
        name=$(virsh_system domname "$uuid")
        say "removing the VM $name"
        virsh_system destroy "$uuid" >/dev/null 2>&1 || true
        virsh_system undefine "$uuid" --nvram --managed-save --snapshots-metadata --checkpoints-metadata >/dev/null 2>&1 || true
        # Gone already when it was a transient one.
        if virsh_system domname "$uuid" >/dev/null 2>&1; then warn "the VM $name cannot be removed"; fi
        rm -f "/var/log/libvirt/qemu/$name.log"*
    done
}

remove_networks() {
    local network
    for network in $(virsh_system net-list --all --name | grep '^virga-'); do
        say "removing the network $network"
        virsh_system net-destroy "$network" >/dev/null 2>&1 || true
        virsh_system net-undefine "$network" >/dev/null 2>&1 || true
    done
}

remove_bridges() {
    local bridge
    for bridge in $(ovs-vsctl --timeout=10 list-br 2>/dev/null); do
        if [[ $bridge = vg-* ]] || [ -n "$(ovs-vsctl --timeout=10 br-get-external-id "$bridge" virga)" ]; then
            say "removing the bridge $bridge"
            ovs-vsctl --timeout=20 del-br "$bridge"
        fi
    done
}

remove_command() {
    local home=$HOME
    if [ -e "$STATE/context-added" ] && [ -x "$BIN/virga" ]; then
        [ -z "${SUDO_USER:-}" ] || home=$(getent passwd root | cut -d: -f6)
        HOME=$home "$BIN/virga" context remove local >/dev/null 2>&1 || true
    fi
    if [ -L "$LINK" ] && [ "$(readlink "$LINK")" = "$BIN/virga" ]; then
        say "removing $LINK"
        rm -f "$LINK"
    fi
}

remove_state() {
    if [ -e "$STATE/.virga" ]; then
        say "removing $STATE"
        rm -rf "$STATE"
    elif [ -e "$STATE" ]; then
        warn "$STATE was not made by run.sh: left alone"
    fi
}

stop_runner
if reach_libvirt; then
    remove_vms
    remove_networks
fi
remove_bridges
"$HERE/libvirtd.sh" stop
"$HERE/ovs.sh" stop
remove_command
remove_state
rm -rf "$VIRGA_RUN_DIR"
say "done. Kept: the packages, and the caches of guest image and cargo in $CACHE"
