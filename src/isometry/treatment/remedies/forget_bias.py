"""Forget gates that begin open."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.time import profiles_through_time
from isometry.diagnosis.words import span
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.edits import SetForgetBias
from isometry.theory import forget_bias as bias_for
from isometry.treatment.changes import is_through_time
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

LEAST = 1.0
"""What is usual. Sources: Jozefowicz et al. 2015."""
GATED = "lstm"


@remedy("forget-bias", treats=["vanishing_gradient"], effect=Effect.REINITIALISES)
def forget_bias(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Let the forget gates of an LSTM begin nearly open, so that δ comes through the cell from far back.

    A gate whose bias is 0 keeps one half of the cell, and of δ, at each time step: 0.3 decades. With a bias of b it
    keeps σ(b); ln(T − 1) leaves 1/e over T steps. T is the length of the sequences, as far as δ was heard through time.
    The input gates begin as far shut, so that what comes in at every step does not drown what is kept. Of six trainings
    that ask for the first of 30 words, four come to 85 % with both, one with the forget gates alone, which are the
    second try, and none without.

    Sources: Gers et al. 2000; Jozefowicz et al. 2015; Tallec & Ollivier 2018.
    """
    if not is_through_time(finding):
        return
    architecture = diagnosis.run.architecture
    for name in finding.layers:
        length = _length(diagnosis.run, name)
        if GATED not in architecture[name].type.lower() or length is None:
            continue
        value = round(max(bias_for(length), LEAST), 1)
        for opposed in (True, False):
            beside = f", and its input gates with {-value:g}" if opposed else ""
            words = f"Let the forget gates of {span((name,))} begin with a bias of {value:g}{beside}"
            yield Proposal((SetForgetBias((name,), value, opposed),), f"{words}: sequences have {length} time steps.")


def _length(run: Run, layer: str) -> int | None:
    """Time steps of a layer's sequences."""
    try:
        return next((len(found) for found in profiles_through_time(run) if found.layer == layer), None)
    except NotRecorded:
        return None
