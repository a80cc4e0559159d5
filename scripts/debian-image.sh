#!/usr/bin/env bash
# Builds a Debian 12 image for Virga: cloud-init, ssh, the guest agent, and a root
# file system that grows with its disk. Boots from SeaBIOS and from UEFI.
#
#   scripts/debian-image.sh OUT.qcow2
#
# Settings (environment):
#   VIRGA_DEBIAN_SUITE      release                       (bookworm)
#   VIRGA_DEBIAN_MIRROR     package mirror                (mmdebstrap's own choice)
#   VIRGA_DEBIAN_KERNEL     kernel package                (linux-image-amd64)
#   VIRGA_DEBIAN_INCLUDE    further packages, joined by commas
#   VIRGA_DEBIAN_DISK_MIB   size of the disk in MiB       (2560)
#
# No loop device, device mapper or running guest is used: the file systems are
# written into files, and the disk is put together from them. Needs root (directly
# or through sudo), because the guest's files belong to many users.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

SUITE=${VIRGA_DEBIAN_SUITE:-bookworm}
MIRROR=${VIRGA_DEBIAN_MIRROR:-}
KERNEL=${VIRGA_DEBIAN_KERNEL:-linux-image-amd64}
DISK_MIB=${VIRGA_DEBIAN_DISK_MIB:-2560}
PACKAGES=$KERNEL,systemd-sysv,systemd-resolved,systemd-boot-efi,dbus,udev,zstd,initramfs-tools,cloud-init,cloud-guest-utils,fdisk,e2fsprogs
PACKAGES+=,openssh-server,qemu-guest-agent,sudo,ca-certificates,iproute2,iputils-ping,less,netbase,procps,tzdata
PACKAGES+=${VIRGA_DEBIAN_INCLUDE:+,$VIRGA_DEBIAN_INCLUDE}
# The disk: a boot partition that both firmwares can read (FAT, the EFI system
# partition), then the root file system as the last partition, so that it can grow.
readonly BOOT_START_MIB=1 BOOT_MIB=192
readonly ROOT_START_MIB=$((BOOT_START_MIB + BOOT_MIB))
readonly ROOT_LABEL=virga-root BOOT_LABEL=VIRGA-BOOT
readonly CMDLINE="root=LABEL=$ROOT_LABEL ro console=tty1 console=ttyS0,115200n8"
readonly SUITE MIRROR KERNEL DISK_MIB PACKAGES

WORK=
cleanup() { [ -z "$WORK" ] || as_root rm -rf "$WORK"; }

check_tools() {
    local tool missing=()
    for tool in mmdebstrap qemu-img mke2fs mkfs.vfat mcopy syslinux; do
        command -v "$tool" >/dev/null 2>&1 || missing+=("$tool")
    done
    [ ${#missing[@]} = 0 ] || die "missing: ${missing[*]} ('scripts/setup.sh test' installs what they are in)"
    [ -s /usr/lib/SYSLINUX/mbr.bin ] || [ -s /usr/lib/syslinux/mbr/mbr.bin ] || die "the boot record of syslinux is missing: install syslinux-common"
}

mbr_bin() {
    if [ -s /usr/lib/syslinux/mbr/mbr.bin ]; then echo /usr/lib/syslinux/mbr/mbr.bin; else echo /usr/lib/SYSLINUX/mbr.bin; fi
}

# file MODE PATH: standard input as a file of the guest.
file() {
    mkdir -p "$WORK/files/$(dirname "$2")"
    cat >"$WORK/files/$2"
    chmod "$1" "$WORK/files/$2"
}

# What is ours in the guest.
write_files() {
    file 644 etc/fstab <<EOT
LABEL=$ROOT_LABEL / ext4 defaults,errors=remount-ro 0 1
LABEL=$BOOT_LABEL /boot/efi vfat umask=0077,nofail 0 2
EOT
    # Virga gives the seed as a file system labelled "cidata"; nothing else is asked.
    file 644 etc/cloud/cloud.cfg.d/90_virga.cfg <<'EOT'
datasource_list: [NoCloud, None]
system_info:
  network:
    renderers: [networkd]
# C.UTF-8 is always there; others would need the package locales.
locale: false
EOT
    file 644 etc/default/locale <<'EOT'
LANG=C.UTF-8
EOT
    file 644 etc/kernel-img.conf <<'EOT'
do_symlinks = no
EOT
    file 644 etc/default/virga-boot <<EOT
# Options of the kernel; run virga-update-boot after a change.
CMDLINE="$CMDLINE"
EOT
    file 755 usr/local/sbin/virga-update-boot <<'EOT'
#!/bin/sh
# Copies the newest kernel to the boot partition, which holds one kernel only.
set -eu
. /etc/default/virga-boot
boot=/boot/efi
version=$(ls /boot/vmlinuz-* | sed 's,^/boot/vmlinuz-,,' | sort -V | tail -n 1)
[ -n "$version" ] && [ -e "/boot/initrd.img-$version" ] || exit 0
mkdir -p "$boot/loader/entries"
cp "/boot/vmlinuz-$version" "$boot/vmlinuz.new"
cp "/boot/initrd.img-$version" "$boot/initrd.new"
mv -f "$boot/vmlinuz.new" "$boot/vmlinuz"
mv -f "$boot/initrd.new" "$boot/initrd"
printf 'DEFAULT debian\nPROMPT 0\nTIMEOUT 0\nLABEL debian\n  KERNEL /vmlinuz\n  INITRD /initrd\n  APPEND %s\n' "$CMDLINE" >"$boot/syslinux.cfg"
printf 'timeout 0\ndefault debian.conf\n' >"$boot/loader/loader.conf"
printf 'title Debian %s\nlinux /vmlinuz\ninitrd /initrd\noptions %s\n' "$version" "$CMDLINE" >"$boot/loader/entries/debian.conf"
sync -f "$boot" 2>/dev/null || sync
EOT
    # dpkg calls the one after a kernel, update-initramfs the other after an initrd.
    for hook in etc/kernel/postinst.d/zz-virga-boot etc/initramfs/post-update.d/zz-virga-boot; do
        file 755 "$hook" <<'EOT'
#!/bin/sh
# The boot partition is a copy: it follows every new kernel and initrd.
mountpoint -q /boot/efi || exit 0
exec /usr/local/sbin/virga-update-boot
EOT
    done
}

# What differs from VM to VM must not be in the image: cloud-init and the first
# boot make it.
write_hook() {
    cat >"$WORK/customize" <<'EOT'
#!/bin/sh
set -eu
root=$1
cp -a --no-preserve=ownership "$VIRGA_FILES/." "$root/"
mkdir -p "$root/boot/efi"
chroot "$root" systemctl enable systemd-networkd systemd-resolved ssh qemu-guest-agent >/dev/null 2>&1 || true
chroot "$root" /usr/local/sbin/virga-update-boot
cp -a "$root/boot/efi/." "$VIRGA_BOOT/"
mkdir -p "$VIRGA_BOOT/EFI/BOOT"
cp "$root/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$VIRGA_BOOT/EFI/BOOT/BOOTX64.EFI"
find "$root/boot/efi" -mindepth 1 -delete
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf" "$root/var/lib/dbus/machine-id"
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt/*
EOT
    chmod 755 "$WORK/customize"
}

make_root() {
    say "installing Debian $SUITE (some minutes)"
    write_files
    write_hook
    mkdir -p "$WORK/boot"
    as_root env VIRGA_FILES="$WORK/files" VIRGA_BOOT="$WORK/boot" DEBIAN_FRONTEND=noninteractive \
        mmdebstrap --quiet --mode=root --variant=minbase --include="$PACKAGES" \
        --aptopt='APT::Install-Recommends "false"' \
        --customize-hook="$WORK/customize \"\$1\"" \
        "$SUITE" "$WORK/root" ${MIRROR:+"$MIRROR"}
}

# le32 NUMBER: four bytes, least one first, as printf escapes.
le32() { printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }

# partition FLAG TYPE START_MIB MIB: an entry of the partition table; positions as
# cylinder, head and sector are not used by anybody any more (fe ff ff).
partition() { printf '\\x%s\\xfe\\xff\\xff\\x%s\\xfe\\xff\\xff%s%s' "$1" "$2" "$(le32 $(($3 * 2048)))" "$(le32 $(($4 * 2048)))"; }

# A partition table and boot record in the first sector of the disk.
write_table() {
    local disk=$1 entries
    # The guest's tools tell disks apart by this number.
    entries=$(le32 $((RANDOM << 16 | RANDOM)))'\x00\x00'
    entries+=$(partition 80 ef $BOOT_START_MIB $BOOT_MIB)
    entries+=$(partition 00 83 $ROOT_START_MIB $((DISK_MIB - ROOT_START_MIB)))
    dd if="$(mbr_bin)" of="$disk" bs=440 count=1 conv=notrunc status=none
    printf '%b' "$entries" | dd of="$disk" bs=1 seek=440 conv=notrunc status=none
    printf '\x55\xaa' | dd of="$disk" bs=1 seek=510 conv=notrunc status=none
}

make_disk() {
    local disk=$WORK/disk.raw
    say "putting the disk together"
    truncate -s "${DISK_MIB}M" "$disk"
    write_table "$disk"
    as_root mke2fs -q -t ext4 -L "$ROOT_LABEL" -d "$WORK/root" -E "offset=$((ROOT_START_MIB << 20)),root_owner=0:0,lazy_itable_init=1" \
        "$disk" "$(((DISK_MIB - ROOT_START_MIB) << 10))k"
    as_root chown -R "$(id -u)" "$WORK/boot"
    truncate -s "${BOOT_MIB}M" "$WORK/boot.raw"
    # The boot sector must know where on the disk it lies.
    mkfs.vfat -n "$BOOT_LABEL" -h $((BOOT_START_MIB * 2048)) "$WORK/boot.raw" >/dev/null
    mcopy -s -i "$WORK/boot.raw" "$WORK"/boot/* ::/
    dd if="$WORK/boot.raw" of="$disk" bs=1M seek=$BOOT_START_MIB conv=notrunc,sparse status=none
    syslinux --offset $((BOOT_START_MIB << 20)) --install "$disk"
    say "compressing"
    qemu-img convert -f raw -O qcow2 -c "$disk" "$WORK/disk.qcow2"
}

main() {
    local out=${1:-}
    if [ $# != 1 ] || [ -z "$out" ] || [ "${out#-}" != "$out" ]; then die "usage: $0 OUT.qcow2"; fi
    [ ! -e "$out" ] || die "$out exists: remove it or give another name"
    [ "$DISK_MIB" -ge 1536 ] || die "VIRGA_DEBIAN_DISK_MIB must be at least 1536"
    check_tools
    WORK=$(mktemp -d "$(dirname "$out")/.debian-image.XXXXXX")
    # mmdebstrap's programs must be able to pass through.
    chmod 755 "$WORK"
    trap cleanup EXIT
    make_root
    make_disk
    mv "$WORK/disk.qcow2" "$out"
    say "built in $SECONDS s: $out, $(($(stat -c %s "$out") >> 20)) MB, a disk of $DISK_MIB MiB"
}

main "$@"
