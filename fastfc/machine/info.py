"""What a measurement or a bug report should say about the machine and its software."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("fastfc", "numpy", "numba", "llvmlite")
SIMD = ("sse2", "avx", "fma", "avx2", "avx512f", "avx512vl", "avx512bf16", "neon", "sve", "rvv")


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on; "not installed" where one is missing."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def cpu_name() -> str:
    """As the maker calls it, such as "AMD EPYC 9654", with family and model where it has no number; the architecture
    where the system does not say."""
    try:
        if sys.platform == "linux":
            first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
            found = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*)$", first, re.MULTILINE))
            name = found.get("model name", "")
            if name and not any(c.isdigit() for c in name) and "cpu family" in found:
                name += f" (family {found['cpu family']}, model {found.get('model')})"
            if name:
                return name
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return platform.machine()
    return platform.processor() or platform.machine()


def simd() -> list[str]:
    """The SIMD extensions of this CPU, among `SIMD`. Imports llvmlite."""
    import llvmlite.binding

    features = llvmlite.binding.get_host_cpu_features()
    return [extension for extension in SIMD if features.get(extension)]


def compiled_for() -> str:
    """The CPU and the vectors that kernels are compiled for; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES change them."""
    from fastfc.kernels.fused.cpu import HAS_FMA, NAME, VECTOR_BYTES

    return f"{NAME}: vectors of {8 * VECTOR_BYTES} bits, {'with' if HAS_FMA else 'no'} fused multiply-add"


def blas() -> list[dict[str, Any]]:
    """The BLAS libraries that are loaded: name, version, threads."""
    import numpy  # noqa: F401  loads its BLAS
    from threadpoolctl import threadpool_info

    return [
        {"name": pool["internal_api"], "version": pool["version"] or "unknown", "threads": pool["num_threads"]}
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]


