#!/usr/bin/env bash
# Builds the tiny guest: a bootable disk of some 25 MB with a Linux kernel,
# busybox, the real QEMU guest agent and an ssh server. `make run` shows it off
# and the system tests boot it by the dozen.
#
#   scripts/guest-image.sh [--any-hardware] [OUT_DIR]
#
# With --any-hardware it gets a kernel that also knows SATA (AHCI), USB, e1000
# and rtl8139; that one boots some seconds slower. Without, disks are virtio, SCSI
# or IDE (i440fx) and cards are virtio.
#
# The result goes to a cache outside the clone and is built again only when this
# file changed. Prints the folder's path as its last line. The folder holds
#   tiny.qcow2   the disk; boots from SeaBIOS and from UEFI
#   vmlinuz initrd cmdline   the same system for direct kernel boot
#
# What the guest does: DHCP on every network card (or a static NoCloud v2
# address), reads a NoCloud seed (file system labelled "cidata"; vfat or iso9660)
# for host name and ssh keys, serves the guest agent and ssh (keys only), gives a
# root shell on ttyS0 and tty1, brings hot-added CPUs, memory and cards on line,
# and shuts down on the ACPI power button.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/virga
if [ "${1:-}" = --any-hardware ]; then
    shift
    KERNEL=linux-image-amd64
    OUT=${1:-$CACHE/guest-any-hardware}
else
    KERNEL=linux-image-cloud-amd64
    OUT=${1:-${VIRGA_GUEST_DIR:-$CACHE/guest}}
fi
readonly CACHE KERNEL OUT
readonly FILES=(tiny.qcow2 vmlinuz initrd cmdline)
# Under emulation on a busy machine the kernel's check of the timer can fail.
# Mitigations cost time and guard nothing in a throw-away guest. A guest to which
# memory may be added would set 64 MB aside for bounce buffers: 4 MB will do.
readonly CMDLINE="console=tty1 console=ttyS0,115200n8 quiet no_timer_check mitigations=off memhp_default_state=online random.trust_cpu=on swiotlb=2048"

# Drivers that the guest may need; what they depend on comes along by itself.
readonly MODULES=(
    virtio_pci virtio_blk virtio_net virtio_scsi virtio_console virtio-rng virtio_balloon virtio_mem virtio_input
    sd_mod sr_mod ata_piix ata_generic
    ext4 crc32c_generic isofs vfat nls_ascii nls_cp437 nls_utf8 nls_iso8859-1
    button evdev atkbd i8042
)
# The cloud kernel lacks these; --any-hardware takes the kernel that has them.
readonly MORE_MODULES=(ahci xhci_pci ehci_pci uhci_hcd usb-storage uas usbhid hid_generic e1000 e1000e 8139cp)

WORK=
cleanup() { [ -z "$WORK" ] || rm -rf "$WORK"; }

is_fresh() {
    local file
    for file in "${FILES[@]}"; do [ -s "$OUT/$file" ] || return 1; done
    [ "$(cat "$OUT/.built-from" 2>/dev/null)" = "$1" ]
}

# The packages whose content goes into the guest: the kernel that the meta
# package points to, both servers, and every library package below them.
guest_packages() {
    apt-cache depends --no-recommends --no-suggests "$KERNEL" |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        qemu-guest-agent dropbear-bin |
        grep -E '^(qemu-guest-agent|dropbear-bin|zlib1g|lib[^ ]+)$' | grep -v perl
    printf '%s\n' systemd-boot-efi
}

download() {
    local packages
    mapfile -t packages < <(guest_packages)
    [[ ${packages[0]} = linux-image-* ]] || return 1
    # As root, apt would drop to a user who cannot write into our folder.
    (cd "$WORK/debs" && apt-get -q=2 -o APT::Sandbox::User=root download "${packages[@]}")
}

unpack() {
    say "fetching kernel, guest agent and ssh server"
    mkdir -p "$WORK/debs" "$WORK/stage"
    if ! download 2>/dev/null; then
        say "the package lists are old or missing: reading them again"
        as_root apt-get -q=2 update
        download || die "cannot fetch the guest's packages"
    fi
    local deb
    for deb in "$WORK"/debs/*.deb; do dpkg-deb -x "$deb" "$WORK/stage"; done
    VERSION=$(basename "$WORK"/stage/lib/modules/*)
}

# copy_program STAGED_PATH TARGET_DIR: a program and, looked up by soname in the
# unpacked packages, all libraries it needs.
copy_program() {
    local root=$WORK/root lib found
    [ -e "$root/$2/$(basename "$1")" ] && return 0
    install -D -m 755 "$1" "$root/$2/$(basename "$1")"
    for lib in $(objdump -p "$1" | awk '$1 == "NEEDED" { print $2 }'); do
        found=$(find "$WORK/stage" -name "$lib" -print -quit)
        [ -n "$found" ] || die "$1 needs $lib, which none of the packages has"
        copy_program "$(realpath -s "$found")" lib
    done
}

# copy_module NAME: a driver without debug data and signature (the guest's kernel
# takes unsigned ones, and checking signatures is slow under emulation).
copy_module() {
    local file target
    file=$(find "$WORK/stage/lib/modules/$VERSION/kernel" -name "${1//_/[-_]}.ko*" -print -quit)
    if [ -z "$file" ]; then
        # Other kernels have some drivers built in.
        grep -q "/${1//_/[-_]}\.ko" "$WORK/stage/lib/modules/$VERSION/modules.builtin" || die "the kernel has no module $1"
        return 0
    fi
    target=$WORK/root/lib/modules/$VERSION/$(basename "$file")
    [ -e "${target%.[xz]*}" ] && return 0
    install -D -m 644 "$file" "$target"
    case $target in
        *.xz) unxz "$target" && target=${target%.xz} ;;
        *.zst) unzstd -q --rm "$target" && target=${target%.zst} ;;
    esac
    local need
    for need in $(modinfo_depends "$target"); do copy_module "$need"; done
    strip --strip-debug "$target"
}

# The "depends=" entry of a module's .modinfo section, blank separated.
modinfo_depends() {
    objcopy -O binary -j .modinfo "$1" /dev/stdout | tr '\0' '\n' | sed -n 's/^depends=//p' | tr ',' ' '
}

# Everything of the guest that is ours. The target root is $WORK/root.
write_system() {
    local root=$WORK/root applet
    mkdir -p "$root"/{bin,dev,etc/acpi/PWRF,etc/dropbear,etc/virga,lib,mnt,proc,root/.ssh,run,sys,tmp,var/log,var/run}
    ln -s bin "$root/sbin"
    ln -s . "$root/usr"
    ln -s lib "$root/lib64"
    chmod 700 "$root/root" "$root/root/.ssh"
    install -m 755 /bin/busybox "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
    done
    rm -f "$root/bin/shutdown" "$root/bin/init"
    ln -s busybox "$root/bin/init"

    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:*:19000:0:99999:7:::\n' >"$root/etc/shadow"
    printf 'root:x:0:\ntty:x:5:\n' >"$root/etc/group"
    printf '/bin/sh\n' >"$root/etc/shells"
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    printf 'tiny\n' >"$root/etc/hostname"
    printf 'NAME="Virga tiny guest"\nID=virga-tiny\nVERSION_ID="1"\nPRETTY_NAME="Virga tiny guest 1"\n' >"$root/etc/os-release"
    printf 'export PATH=/bin:/sbin HOME=/root\nexport PS1="\\h:\\w# "\ncd\n' >"$root/etc/profile"

    file 755 init <<'GUEST'
#!/bin/sh
# The kernel starts this one; busybox init takes over as process 1.
mount -t devtmpfs dev /dev
exec /bin/init </dev/console >/dev/console 2>&1
GUEST

    file 644 etc/inittab <<'GUEST'
::sysinit:/etc/rc
::respawn:/bin/guest-agent
::respawn:/bin/dropbear -F -R -s
::respawn:/bin/acpid -f -l /dev/null
::once:/bin/ready
ttyS0::respawn:/bin/getty -n -l /bin/autologin -L 115200 ttyS0 vt100
tty1::respawn:/bin/getty -n -l /bin/autologin 38400 tty1 linux
::ctrlaltdel:/bin/reboot
::shutdown:/bin/sync
GUEST

    file 755 etc/rc <<'GUEST'
#!/bin/sh
# Brings the system up; everything after this is in /etc/inittab.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /dev/shm
mount -t tmpfs tmp /run
mkdir -p /run/net
hostname -F /etc/hostname
ip link set lo up
# "sync" makes modprobe return only when the disks behind a controller are there.
modprobe -q scsi_mod scan=sync
coldplug
modprobe -q -a sd_mod sr_mod button evdev
uevent /bin/hotplug >/dev/null 2>&1 &
seed
devices
GUEST

    file 755 bin/coldplug <<'GUEST'
#!/bin/sh
# Loads the drivers of what is there. A bus driver brings new devices to light,
# hence more than one turn.
before=
while :; do
    now=$(find /sys/devices -name modalias -exec cat {} + | sort -u)
    [ "$now" != "$before" ] || exit 0
    before=$now
    modprobe -q -a $now 2>/dev/null
done
GUEST

    file 755 bin/hotplug <<'GUEST'
#!/bin/sh
# Called by uevent for each change that the kernel tells.
[ -z "$MODALIAS" ] || [ "$ACTION" != add ] || modprobe -q "$MODALIAS"
case $SUBSYSTEM in
    cpu | memory | virtio-ports) devices ;;
    net)
        # A card that went away may come again under the same name.
        [ "$ACTION" != remove ] || rm -rf "/run/net/$INTERFACE"
        devices
        ;;
esac
GUEST

    file 755 bin/devices <<'GUEST'
#!/bin/sh
# Takes into use whatever device is not yet in use. May run at any time, also
# twice at once: mkdir decides who configures a card.
for online in /sys/devices/system/cpu/cpu*/online /sys/devices/system/memory/memory*/online; do
    [ ! -e "$online" ] || read -r state <"$online" 2>/dev/null || continue
    [ "$state" != 0 ] || echo 1 >"$online" 2>/dev/null
done
for port in /sys/class/virtio-ports/*; do
    [ -s "$port/name" ] || continue
    mkdir -p /dev/virtio-ports
    ln -sf "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done
for nic in /sys/class/net/*; do
    [ -e "$nic/device" ] || continue
    nic=${nic##*/}
    mkdir "/run/net/$nic" 2>/dev/null || continue
    network "$nic" >/dev/null 2>&1 &
done
GUEST

    file 755 bin/network <<'GUEST'
#!/bin/sh
# network CARD: a static address from the seed's network-config, else DHCP.
nic=$1
mac=$(cat "/sys/class/net/$nic/address")
ip link set "$nic" up
static=$(awk -F'|' -v nic="$nic" -v mac="$mac" '$2 != "" ? tolower($2) == mac : $1 == nic' /run/network 2>/dev/null | head -n 1)
if [ -n "$static" ]; then
    IFS='|' read -r _ _ addresses gateway dns <<END
$static
END
    for address in $addresses; do ip addr add "$address" dev "$nic"; done
    [ -z "$gateway" ] || ip route replace default via "$gateway" dev "$nic"
    for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
    echo "virga-guest: $nic $addresses" >/dev/console
else
    exec udhcpc -f -i "$nic" -s /bin/on-lease -t 5 -T 1 -A 3 -x "hostname:$(hostname)"
fi
GUEST

    file 755 bin/on-lease <<'GUEST'
#!/bin/sh
# udhcpc calls this with what the DHCP server said.
case $1 in
    deconfig)
        ip -4 addr flush dev "$interface"
        ;;
    bound | renew)
        ip addr replace "$ip/${mask:-24}" broadcast "${broadcast:-+}" dev "$interface"
        for gateway in $router; do
            ip route replace default via "$gateway" dev "$interface" && break
        done
        : >/etc/resolv.conf
        [ -z "$domain" ] || echo "search $domain" >>/etc/resolv.conf
        for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
        [ "$1" = renew ] || echo "virga-guest: $interface $ip" >/dev/console
        ;;
esac
GUEST

    file 755 bin/seed <<'GUEST'
#!/bin/sh
# Reads a NoCloud seed: host name, ssh keys, static addresses. Only simple YAML
# is understood; that is what Virga writes.
disk=$(findfs LABEL=cidata 2>/dev/null || findfs LABEL=CIDATA 2>/dev/null) || exit 0
mount -o ro -t iso9660 "$disk" /mnt 2>/dev/null || mount -o ro -t vfat "$disk" /mnt 2>/dev/null || exit 0
mkdir -p /etc/virga
cp /mnt/* /etc/virga/ 2>/dev/null
umount /mnt
cd /etc/virga

value() {
    sed -n "s/^ *\"\\{0,1\\}$1\"\\{0,1\\} *: *[\"']\\{0,1\\}\\([^\"', ]*\\).*/\\1/p" "$2" 2>/dev/null | head -n 1
}
name=$(value local-hostname meta-data)
name=${name:-$(value hostname user-data)}
name=${name:-$(value hostname meta-data)}
if [ -n "$name" ]; then
    name=${name%%.*}
    hostname "$name"
    echo "$name" >/etc/hostname
    echo "127.0.1.1 $name" >>/etc/hosts
fi

# A key is known by its look, wherever in the file it stands.
grep -hoE "(ssh-[a-z0-9]+|ecdsa-sha2-[a-z0-9]+|sk-[a-z0-9@.-]+) AAAA[A-Za-z0-9+/=]+( [^]\"',]*)?" user-data meta-data 2>/dev/null |
    sort -u >/root/.ssh/authorized_keys
chmod 600 /root/.ssh/authorized_keys

# network-config, version 2: one line a card with a static address,
# NAME|MAC|ADDRESSES|GATEWAY|DNS
[ -s network-config ] && tr -d "\"'" <network-config | awk '
    function words(text) { gsub(/[][,]/, " ", text); sub(/^ +/, "", text); sub(/ +$/, "", text); return text }
    function flush() { if (addr != "") print name "|" mac "|" words(addr) "|" gw "|" words(dns); name = mac = addr = gw = dns = "" }
    { indent = match($0, /[^ ]/) - 1; line = $0; sub(/^ +/, "", line); sub(/ *(#.*)?$/, "", line) }
    line == "" { next }
    line == "ethernets:" { base = indent; inside = 1; card = -1; next }
    inside && indent <= base { flush(); inside = 0 }
    !inside { next }
    card < 0 || indent == card { flush(); card = indent; name = line; sub(/:.*/, "", name); list = ""; servers = 0; next }
    { key = line; sub(/^- */, "", key); value = key; sub(/:.*/, "", key); if (!sub(/^[a-z0-9-]+: */, "", value)) value = "" }
    line ~ /^- [^:]*$/ || line ~ /^- [0-9a-f:.]+(\/[0-9]+)?$/ { item = line; sub(/^- */, "", item); if (list == "addr") addr = addr " " item; if (list == "dns") dns = dns " " item; next }
    key == "nameservers" { servers = 1; list = ""; next }
    key == "addresses" { list = servers ? "dns" : "addr"; if (value != "") { if (servers) dns = dns " " value; else addr = addr " " value } next }
    key == "macaddress" { mac = value; next }
    key == "gateway4" { gw = value; next }
    key == "routes" { list = "routes"; servers = 0; next }
    key == "via" && gw == "" { gw = value; next }
    { list = ""; if (key != "search") servers = 0 }
    END { flush() }' >/run/network
exit 0
GUEST

    file 755 bin/guest-agent <<'GUEST'
#!/bin/sh
# The agent's port may be added while the guest runs.
port=/dev/virtio-ports/org.qemu.guest_agent.0
until [ -e "$port" ]; do sleep 1; done
exec qemu-ga -m virtio-serial -p "$port" -t /run >/dev/null 2>&1
GUEST

    file 755 bin/ready <<'GUEST'
#!/bin/sh
echo "virga-guest: ready $(hostname)" >/dev/console
GUEST

    file 755 bin/autologin <<'GUEST'
#!/bin/sh
printf '\n%s login: root (automatic login)\n' "$(hostname)"
exec /bin/sh -l
GUEST

    # The guest agent and people call shutdown as on any distribution:
    # shutdown -h|-P|-H|-r TIME [MESSAGE]
    file 755 bin/shutdown <<'GUEST'
#!/bin/sh
action=poweroff
for word; do
    case $word in
        -r | --reboot) action=reboot ;;
        -H | --halt) action=halt ;;
        -c) exit 0 ;;
    esac
done
exec /bin/$action
GUEST

    file 755 etc/acpi/PWRF/00000080 <<'GUEST'
#!/bin/sh
exec /bin/poweroff
GUEST
}

# file MODE PATH: standard input as a file of the guest.
file() {
    cat >"$WORK/root/$2"
    chmod "$1" "$WORK/root/$2"
}

make_initrd() {
    say "building the system"
    mkdir -p "$WORK/root/lib/modules/$VERSION"
    write_system
    local stage=$WORK/stage module
    copy_program "$(find "$stage" -type f -name qemu-ga -print -quit)" bin
    copy_program "$(find "$stage" -type f -name dropbear -print -quit)" bin
    # The program interpreter is named by its full path in every program.
    copy_program "$(realpath -s "$(find "$stage" -name ld-linux-x86-64.so.2 -print -quit)")" lib
    for module in "${MODULES[@]}"; do copy_module "$module"; done
    if [ "$KERNEL" = linux-image-amd64 ]; then
        for module in "${MORE_MODULES[@]}"; do copy_module "$module"; done
    fi
    busybox depmod -b "$WORK/root" "$VERSION"
    (cd "$WORK/root" && find . -print0 | sort -z | cpio --quiet -0 -o -H newc -R 0:0 --reproducible) |
        zstd -q -19 >"$WORK/initrd"
    cp "$stage/boot/vmlinuz-$VERSION" "$WORK/vmlinuz"
    printf '%s\n' "$CMDLINE" >"$WORK/cmdline"
}

# One FAT file system without partitions: SeaBIOS starts its boot sector
# (syslinux), UEFI starts /EFI/BOOT/BOOTX64.EFI (systemd-boot) from it.
make_disk() {
    say "building the disk"
    local raw=$WORK/tiny.raw size
    size=$(($(stat -c %s "$WORK/vmlinuz") + $(stat -c %s "$WORK/initrd")))
    truncate -s "$(((size >> 20) + 6))M" "$raw"
    mkfs.vfat -n VIRGA-TINY -s 8 "$raw" >/dev/null
    printf 'DEFAULT tiny\nPROMPT 0\nTIMEOUT 0\nLABEL tiny\n  KERNEL /vmlinuz\n  INITRD /initrd\n  APPEND %s\n' "$CMDLINE" >"$WORK/syslinux.cfg"
    printf 'timeout 0\ndefault tiny.conf\n' >"$WORK/loader.conf"
    printf 'title Virga tiny guest\nlinux /vmlinuz\ninitrd /initrd\noptions %s\n' "$CMDLINE" >"$WORK/tiny.conf"
    mmd -i "$raw" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
    mcopy -i "$raw" "$WORK/vmlinuz" "$WORK/initrd" "$WORK/syslinux.cfg" ::/
    mcopy -i "$raw" "$(find "$WORK/stage" -name systemd-bootx64.efi -print -quit)" ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i "$raw" "$WORK/loader.conf" ::/loader/
    mcopy -i "$raw" "$WORK/tiny.conf" ::/loader/entries/
    syslinux --install "$raw"
    qemu-img convert -f raw -O qcow2 -c "$raw" "$WORK/tiny.qcow2"
}

main() {
    local hash file
    hash=$(sha256sum "${BASH_SOURCE[0]}" | cut -d' ' -f1)
    mkdir -p "$OUT"
    # One builds, the others wait for it and then find the result.
    exec 9>"$OUT/.lock"
    flock 9
    if is_fresh "$hash"; then
        say "the guest image is up to date"
    else
        [ "$(uname -m)" = x86_64 ] || die "the tiny guest is built for x86_64 only"
        WORK=$(mktemp -d "$OUT/.build.XXXXXX")
        trap cleanup EXIT
        unpack
        make_initrd
        make_disk
        rm -f "$OUT/.built-from"
        for file in "${FILES[@]}"; do mv -f "$WORK/$file" "$OUT/$file"; done
        printf '%s\n' "$hash" >"$OUT/.built-from"
        say "built in $SECONDS s, tiny.qcow2 has $(($(stat -c %s "$OUT/tiny.qcow2") >> 20)) MB"
    fi
    printf '%s\n' "$OUT"
}

main
