"""A wheel with kernels inside, for the system that it is made on: python -m tools.wheel, or make wheel.

The wheel that pip makes of the sources is unpacked, kernels are compiled from what is in it for each level of CPUs, two
processes at a time, and it is packed again under the name of the system.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import scipy.sparse  # noqa: F401  without it nobody asks for the kernels of CSR matrices

from fastfc.kernels.fused.shipped import LEVELS
from fastfc.machine.threads import available_threads

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "build" / "wheel"
TAGS = {  # by system and machine
    "linux x86_64": "manylinux_2_17_x86_64",
    "linux aarch64": "manylinux_2_17_aarch64",
    "darwin arm64": "macosx_11_0_arm64",
    "win32 amd64": "win_amd64",
}
PARTS = 4  # in which the kernels of a level are compiled, each by a process of its own, which takes memory as it goes on

# Compiles every PARTS-th of the kernels, from the given one on, for the CPU of NUMBA_CPU_NAME.
COMPILE = """
import sys
from fastfc import ahead
which, part, parts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ahead.ship(getattr(ahead, which)()[part::parts])
"""


def main() -> None:
    options = _options()
    shutil.rmtree(BUILT, ignore_errors=True)
    site = BUILT / "site"
    _unpack_plain(site)
    levels = options.levels or list(LEVELS)
    jobs = [(level, part) for level in levels for part in range(options.parts)]
    with ThreadPoolExecutor(options.processes) as pool:
        for level, part in pool.map(lambda job: _compile(site, options.kernels, options.parts, *job), jobs):
            print(f"{level}: part {part + 1} of {options.parts}", flush=True)
    print(_pack(site, options.out))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the wheel (default: dist)")
    parser.add_argument("--levels", nargs="*", choices=list(LEVELS), help="of CPUs (default: all)")
    parser.add_argument("--kernels", default="everything", choices=["usual", "everything"])
    parser.add_argument("--parts", type=int, default=PARTS, help="into which the kernels of a level are divided")
    parser.add_argument("--processes", type=int, default=available_threads(), help="that compile at a time")
    return parser.parse_args()


def _unpack_plain(site: Path) -> None:
    """The wheel of the sources alone, unpacked. They are copied first: setuptools takes what older builds left beside them."""
    source = BUILT / "source"
    for name in ("fastfc", "kernels"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "objects"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(BUILT), str(source)]
    subprocess.run(command, check=True)
    (file,) = BUILT.glob("fastfc-*-none-any.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(site)


def _compile(site: Path, kernels: str, parts: int, level: str, part: int) -> tuple[str, int]:
    environment = {**os.environ, "PYTHONPATH": str(site), "NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-W", "error", "-c", COMPILE, kernels, str(part), str(parts)]
    subprocess.run(command, check=True, env=environment, cwd=site)
    return level, part


def _pack(site: Path, out: Path) -> Path:
    """The wheel of all that is in `site`."""
    tag = f"py3-none-{TAGS[f'{sys.platform} {platform.machine().lower()}']}"
    (info,) = site.glob("fastfc-*.dist-info")
    wheel, record = info / "WHEEL", info / "RECORD"
    wheel.write_text(wheel.read_text().replace("Tag: py3-none-any", f"Tag: {tag}"))
    files = [path for path in sorted(site.rglob("*")) if path.is_file() and path != record and "__pycache__" not in path.parts]
    lines = [_recorded(path, path.relative_to(site).as_posix()) for path in files]
    record.write_text("\n".join([*lines, f"{record.relative_to(site).as_posix()},,", ""]))
    out.mkdir(parents=True, exist_ok=True)
    packed = out / f"{info.name.removesuffix('.dist-info')}-{tag}.whl"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [*files, record]:
            archive.write(path, path.relative_to(site).as_posix())
    return packed


def _recorded(path: Path, name: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{path.stat().st_size}"


if __name__ == "__main__":
    main()
