"""What a bug report or a measurement should say, and by what the number of threads is limited."""

from __future__ import annotations


def info() -> dict[str, str]:
    """By name: versions, CPU, vectors, what kernels are compiled for, BLAS, threads, data and cache, each as a line of text.

    "threads" is how many compute at most by default, the limit that rules, and then all others, see docs/scale.md.
    """
    from fastfc.data.dataset import default_data
    from fastfc.kernels.fused.compiler.known import REQUIREMENT, is_known
    from fastfc.kernels.fused.folder import cache_folder, why_not_kept
    from fastfc.machine import info as machine
    from fastfc.machine.cores import limits, usable_cpus

    found = machine.versions()
    if not is_known(found["numba"]):
        found["numba"] += f": not the one that is known, so that kernels compile anew in each process ({REQUIREMENT})"
    found["CPU"] = f"{machine.cpu_name()}, {usable_cpus()} logical cores to use"
    found["SIMD"] = " ".join(machine.simd()) or "none known"
    found["kernels"] = machine.compiled_for()
    found["BLAS"] = "; ".join(f"{b['name']} {b['version']}, {b['threads']} threads" for b in machine.blas()) or "unknown"
    ruling, *others = sorted(limits().items(), key=lambda limit: limit[1])
    more = "".join(f"; {name}: {number}" for name, number in others)
    found["threads"] = f"{ruling[1]} at most ({ruling[0]}{more}) unless `threads` says otherwise"
    found["data"] = default_data()
    found["cache"] = f"none: {why_not_kept()}" if why_not_kept() else str(cache_folder())
    return found
