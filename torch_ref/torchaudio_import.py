"""Imports torchaudio where its compiled extension cannot load, as on machines without CUDA."""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

__all__ = ["torchaudio"]


def _extension_stub() -> ModuleType:
    """Returns the `torchaudio._extension` of a build without compiled parts."""

    def fail_if_no_align(function: Callable) -> Callable:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension")

        return fail

    stub = ModuleType("torchaudio._extension")
    stub.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=fail_if_no_align,
    )
    return stub


def _import_torchaudio() -> ModuleType:
    """Imports torchaudio; without its compiled extension if, and only if, that does not load.

    The wheels are linked against CUDA, so loading the extension raises OSError on a machine without it. Everything used
    here (mel spectrogram, masking, resampling) is pure Python.
    """
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        stub = _extension_stub()
        sys.modules[stub.__name__] = stub
        return importlib.import_module("torchaudio")


torchaudio = _import_torchaudio()
