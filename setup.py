"""Builds the extension; everything else is in pyproject.toml."""

import re
import sysconfig
from pathlib import Path

from setuptools import setup

header = (Path(__file__).parent / "csrc" / "pynn.h").read_text("utf-8")
version = ".".join(re.findall(r"#define PYNN_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header))
one_wheel_for_all = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    version=version,
    cffi_modules=["pynn/_build_ffi.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if one_wheel_for_all else {},
)
