"""What importing the package costs: nothing heavy, no setting changed. (import-linter holds who may import whom.)"""

import ast
import importlib
import inspect
import json
import subprocess
import sys

import pytest

import deepbures

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


@pytest.mark.parametrize("room", ["metric", "model", "landscape", "training"])
def test_the_rooms_load_no_optional_dependency(room):
    assert loaded_after(f"import deepbures.{room}") & (OPTIONAL | {"typer", "rich"}) == set()


@pytest.mark.parametrize("module", ["deepbures.cli", "deepbures.datasets"])
def test_the_edges_load_nothing_heavy_before_it_is_needed(module):
    assert loaded_after(f"import {module}") & (CORE | OPTIONAL) == set()


def test_no_import_changes_a_jax_setting():
    run_python("""
import jax
before = dict(jax.config.values)
import deepbures
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
