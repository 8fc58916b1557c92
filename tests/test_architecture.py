"""What importing the package costs: nothing heavy, no setting changed. (import-linter holds who may import whom.)"""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import deepbures
from deepbures._loss_names import LossName

CORE = {"jax", "equinox", "diffrax", "optax", "scipy"}
OPTIONAL = {"torch", "sklearn", "skimage", "matplotlib", "pyarrow", "PIL", "jinja2", "dask", "xarray"}


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter, as this process has imported everything already."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    modules = json.loads(run_python(f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"))
    return {name.partition(".")[0] for name in modules}


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import deepbures") & (CORE | OPTIONAL | {"numpy"}) == set()


@pytest.mark.parametrize("room", ["linalg", "metric", "model", "landscape", "training"])
def test_the_rooms_load_no_optional_dependency(room):
    assert loaded_after(f"import deepbures.{room}") & (OPTIONAL | {"typer", "rich"}) == set()


def test_the_metric_loads_neither_jax_nor_the_notation_of_shapes():
    assert loaded_after("import deepbures.metric") & {"jax", "jaxlib", "jaxtyping"} == set()


@pytest.mark.parametrize("module", ["deepbures.cli", "deepbures.datasets"])
def test_the_edges_load_nothing_heavy_before_it_is_needed(module):
    assert loaded_after(f"import {module}") & (CORE | OPTIONAL) == set()


def test_no_import_changes_a_jax_setting():
    run_python("""
import jax
before = dict(jax.config.values)
import deepbures
from deepbures._loss_names import LossName
for name in deepbures.__all__:
    getattr(deepbures, name)
after = dict(jax.config.values)
assert before == after, {name: (before[name], after[name]) for name in before if before[name] != after[name]}
assert not after["jax_enable_x64"]
""")


def test_public_names_are_found_and_listed_and_unknown_ones_refused():
    assert set(deepbures.__all__) <= set(dir(deepbures))
    for name in deepbures.__all__:
        assert getattr(deepbures, name) is not None
    with pytest.raises(AttributeError, match="'deepbures' has no attribute 'bures'"):
        _ = deepbures.bures


def rooms_of_public_names() -> set[str]:
    return set(deepbures._ROOM_OF.values())


def test_public_names_are_those_that_the_rooms_promise():
    promised = [
        name for room in rooms_of_public_names() for name in importlib.import_module(f"deepbures.{room}").__all__
    ]
    assert sorted(deepbures.__all__) == sorted(["__version__", *promised])


def test_type_checkers_see_the_names_of_the_same_rooms():
    starred = {
        node.module.removeprefix("deepbures.")
        for node in ast.walk(ast.parse(inspect.getsource(deepbures)))
        if isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names] == ["*"]
    }
    assert starred == rooms_of_public_names()


def test_without_sources_the_rooms_are_asked(monkeypatch):
    def no_source(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(deepbures.__spec__.loader, "get_data", no_source)
    assert deepbures._promised("metric") == importlib.import_module("deepbures.metric").__all__


def imported_names(source: str) -> set[str]:
    """Dotted names of all that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def private_imports() -> list[tuple[str, str]]:
    """(importer, imported) over all modules; the room of a module is the first part of its path in the package."""
    root = Path(inspect.getfile(deepbures)).parent
    found = set()
    for path in root.rglob("*.py"):
        importer = path.relative_to(root).with_suffix("").parts
        for name in imported_names(path.read_text(encoding="utf-8")):
            package, room, *inside = *name.split("."), ""
            private = [i for i, part in enumerate(inside) if re.match("_(?!_)", part)]
            if package == "deepbures" and room != importer[0] and private:
                found.add((".".join(importer), ".".join([room, *inside[: private[0] + 1]])))
    return sorted(found)


def test_no_room_imports_private_modules_of_another():
    assert private_imports() == [], "make the name public in its room's face"


MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 400, 60


def sources() -> Iterator[tuple[str, str]]:
    root = Path(inspect.getfile(deepbures)).parent
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the last line, without the docstring, which is documentation."""
    documentation = function.body[0] if ast.get_docstring(function) is not None else None
    without = 0 if documentation is None else documentation.end_lineno - documentation.lineno + 1
    return function.end_lineno - function.lineno + 1 - without


def test_arrays_in_annotations_come_from_one_module():
    assert [name for name, source in sources() if re.search(r"^Array = Any$", source, re.MULTILINE)] == ["_types.py"]


def test_no_file_outgrows_four_hundred_lines():
    assert [name for name, source in sources() if source.count("\n") > MOST_LINES_OF_A_FILE] == []


def test_no_function_outgrows_sixty_lines():
    found = [
        (name, node.name)
        for name, source in sources()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of_code(node) > MOST_LINES_OF_A_FUNCTION
    ]
    assert found == []


# Three questions no room asks: which loss, which covariance, which solver is this? The leaf answers for itself.
ASKED_OF = {
    "model": ("AbstractLoss", "AbstractModes", "AbstractCovariance"),
    "training": ("AbstractMethod", "AbstractSolver"),
}


def leaves(room: str) -> set[str]:
    """Names of the interfaces of a room and of all classes of this package that derive from them."""
    modules = [importlib.import_module(f"deepbures.{room}.{path.stem}") for path in modules_of(room)]
    roots = [getattr(module, name) for module in modules for name in ASKED_OF[room] if hasattr(module, name)]
    found, new = set(), set(roots)
    while new:
        found |= new
        new = {
            leaf for base in new for leaf in base.__subclasses__() if leaf.__module__.startswith("deepbures.")
        } - found
    return {leaf.__name__ for leaf in found}


def modules_of(room: str) -> list[Path]:
    return sorted((Path(inspect.getfile(deepbures)).parent / room).glob("_*[a-z].py"))


def questions(source: str, names: set[str]) -> list[str]:
    """Calls of isinstance and the like about these classes, patterns that match them, and getattr of a parameter."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.MatchClass) and ast.unparse(node.cls).rpartition(".")[2] in names:
            found.append(ast.unparse(node.cls))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
            asked = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
            asked |= {part.attr for part in ast.walk(node.args[1]) if isinstance(part, ast.Attribute)}
            if node.func.id in ("isinstance", "issubclass") and asked & names:
                found.append(ast.unparse(node))
            is_constant = isinstance(node.args[1], ast.Constant)
            if node.func.id in ("getattr", "hasattr") and is_constant and node.args[1].value in ("tau", "epsilon"):
                found.append(ast.unparse(node))
    return found


def test_no_room_asks_which_loss_covariance_or_solver_it_has():
    for room in ASKED_OF:
        names = leaves(room)
        assert len(names) > len(ASKED_OF[room])
        asked = {path: found for path, source in sources() if (found := questions(source, names))}
        assert {path for path in asked if not path.startswith(f"{room}/")} == set()
    probe = "isinstance(x, db.Frobenius); getattr(loss, 'tau', 0); issubclass(a, (int, AbstractLoss))"
    assert len(questions(probe, leaves("model"))) == 3


def test_losses_are_named_in_one_table():
    quoting = {
        path
        for path, source in sources()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and node.value in list(LossName)
    }
    assert quoting == {"_loss_names.py"}


def test_files_are_moved_into_place_in_one_module():
    """And folders of images in the one that writes them."""
    moving = {path for path, source in sources() if "os.replace(" in source or "os.fsync(" in source}
    assert moving == {"_atomic.py", "cli/_writers.py"}
