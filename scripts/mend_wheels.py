"""Mends ROS 2's wheels in a virtual environment so that C and Rust programs link against them."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy


def add_rmw_implementation(lib: Path) -> None:
    """The wheels are built for one middleware and lack the library that chooses one."""
    link = lib / "librmw_implementation.so"
    if not link.exists():
        link.symlink_to("librmw_fastrtps_cpp.so")


def drop_python_dependencies(lib: Path, patchelf: Path) -> None:
    """librcl and friends name libraries as needed that only work inside a Python process."""
    for library in sorted(lib.glob("*.so")):
        if library.name.endswith("_generator_py.so") or library.is_symlink():
            continue
        needed = subprocess.run(
            [patchelf, "--print-needed", library], check=True, capture_output=True, text=True
        ).stdout.split()
        unwanted = [name for name in needed if name.endswith("_rosidl_generator_py.so")]
        if unwanted:
            removals = [argument for name in unwanted for argument in ("--remove-needed", name)]
            subprocess.run([patchelf, *removals, library], check=True)
            print(f"{library.name}: dropped {', '.join(unwanted)}")


def correct_paths(share: Path) -> None:
    """The cmake files name the Python that the wheels were built with."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    built_with = f"/opt/python/{tag}-{tag}"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    corrections = {
        f"{built_with}/lib/{version}/site-packages/numpy/_core/include": numpy.get_include(),
        f"{built_with}/include/{version}": sysconfig.get_paths()["include"],
    }
    for path in share.rglob("*.cmake"):
        text = mended = path.read_text()
        for wrong, right in corrections.items():
            mended = mended.replace(wrong, right)
        if mended != text:
            path.write_text(mended)
            print(f"{path.name}: corrected")


def main() -> None:
    prefix = Path(sys.argv[1])
    add_rmw_implementation(prefix / "lib")
    drop_python_dependencies(prefix / "lib", prefix / "bin" / "patchelf")
    correct_paths(prefix / "share")


if __name__ == "__main__":
    main()
