"""Helpers compiled for linking alone. It leans on Numba's inside: `jit` does without it where it cannot be imported."""

from __future__ import annotations

import ctypes

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

from fastfc.kernels.fused.compiler.guard import warn_once


class HelperLibrary(JITCodeLibrary):
    """The code of a helper, for linking only. Numba would optimise it, and make machine code of it, for itself alone."""

    def _optimize_functions(self, ll_module):
        """Left to the kernel, as all that follows."""
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class HelperLowering(NativeLowering):
    _name = "helper_lowering"

    def run_pass(self, state):
        library = state.library
        try:
            return self._for_linking(state)
        except Exception as error:
            state.library, state.flags.no_compile = library, False
            done = super().run_pass(state)  # which raises what is wrong with the helper itself
            reason = f"{type(error).__name__}: {error}"
            warn_once("lowering", f"helpers of kernels are compiled for long, each on its own, after {reason}")
            return done

    def _for_linking(self, state):
        state.library = HelperLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.targetctx = state.targetctx.subtarget(enable_nrt=False)  # kernels own no memory: there are no references to count
        state.flags.no_compile = True
        super().run_pass(state)
        function, env = state.cr.fndesc, state.cr.env
        refusal = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value
        entry = _dynfunc.make_function(function.lookup_module(), function.qualname, "", refusal, env, (state.library,))
        state.targetctx.insert_user_function(entry, function, [state.library])
        state.cr = state.cr._replace(cfunc=entry)
        return True


class HelperCompiler(CompilerBase):
    def define_pipelines(self):
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(HelperLowering, NativeLowering)
        passes.passes = [entry for entry in passes.passes if entry[0] is not NativeLowering]
        passes.finalize()
        return [passes]
