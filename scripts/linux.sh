# Fetches Debian's kernels and busybox as packages and makes build/linux/{vmlinuz-cloud,vmlinuz,
# initrd}, and kvm/ for tests/validation: a kernel with its KVM modules. Nothing is installed but cpio.
# Sourced by ./bootstrap.

LINUX_FOLDER=build/linux

# The versioned package that a kernel's meta package depends on: linux-image-6.1.0-N-amd64.
linux_package() {
    apt-cache depends "$1" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

# linux_unpack META NAME: the kernel of the package behind META, as NAME. One that is there stays:
# delete it to get the newest.
linux_unpack() {
    local meta=$1 name=$2 folder=$LINUX_FOLDER/unpacked package
    [ ! -f "$LINUX_FOLDER/$name" ] || return 0
    package=$(linux_package "$meta")
    if [ -z "$package" ]; then
        apt_update || true
        package=$(linux_package "$meta")
    fi
    [ -n "$package" ] || die "apt knows no package $meta" "check apt's sources, then run apt-get update"

    say "downloading $package"
    rm -rf "$folder"
    mkdir -p "$folder"
    packages_download "$folder" "$package"
    dpkg -x "$folder"/*.deb "$folder"
    install -m 644 "$folder"/boot/vmlinuz-* "$LINUX_FOLDER/$name.new"
    mv "$LINUX_FOLDER/$name.new" "$LINUX_FOLDER/$name"
    rm -rf "$folder"
}

# linux_kvm: the cloud kernel once more, with the modules of the same package.
linux_kvm() {
    local folder=$LINUX_FOLDER/unpacked package
    [ ! -f "$LINUX_FOLDER/kvm/vmlinuz" ] || return 0
    package=$(linux_package linux-image-cloud-amd64)
    [ -n "$package" ] || die "apt knows no package linux-image-cloud-amd64" \
        "check apt's sources, then run apt-get update"
    say "downloading $package for its KVM modules"
    rm -rf "$folder" "$LINUX_FOLDER/kvm.new"
    mkdir -p "$folder" "$LINUX_FOLDER/kvm.new"
    packages_download "$folder" "$package"
    dpkg -x "$folder"/*.deb "$folder"
    find "$folder/lib/modules" \( -name 'kvm*.ko' -o -name irqbypass.ko \) \
        -exec install -m 644 -t "$LINUX_FOLDER/kvm.new" {} +
    install -m 644 "$folder"/boot/vmlinuz-* "$LINUX_FOLDER/kvm.new/vmlinuz"
    rm -rf "$LINUX_FOLDER/kvm"
    mv "$LINUX_FOLDER/kvm.new" "$LINUX_FOLDER/kvm"
    rm -rf "$folder"
}

linux_busybox() {
    local folder=$LINUX_FOLDER/unpacked
    [ ! -x "$LINUX_FOLDER/busybox" ] || return 0
    say "downloading busybox-static"
    rm -rf "$folder"
    mkdir -p "$folder"
    packages_download "$folder" busybox-static
    dpkg -x "$folder"/*.deb "$folder"
    install -m 755 "$folder/bin/busybox" "$LINUX_FOLDER/busybox" 2>/dev/null ||
        install -m 755 "$folder/usr/bin/busybox" "$LINUX_FOLDER/busybox"
    rm -rf "$folder"
}

# The same bytes whenever the inputs are the same: names sorted, times 0, owner 0, inodes renumbered.
linux_initrd() {
    local root=$LINUX_FOLDER/root top
    [ "$LINUX_FOLDER/initrd" -nt "$LINUX_FOLDER/busybox" ] &&
        [ "$LINUX_FOLDER/initrd" -nt scripts/initrd-init ] && return
    say "making $LINUX_FOLDER/initrd"
    top=$(pwd)
    rm -rf "$root"
    mkdir -p "$root"/{bin,dev,proc,sys,tmp}
    install -m 755 "$LINUX_FOLDER/busybox" "$root/bin/busybox"
    install -m 755 scripts/initrd-init "$root/init"
    chmod 755 "$root" "$root"/*/
    find "$root" -exec touch -h -d @0 {} +
    (
        cd "$root"
        find . -mindepth 1 -printf '%P\0' | LC_ALL=C sort -z |
            cpio --quiet -0 -o -H newc --owner=+0:+0 --reproducible >"$top/$LINUX_FOLDER/initrd.new"
    )
    rm -rf "$root"
    mv "$LINUX_FOLDER/initrd.new" "$LINUX_FOLDER/initrd"
}

linux_images() {
    mkdir -p "$LINUX_FOLDER"
    packages_install cpio
    linux_unpack linux-image-cloud-amd64 vmlinuz-cloud
    linux_unpack linux-image-amd64 vmlinuz
    linux_kvm
    linux_busybox
    linux_initrd
    say "ready: $LINUX_FOLDER/vmlinuz-cloud, $LINUX_FOLDER/vmlinuz and $LINUX_FOLDER/initrd"
    cat <<EOF
    build/vtxsim run --kernel $LINUX_FOLDER/vmlinuz-cloud --initrd $LINUX_FOLDER/initrd --append console=ttyS0
EOF
}
