"""What an interruption or a kill costs: nothing that was finished."""

import json
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepbures.reproduce._keeper import read_piece

from . import fakes
from .fakes import TRAP, contents, fail


def test_results_do_not_depend_on_the_number_of_workers(call, tmp_path, whole):
    for workers in (2, 7):
        assert call("--quick", "--out", f"run{workers}", "--workers", workers).code == 0
        assert contents(tmp_path / f"run{workers}") == whole


def test_a_complete_run_is_found_complete(call, tmp_path, whole):
    done = call("--quick", "--out", "whole", "--json")
    assert [row["computed"] for row in done.json["experiments"]] == [0, 0]
    assert done.json["experiments"][0]["pieces"] == 5
    assert contents(tmp_path / "whole") == whole


@pytest.mark.parametrize("workers", [1, 3])
def test_interrupted_again_and_again_is_as_uninterrupted(call, tmp_path, whole, workers):
    """Ctrl-C as the main thread sees it, at every stage."""
    stages = ["depth=1", "depth=3", "findings", "draw_rates", "draw_total", "means"]
    arguments = ["--quick", "--out", "run", "--workers", workers]
    for stage in stages:
        if (tmp_path / "run" / "rates" / "pieces" / f"{stage}.npz").exists():
            continue  # another worker was faster
        TRAP[stage] = fail(KeyboardInterrupt())
        done = call(*arguments, "--json")
        TRAP.clear()
        assert done.code == 1 and done.err.count("\n") == 1
        assert done.json["error"].startswith("interrupted; what is finished is kept in run. Go on with: ")
        assert done.json["error"].endswith(f": deepbures reproduce --quick --out run --workers {workers} --json")
        assert not list((tmp_path / "run").rglob("*.tmp"))
    done = call(*arguments, "--json")
    assert done.code == 0 and done.json["experiments"][0]["computed"] == 0
    seconds = done.json["experiments"][0]["seconds"]
    kept = [json.loads(path.read_text())["seconds"] for path in (tmp_path / "run/rates/pieces").glob("*.json")]
    assert seconds >= sum(kept) > 0 and len(kept) == 5
    assert contents(tmp_path / "run") == whole


def test_what_to_type_after_an_interruption_does_not_start_again(call, tmp_path, whole):
    TRAP["means"] = fail(KeyboardInterrupt())
    done = call("--quick", "--overwrite", "--out", "whole")
    assert done.err.endswith("Go on with: deepbures reproduce --quick --out whole\n")


SCRIPT = """
import importlib.util, signal, sys, time
import deepbures.reproduce
from deepbures.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests
spec = importlib.util.spec_from_file_location("fakes", {file!r})
fakes = sys.modules["fakes"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fakes)
deepbures.reproduce.EXPERIMENTS = fakes.FAKES
fakes.TRAP["depth=3"] = lambda: time.sleep({seconds})
fakes.TRAP["depth=2"] = lambda: time.sleep({seconds})
sys.exit(main(["reproduce", "--quick", "--out", "run", "--workers", "2", "--json"]))
"""


def started(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    """A run in a process of its own, that waits in its second and third piece when the first is done."""
    code = SCRIPT.format(file=fakes.__file__, seconds=seconds)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "rates" / "pieces" / "depth=1.npz").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_ctrl_c_finishes_the_pieces_under_way_and_begins_no_more(call, tmp_path, whole):
    process = started(tmp_path, 1.0)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    error = json.loads(out)["error"]
    assert process.returncode == 1 and err == f"deepbures: error: {error}\n"
    assert error.endswith("Go on with: deepbures reproduce --quick --out run --workers 2 --json")
    pieces = tmp_path / "run" / "rates" / "pieces"
    finished = {path.stem for path in pieces.glob("*.npz")}
    assert {"depth=1", "depth=2"} <= finished <= {"depth=1", "depth=2", "depth=3"}
    done = call("--quick", "--out", "run", "--json")
    assert done.json["experiments"][0]["computed"] == 5 - len(finished)
    assert contents(tmp_path / "run") == whole


def test_kill_9_leaves_whole_files(call, tmp_path, whole):
    process = started(tmp_path, 60)
    process.kill()
    process.communicate()
    for path in (tmp_path / "run").rglob("*.npz"):
        assert path.name.startswith(".") or read_piece(path)
    (tmp_path / "run" / "rates" / "pieces" / ".depth=3.npz.tmp").write_bytes(b"half")
    (tmp_path / "run" / ".index.html.tmp").write_bytes(b"half")
    assert call("--quick", "--out", "run").code == 0
    assert contents(tmp_path / "run") == whole


def test_a_kill_before_the_request_is_written(call, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".request.json.tmp").write_text("{")
    assert call("--quick", "--out", "run").code == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-30],
        lambda content: b"",
        lambda content: content.replace(b"\x93NUMPY", b"\x93NUMPX"),
        lambda content: content[:150] + bytes([content[150] ^ 1]) + content[151:],
        lambda content: pickle.dumps({"rate": 1.0}),
    ],
    ids=["truncated", "empty", "header", "bit", "pickle"],
)
def test_a_damaged_piece_is_computed_again_with_a_warning(call, tmp_path, whole, damage):
    path = tmp_path / "whole" / "rates" / "pieces" / "depth=2.npz"
    path.write_bytes(damage(path.read_bytes()))
    done = call("--quick", "--out", "whole", "--json")
    assert done.code == 0 and done.json["experiments"][0]["computed"] == 1
    assert done.err.startswith(f"deepbures: warning: {Path('whole/rates/pieces/depth=2.npz')} is damaged (")
    assert done.err.endswith("): it is computed again.\n") and done.err.count("\n") == 1
    assert contents(tmp_path / "whole") == whole


def test_lost_seconds_cost_nothing_else(call, tmp_path, whole):
    pieces = tmp_path / "whole" / "rates" / "pieces"
    (pieces / "depth=1.json").unlink()
    (pieces / "depth=2.json").write_text("{")
    done = call("--quick", "--out", "whole", "--json")
    assert done.json["experiments"][0]["computed"] == 0
    assert contents(tmp_path / "whole") == whole
