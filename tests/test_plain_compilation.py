"""With a Numba whose inside is not known, kernels compile as `numba.njit` does it: slower, to the same bits, and said once."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numba
import pytest

import fastfc
from fastfc.kernels.fused.compiler import jit
from tests.small import ONLINE, ROOT, digest, images, python

pytestmark = [pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")]

# What makes it unknown, before fastfc is imported.
UNKNOWN = {
    "version": "numba.version_info = numba.version_info._replace(short=(0, 99))",
    "name in the cache": "import numba.core.caching as c; del c._CacheLocator",
    "name in the lowering": "import numba.core.codegen as c; del c.JITCodeLibrary",
}
# Prints what a program prints, the name of the cache, and the warnings.
PROGRAM = """
import warnings
import numba
{}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    {}
    from fastfc.kernels.fused.compiler import jit
    print(jit.why_not_kept())
print(*[f"{{warning.category.__name__}}: {{warning.message}}" for warning in told], sep="\\n")
"""
IMPORTS = "import fastfc.kernels.fused.epoch"
PREDICTS = """
    import fastfc
    print(fastfc.Network([20, 8, 3], seed=2).predict([[0.5] * 20])[0])
"""
TRAINS = """
    import fastfc
    from tests.small import ONLINE, digest, images
    print(digest(fastfc.train(images(), **ONLINE).model))
"""


def test_the_known_numba_is_the_required_one() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert jit.REQUIREMENT in required and not jit.PLAIN
    assert jit.REQUIREMENT.startswith("numba>={}.{}.".format(*jit.TESTED))


@pytest.mark.parametrize("what", UNKNOWN)
def test_an_unknown_numba_is_told_once(what: str) -> None:
    reason, warning = python(PROGRAM.format(UNKNOWN[what], IMPORTS)).splitlines()
    assert warning == f"CompilationWarning: {reason}"
    assert reason.startswith("kernels are compiled by plain numba.njit, anew in each process")
    assert reason.endswith(f"pip install '{jit.REQUIREMENT}'")


@pytest.mark.slow
def test_an_unknown_numba_trains_to_the_same_bits(tmp_path: Path) -> None:
    code = PROGRAM.format(UNKNOWN["name in the lowering"], TRAINS)
    found = python(code, FASTFC_CACHE_DIR=str(tmp_path), timeout=1200).splitlines()
    assert found[0] == digest(fastfc.train(images(), **ONLINE).model) and len(found) == 3
    assert not list(tmp_path.iterdir())


def test_a_helper_that_cannot_be_lowered_for_linking_is_lowered_plainly(tmp_path: Path) -> None:
    broken = """
from fastfc.kernels.fused.compiler import lowering
def refuse(*_):
    raise TypeError("another signature")
lowering.HelperLibrary.enable_object_caching = refuse
"""
    code = PROGRAM.format(broken, PREDICTS)
    label, _, warning = python(code, FASTFC_CACHE_DIR=str(tmp_path), timeout=600).splitlines()
    assert int(label) == fastfc.Network([20, 8, 3], seed=2).predict([[0.5] * 20])[0]
    assert warning.startswith("CompilationWarning") and warning.endswith("TypeError: another signature")
