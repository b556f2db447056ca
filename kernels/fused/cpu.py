"""The CPU that kernels are compiled for: its name, its vectors, its registers. Asked of LLVM, which knows it; Numba is not needed."""

from __future__ import annotations

import contextlib
import hashlib
import os

import llvmlite.binding as llvm
import numpy as np

from fastfc.kernels.fused import shipped
from fastfc.kernels.fused.folder import cache_folder, read, write

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

# As Numba takes them: without a name, this machine's CPU; without features, those of this machine. With neither, and object
# code that came with the package, the best level of that: what is compiled beside it must have vectors of the same width.
_HOST = llvm.get_host_cpu_features()
_LEVEL = "" if {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"} & set(os.environ) else shipped.best_level(_HOST)
NAME = os.environ.get("NUMBA_CPU_NAME") or _LEVEL or llvm.get_host_cpu_name()
FEATURES = os.environ.get("NUMBA_CPU_FEATURES", "" if _LEVEL else _HOST.flatten())
SHIPPED = shipped.folder_of(_LEVEL) if _LEVEL else None  # the folder of that object code
TRIPLE = llvm.get_process_triple()  # architecture, system and format of object code
PROBED = f"cpu-{hashlib.sha256(f'{TRIPLE} {NAME} {FEATURES}'.encode()).hexdigest()[:16]}"  # the file of what is found out below

_PROBE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define <16 x float> @probe(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
    %sum = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
    ret <16 x float> %sum
}
define <8 x i32> @integers(<8 x i32> %a, <8 x i32> %b) {
    %sum = add <8 x i32> %a, %b
    ret <8 x i32> %sum
}"""


def target_machine() -> llvm.TargetMachine:
    """What makes code for this CPU."""
    return llvm.Target.from_triple(TRIPLE).create_target_machine(NAME, FEATURES, opt=3)


def _probe() -> bytes:
    """Bytes in a vector register, whether there is a fused multiply-add, and AVX2: asked of the code generator itself.

    What it emits for a <16 x float> FMA and an <8 x i32> addition tells all, for every CPU to come.
    """
    assembly = target_machine().emit_assembly(llvm.parse_assembly(_PROBE))
    width = 64 if "zmm" in assembly else 32 if "ymm" in assembly else 16
    has_avx2 = any("vpaddd" in line and "ymm" in line for line in assembly.splitlines())
    return bytes([width, any(name in assembly for name in ("vfmadd", "fmla", "xvmadd", "vfmacc")), has_avx2])


def _known() -> bytes:
    """What `_probe` gave when it was asked first: it takes twice as long as to load kernels."""
    folder = cache_folder()
    found = (SHIPPED and read(SHIPPED, PROBED)) or (folder and read(folder, PROBED))
    if found:
        return found
    found = _probe()
    if folder:
        with contextlib.suppress(OSError):
            write(folder, PROBED, found)
    return found


VECTOR_BYTES, HAS_FMA, HAS_AVX2 = _known()
REGISTERS = 32 if VECTOR_BYTES == 64 or TRIPLE.startswith(("aarch64", "arm64")) else 16
WORDS = VECTOR_BYTES // 4  # 32-bit words in a vector


def lanes(dtype: np.dtype | str) -> int:
    """Elements of `dtype` in one vector register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize
