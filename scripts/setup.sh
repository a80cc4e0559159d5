#!/usr/bin/env bash
# Installs the distribution packages that Virga needs, and only those that are
# missing. A second call changes nothing and asks no network.
#
#   scripts/setup.sh run     what is needed to build and run Virga (default)
#   scripts/setup.sh test    the same, and what the tests need
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

readonly RUN_PACKAGES=(
    # virtual machines
    qemu-system-x86 qemu-utils qemu-block-extra ovmf seabios
    libvirt-daemon-system libvirt-clients
    # networks
    openvswitch-switch dnsmasq-base iproute2 iptables nftables ethtool
    # the tiny guest image (scripts/guest-image.sh)
    busybox-static mtools dosfstools syslinux syslinux-common cpio xz-utils zstd
    # building the programs
    libvirt-dev pkg-config gcc libc6-dev make mold
    # the scripts themselves
    openssh-client socat curl jq ca-certificates procps util-linux
)
# postgresql: the tests start servers of their own from its programs and touch no other.
# chromium: the portal is tested in it.
readonly TEST_PACKAGES=(mmdebstrap strace postgresql chromium)

# QEMU's tools and its block drivers are loaded across package borders, so
# these three must have one and the same version.
readonly QEMU_PACKAGES=(qemu-system-x86 qemu-utils qemu-block-extra)

installed_version() {
    local status version
    IFS='|' read -r status version < <(dpkg-query -W -f '${db:Status-Status}|${Version}\n' "$1" 2>/dev/null) || return 0
    [ "$status" != installed ] || printf '%s' "$version"
}

# Prints the packages of the arguments that are not installed, one a line. One
# call of dpkg-query for all of them keeps the second run of this script short.
missing_packages() {
    local present package
    # dpkg-query fails when it does not know one of them; that is an answer too.
    present=$({ dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true; } | sed -n 's/^installed //p')
    for package in "$@"; do
        grep -qxF -- "$package" <<<"$present" || printf '%s\n' "$package"
    done
}

# The version without the mark of a rebuild: "+b3" is only a rebuild of the
# same source, and differs from package to package.
source_version() { sed -E 's/\+b[0-9]+$//' <<<"$1"; }

# True when the installed ones of the QEMU packages have different versions.
qemu_mixed() {
    local package version first=
    for package in "${QEMU_PACKAGES[@]}"; do
        version=$(source_version "$(installed_version "$package")")
        [ -n "$version" ] || continue
        first=${first:-$version}
        [ "$version" = "$first" ] || return 0
    done
    return 1
}

# The version of PACKAGE that comes from the source version WANTED.
version_from_source() {
    local package=$1 wanted=$2 version
    while IFS='|' read -r _ version _; do
        version=${version// /}
        if [ "$(source_version "$version")" = "$wanted" ]; then
            printf '%s' "$version"
            return 0
        fi
    done < <(apt-cache madison "$package")
    return 1
}

# Decides the QEMU version, and adds to `wanted` every QEMU package that is
# missing or has another one. Sets `downgrade` when that means going back.
align_qemu() {
    local target package have version
    target=$(installed_version qemu-system-x86)
    [ -n "$target" ] || target=$(apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: //p')
    case $target in '' | '(none)') die "the enabled package sources do not offer qemu-system-x86" ;; esac
    target=$(source_version "$target")
    for package in "${QEMU_PACKAGES[@]}"; do
        have=$(installed_version "$package")
        [ "$(source_version "$have")" != "$target" ] || continue
        version=$(version_from_source "$package" "$target") ||
            die "no enabled package source offers $package $target, and QEMU's packages must have one version"
        if [ -n "$have" ]; then
            say "$package $have comes from another suite than qemu-system-x86 $target: aligning it to $version"
            if dpkg --compare-versions "$have" gt "$version"; then downgrade=(--allow-downgrades); fi
        fi
        wanted+=("$package=$version")
    done
}

# Where no systemd runs, a package's service must not be started by its install
# script: it would fail or stay as a stray daemon. Removed again at the end.
guard_services() {
    local guard=/usr/sbin/policy-rc.d
    if has_systemd || [ -e "$guard" ]; then return 0; fi
    say "no systemd here: keeping the packages from starting their services during this install"
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$guard" >/dev/null
    as_root chmod 755 "$guard"
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@"
}

# Boils the many lines of apt-get down to some that show it moves.
progress() {
    awk '
        /^Need to get / { print "  " $0; fflush() }
        /^Get:/ && ++got % 20 == 0 { print "  downloaded " got " packages"; fflush() }
        /^Setting up / && ++set % 20 == 0 { print "  set up " set " packages"; fflush() }
        END { print "  downloaded " got + 0 ", set up " set + 0 " packages" }'
}

install_packages() {
    local missing package wanted=() downgrade=()
    mapfile -t missing < <(missing_packages "$@")
    if [ ${#missing[@]} = 0 ] && ! qemu_mixed; then
        say "all $# packages are installed"
        return 0
    fi
    command -v apt-get >/dev/null 2>&1 || die "only Debian and its relatives are supported: apt-get is missing"
    say "missing: ${missing[*]:-nothing, but the QEMU packages have different versions}"
    say "reading the package lists"
    apt_get -q=2 update
    for package in "${missing[@]}"; do
        case " ${QEMU_PACKAGES[*]} " in *" $package "*) ;; *) wanted+=("$package") ;; esac
    done
    align_qemu
    guard_services
    say "installing ${#wanted[@]} packages (some minutes on a slow line)"
    apt_get -q -y --no-install-recommends "${downgrade[@]}" install "${wanted[@]}" | progress
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} = 0 ] || die "still missing after the install: ${missing[*]}"
    ! qemu_mixed || die "the QEMU packages still have different versions"
}

# The Rust tool chain is the user's own and is not installed here; nextest is a
# plain cargo program, so it can be.
check_rust() {
    command -v cargo >/dev/null 2>&1 || die "cargo is missing: install Rust 1.95 or newer, then call this again"
}

check_nextest() {
    if cargo nextest --version >/dev/null 2>&1; then
        say "cargo-nextest is installed"
    else
        say "building cargo-nextest (some minutes, once)"
        cargo install cargo-nextest --locked
    fi
}

# Node builds the portal. The distribution's may be older than the build tools
# need; then a newer one comes as a package of npm, into the cache.
check_node() {
    PATH=$(node_path)
    if has_node; then
        say "Node $(node --version) is there"
        return 0
    fi
    command -v npm >/dev/null 2>&1 || install_packages nodejs npm
    if ! node_is_new node; then
        say "Node $(node --version) is too old to build the portal: getting a newer one into $VIRGA_NODE_DIR"
        npm install --prefix "$VIRGA_NODE_DIR" --no-audit --no-fund --loglevel=error node@22
        PATH=$(node_path)
    fi
    has_node || die "Node 20.19 or newer could not be installed; install it and npm, then call this again"
}

mode=${1:-run}
case $mode in
    run) install_packages "${RUN_PACKAGES[@]}" ;;
    test) install_packages "${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}" ;;
    *) die "usage: $0 [run|test]" ;;
esac
check_node
check_rust
[ "$mode" != test ] || check_nextest
