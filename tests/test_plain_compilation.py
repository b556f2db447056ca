"""With a Numba whose inside is not known, kernels compile by its public means: slower, to the same bits, and said once."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numba
import pytest

import fastfc
from fastfc.kernels.fused.compiler import jit, known
from tests.small import ONLINE, ROOT, SMALL, blobs, digest, images, python

pytestmark = [pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")]

# What makes it unknown, before fastfc is imported.
UNKNOWN = {
    "version": "numba.__version__ = '0.99.0'",
    "name in the build": "import numba.core.codegen as c; del c.JITCodeLibrary",
    "name in the lowering": "import numba.core.typed_passes as t; del t.NativeLowering",
}
# Prints what a program prints, and the warnings.
PROGRAM = """
import warnings
import numba
{}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    {}
print(*[f"{{warning.category.__name__}}: {{warning.message}}" for warning in told], sep="\\n")
"""
IMPORTS = "from fastfc.kernels.fused.compiler import jit; print(jit.PLAIN)"
PREDICTS = """
    import fastfc
    print(fastfc.Network([20, 8, 3], seed=2).predict([[0.5] * 20])[0])
"""
TRAINS = """
    import fastfc
    from tests.small import ONLINE, SMALL, blobs, digest, images
    for data, settings in ((images(), ONLINE), (blobs(), SMALL)):
        r = fastfc.train(data, **settings)
        print(digest(r.model), sum(r.model.predict(data[0])))
"""


def test_the_known_numba_is_the_required_one() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert known.REQUIREMENT in required and not jit.PLAIN
    assert known.REQUIREMENT.startswith("numba>={}.{}.".format(*known.TESTED))


@pytest.mark.parametrize("what", ["version", pytest.param("name in the build", marks=pytest.mark.slow), "name in the lowering"])
def test_an_unknown_numba_is_told_once(what: str) -> None:
    reason, warning = python(PROGRAM.format(UNKNOWN[what], IMPORTS)).splitlines()
    assert warning == f"CompilationWarning: {reason}"
    assert reason.startswith("kernels are compiled by plain numba, anew in each process")
    assert reason.endswith(f"pip install '{known.REQUIREMENT}'")


@pytest.mark.slow
def test_an_unknown_numba_trains_to_the_same_bits(tmp_path: Path) -> None:
    code = PROGRAM.format(UNKNOWN["version"], TRAINS)
    found = python(code, FASTFC_CACHE_DIR=str(tmp_path), timeout=1200).splitlines()
    for line, data, settings in ((found[0], images(), ONLINE), (found[1], blobs(), SMALL)):
        r = fastfc.train(data, **settings)
        assert line == f"{digest(r.model)} {sum(r.model.predict(data[0]))}"
    assert len(found) == 3 and found[2].startswith("CompilationWarning: kernels are compiled by plain numba")
    assert not list(tmp_path.rglob("*.o"))


@pytest.mark.slow
def test_a_helper_that_cannot_be_lowered_for_linking_is_lowered_plainly(tmp_path: Path) -> None:
    broken = """
from fastfc.kernels.fused.compiler import lowering
def refuse(*_):
    raise TypeError("another signature")
lowering.HelperLibrary.add_ir_module = refuse
"""
    code = PROGRAM.format(broken, PREDICTS)
    label, warning = python(code, FASTFC_CACHE_DIR=str(tmp_path), timeout=600).splitlines()
    assert int(label) == fastfc.Network([20, 8, 3], seed=2).predict([[0.5] * 20])[0]
    assert warning.startswith("CompilationWarning") and warning.endswith("TypeError: another signature")


@pytest.mark.parametrize("where", ["build.ObjectLibrary.emit", pytest.param("objects.link", marks=pytest.mark.slow)])
def test_what_llvm_refuses_is_compiled_plainly(where: str, tmp_path: Path) -> None:
    """As code that calls what is in no other process, or that cannot be loaded: told once, and nothing of it is kept."""
    broken = f"""
from fastfc.kernels.fused.compiler import build, jit, objects
def refuse(*_):
    raise RuntimeError("LLVM says no")
{where} = refuse
"""
    code = PROGRAM.format(broken, PREDICTS)
    label, warning = python(code, FASTFC_CACHE_DIR=str(tmp_path), timeout=600).splitlines()
    assert int(label) == fastfc.Network([20, 8, 3], seed=2).predict([[0.5] * 20])[0]
    assert warning.startswith("CompilationWarning") and warning.endswith("RuntimeError: LLVM says no")
    assert not list(tmp_path.rglob("*.o"))
