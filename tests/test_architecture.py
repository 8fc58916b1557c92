"""What importing the package may cost: nothing heavy, no setting changed. (Who may import whom is held by import-linter.)"""

import json
import subprocess
import sys

import pytest

import deepbures

HEAVY = (
    "jax",
    "equinox",
    "diffrax",
    "optax",
    "scipy",
    "torch",
    "sklearn",
    "skimage",
    "matplotlib",
    "pyarrow",
    "dask",
    "xarray",
)


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter, as this process has imported everything already."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    code = (
        f"import json, sys\n{statement}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    return set(json.loads(run_python(code)))


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import deepbures") & set(HEAVY) == set()


@pytest.mark.parametrize("room", ["metric", "model", "landscape", "training"])
def test_the_rooms_load_no_optional_dependency(room):
    optional = {
        "torch",
        "sklearn",
        "skimage",
        "matplotlib",
        "pyarrow",
        "PIL",
        "jinja2",
        "dask",
        "xarray",
        "typer",
        "rich",
    }
    assert loaded_after(f"import deepbures.{room}") & optional == set()


@pytest.mark.parametrize("module", ["deepbures.cli", "deepbures.datasets"])
def test_the_edges_load_nothing_heavy_before_it_is_needed(module):
    assert loaded_after(f"import {module}") & (set(HEAVY) - {"scipy"}) == set()


def test_no_import_changes_a_jax_setting():
    code = """
import jax
def settings():
    return {name: jax.config._read(name) for name in jax.config.values}
before = settings()
import deepbures
for name in deepbures.__all__:
    getattr(deepbures, name)
after = settings()
assert before == after, {name: (before[name], after[name]) for name in before if before[name] != after[name]}
assert not jax.config.read("jax_enable_x64")
"""
    run_python(code)


def test_public_names_are_found_listed_and_unknown_ones_refused():
    assert set(deepbures.__all__) <= set(dir(deepbures))
    for name in deepbures.__all__:
        assert getattr(deepbures, name) is not None
    with pytest.raises(AttributeError, match="'deepbures' has no attribute 'bures'"):
        _ = deepbures.bures


def test_names_for_type_checkers_are_the_names_at_run_time():
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(deepbures))
    imported = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deepbures.")
        for alias in node.names
    }
    assert imported == set(deepbures.__all__) - {"__version__"}
