# shellcheck shell=bash
# Shared by the scripts in this folder; sourced, never run.

# mkfs, ip and friends live in folders that a plain user may not search.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Every message carries the script's name, so that the output of `make run`
# shows which step speaks.
VIRGA_SCRIPT=${VIRGA_SCRIPT:-$(basename "$0" .sh)}

say() { printf '%s: %s\n' "$VIRGA_SCRIPT" "$*"; }
warn() { printf '%s: %s\n' "$VIRGA_SCRIPT" "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

# Where pid files of the daemons that these scripts start are kept.
export VIRGA_RUN_DIR=/run/virga

# A system that systemd booted has this folder (sd_booted(3) checks the same).
has_systemd() { [ -d /run/systemd/system ]; }

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "this needs root: run it as root or install sudo"
    fi
}

# Starts the calling script again under sudo when it is not root. Settings are
# named one by one: sudo drops the environment, and only these matter here.
become_root() {
    [ "$(id -u)" = 0 ] && return 0
    command -v sudo >/dev/null 2>&1 || die "this needs root: run it as root or install sudo"
    say "not root: going on through sudo"
    local setting keep=()
    for setting in HOME XDG_CACHE_HOME CARGO_TARGET_DIR VIRGA_STATE VIRGA_LISTEN VIRGA_NODE_LISTEN VIRGA_GUEST_DIR; do
        [ -z "${!setting:-}" ] || keep+=("$setting=${!setting}")
    done
    exec sudo env "${keep[@]}" bash "$0" "$@"
}

# wait_until SECONDS COMMAND...: asks COMMAND five times a second until it
# succeeds. Returns 1 when the time is over.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# The state letter of a process, empty when there is none. The name in
# /proc/PID/stat may hold blanks and brackets, hence the cut at the last one.
process_state() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
    stat=${stat##*) }
    printf '%s' "${stat%% *}"
}

# pid_of FILE COMM: prints the pid in FILE if that process is alive and carries
# the name COMM. A recycled pid, a stale file and a zombie all count as "no".
pid_of() {
    local pid
    [ -s "$1" ] || return 1
    read -r pid <"$1" || [ -n "$pid" ] || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${2:0:15}" ] || return 1
    case $(process_state "$pid") in '' | Z | X) return 1 ;; esac
    printf '%s\n' "$pid"
}

no_pid_of() { ! pid_of "$1" "$2" >/dev/null; }

# stop_pid FILE COMM [SECONDS]: ends the process that FILE names, and only if it
# still is COMM: asks first, and forces after SECONDS. Removes FILE.
stop_pid() {
    local file=$1 comm=$2 seconds=${3:-20} pid
    if pid=$(pid_of "$file" "$comm"); then
        say "stopping $comm (pid $pid)"
        kill -TERM "$pid" 2>/dev/null || true
        if ! wait_until "$seconds" no_pid_of "$file" "$comm"; then
            warn "$comm (pid $pid) did not end within $seconds s: killing it"
            kill -KILL "$pid" 2>/dev/null || true
            wait_until 5 no_pid_of "$file" "$comm" || die "$comm (pid $pid) cannot be ended"
        fi
    fi
    rm -f "$file"
}

# Node for the portal: the system's, when it is new enough, else the one that
# `setup.sh` put into the cache because the distribution's is too old.
VIRGA_NODE_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/virga/node
readonly VIRGA_NODE_DIR

node_is_new() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    [ "$(printf '%s\n' v20.19.0 "$version" | sort -V | head -n 1)" = v20.19.0 ]
}

# The search path with a Node that is new enough in front.
node_path() {
    if node_is_new node; then printf '%s' "$PATH"; else printf '%s' "$VIRGA_NODE_DIR/node_modules/node/bin:$PATH"; fi
}

has_node() { node_is_new node && command -v npm >/dev/null 2>&1; }
