# Boots Debian's cloud kernel inside an emulator, runs guests there on its KVM, and brings their
# output home. Sourced by tests/validation/run, which sets linux, program, guests, work.

# emulator_missing PACKAGE=COMMAND...: names what is not installed.
emulator_missing() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair#*=}" >/dev/null || [ -e "${pair#*=}" ] || missing+=("${pair%%=*}")
    done
    [ ${#missing[@]} -gt 0 ] && printf 'not installed: %s' "${missing[*]}"
}

# emulator_initrd FILE JOBS: what runs inside.
emulator_initrd() {
    local root=$work/root
    rm -rf "$root"
    mkdir -p "$root"/{bin,dev,proc,sys,tmp,modules,guests,cpus}
    install -m 755 "$linux/busybox" "$root/bin/busybox"
    install -m 755 "$program" "$root/bin/vtxsim"
    install -m 755 "$here/init" "$root/init"
    install -m 644 "$linux"/kvm/*.ko "$root/modules"
    install -m 644 "$top"/models/cpus/*.cfg "$root/cpus"
    cp "$2" "$root/jobs"
    cut -d '|' -f 2 "$2" | awk '{ print $1 }' | sort -u | while read -r image; do
        cp "$guests/$image" "$root/guests"
    done
    (cd "$root" && find . -print0 | cpio --quiet -0 -o -H newc | gzip -1) >"$1"
}

KERNEL_OPTIONS="console=ttyS0 quiet panic=-1 nokaslr mitigations=off no_timer_check"

# emulator_tcg JOBS LOG: kvm-amd on the SVM of QEMU's TCG.
emulator_tcg() {
    emulator_initrd "$work/initrd" "$1"
    timeout 60 qemu-system-x86_64 -accel tcg -cpu max -m 512 -nodefaults \
        -display none -no-reboot -serial stdio -kernel "$linux/kvm/vmlinuz" \
        -initrd "$work/initrd" -append "$KERNEL_OPTIONS" </dev/null >"$2" 2>"$work/tcg.errors"
}

# emulator_bochs JOBS LOG: kvm-intel on Bochs's VMX.
emulator_bochs() {
    local iso=$work/iso
    mkdir -p "$iso/isolinux"
    cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$iso/isolinux"
    cp "$linux/kvm/vmlinuz" "$iso/vmlinuz"
    emulator_initrd "$iso/initrd" "$1"
    cat >"$iso/isolinux/isolinux.cfg" <<END
default linux
prompt 0
label linux
 kernel /vmlinuz
 append initrd=/initrd $KERNEL_OPTIONS
END
    genisoimage -quiet -o "$work/boot.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
        -no-emul-boot -boot-load-size 4 -boot-info-table "$iso" 2>"$work/bochs.errors"
    cat >"$work/bochsrc" <<END
cpu: model=corei7_skylake_x, count=1, ips=200000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$2
display_library: rfb, options="timeout=0"
log: $work/bochs.log
panic: action=fatal
clock: sync=none
END
    # Debian's Bochs has its debugger built in, which waits for a command.
    (cd "$work" && echo c | timeout 1200 bochs -q -f bochsrc) \
        >"$work/bochs.output" 2>&1
}

# emulator_unpack LOG FOLDER: NAME.out, NAME.err and NAME.status of each job.
emulator_unpack() {
    tr -d '\r' <"$1" | awk -v folder="$2" '
        /^@begin / { file = folder "/" $2 ".out.b64"; printf "" >file; next }
        /^@errors / { close(file); file = folder "/" $2 ".err.b64"; printf "" >file; next }
        /^@end / { close(file); file = ""; print $3 >(folder "/" $2 ".status"); next }
        /^@error / { print substr($0, 8) >(folder "/error") }
        file { print >file }'
    local file
    for file in "$2"/*.b64; do
        [ -e "$file" ] || continue
        base64 -d "$file" 2>/dev/null | gunzip 2>/dev/null >"${file%.b64}"
        rm "$file"
    done
}
