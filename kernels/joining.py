"""Numba's compiler for functions that are only ever linked into others; see `linking`."""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

__all__ = ["JoinedCompiler"]


class _JoinedLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that others link: not optimised here, and never made executable."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _JoinedLowering(NativeLowering):  # type: ignore[misc]
    """Numba's lowering, which makes no machine code here."""

    _name = "lossfit_joined_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower the function and tell Numba where callers find its code."""
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        name = lowered.fndesc.qualname
        # Numba's name for the code; it holds no address, so it must not be called.
        key = _dynfunc.make_function(
            lowered.fndesc.lookup_module(), name, name, 0, lowered.env, (state.library,)
        )
        state.targetctx.insert_user_function(key, lowered.fndesc, [state.library])
        state["cr"] = lowered._replace(cfunc=key)
        return True


class JoinedCompiler(CompilerBase):  # type: ignore[misc]
    """A compiler for ``numba.njit(pipeline_class=...)``."""

    def define_pipelines(self) -> list[Any]:
        """Numba's passes for compiled functions, with another last one."""
        state = self.state
        state.library = _JoinedLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        manager = DefaultPassBuilder.define_nopython_pipeline(state)
        for i, (found, text) in enumerate(manager.passes):
            if found is NativeLowering:
                manager.passes[i] = (_JoinedLowering, text)
        manager.finalize()
        return [manager]
