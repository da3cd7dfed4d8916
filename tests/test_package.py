"""The package as a user meets it: names, types, version, what an import loads and costs."""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
from helpers import run_python

import pynn
from pynn import _library

HERE = Path(pynn.__file__).parent


def test_all_is_sorted_and_complete():
    """__all__ lists every public name once: constants, classes, functions, each in order."""
    names = pynn.__all__
    assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert len(set(names)) == len(names)
    public = {n for n, v in vars(pynn).items() if not n.startswith("_") and not inspect.ismodule(v)}
    assert set(names) == public | {"__version__"}


def test_every_public_thing_has_a_docstring():
    """Classes, functions, and their public methods say what they do."""
    for name in pynn.__all__:
        thing = getattr(pynn, name)
        if name == "__version__":
            continue
        assert thing.__doc__, name
        if isinstance(thing, type) and not issubclass(thing, Exception):
            for method, value in vars(thing).items():
                if inspect.isfunction(value) and not method.startswith("_") and not method.startswith("on_"):
                    assert inspect.getdoc(getattr(thing, method)), f"{name}.{method}"


def test_every_public_thing_is_typed():
    """Every public function and method has types for all arguments and its result; py.typed says so."""
    assert (HERE / "py.typed").is_file()
    for name in pynn.__all__:
        thing = getattr(pynn, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            continue
        members = vars(thing).values() if isinstance(thing, type) else [thing]
        for function in filter(inspect.isfunction, members):
            if function.__name__.startswith("_") and function.__name__ not in ("__init__", "__call__"):
                continue
            signature = inspect.signature(function)
            assert signature.return_annotation is not inspect.Signature.empty, function
            for parameter in list(signature.parameters.values())[inspect.isclass(thing) :]:
                assert parameter.annotation is not inspect.Parameter.empty, (function, parameter)


def test_public_things_live_in_pynn():
    """Modules that start with an underscore, and C, are not public; nothing of numpy leaks."""
    for name in pynn.__all__:
        thing = getattr(pynn, name)
        if name != "__version__":
            assert thing.__module__.split(".")[0] == "pynn", name


def test_versions_agree():
    """Python, C and the installed distribution have one version."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", pynn.__version__)
    lib = _library.lib
    numbers = (lib.PYNN_VERSION_MAJOR, lib.PYNN_VERSION_MINOR, lib.PYNN_VERSION_PATCH)
    assert ".".join(map(str, numbers)) == pynn.__version__
    assert _library.text(lib.pynn_version()) == pynn.__version__
    assert lib.pynn_version_number() == lib.PYNN_VERSION_NUMBER
    try:
        installed = importlib.metadata.version("pynn-core")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pynn is not installed, but imported from a folder")
    assert installed == pynn.__version__


def test_needs_numpy_and_cffi_only():
    """The distribution requires two packages."""
    try:
        needed = importlib.metadata.requires("pynn-core")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pynn is not installed, but imported from a folder")
    required = [line for line in needed if "extra ==" not in line]
    assert {re.match(r"[\w-]+", line)[0] for line in required} == {"numpy", "cffi"}


def test_import_is_clean_and_loads_little(tmp_path):
    """With warnings as errors, from anywhere: nothing is printed, and of others only numpy and cffi load."""
    code = "import json, sys; {} ; print(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    before = json.loads(run_python(code.format("pass"), tmp_path))
    output = run_python(code.format("import pynn"), tmp_path, "-W", "error")
    assert output.count("\n") == 1
    loaded = set(json.loads(output)) - set(before) - set(sys.stdlib_module_names)
    assert loaded - {"numpy", "_cffi_backend", "cffi"} == {"pynn", "_pynn"}


def test_import_loads_no_parts_that_few_need(tmp_path):
    """trace is loaded when it is first used; no thread or child is started by an import or a fit."""
    code = """
import sys, threading, pynn
assert "pynn.trace" not in sys.modules
net = pynn.Sequential(pynn.Dense(2, 1))
net.fit([[1, 2]], [3])
net.trace([[1, 2]], [3])
assert "pynn.trace" in sys.modules
assert threading.active_count() == 1
print(sorted({"sklearn", "torch", "matplotlib", "scipy", "pandas", "multiprocessing"} & set(sys.modules)))
"""
    assert run_python(code, tmp_path, "-W", "error") == "[]\n"


def test_import_cost(tmp_path, record_property):
    """The import costs little beyond numpy and cffi: recorded, and far from a second."""
    code = """
import time
import numpy, _cffi_backend
start = time.perf_counter()
import pynn
print(time.perf_counter() - start)
"""
    best = min(float(run_python(code, tmp_path)) for _ in range(3))
    record_property("import seconds", best)
    assert best < 0.5


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (
            "sys.modules['_pynn'] = None",
            r"cannot be loaded .*pip install \. \(in a clone: pip install -e \.\)",
        ),
        (
            """
import _pynn, types
text = _pynn.ffi.new("char[]", b"9.9.9")
sys.modules["_pynn"] = types.SimpleNamespace(
    ffi=_pynn.ffi, lib=types.SimpleNamespace(pynn_version=lambda: text), __file__="elsewhere")
""",
            r"has loaded the C part of 9\.9\.9, elsewhere; install both again",
        ),
    ],
    ids=["missing", "of another version"],
)
def test_import_without_its_extension(tmp_path, setup, message):
    """A missing or foreign extension module is an ImportError that says how to mend it."""
    code = f"""
import sys
{setup}
try:
    import pynn
except ImportError as error:
    print(type(error).__name__, error)
"""
    output = run_python(code, tmp_path)
    assert output.startswith("PynnImportError ")
    assert re.search(message, output)


def test_instruction_set_by_environment(tmp_path):
    """PYNN_ISA chooses the instruction set of a process."""
    code = "import pynn; print(pynn.instruction_set())"
    assert run_python(code, tmp_path, PYNN_ISA="scalar") == "scalar\n"
    assert run_python(code, tmp_path, PYNN_ISA="") == run_python(code, tmp_path, PYNN_ISA="")
    wrong = "import pynn\ntry:\n    pynn.Dense(1, 1).forward([[1]])\nexcept RuntimeError as e:\n    print(e)"
    assert "instruction set" in run_python(wrong, tmp_path, PYNN_ISA="mmx")


def test_one_module_imports_the_extension():
    """_library.py is the only module of the package that imports _pynn, and five use what it gives."""
    for path in HERE.rglob("*.py"):
        text = path.read_text("utf-8")
        imports = re.findall(r"^\s*(?:import|from) _pynn\b", text, re.MULTILINE)
        assert bool(imports) == (path.name == "_library.py"), path
        uses = re.search(r"\b(?:lib|ffi)\.\w", text) is not None and path.name != "_build_ffi.py"
        assert uses == (path.stem in {"_library", "_memory", "_gate", "_structs", "_calls"}), path
    gate = (HERE / "_gate.py").read_text("utf-8")
    assert set(re.findall(r"\blib\.(\w+)", gate)) == {"all_finite"}
    assert "ffi." not in gate


def imports_of(path, names):
    """The modules of the package that one imports, wherever in its text and for whatever purpose."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            found.add(node.module)
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {alias.name if alias.name in names else "__init__" for alias in node.names}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            origins = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            assert not any(origin.split(".")[0] == "pynn" for origin in origins), path
    return found


def test_imports_go_in_one_direction():
    """No module imports one that imports it, not for its types alone either."""
    paths = {path.stem: path for path in HERE.glob("*.py")}
    graph = {name: imports_of(path, set(paths)) for name, path in paths.items()}
    assert set().union(*graph.values()) < set(paths)
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises where there is a cycle
    assert order.index("errors") < order.index("_library") < order.index("_gate") < order.index("_calls")
    assert order.index("training") < order.index("network")
    assert order.index("trace") < order.index("network")
    assert "__init__" not in set().union(*graph.values())
