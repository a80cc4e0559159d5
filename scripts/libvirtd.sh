#!/usr/bin/env bash
# Makes sure that a libvirtd serves qemu:///system.
#
#   scripts/libvirtd.sh start|stop|status
#
# Under systemd that is the distribution's own service. Where no systemd runs
# (containers, build machines), libvirtd is started by hand with settings that do
# without confinement and cgroups: fit for a lab, not for strangers' guests. No
# file of the system is edited: our qemu.conf is laid over the system's one in a
# mount namespace of libvirtd's own.
#
# `stop` ends only what `start` started. Virtual machines run on without libvirtd.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly PID_FILE=$VIRGA_RUN_DIR/libvirtd.pid
readonly CONF=$VIRGA_RUN_DIR/libvirt
readonly FIREWALL_NOTE=$VIRGA_RUN_DIR/ip_forward-before-libvirt
readonly LOG=$CONF/libvirtd.log

# Without a terminal virsh cannot ask for a password, and must not wait for one.
answers() { timeout 10 virsh -q -c qemu:///system version </dev/null >/dev/null 2>&1; }

write_settings() {
    mkdir -p "$CONF"
    cat >"$CONF/qemu.conf" <<CONF
# Written by scripts/libvirtd.sh for a machine without an init system.
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
CONF
    cat >"$CONF/libvirtd.conf" <<CONF
# Written by scripts/libvirtd.sh for a machine without an init system.
unix_sock_group = "$(getent group libvirt >/dev/null && echo libvirt || echo root)"
unix_sock_rw_perms = "0770"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:file:$LOG"
CONF
    # Virtual hardware often has no usable DMI table; libvirt would then invent
    # another host UUID at each start.
    if [ ! -r /sys/class/dmi/id/product_uuid ] && [ -s /etc/machine-id ]; then
        echo 'host_uuid_source = "machine-id"' >>"$CONF/libvirtd.conf"
    fi
}

# libvirt switches packet forwarding on and leaves its (then empty) iptables
# chains behind. Where there were none before, `stop` puts things back; the note
# stays until that could be done.
note_firewall() {
    if [ ! -e "$FIREWALL_NOTE" ] && [ -z "$(libvirt_chains iptables)$(libvirt_chains ip6tables)" ]; then
        cat /proc/sys/net/ipv4/ip_forward >"$FIREWALL_NOTE"
    fi
}

# "TABLE RULE" lines of what belongs to libvirt, rules before the chains they name.
libvirt_chains() {
    local table
    for table in filter nat mangle; do
        "$1" -t "$table" -S 2>/dev/null | sed -n "/LIBVIRT_/s/^/$table /p" | sort -k 2,2
    done
}

restore_firewall() {
    local tool table verb rule
    [ -e "$FIREWALL_NOTE" ] || return 0
    for tool in iptables ip6tables; do
        while read -r table verb rule; do
            # shellcheck disable=SC2086 # a rule is several words
            case $verb in
                -A) "$tool" -t "$table" -D $rule ;;
                -N) "$tool" -t "$table" -X "$rule" ;;
            esac
        done < <(libvirt_chains "$tool") 2>/dev/null
    done
    cat "$FIREWALL_NOTE" >/proc/sys/net/ipv4/ip_forward
    rm -f "$FIREWALL_NOTE"
}

# "slave": what is mounted on the host later on (NFS, CephFS) must be seen by
# QEMU too, while our own mount stays in here.
launch() {
    # shellcheck disable=SC2016 # $1 and $2 belong to the inner shell
    unshare --mount --propagation slave sh -c '
        mount --bind "$1/qemu.conf" /etc/libvirt/qemu.conf &&
        exec libvirtd --daemon --config "$1/libvirtd.conf" --pid-file "$2"
    ' sh "$CONF" "$PID_FILE" </dev/null >>"$LOG" 2>&1 9>&-
}

start() {
    if answers; then
        say "libvirtd already serves qemu:///system"
        return 0
    fi
    command -v libvirtd >/dev/null || die "libvirtd is not installed: run scripts/setup.sh"
    if has_systemd; then
        say "starting libvirtd through systemd"
        systemctl start libvirtd
    else
        mkdir -p "$VIRGA_RUN_DIR"
        # Two callers at once must not start two daemons.
        exec 9>"$VIRGA_RUN_DIR/libvirtd.lock"
        flock 9
        if ! pid_of "$PID_FILE" libvirtd >/dev/null; then
            say "no systemd here: starting libvirtd by hand with lab settings"
            rm -f "$PID_FILE"
            write_settings
            note_firewall
            launch || die "libvirtd did not start, see $LOG: $(tail -n 3 "$LOG")"
        fi
    fi
    wait_until 30 answers || die "libvirtd does not answer on qemu:///system$(has_systemd || echo ", see $LOG")"
    say "libvirtd serves qemu:///system"
}

stop() {
    local networks
    if pid_of "$PID_FILE" libvirtd >/dev/null; then
        networks=$(timeout 10 virsh -q -c qemu:///system net-list --name </dev/null || echo unknown)
        stop_pid "$PID_FILE" libvirtd
        # With a network still up, its rules must stay.
        [ -n "${networks//[[:space:]]/}" ] || restore_firewall
    else
        say "no libvirtd of ours runs"
    fi
    rm -rf "$CONF" "$PID_FILE" "$VIRGA_RUN_DIR/libvirtd.lock"
    rmdir "$VIRGA_RUN_DIR" 2>/dev/null || true
}

status() {
    local pid
    if pid=$(pid_of "$PID_FILE" libvirtd); then
        say "started by us, pid $pid"
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
