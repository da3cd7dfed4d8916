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


# What only Python needs. A prediction on memory that stays the same from call to call: cffi converts one
# pointer instead of five arguments, which would cost as much as a small net.
BOUND = """
typedef struct bound {
    float *y;
    const pynn_plan *plan;
    size_t inputs;
    pynn_data data;
    pynn_memory memory;
} bound;
"""
PROTOTYPES = """
int32_t all_finite(const float *x, size_t n);
int32_t bound_predict(bound *b, size_t rows);
int32_t bound_predict_finite(bound *b, size_t rows);
"""
FUNCTIONS = """
static int32_t all_finite(const float *x, size_t n)
{
    const uint32_t exponent = 0x7F800000u;
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bad |= (bits & exponent) == exponent;
    }
    return bad == 0;
}

static int32_t bound_predict(bound *b, size_t rows)
{
    b->data.rows = rows;
    return pynn_predict(b->y, b->plan, &b->data, NULL, b->memory);
}

/* -1 where x is not finite */
static int32_t bound_predict_finite(bound *b, size_t rows)
{
    return all_finite(b->data.x, rows * b->inputs) ? bound_predict(b, rows) : -1;
}
"""


def files(pattern: str) -> list[str]:
    """Of the C library, relative to the root, as setuptools wants them."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob(pattern))


ffi = FFI()
ffi.cdef(declarations() + BOUND + PROTOTYPES)
ffi.set_source(
    "_pynn",
    '#include "pynn.h"\n#include <string.h>\n' + BOUND + FUNCTIONS,
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
