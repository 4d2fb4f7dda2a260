"""Numba's compiler for functions that are only ever linked into others; see `linking`."""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core.codegen import CPUCodeLibrary, JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes

__all__ = ["JoinedCompiler"]

# Kernels have no array expressions, no functions within functions.
NEEDLESS = (NopythonRewrites, InlineClosureLikes)


class _JoinedLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that others link: not optimised here, and never made executable.

    What it calls is linked once, into the code that is made executable, and not into every
    function on the way there.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Leave the module as it is."""
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """The function and all that it calls, for the code that is made executable."""
        whole = super()._get_module_for_linking().clone()
        met: set[int] = set()
        self._link_into(whole, met)
        return whole

    def _link_into(self, whole: Any, met: set[int]) -> None:
        for library in self._linking_libraries:
            if id(library) in met:
                continue
            met.add(id(library))
            if isinstance(library, _JoinedLibrary):
                whole.link_in(CPUCodeLibrary._get_module_for_linking(library), preserve=True)
                library._link_into(whole, met)
            else:
                whole.link_in(library._get_module_for_linking(), preserve=True)


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
        manager.passes = [
            (_JoinedLowering if made is NativeLowering else made, text)
            for made, text in manager.passes
            if made not in NEEDLESS
        ]
        manager.finalize()
        return [manager]
