"""Documentation is complete and true: every public name has an example and is listed, and the README example runs."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import deepbures

ROOT = Path(__file__).parent.parent
PUBLIC = sorted(set(deepbures.__all__) - {"__version__"})


def examples(value: object) -> str:
    """Docstrings of a function, or of a class and its public methods."""
    own = inspect.getdoc(value) or ""
    if not inspect.isclass(value):
        return own
    methods = (getattr(value, name) for name in vars(value) if not name.startswith("_"))
    return "\n".join([own, *(inspect.getdoc(method) or "" for method in methods)])


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring_with_an_example(name):
    value = getattr(deepbures, name)
    assert (inspect.getdoc(value) or "").strip(), f"{name} has no docstring"
    assert ">>>" in examples(value), f"the docstring of {name} shows no example"


@pytest.mark.parametrize("room", sorted({*deepbures._ROOM_OF.values(), "experiments", "datasets", "torch"}))
def test_what_a_room_promises_is_what_the_reference_lists(room):
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^::: deepbures\.{room}\n((?:    .*\n)+)", reference, re.MULTILINE)
    listed = [name for block in blocks for name in re.findall(r"^ +- (\w+)$", block, re.MULTILINE)]
    assert sorted(listed) == sorted(importlib.import_module(f"deepbures.{room}").__all__)


def test_readme_example_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["samples"].shape == (1000, 6)
    for run in ("flow", "descent"):
        assert names[run].result == deepbures.Result.converged


PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md") if "```pycon" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_numbers_of_the_pages_are_live(page):
    blocks = re.findall(r"```pycon\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page, page, 0)
    assert doctest.DocTestRunner().run(examples).failed == 0, "see the captured output"


def test_versions_agree():
    assert f"\nversion: {deepbures.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
