# Source this (bash or zsh) for a shell in which squeezenet_node and everything in the docs runs:
#     . ./env.sh
# It adds what `make setup` made in .deps/ to a ROS 2 that is sourced already, or is one itself.

if [ -n "${BASH_SOURCE:-}" ]; then _sq_file="${BASH_SOURCE[0]}"; else _sq_file="$(eval 'printf %s "${(%):-%x}"')"; fi
_sq_root="$(cd "$(dirname "$_sq_file")" && pwd)"
_sq_deps="$_sq_root/.deps"
# A checkout may share another's .deps by links: what is built against it then stays valid in both.
_sq_venv="$(readlink -m "$_sq_deps/venv")"
_sq_underlay="$(readlink -m "$_sq_deps/underlay")"

if [ ! -x "$_sq_venv/bin/python" ]; then
    echo "env.sh: nothing is set up yet: run 'make setup' in $_sq_root first" >&2
    unset _sq_file _sq_root _sq_deps _sq_venv _sq_underlay
    return 1
fi

# _sq_front VARIABLE DIRECTORY: puts the directory first, once.
_sq_front() {
    eval "_sq_old=\${$1:-}"
    case ":$_sq_old:" in
    *":$2:"*) ;;
    *) eval "export $1=\"\$2\${_sq_old:+:\$_sq_old}\"" ;;
    esac
}

_sq_site="$(echo "$_sq_venv"/lib/python3.*/site-packages)"
if [ "$(cat "$_sq_deps/ros" 2>/dev/null)" = wheels ]; then
    export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    # Traffic stays on this machine unless told otherwise.
    export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
    export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
    _sq_front AMENT_PREFIX_PATH "$_sq_venv"
    _sq_front CMAKE_PREFIX_PATH "$_sq_venv"
    for _sq_libs in "$_sq_site"/ros_*.libs; do _sq_front LD_LIBRARY_PATH "$_sq_libs"; done
    _sq_front LD_LIBRARY_PATH "$_sq_venv/lib"
fi
if [ -d "$_sq_underlay/share" ]; then
    _sq_front AMENT_PREFIX_PATH "$_sq_underlay"
    _sq_front CMAKE_PREFIX_PATH "$_sq_underlay"
    _sq_front LD_LIBRARY_PATH "$_sq_underlay/lib"
    _sq_front PYTHONPATH "$(echo "$_sq_underlay"/lib/python3.*/site-packages)"
fi
# The package itself, once `make install` has laid it out.
if [ -d "$_sq_deps/install/share/squeezenet_node" ]; then
    _sq_front AMENT_PREFIX_PATH "$_sq_deps/install"
fi
_sq_front PATH "$_sq_venv/bin"
_sq_front PATH "$_sq_root/scripts/bin"
_sq_front PATH "$_sq_root/target/release"

# Building: bindgen's libclang with the C compiler's own headers, and the messages that are used.
if [ -e "$_sq_site/clang/native/libclang.so" ]; then
    export LIBCLANG_PATH="${LIBCLANG_PATH:-$_sq_site/clang/native}"
    export BINDGEN_EXTRA_CLANG_ARGS="${BINDGEN_EXTRA_CLANG_ARGS:--I$(cc -print-file-name=include)}"
fi
export IDL_PACKAGE_FILTER="builtin_interfaces;std_msgs;std_srvs;sensor_msgs;geometry_msgs;nav_msgs;diagnostic_msgs;rcl_interfaces;rosgraph_msgs;vision_msgs;tf2_msgs;lifecycle_msgs;bond;action_msgs;unique_identifier_msgs;service_msgs;type_description_interfaces"

# Running: ONNX Runtime, and room in shared memory for whole camera frames.
if [ -z "${ORT_DYLIB_PATH:-}" ]; then
    for _sq_ort in "$_sq_site"/onnxruntime/capi/libonnxruntime.so.*; do
        if [ -e "$_sq_ort" ]; then export ORT_DYLIB_PATH="$_sq_ort"; fi
    done
fi
if [ -z "${FASTRTPS_DEFAULT_PROFILES_FILE:-}" ] && [ -z "${FASTDDS_DEFAULT_PROFILES_FILE:-}" ]; then
    export FASTRTPS_DEFAULT_PROFILES_FILE="$_sq_root/config/fastdds_large_frames.xml"
fi
export SQUEEZENET_ENV="$_sq_root"
unset _sq_file _sq_root _sq_deps _sq_venv _sq_underlay _sq_site _sq_libs _sq_ort _sq_old
unset -f _sq_front
