# Debian packages for vtxsim: what is missing is installed, and Unicorn comes from where it can be
# had. Sourced by ./bootstrap, which defines say and die and stands in the project's top folder.

APT_LOG=build/apt.log
UNICORN_VERSION=2.1.1
UNICORN_SUITE=trixie # the Debian release that ships this version

package_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Runs an apt command as root, its output in the log.
apt_as_root() {
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || return 126
        sudo=(sudo)
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >>"$APT_LOG" 2>&1
}

apt_update() {
    say "refreshing apt's package lists"
    apt_as_root update
}

# packages_install PACKAGE...: installs those that are missing; no apt call when none is.
packages_install() {
    local missing=() package
    for package in "$@"; do
        package_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    mkdir -p build
    : >"$APT_LOG"
    say "installing with apt: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "these packages are missing and there is no sudo to install them:" \
            "run as root: apt-get install ${missing[*]}"
    fi
    # Lists that are absent or too old make the first attempt fail.
    apt_as_root install -y --no-install-recommends "${missing[@]}" && return 0
    apt_update && apt_as_root install -y --no-install-recommends "${missing[@]}" && return 0
    tail -n 5 "$APT_LOG" >&2
    die "apt could not install: ${missing[*]}" \
        "the whole of its output is in $APT_LOG; install them by hand and run this again"
}

# packages_download FOLDER PACKAGE...: fetches .deb files without installing them.
packages_download() {
    local folder=$1
    shift
    : >"$APT_LOG"
    (cd "$folder" && apt-get -q -o APT::Sandbox::User=root download "$@") >>"$APT_LOG" 2>&1 && return 0
    apt_update || true
    (cd "$folder" && apt-get -q -o APT::Sandbox::User=root download "$@") >>"$APT_LOG" 2>&1 && return 0
    tail -n 5 "$APT_LOG" >&2
    die "apt could not download: $*" \
        "the whole of its output is in $APT_LOG; check the network and apt's sources"
}

# The version of Unicorn whose headers lie under a root ("" for the system's), or nothing.
unicorn_version_at() {
    local header=$1/usr/include/unicorn/unicorn.h
    [ -f "$header" ] || return 0
    sed -n 's/^#define UC_API_\(MAJOR\|MINOR\|PATCH\) \([0-9]\+\).*/\2/p' "$header" | paste -sd.
}

# The addresses of the Debian archives that this system uses for its main component, as apt itself
# reads them from its sources (both formats, comments and disabled entries understood).
apt_mirrors() {
    apt-get indextargets --format '$(COMPONENT) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "main" && $2 !~ /security|updates|backports/ && !seen[$3]++ { print $3 }'
}

# unicorn_unpack MIRROR FOLDER: unpacks the packages of UNICORN_SUITE, touching nothing else.
unicorn_unpack() {
    local mirror=$1 folder=$2 top
    top=$(pwd)
    rm -rf "$folder"
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/root"
    cat >"$folder/unicorn.sources" <<EOF
Types: deb
URIs: $mirror
Suites: $UNICORN_SUITE
Components: main
Architectures: amd64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
    local apt=(apt-get -q
        -o "Dir::Etc::sourcelist=$top/$folder/unicorn.sources" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::Lists=$top/$folder/lists" -o "Dir::Cache=$top/$folder/cache"
        -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0)
    "${apt[@]}" update >>"$APT_LOG" 2>&1 || return 1
    (cd "$folder" && "${apt[@]}" download libunicorn2t64 libunicorn-dev) >>"$APT_LOG" 2>&1 || return 1
    local package
    for package in "$folder"/*.deb; do
        dpkg -x "$package" "$folder/root" || return 1
    done
    [ "$(unicorn_version_at "$folder/root")" = "$UNICORN_VERSION" ]
}

# Makes Unicorn available and sets UNICORN_ROOT: "" for the system's own, else the unpacked one.
unicorn_install() {
    if [ -n "${VTXSIM_UNICORN_ROOT:-}" ]; then
        UNICORN_ROOT=$VTXSIM_UNICORN_ROOT
        [ "$(unicorn_version_at "$UNICORN_ROOT")" = "$UNICORN_VERSION" ] ||
            die "VTXSIM_UNICORN_ROOT=$UNICORN_ROOT holds no Unicorn $UNICORN_VERSION" \
                "unset it, and ./bootstrap gets the right one"
        return
    fi
    UNICORN_ROOT=$(pwd)/build/unicorn
    [ "$(unicorn_version_at build/unicorn)" != "$UNICORN_VERSION" ] || return 0
    UNICORN_ROOT=
    [ "$(unicorn_version_at "")" != "$UNICORN_VERSION" ] || return 0

    mkdir -p build
    : >"$APT_LOG"
    if apt-cache policy libunicorn-dev 2>/dev/null | grep -q "Candidate: $UNICORN_VERSION"; then
        packages_install libunicorn-dev
        [ "$(unicorn_version_at "")" != "$UNICORN_VERSION" ] || return 0
    fi
    say "unpacking Unicorn $UNICORN_VERSION from Debian $UNICORN_SUITE into build/unicorn"
    local mirror
    for mirror in $(apt_mirrors); do
        if unicorn_unpack "$mirror" build/unicorn.new; then
            rm -rf build/unicorn
            mv build/unicorn.new/root build/unicorn
            rm -rf build/unicorn.new
            UNICORN_ROOT=$(pwd)/build/unicorn
            return
        fi
    done
    tail -n 5 "$APT_LOG" >&2
    die "no Unicorn $UNICORN_VERSION: this system has none, and no Debian archive in apt's sources" \
        "offers $UNICORN_SUITE's. Put libunicorn-dev $UNICORN_VERSION into a folder (dpkg -x) and set" \
        "VTXSIM_UNICORN_ROOT to it. What apt said is in $APT_LOG"
}
