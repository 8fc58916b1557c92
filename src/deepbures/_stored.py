"""A model as it lies on the disk: model.npz, and what summary.json beside it says of how it was fitted."""

import dataclasses
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepbures.datasets import Features
from deepbures.model import AbstractLoss, DeepLinearNetwork, loss_named

MODEL, SUMMARY = "model.npz", "summary.json"


def check_archive(path: Path) -> None:
    """Refuse what is no whole archive: NumPy would leave the file open."""
    if not zipfile.is_zipfile(path):
        raise ValueError("not an .npz archive, or truncated")


@dataclasses.dataclass(frozen=True)
class StoredModel:
    """A network in a file, and what its files say of it.

    Attributes
    ----------
    network : DeepLinearNetwork
        The network.
    features : Features
        What is known of the columns of the data.
    noise_variance : float or None
        The noise that its loss counts in: the model is N(mean, W Wᵀ + noise_variance I). None where that is not known.
    loss : AbstractLoss or None
        The loss that it was fitted to; None where that is not known, or none of this package.
    status : str or None
        How the run ended that it is of, as in summary.json; None where that is not known.
    relative_excess : float or None
        Of that run; infinite if the run left the range of numbers.
    """

    network: DeepLinearNetwork
    features: Features
    noise_variance: float | None = None
    loss: AbstractLoss | None = None
    status: str | None = None
    relative_excess: float | None = None


def load_model(path: Path) -> DeepLinearNetwork:
    """The network of a run folder, or of a model file.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepbures as db
    >>> from deepbures.runs import RunFolder, load_model
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = RunFolder(Path(parent))
    ...     folder.write_model(db.DeepLinearNetwork([np.eye(2)]))
    ...     load_model(Path(parent)).widths
    (2, 2)
    """
    return DeepLinearNetwork.load(_model_file(path))


def load_features(path: Path, dim: int) -> Features:
    """What a run folder, or a model file, knows of the `dim` columns of the data that it was fitted to.

    Raises
    ------
    ValueError
        If there is no model.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepbures as db
    >>> from deepbures.datasets import Features
    >>> from deepbures.runs import RunFolder, load_features
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = RunFolder(Path(parent))
    ...     folder.write_model(db.DeepLinearNetwork([np.eye(2)]), Features(names=("height", "weight")))
    ...     load_features(Path(parent), 2).names
    ('height', 'weight')
    """
    file = _model_file(path)
    wanted = {field.name for field in dataclasses.fields(Features)}
    with np.load(file, allow_pickle=False) as archive:
        kept = {name: archive[name] for name in archive.files if name.removeprefix("feature_") in wanted}
    return Features.from_arrays(kept, dim)


def read_model(path: Path) -> StoredModel:
    """The network of a run folder, or of a model file, with what is known of how it was fitted.

    A summary.json is believed where it lies beside a model.npz of the widths that it names. A missing or damaged one
    tells nothing.

    Raises
    ------
    ValueError
        If there is no model, or what its file says of it is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import deepbures as db
    >>> from deepbures.runs import RunFolder, read_model
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = RunFolder(Path(parent))
    ...     folder.write_model(db.DeepLinearNetwork([np.eye(2)]), noise_variance=0.1)
    ...     stored = read_model(Path(parent))
    ...     stored.noise_variance, stored.status
    (0.1, None)
    """
    file = _model_file(path)
    network = DeepLinearNetwork.load(file)
    summary = _summary_of(file, network)
    excess = summary.get("relative_excess", math.nan)
    return StoredModel(
        network,
        load_features(file, network.dim),
        noise_variance=_stored_noise(file, summary),
        loss=_stored_loss(file, summary),
        status=summary["status"] if isinstance(summary.get("status"), str) else None,
        # In JSON, what is not finite is null.
        relative_excess=math.inf if excess is None else _number_or_none(excess),
    )


def _model_file(path: Path) -> Path:
    path = Path(path)
    file = path / MODEL if path.is_dir() else path
    if not file.exists():
        what = f"the folder {path} has no {MODEL}" if path.is_dir() else f"{path} does not exist"
        raise ValueError(f"MODEL must be the folder of a run, or a {MODEL} file, but {what}.")
    try:
        check_archive(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as a model: {error}.") from None
    return file


def _summary_of(file: Path, network: DeepLinearNetwork) -> Mapping[str, Any]:
    """The summary.json beside a model, if it is one of this model; otherwise nothing."""
    if file.name != MODEL:
        return {}
    try:
        content = json.loads((file.parent / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_of_it = isinstance(content, dict) and content.get("widths") == list(network.widths)
    return content if is_of_it else {}


def _stored_noise(file: Path, summary: Mapping[str, Any]) -> float | None:
    """The tau of a model, from its file; runs of before it was kept there have it in their summary only."""
    with np.load(file, allow_pickle=False) as archive:
        stored = archive["noise_variance"] if "noise_variance" in archive.files else None
    if stored is None:
        request = summary.get("request")
        tau = _number_or_none(request.get("tau")) if isinstance(request, dict) else None
        return tau if tau is not None and 0 <= tau < math.inf else None
    if stored.shape != () or stored.dtype.kind != "f" or not 0 <= stored < math.inf:
        raise ValueError(
            f"{file} cannot be read as a model: noise_variance must be one number, finite and not negative, but "
            f"{stored!r} was found."
        )
    return float(stored)


def loss_to_arrays(loss: AbstractLoss) -> dict[str, Any]:
    """A loss as model.npz keeps it: its name, and its parameters."""
    parameters = {f"loss_{name}": np.float64(value) for name, value in loss.parameters.items()}
    return {"loss": np.array(loss.to_dict()["name"]), **parameters}


def _stored_loss(file: Path, summary: Mapping[str, Any]) -> AbstractLoss | None:
    """The loss of a model, from its file; runs of before it was kept there have it in their summary only."""
    with np.load(file, allow_pickle=False) as archive:
        stored = {name.removeprefix("loss_"): archive[name].tolist() for name in archive.files if name[:4] == "loss"}
    asked = summary.get("request")
    given = stored or (asked if isinstance(asked, dict) else {})
    parameters = {name: given[name] for name in ("tau", "epsilon") if name in given}
    try:
        return loss_named(given.get("loss", ""), **parameters)
    except (TypeError, ValueError):
        return None


def _number_or_none(value: Any) -> float | None:
    """A number of a JSON file that may have been tampered with, if it is one."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    return float(value) if is_number else None
