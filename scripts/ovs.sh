#!/usr/bin/env bash
# Makes sure that Open vSwitch runs (ovsdb-server and ovs-vswitchd).
#
#   scripts/ovs.sh start|stop|status
#
# Under systemd that is the distribution's own service. Where no systemd runs,
# both are started by hand on a database of their own below /run: nothing of it
# outlives a reboot, and the agent makes its bridges anew. The distribution's
# start script is not used there because it insists on the kernel module, which
# such machines often lack (bridges then use datapath_type=netdev).
#
# `stop` ends only what `start` started.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly DIR=$VIRGA_RUN_DIR/ovs
readonly SOCKET=/run/openvswitch/db.sock
# ovs-appctl finds a daemon by its pid file, so these stay in their usual place.
readonly DB_PID=/run/openvswitch/ovsdb-server.pid
readonly SWITCH_PID=/run/openvswitch/ovs-vswitchd.pid

# ovs-vsctl waits for ovs-vswitchd after a change; so this asks both daemons.
answers() {
    ovs-vsctl --timeout=5 show >/dev/null 2>&1 && ovs-appctl --timeout=5 -t ovs-vswitchd version >/dev/null 2>&1
}

ours() { [ -d "$DIR" ] && pid_of "$DB_PID" ovsdb-server >/dev/null; }

launch() {
    mkdir -p "$DIR" /run/openvswitch
    [ -s "$DIR/conf.db" ] || ovsdb-tool create "$DIR/conf.db" /usr/share/openvswitch/vswitch.ovsschema
    if ! pid_of "$DB_PID" ovsdb-server >/dev/null; then
        rm -f "$DB_PID"
        ovsdb-server "$DIR/conf.db" --remote="punix:$SOCKET" --pidfile="$DB_PID" \
            -vconsole:off -vsyslog:off --log-file="$DIR/ovsdb-server.log" --detach --no-chdir 9>&-
    fi
    ovs-vsctl --timeout=10 --no-wait init
    if ! pid_of "$SWITCH_PID" ovs-vswitchd >/dev/null; then
        rm -f "$SWITCH_PID"
        ovs-vswitchd "unix:$SOCKET" --pidfile="$SWITCH_PID" \
            -vconsole:off -vsyslog:off --log-file="$DIR/ovs-vswitchd.log" --detach --no-chdir 9>&-
    fi
}

start() {
    if answers; then
        say "Open vSwitch already runs"
        return 0
    fi
    command -v ovs-vswitchd >/dev/null || die "Open vSwitch is not installed: run scripts/setup.sh"
    if has_systemd; then
        say "starting Open vSwitch through systemd"
        systemctl start openvswitch-switch
    else
        mkdir -p "$VIRGA_RUN_DIR"
        exec 9>"$VIRGA_RUN_DIR/ovs.lock"
        flock 9
        say "no systemd here: starting Open vSwitch by hand"
        launch || die "Open vSwitch did not start, see $DIR"
    fi
    wait_until 30 answers || die "Open vSwitch does not answer"
    say "Open vSwitch runs"
}

stop() {
    if [ -d "$DIR" ]; then
        stop_pid "$SWITCH_PID" ovs-vswitchd
        stop_pid "$DB_PID" ovsdb-server
        rm -f "$SOCKET"
        rmdir /run/openvswitch 2>/dev/null || true
    else
        say "no Open vSwitch of ours runs"
    fi
    rm -rf "$DIR" "$VIRGA_RUN_DIR/ovs.lock"
    rmdir "$VIRGA_RUN_DIR" 2>/dev/null || true
}

status() {
    if ours; then
        say "started by us, pids $(cat "$DB_PID") and $(cat "$SWITCH_PID" 2>/dev/null || echo none)"
    elif answers; then
        say "runs, not started by us"
    else
        say "does not run"
        return 3
    fi
}

case ${1:-} in
    start | stop | status)
        become_root "$@"
        "$1"
        ;;
    *) die "usage: $0 start|stop|status" ;;
esac
