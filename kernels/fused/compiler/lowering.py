"""Helpers compiled for linking alone. It leans on Numba's inside: `jit` does without it where it cannot be imported.

Of the passes of Numba those are run that kernels need: they have no closures, no `with`, no array expressions, and own no memory, so
that there are no references to count. Their code is neither optimised nor verified before it is a part of the whole kernel.

What is leaned on: CompilerBase, run with a pass manager of our own, and its state; nine passes by name; CodeLibrary and what a linking
library is asked for; Flags and ConfigStack; the list of registries of a target context, and their loading; Dispatcher's compiler and
overloads; _dynfunc. A helper with which one of them fails is compiled by Numba's own pipeline, and that is told.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core import cgutils, compiler, event
from numba.core.analysis import dead_branch_prune, rewrite_semantic_constants
from numba.core.codegen import CodeLibrary, JITCodeLibrary
from numba.core.postproc import PostProcessor
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import NativeLowering, NoPythonBackend, NopythonTypeInference, PreLowerStripPhis
from numba.core.untyped_passes import FixupArgs, GenericRewrites, ReconstructSSA, TranslateByteCode

from fastfc.kernels.fused.compiler.guard import warn_once

REFUSAL = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value


class HelperLibrary(JITCodeLibrary):
    """The code of a helper as text, and what it calls: it is parsed once, as a part of the kernel."""

    def __init__(self, codegen, name):
        CodeLibrary.__init__(self, codegen, name)
        self.texts, self.libraries = [], {}
        self.is_apart = False
        self._shared_module = None

    def add_ir_module(self, ir_module):
        for function in ir_module.functions:
            if self.is_apart and function.blocks and not function.linkage:
                function.attributes.add("noinline")
        self.texts.append(cgutils.normalize_ir_text(str(ir_module)))

    def add_linking_library(self, library):
        self.libraries[library] = None

    def finalize(self):
        self._finalized = True

    def _get_module_for_linking(self):
        """For code of Numba's own that calls a helper."""
        if self._shared_module is None:
            self._final_module = llvm.parse_assembly(str(self._codegen._create_empty_module(self.name)))
            link(self._final_module, [self])
            self._shared_module = super()._get_module_for_linking()
        return self._shared_module

    def get_llvm_str(self):
        return str(self._get_module_for_linking())


def link(module, libraries) -> None:
    """Put the code of libraries, and of all that they call, into a module."""
    for library in _reached(libraries):
        if isinstance(library, HelperLibrary):
            for text in library.texts:
                module.link_in(llvm.parse_assembly(text))
        else:
            module.link_in(library._get_module_for_linking(), preserve=True)


def _reached(libraries) -> Iterator[Any]:
    found, waiting = set(), list(libraries)
    while waiting:
        library = waiting.pop()
        if library not in found:
            found.add(library)
            yield library
            if isinstance(library, HelperLibrary):
                waiting.extend(library.libraries)


class _Fixed(compiler.Flags):
    """Flags that do not change. Numba has them in the keys of its caches, and would compare all of them at each look."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


_fixed: dict[str, _Fixed] = {}  # by what they say


class Passes:
    """In the place of Numba's PassManager, which also analyses, times and reports each pass."""

    pipeline_name = "helper"

    def __init__(self):
        self.exec_times = {}

    def run(self, state):
        said = state.flags.summary()
        if said not in _fixed:
            _fixed[said] = _Fixed(state.flags)
        with ConfigStack().enter(_fixed[said]):
            self._run(state)

    def _run(self, state):
        TranslateByteCode().run_pass(state)
        FixupArgs().run_pass(state)
        PostProcessor(state.func_ir).run()
        rewrite_semantic_constants(state.func_ir, state.args)
        dead_branch_prune(state.func_ir, state.args)
        GenericRewrites().run_pass(state)
        ReconstructSSA().run_pass(state)
        NopythonTypeInference().run_pass(state)
        PreLowerStripPhis().run_pass(state)
        state.targetctx = state.targetctx.subtarget(enable_nrt=False)
        state.library = HelperLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.is_apart = hasattr(state.func_id.func, "is_apart")
        state.flags.no_compile = True
        NativeLowering().run_pass(state)
        function, env = state.cr.fndesc, state.cr.env
        entry = _dynfunc.make_function(function.lookup_module(), function.qualname, "", REFUSAL, env, (state.library,))
        state.targetctx.insert_user_function(entry, function, [state.library])
        state.cr = state.cr._replace(cfunc=entry)
        NoPythonBackend().run_pass(state)


@contextlib.contextmanager
def refreshed(context) -> Iterator[None]:
    """A target context imports what else Numba has now, and not again before each helper: then only what is new is looked at."""
    context.refresh()
    context.load_additional_registries = lambda: [context.install_registry(known) for known in tuple(context._registries)]
    try:
        yield
    finally:
        del context.load_additional_registries


class HelperCompiler(compiler.CompilerBase):
    def __init__(self, *what):
        super().__init__(*what)
        self.what = what

    def define_pipelines(self):
        return [Passes()]

    def compile_extra(self, func):
        try:
            return super().compile_extra(func)
        except Exception as error:
            self.state.flags.no_compile = False
            result = compiler.Compiler(*self.what).compile_extra(func)  # which raises what is wrong with the helper itself
            reason = f"{type(error).__name__}: {error}"
            warn_once("lowering", f"helpers of kernels are compiled for long, each on its own, after {reason}")
            return result


def straight(dispatcher) -> Callable[[Any], Any]:
    """`dispatcher.compile` without its timers: each helper that waits for another would listen to all that LLVM does meanwhile."""

    def compile_helper(arguments: Any) -> Any:
        if arguments not in dispatcher.overloads:
            with event.trigger_event("numba:compile", data={"dispatcher": dispatcher, "args": arguments, "return_type": None}):
                dispatcher.add_overload(dispatcher._compiler.compile(arguments, None))
        return dispatcher.overloads[arguments].entry_point

    return compile_helper
