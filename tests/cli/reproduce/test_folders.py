"""Other options, and folders of other things."""

import json
from pathlib import Path

import pytest

from deepbures import __version__

from .fakes import contents


def test_other_options_are_refused_and_named(call, refused, tmp_path, whole):
    before = contents(tmp_path / "whole")
    message = refused("--out", "whole", "--seed", 2)
    assert "holds results of other options (quick was True, now False; seed was 0, now 2)" in message
    assert "choose another --out, or pass --overwrite" in message
    assert contents(tmp_path / "whole") == before


def test_another_version_is_another_option(refused, tmp_path, whole):
    path = tmp_path / "whole" / "request.json"
    path.write_text(path.read_text().replace(__version__, "0.0.1"))
    assert f"version was '0.0.1', now '{__version__}'" in refused("--quick", "--out", "whole")


def test_overwrite_removes_what_this_command_wrote_and_nothing_else(call, tmp_path, whole):
    folder = tmp_path / "whole"
    mine = {"notes.txt", "rates/notes.csv", "rates/pieces/notes.txt", "other/pieces/depth=1.npz"}
    for name in mine:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    (folder / "rates" / "pieces" / ".depth=9.npz.tmp").write_text("half")
    assert call("means", "--quick", "--seed", 1, "--out", "whole", "--overwrite").code == 0
    left = contents(folder)
    assert mine <= left.keys() and all(left[name] == b"mine" for name in mine)
    assert left.keys() - mine == {
        "index.html", "request.json", "means/findings.json", "means/means.csv", "means/pieces/mean.npz",
    }  # fmt: skip
    assert b'"seed": 1' in left["request.json"]


def test_overwrite_with_the_same_options_computes_the_named_ones_again(call, tmp_path, whole):
    done = call("means", "--quick", "--out", "whole", "--overwrite", "--json")
    assert [(row["name"], row["computed"]) for row in done.json["experiments"]] == [("means", 1)]
    done = call("--quick", "--out", "whole", "--json")
    assert [row["computed"] for row in done.json["experiments"]] == [0, 0]
    assert contents(tmp_path / "whole") == whole


def test_no_file_outside_is_removed_whatever_a_list_of_files_says(call, tmp_path, whole):
    (tmp_path / "precious.csv").write_text("mine")
    path = tmp_path / "whole" / "rates" / "findings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tables": ["../../precious.csv", 3]}))
    assert call("--quick", "--out", "whole", "--overwrite").code == 0
    assert (tmp_path / "precious.csv").read_text() == "mine"


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_a_folder_of_other_things_is_refused(refused, tmp_path, options):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    assert "site holds other things (index.html), and no request.json of this command" in refused(
        "--out", "site", *options
    )
    (tmp_path / "site" / "request.json").write_text('{"rank": 2}')  # as `deepbures fit` leaves it
    assert "holds other things (index.html, request.json)" in refused("--out", "site", *options)
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_a_folder_that_cannot_be(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file, but a folder" in refused("--out", "file")
    assert "cannot be written to" in refused("--out", Path("file") / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
