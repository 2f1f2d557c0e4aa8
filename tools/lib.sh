# shellcheck shell=bash
# What the commands in tools/ share: folders, messages, installing packages, building.  Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
cache=${cache:-$root/.cache}/limn

# Debian's names; beside each library, the name by which pkg-config knows it.
build_packages=(cmake ninja-build gcc libc6-dev pkg-config)
library_packages=(ocl-icd-opencl-dev:OpenCL opencl-headers libclblast-dev:clblast libpng-dev:libpng
    libutf8proc-dev:libutf8proc libjansson-dev:jansson libarchive-dev:libarchive zlib1g-dev:zlib libjpeg-dev:libjpeg
    libwebp-dev:libwebp liblcms2-dev:lcms2 libpcre2-dev:libpcre2-8 libmicrohttpd-dev:libmicrohttpd librandom123-dev)
build_packages+=("${library_packages[@]%%:*}")
# shellcheck disable=SC2034 # for tools/test; limn does without
mpi_packages=(libopenmpi-dev openmpi-bin)

say() {
    printf '==> %s\n' "$*" >&2
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and sudo is not there (run it as root, or have an administrator run: $*)"
    fi
}

missing_packages() {
    local package
    for package; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
    done
}

# Installs those Debian packages that are missing.  Without apt it says what is needed, and goes on: CMake, or whoever
# needs it next, finds out whether it is there all the same.
install_packages() {
    local missing
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        say "no apt-get here: going on in the hope that these are there (Debian's names): $*"
        say "libraries by their names in pkg-config: ${library_packages[*]##*:}"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    if ((${#missing[@]} == 0)); then
        return
    fi
    say "installing ${missing[*]}"
    # once for all that a command installs
    if [[ -z $(find "$cache/updated" -mmin -60 2>/dev/null) ]]; then
        as_root apt-get -o DPkg::Lock::Timeout=300 -qq update
        mkdir -p "$cache" && touch "$cache/updated"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends \
        install "${missing[@]}"
}

# venv FOLDER WHEEL...: a virtual environment with these packages.
venv() {
    local folder=$1
    shift
    if [[ $(cat "$folder/installed" 2>/dev/null) == "$*" ]]; then
        return
    fi
    python3 -c 'import venv, ensurepip' 2>/dev/null || install_packages python3-venv
    say "getting $* from PyPI into $folder"
    rm -rf "$folder"
    mkdir -p "${folder%/*}"
    python3 -m venv "$folder" && "$folder/bin/pip" --disable-pip-version-check --no-cache-dir --quiet install \
        --only-binary :all: "$@" && printf '%s\n' "$*" >"$folder/installed"
}

# forget_moved FOLDER: CMake refuses a build folder that was made elsewhere, as where the source has been moved, renamed or
# copied with it.  What it knows of the old place is then forgotten, and all is built again.
forget_moved() {
    local folder=$1 source='' place=''
    [[ -e $folder/CMakeCache.txt ]] || return 0
    source=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$folder/CMakeCache.txt")
    place=$(sed -n 's/^CMAKE_CACHEFILE_DIR:INTERNAL=//p' "$folder/CMakeCache.txt")
    if [[ ! $source -ef $root || ! $place -ef $folder ]]; then
        say "$folder was made for $source, which is not this folder (was it moved?): building anew"
        rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles" "$folder/build.ninja" "$folder/Makefile"
    fi
}

# build FOLDER [cmake options]: configures and builds the tree into FOLDER.
build() {
    local folder=$1 generator=()
    shift
    forget_moved "$folder"
    if [[ ! -e $folder/CMakeCache.txt ]] && command -v ninja >/dev/null; then
        generator=(-G Ninja)
    fi
    say "building in $folder"
    cmake -S "$root" -B "$folder" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release "$@" || return
    cmake --build "$folder" --parallel "$(nproc)"
}

# other_apt FOLDER KIND [ARCHITECTURE]: apt's view of Debian's sources (KIND deb-src) or of another architecture's packages
# (deb), kept in FOLDER, from the places that this machine's packages come from; its own lists stay as they are.
# apt_options: what apt-get has to be given.
other_apt() {
    local folder=$1 kind=$2 architecture=${3-} file
    command -v apt-get >/dev/null || die "this needs Debian's apt-get"
    mkdir -p "$folder/parts" "$folder/lists/partial" "$folder/archives/partial"
    rm -f "$folder"/parts/*
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/{debian,ubuntu}.sources; do
        [[ -e $file ]] || continue
        sed -E "s/^Types:.*/Types: $kind/; s/^deb(-src)? /$kind /" "$file" >"$folder/parts/$(basename "$file")"
    done
    apt_options=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$folder/parts"
        -o "Dir::State::lists=$folder/lists" -o "Dir::Cache::archives=$folder/archives"
        -o APT::Sandbox::User=root -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=")
    if [[ $architecture ]]; then # of which nothing is installed
        : >"$folder/status"
        apt_options+=(-o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"
            -o "Dir::State::status=$folder/status")
    fi
    apt-get "${apt_options[@]}" -qq update
}
