"""Which pictures a check or a prediction has."""

from collections.abc import Callable

from isometry.diagnosis.check import Check, Prediction
from isometry.errors import NotRecorded
from isometry.report.chart import Chart
from isometry.report.checks.changes import changes_chart
from isometry.report.checks.phases import phase_diagram
from isometry.report.checks.profiles import backward_profile, forward_profile
from isometry.report.checks.spectrum import spectrum_chart
from isometry.report.pictures import Album, Missing, album, marked

__all__ = ["check_album", "prediction_album"]

PROVEN_BY_PROFILE = "delta-by-depth"
"""The picture of a run that the profile beside its prediction replaces."""
OF_WEIGHTS = ("gain-by-layer",)
"""Pictures of a run that say something of a network before its first step."""


def check_album(check: Check) -> Album:
    """The picture that proves each finding, and all others."""
    prediction = check.prediction
    made, missing = _made(
        {
            "delta-against-prediction": lambda: backward_profile(prediction, check),
            "z-against-prediction": lambda: forward_profile(prediction, check),
            "singular-values": lambda: spectrum_chart(check.jacobian),
            "what-would-change-it": lambda: changes_chart(prediction, check.counterfactuals),
            "phase-diagram": lambda: phase_diagram(prediction.explanation),
        }
    )
    of_run = album(check.diagnosis)
    profile = made.get("delta-against-prediction")
    proofs: list[Chart | None] = []
    for finding, proof in zip(check.findings, of_run.proofs, strict=True):
        if proof is not None and proof.name == PROVEN_BY_PROFILE and profile is not None:
            proof = marked(made.pop("delta-against-prediction"), [finding], check.run)
        proofs.append(proof)
    others = [chart for chart in of_run.others if chart.name in OF_WEIGHTS]
    return Album(tuple(proofs), (*made.values(), *others), missing)


def prediction_album(prediction: Prediction) -> Album:
    """Profiles and phases."""
    made, missing = _made(
        {
            "delta-against-prediction": lambda: backward_profile(prediction),
            "z-against-prediction": lambda: forward_profile(prediction),
            "phase-diagram": lambda: phase_diagram(prediction.explanation),
        }
    )
    return Album((), tuple(made.values()), missing)


def _made(makers: dict[str, Callable[[], Chart]]) -> tuple[dict[str, Chart], tuple[Missing, ...]]:
    made, missing = {}, []
    for name, make in makers.items():
        try:
            made[name] = make()
        except NotRecorded as reason:
            missing.append(Missing(name, str(reason)))
    return made, tuple(missing)
