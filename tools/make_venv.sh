#!/bin/sh
# Makes a virtual environment with pip from the fastest interpreter on the PATH: tools/make_venv.sh DIRECTORY
#
# How CPython was built matters more to makoredis than which version it is: without profile-guided optimisation, as
# version managers build it by default, everything takes 1.3 to 1.6 times as long. Set PYTHON to choose by hand.
set -eu
directory=$1

# Prints what a fixed piece of work takes, in microseconds. Fails below 3.11, and without the venv module.
probe='
import sys, time, venv
assert sys.version_info >= (3, 11)
def work():
    table, found, started = {}, [], time.perf_counter()
    for number in range(40000):
        words = [b"GET", b"key"]
        found.append((table.get(words[1]), len(str(number))))
        if len(found) > 100:
            found.clear()
    return time.perf_counter() - started
print(int(min(work() for _ in range(5)) * 1e6))'

# Interpreters named on the PATH, one a line, each behind its time.
candidates() {
    old_ifs=$IFS
    IFS=:
    for folder in $PATH; do
        for name in python3.11 python3.12 python3.13 python3; do
            time=$("$folder/$name" -c "$probe" 2>/dev/null) && echo "$time $folder/$name"
        done
    done | sort -n
    IFS=$old_ifs
}

if [ -n "${PYTHON:-}" ]; then
    exec "$PYTHON" -m venv "$directory"
fi
pythons=$(candidates | sed 's/^[0-9]* //')
for python in $pythons; do
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        exec "$python" -m venv "$directory"
    fi
    # Debian's interpreter without its package python3-venv: pip comes from another one.
    for donor in $pythons; do
        if "$donor" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip "$directory" &&
            "$donor" -m pip --disable-pip-version-check --python "$directory/bin/python" install --quiet pip; then
            exit 0
        fi
    done
    rm -rf "$directory"
done
echo "makoredis needs Python 3.11 or newer with the venv module (Debian: apt-get install python3-venv)" >&2
exit 1
