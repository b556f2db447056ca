"""What is installed: the wheel's files, what importing fastfc loads, and make's targets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"numba", "llvmlite", "matplotlib", "PIL", "pooch", "tqdm", "safetensors", "scipy", "requests"}


def python(code: str, folder: Path, **environment: str) -> str:
    """What `code` prints, run by a fresh interpreter in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("fastfc", "kernels"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "./source"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode and "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("building a wheel needs setuptools from the package index, which cannot be reached")
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("fastfc-*.whl")
    return file


def test_every_folder_of_sources_is_a_package_that_is_installed() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT).parts for top in ("fastfc", "kernels") for path in (ROOT / top).rglob("*.py")}
    assert sorted(packages) == sorted(".".join(("fastfc",) * (parts[0] == "kernels") + parts) for parts in folders)


@pytest.mark.slow
def test_the_wheel_has_every_source_file_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fastfc").rglob("*.py")} | {"fastfc/py.typed"}
    kernels = {path.relative_to(ROOT).as_posix() for path in (ROOT / "kernels").rglob("*.py")}
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fastfc" / "export" / "page").iterdir()}
    assert names == sources | page | {"fastfc/reports/report.css"} | {f"fastfc/{name}" for name in kernels}


@pytest.mark.slow
def test_the_wheel_has_the_license_and_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = {name.partition(".dist-info/")[2]: name for name in archive.namelist()}
    assert "licenses/LICENSE" in names
    assert "fastfc = fastfc.cli:main" in archive.read(names["entry_points.txt"]).decode()


@pytest.mark.slow
def test_kernels_are_imported_from_the_wheel_as_fastfc_kernels(wheel: Path) -> None:
    code = "import fastfc.kernels.reference as r, importlib.util as u; print(r.__file__); print(u.find_spec('kernels'))"
    file, top = python(code, wheel.parent, PYTHONPATH=str(wheel)).splitlines()
    assert Path(file) == wheel / "fastfc" / "kernels" / "reference" / "__init__.py"
    assert top == "None"


def test_no_top_level_module_is_named_kernels(tmp_path: Path) -> None:
    assert python("import fastfc.kernels, importlib.util as u; print(u.find_spec('kernels'))", tmp_path) == "None"


@pytest.mark.parametrize("module", ["fastfc", "fastfc.cli", "fastfc.reports.plots", "fastfc.training.progress", "fastfc.settings"])
def test_importing_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    loaded = set(python(f"import sys, {module}; print(*sys.modules)", tmp_path).split())
    assert module in loaded
    assert not HEAVY & loaded


def test_backend_numpy_never_imports_numba() -> None:
    code = """
import sys, fastfc
from tests.small import SMALL, blobs
r = fastfc.train(blobs(), blobs(), backend="numpy", **SMALL)
r.model.predict(blobs()[0]), r.model.predict(blobs()[0][:1]), r.to_dict()
print([name for name in ("numba", "llvmlite", "matplotlib", "scipy", "pandas") if name in sys.modules])
"""
    assert python(code, ROOT) == "[]"


def test_every_public_name_exists(tmp_path: Path) -> None:
    code = "import fastfc as f; print(all(getattr(f, name) is not None for name in f.__all__), len(f.__all__))"
    complete, count = python(code, tmp_path).split()
    assert complete == "True"
    assert int(count) > 4


@pytest.mark.parametrize("first", ["train", "compare", "TrainResult", "Network"])
def test_public_functions_stay_functions_whatever_is_used_first(first: str, tmp_path: Path) -> None:
    """Importing the module fastfc.train must not put it in the place of the function."""
    code = (
        f"import fastfc as f; f.{first}; print(*(isinstance(x, type(lambda: 0)) for x in (f.train, f.compare, f.load)))"
    )
    assert python(code, tmp_path) == "True True True"


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    "target", ["train", "test", "test-peers", "lint", "bench", "peers", "reproduce", "soak", "wheel", "clean"]
)
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
