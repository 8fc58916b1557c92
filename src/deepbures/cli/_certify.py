"""`deepbures certify`: what theory promises of training from a start, as a table."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import deepbures as db
from deepbures.certificates import Assumption, Certificate, as_plain, in_words
from deepbures.cli._messages import Invocation
from deepbures.cli._options import Init
from deepbures.cli._progress import Display
from deepbures.cli._show import loss_in_words, number, show_table
from deepbures.cli._target import loss_of, target_of
from deepbures.cli.requests import CertifyRequest
from deepbures.datasets import require_same_order
from deepbures.runs import StoredModel, environment, plain, read_model
from deepbures.training import fit_problem, fit_start


def run(request: CertifyRequest, call: Invocation, display: Display) -> dict[str, Any]:
    """Make or load the start, certify it, and return the summary."""
    stored = None if request.model is None else read_model(request.model)
    request.read(display)
    display.stage("certifying")
    target, loss = target_of(request), loss_of(request)
    network, start = _fresh(request, target, loss) if stored is None else _trained(request, stored, loss, call)
    fit_problem(target, network.bottleneck, depth=network.depth, hidden=None, loss=loss)
    certificates = db.certify(network, target, loss)
    return dict(
        plain(
            {
                "data": {"name": request.dataset.name, "dim": request.dataset.dim},
                "start": {**start, "widths": network.widths, "rank": network.bottleneck, "depth": network.depth},
                "request": request.record(),
                "loss": loss.to_dict(),
                "initial_loss": float(loss.value(network.end_to_end, target)),
                "minimal_loss": float(db.minimal_loss(target, network.bottleneck, loss)),
                "excess": certificates[0].excess,
                "certificates": [_entry(certificate) for certificate in certificates],
                "warnings": list(call.warnings),
                **environment(),
            }
        )
    )


def _fresh(
    request: CertifyRequest, target: db.Target, loss: db.AbstractLoss
) -> tuple[db.DeepLinearNetwork, dict[str, Any]]:
    """The start that `deepbures fit` takes."""
    assert request.rank is not None  # by the check of the arguments; tells the type checker
    init, seed = (request.init or Init.balanced).value, request.seed or 0
    widths = fit_problem(target, request.rank, depth=request.depth or 1, hidden=request.hidden, loss=loss)
    return fit_start(target, widths, init=init, seed=seed, tau=loss.noise_variance), {"init": init, "seed": seed}


def _trained(
    request: CertifyRequest, stored: StoredModel, loss: db.AbstractLoss, call: Invocation
) -> tuple[db.DeepLinearNetwork, dict[str, Any]]:
    """A network of a file, of the same data."""
    model, source = str(request.model), request.data
    _check_dim(stored.network, request.dataset.dim, model, source)
    require_same_order(stored.features.names, request.dataset.feature_names, (model, source))
    other = _other_loss(stored, loss)
    if other is not None:
        fitted, options = other
        call.warn(
            f"{model} was fitted with {fitted}, but these certificates are of training it on with {_spelled(loss)}: "
            f"pass {options} for the loss it was fitted to."
        )
    return stored.network, {"model": model, "status": stored.status, "relative_excess": stored.relative_excess}


def _other_loss(stored: StoredModel, loss: db.AbstractLoss) -> tuple[str, str] | None:
    """Which loss a model was fitted to, in words and as options, where that is known not to be this one."""
    if stored.loss is not None:
        if (stored.loss.name, stored.loss.parameters) == (loss.name, loss.parameters):
            return None
        return _spelled(stored.loss), _spelled(stored.loss, as_options=True)
    noise = stored.noise_variance
    if noise is None or noise == loss.noise_variance:
        return None
    return f"tau {noise:g}", f"--tau {noise:g}"


def _spelled(loss: db.AbstractLoss, *, as_options: bool = False) -> str:
    dashes = "--" if as_options else ""
    values = {"loss": loss.name, **{name: f"{value:g}" for name, value in loss.parameters.items()}}
    return " ".join(f"{dashes}{name} {value}" for name, value in values.items())


def _check_dim(network: db.DeepLinearNetwork, dim: int, model: str, source: str) -> None:
    if network.dim != dim:
        raise ValueError(
            f"--model {model} has {network.dim} outputs, but {source} has {dim} features: pass the data that it was "
            "fitted to."
        )


def _entry(certificate: Certificate) -> dict[str, Any]:
    """Everything that is known of a certificate."""
    return {
        **as_plain(certificate),
        "method": certificate.method,
        "statement": certificate.statement,
        "source": certificate.source,
        "assumptions": [_assumption(assumption) for assumption in certificate.assumptions],
        "constants": dict(certificate.constants),
        "log_rate": certificate.log_rate,
        "log_max_step_size": certificate.log_max_step_size,
    }


def _assumption(assumption: Assumption) -> dict[str, Any]:
    return {**asdict(assumption), "holds": assumption.holds, "slack": assumption.slack, "text": in_words(assumption)}


# ------------------------------------------------------------------------------------------------------- the terminal


def show(summary: dict[str, Any]) -> None:
    """The table on a terminal, and the missed assumptions in words."""
    import typer

    for line in _head(summary):
        typer.echo(line)
    missed = _missed(summary)
    rows = [(entry["name"], entry["kind"], *_cells(entry, list(missed))) for entry in summary["certificates"]]
    headers = ("name", "kind", "holds", "rate", "largest step")
    columns = {header: [row[i] for row in rows] for i, header in enumerate(headers)}
    show_table(columns, right={"rate", "largest step"}, least_needed=("kind", "largest step", "rate"))
    typer.echo("\nRates are per unit of time (flow), or per step of the largest size (descent).")
    for line in _promises(summary["certificates"]):
        typer.echo(line)
    if missed:
        typer.echo()
    for place, (text, names) in enumerate(missed.items(), 1):
        typer.echo(f"[{place}] {text}\n    in {', '.join(names)}")


def _promises(entries: list[dict[str, Any]]) -> Iterator[str]:
    """The earliest time, and number of steps, by which guarantees that hold promise a millionth of the excess."""
    words = {
        "flow": "The flow has {} by time {:.4g}",
        "descent": "Descent has {} after {:.4g} steps of the largest size",
    }
    for method, sentence in words.items():
        promised = [
            entry
            for entry in entries
            if entry["method"] == method and entry["kind"] == "guarantee" and entry["time_to_millionth"] is not None
        ]
        if promised:
            first = min(promised, key=lambda entry: float(entry["time_to_millionth"]))
            reached = sentence.format("certainly come down to 1e-6 of this excess", first["time_to_millionth"])
            yield f"{reached} ({first['name']})."


def _missed(summary: dict[str, Any]) -> dict[str, list[str]]:
    """The assumptions that are not met, in words, and which certificates miss each."""
    found: dict[str, list[str]] = {}
    for entry in summary["certificates"]:
        for text in entry["missed"]:
            found.setdefault(text, []).append(entry["name"])
    return found


def _head(summary: dict[str, Any]) -> Iterator[str]:
    data, start = summary["data"], summary["start"]
    yield f"{data['name']}: {data['dim']} features; {loss_in_words(summary)}"
    origin = f"model {start['model']}{_ended(start)}" if "model" in start else _begun(start)
    yield f"{origin}: widths {_chain(start['widths'])}"
    values = [number(summary[name], 6) for name in ("initial_loss", "minimal_loss", "excess")]
    yield "loss {}, theoretical minimum {}, excess {}\n".format(*values)


def _begun(start: dict[str, Any]) -> str:
    return f"start {start['init']}, seed {start['seed']}"


def _ended(start: dict[str, Any]) -> str:
    """How the run ended that left this model, where that is known: an unfinished one is a start like any other."""
    if start["status"] is None:
        return ""
    excess = "" if start["relative_excess"] is None else f", relative excess {start['relative_excess']:.2g}"
    return f" ({start['status']}{excess})"


def _chain(widths: list[int]) -> str:
    """Widths, with those of many equal hidden layers in short."""
    first, *hidden, last = widths
    inner = [f"{hidden[0]} ({len(hidden)} times)"] if len(hidden) > 5 and len(set(hidden)) == 1 else map(str, hidden)
    return " → ".join([str(first), *inner, str(last)])


def _cells(entry: dict[str, Any], missed: list[str]) -> tuple[str, str, str]:
    """Whether it holds, or what is missed by how much; rate and largest step, which mean nothing where it does not."""
    if not entry["holds"]:
        assumptions = [assumption for assumption in entry["assumptions"] if not assumption["holds"]]
        return f"no: {', '.join(_reference(assumption, missed) for assumption in assumptions)}", "", ""
    return (
        "yes",
        _power(entry["rate"], entry["log10_rate"]),
        _power(entry["max_step_size"], entry["log10_max_step_size"]),
    )


def _reference(assumption: dict[str, Any], missed: list[str]) -> str:
    by = f" by {abs(assumption['slack']):.3g}" if assumption["slack"] else ""  # None: undefined; 0: needed > 0
    return f"[{missed.index(assumption['text']) + 1}]{by}"


def _power(value: float | None, log10: float | None) -> str:
    """A number, or a power of ten where the number underflows."""
    if log10 is None:  # there is none, or it is infinite, for which plain values have no word
        return ""
    return f"10^{log10:.1f}" if not value else f"{value:.4g}"
