"""The Numba whose inside is known here."""

from __future__ import annotations

TESTED = (0, 68)
REQUIREMENT = "numba>=0.68.1,<0.69"


def plainly(version: str, why: str) -> str:
    """What is told where kernels are compiled by the public means of Numba alone."""
    return (
        f"kernels are compiled by plain numba, anew in each process, as Numba {version} is not known to fastfc ({why}): "
        f"pip install '{REQUIREMENT}'"
    )


def is_known(version: str) -> bool:
    return version.startswith("{}.{}.".format(*TESTED))
