# Sourced by the other scripts: finds Python and prepares the environment.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# Ends the script with one line on stderr.
fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Prepares the profile `runtime`, `dev`, `tests` or `fuzz`: see environment.py.
prepare() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" "$root/scripts/environment.py" "$1" || exit 1
            return
        fi
    done
    fail "Python 3.11 or newer is needed and was not found; on Debian: apt install python3 python3-pip"
}
