"""The cache of compiled kernels. It leans on Numba's inside: `jit` does without it where it cannot be imported."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from pathlib import Path

from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.serialize import dumps

from fastfc.kernels.fused.compiler.folder import cache_folder
from fastfc.kernels.fused.compiler.guard import warn_once

CHECKSUM = hashlib.sha256().digest_size


class _Locator(_CacheLocator):
    """Tells Numba that kernels live in `cache_folder`, which is renamed with every change of any source."""

    _py_file = __file__  # where Numba's warning about a kernel that cannot be kept points to

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls()

    def get_cache_path(self):
        return str(cache_folder())

    def ensure_cache_path(self):
        cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)

    def get_source_stamp(self):
        return cache_folder().name

    def get_disambiguator(self):
        return ""


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes: list[type[object]] = [_Locator]  # noqa: RUF012


class Cache(FunctionCache):
    """Numba's cache with one file for each kernel, signature and CPU, and no index that two processes could mix up.

    Whatever fails, the kernel is compiled; a failure that will come back in every process is told.
    """

    _impl_class = _CacheImpl

    def __init__(self, function):
        super().__init__(function)
        self._cache_file = _CacheFile(f"{function.__module__}.{function.__qualname__}")

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:
            self._tell("loaded", error)
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self.disable()
            self._tell("kept", error)

    def _tell(self, done, error):
        what = f"compiled kernels cannot be {done} in {cache_folder()}, so every process compiles anew"
        warn_once("cache", f"{what}: {type(error).__name__}: {error}")


class _CacheFile:
    """A checksum and a compiled kernel. A file cut short, altered or from elsewhere does not match, and counts as absent."""

    def __init__(self, name):
        self._name = name

    def flush(self):
        for path in cache_folder().glob(f"{self._name}-*.nbc"):
            path.unlink(missing_ok=True)

    def load(self, key):
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:  # a file that is there is replaced
            return None
        checksum, payload = content[:CHECKSUM], content[CHECKSUM:]
        return pickle.loads(payload) if checksum == _checksum(path, payload) else None

    def save(self, key, data):
        path, payload = self._path(key), dumps(data)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            try:
                file.write(_checksum(path, payload) + payload)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                file.close()
                Path(file.name).unlink(missing_ok=True)
                raise

    def _path(self, key):
        return cache_folder() / f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


def _checksum(path, payload):
    """Of the payload in this file of this folder."""
    return hashlib.sha256(f"{path.parent.name}/{path.name}\0".encode() + payload).digest()
