"""The extension `_pynn`: loaded, of the right version, its constants by name, and its refusals as exceptions.

The only module that imports it.
"""

from __future__ import annotations

from typing import Any

from .errors import PynnError, PynnImportError, PynnMemoryError, PynnRuntimeError, PynnValueError

__version__ = "0.2.0"

try:
    import _pynn
except ImportError as error:
    raise PynnImportError(
        f"the C part of pynn cannot be loaded ({error}); "
        "build it with: pip install . (in a clone: pip install -e .)"
    ) from error

ffi: Any = _pynn.ffi
lib: Any = _pynn.lib


def text(characters: Any) -> str:
    """A string of C."""
    return str(ffi.string(characters).decode())


if text(lib.pynn_version()) != __version__:
    raise PynnImportError(
        f"pynn {__version__} has loaded the C part of {text(lib.pynn_version())}, {_pynn.__file__}; "
        "install both again: pip install --force-reinstall . (in a clone: pip install -e .)"
    )


# ---- constants --------------------------------------------------------------------------------------------


def _constants(enum: str, prefix: str) -> dict[str, int]:
    """Those of a C enum, by the names that Python uses: lower case, without the prefix."""
    members = ffi.typeof(enum).relements
    return {name.removeprefix(prefix).lower(): value for name, value in members.items()}


CODES = _constants("pynn_code", "PYNN_")
LAYERS = _constants("pynn_layer_kind", "PYNN_")
INITS = _constants("pynn_init_kind", "PYNN_INIT_")
LOSSES = _constants("pynn_loss_kind", "PYNN_")
del LOSSES["loss_auto"]  # in Python None, and chosen before the call
OPTIMIZERS = _constants("pynn_optimizer_kind", "PYNN_")
ENDS = _constants("pynn_end", "PYNN_")
ISAS = _constants("pynn_isa", "PYNN_ISA_")


# ---- status -----------------------------------------------------------------------------------------------

_EXCEPTIONS: dict[int, type[PynnError]] = {
    CODES["null_pointer"]: PynnRuntimeError,
    CODES["too_large"]: PynnMemoryError,
    CODES["bad_memory"]: PynnRuntimeError,
    CODES["bad_order"]: PynnRuntimeError,
    CODES["bad_executor"]: PynnRuntimeError,
    CODES["bad_arithmetic"]: PynnRuntimeError,
    CODES["no_isa"]: PynnRuntimeError,
    CODES["no_threads"]: PynnRuntimeError,
}


def code_of(status: int) -> int:
    """The code in a status, without the argument that was refused."""
    return int(lib.pynn_status_code(status))


def check(status: int, what: str = "the C library refused") -> None:
    """Raises what a status other than success means."""
    if status:
        code, argument = code_of(status), text(lib.pynn_status_argument(status))
        message = f"{what}: {text(lib.pynn_status_text(status))}" + (f" ({argument})" if argument else "")
        raise _EXCEPTIONS.get(code, PynnValueError)(message, code=code)
