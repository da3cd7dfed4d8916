"""Describes the extension module `_pynn`: the C library of csrc with its cffi binding.

Run by setup.py. The declarations are lifted from csrc/pynn.h between its two
`binding:` marks, so that header and binding cannot drift.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "pynn.h"

FLAGS = [
    *("-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-g0", "-fvisibility=hidden"),
    *("-Wall", "-Werror=incompatible-pointer-types", "-Werror=implicit-function-declaration"),
    *("-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"),
]
LINUX_LINK_FLAGS = ["-Wl,-z,relro,-z,now,-z,noexecstack"]


def declarations() -> str:
    """What pynn.h declares between its marks, as cffi wants it."""
    found = re.search(
        r"/\* binding: begin.*?\*/(.*)/\* binding: end \*/", HEADER.read_text("utf-8"), re.DOTALL
    )
    if found is None:
        raise ValueError(f"{HEADER} lacks its binding marks")
    return found[1].replace("PYNN_API ", "")


def files(pattern: str) -> list[str]:
    """Of the C library, relative to the root, as setuptools wants them."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob(pattern))


ffi = FFI()
ffi.cdef(declarations())
ffi.set_source(
    "_pynn",
    '#include "pynn.h"',
    sources=files("*.c"),
    depends=files("*.h") + files("*.inc"),
    include_dirs=["csrc"],
    define_macros=[
        ("PYNN_API", "")
    ],  # nothing is exported: other copies of the library in a process stay apart
    extra_compile_args=FLAGS,
    extra_link_args=LINUX_LINK_FLAGS if sys.platform.startswith("linux") else [],
    py_limited_api=not sysconfig.get_config_var("Py_GIL_DISABLED"),
)
