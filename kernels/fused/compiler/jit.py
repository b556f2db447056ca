"""Every choice about Numba, in one place: the decorator of all kernels, and the cache that they share."""

from __future__ import annotations

import ctypes
import functools
import gc
import hashlib
import os
import pickle
import stat
import sys
import tempfile
from pathlib import Path

import llvmlite
import numba
import numpy as np
import platformdirs
from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.serialize import dumps
from numba.core.typed_passes import NativeLowering

# No flag that lets the compiler assume away NaN, inf or signed zeros, or reorder a sum: only a*b + c may become one FMA.
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


# As arguments from kernel to kernel, for Numba compiles a version for each Python integer.
ZERO, ONE = np.arange(2)


def inline(function):
    """A helper of kernels: compiled as part of whatever calls it, and a TypeError when called from Python."""
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(pipeline_class=_HelperCompiler, **wrappers, **OPTIONS)(function)


class _HelperLibrary(JITCodeLibrary):
    """The code of a helper, for linking only. Numba would optimise it, and make machine code of it, for itself alone."""

    def _optimize_final_module(self):
        """Left to the kernel."""

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _HelperLowering(NativeLowering):
    _name = "helper_lowering"

    def run_pass(self, state):
        state.library = _HelperLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_compile = True
        super().run_pass(state)
        function, env = state.cr.fndesc, state.cr.env
        refusal = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value
        entry = _dynfunc.make_function(function.lookup_module(), function.qualname, "", refusal, env, (state.library,))
        state.targetctx.insert_user_function(entry, function, [state.library])
        state.cr = state.cr._replace(cfunc=entry)
        return True


class _HelperCompiler(CompilerBase):
    def define_pipelines(self):
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_HelperLowering, NativeLowering)
        passes.passes = [entry for entry in passes.passes if entry[0] is not NativeLowering]
        passes.finalize()
        return [passes]


def kernel(function):
    """A kernel that Python calls: compiled on first use, without the GIL, and kept in the user's cache folder."""
    dispatcher, helper = numba.njit(**OPTIONS)(function), inline(function)
    if numba.config.DISABLE_JIT:
        return dispatcher
    # another kernel that calls this one has it compiled as its own part
    dispatcher.get_call_template, dispatcher.get_overload = helper.get_call_template, helper.get_overload
    dispatcher.compile = _without_collector(dispatcher.compile)
    if cache_folder():
        dispatcher._cache = _Cache(function)
    return dispatcher


def _without_collector(compile_function):
    """The same, while Python looks for no cycles among the millions of objects of the compiler: an eighth of the time."""

    def compile_kernel(signature):
        enabled = gc.isenabled()
        gc.disable()
        try:
            return compile_function(signature)
        finally:
            if enabled:
                gc.enable()

    return compile_kernel


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, private to the user and to this very source and Python; None where that cannot be."""
    digest = hashlib.sha256(f"{sys.version} {numba.__version__} {llvmlite.__version__} {np.__version__}".encode())
    for path in sorted(Path(__file__).parents[2].rglob("*.py")):
        digest.update(path.read_bytes())
    try:
        chosen = os.environ.get("FASTFC_CACHE_DIR")
        root = Path(chosen or platformdirs.user_cache_dir("fastfc", appauthor=False)).expanduser().absolute()
        folder = root / f"kernels-{digest.hexdigest()[:16]}"
        for path in (root, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _claim(folder)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):
        return None
    return folder


def _claim(folder: Path) -> None:
    """Let nobody else look into the folder; PermissionError if others could have put files there, which would be run."""
    if not hasattr(os, "getuid"):
        return
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} is not private")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


class _Locator(_CacheLocator):
    """Tells Numba that kernels live in `cache_folder`, which is renamed with every change of any source."""

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls()

    def get_cache_path(self):
        return str(cache_folder())

    def get_source_stamp(self):
        return cache_folder().name

    def get_disambiguator(self):
        return ""


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes: list[type[object]] = [_Locator]  # noqa: RUF012


class _Cache(FunctionCache):
    """Numba's cache with one file for each kernel, signature and CPU, and no index that two processes could mix up."""

    _impl_class = _CacheImpl

    def __init__(self, function):
        super().__init__(function)
        self._cache_file = _CacheFile(f"{function.__module__}.{function.__qualname__}")

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever a file from elsewhere may cause: at worst the kernel is compiled again
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError:
            self.disable()


class _CacheFile:
    """A checksum and a compiled kernel. A file cut short or altered does not match, and counts as absent."""

    def __init__(self, name):
        self._name = name

    def _path(self, key):
        return cache_folder() / f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def flush(self):
        for path in cache_folder().glob(f"{self._name}-*.nbc"):
            path.unlink(missing_ok=True)

    def load(self, key):
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        checksum, payload = content[:32], content[32:]
        return pickle.loads(payload) if hashlib.sha256(payload).digest() == checksum else None

    def save(self, key, data):
        payload = dumps(data)
        with tempfile.NamedTemporaryFile(dir=cache_folder(), suffix=".tmp", delete=False) as file:
            try:
                file.write(hashlib.sha256(payload).digest() + payload)
                file.close()
                os.replace(file.name, self._path(key))
            except BaseException:
                file.close()
                Path(file.name).unlink(missing_ok=True)
                raise
