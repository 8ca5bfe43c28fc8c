"""Draw the weights anew, as large as keeps the signals."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.words import span
from isometry.network.edits import Reinitialise, ScaleWeights
from isometry.treatment.changes import changes, draw_with, is_through_time, with_what_is_foretold
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

GATES = ("lstm", "gru")
"""Recurrent layers that forget by a gate: the size of their recurrent matrix says little of what they keep."""


@remedy(
    "critical-initialisation",
    treats=[
        "poor_initialization",
        "vanishing_gradient",
        "exploding_gradient",
        "saturated_activation",
        "dead_units",
    ],
    effect=Effect.REINITIALISES,
)
def critical_initialisation(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Draw weights with the variance σ_w² / fan-in at which signals neither grow nor fade with depth; biases at zero.

    σ_w is that of the critical point of each layer's φ: √2 for ReLU (He), 1 for tanh (Xavier). Where there is none that
    a signal stays at, the one that keeps z of unit variance. Layers whose weights are all equal are told apart by any
    draw, and units that a bias keeps dead come back with a bias of zero.

    Not proposed for units that died in training or that the training saturated: they were drawn well once.

    Sources: Glorot & Bengio 2010; He et al. 2015, equation 10; Schoenholz et al. 2017.
    """
    if _is_saturated_by_training(diagnosis, finding):
        return
    for change in changes(diagnosis, finding):
        if all(isinstance(edit, Reinitialise) for edit in change.edits):
            drawn = draw_with(change.edits, diagnosis.run.architecture)
            words = with_what_is_foretold(f"Draw the weights anew, biases at zero, with {drawn}", change)
            yield Proposal(change.edits, words, change.expected)


def _is_saturated_by_training(diagnosis: Diagnosis, finding: Finding) -> bool:
    steps = diagnosis.run.history.steps
    if finding.problem != "saturated_activation" or finding.first_step is None or not len(steps):
        return False
    return finding.first_step > int(steps[0])


@remedy(
    "orthogonal-recurrence",
    treats=["vanishing_gradient", "exploding_gradient"],
    effect=Effect.REINITIALISES,
)
def orthogonal_recurrence(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Draw the matrices of a plain recurrent layer orthogonal, so that one time step keeps the length of δ.

    What a recurrent matrix does to δ in one step it does again in each. All singular values of an orthogonal matrix are
    1; what is left is what φ takes away. Layers with gates (LSTM, GRU) keep their past by the bias of a gate instead,
    and are left alone.

    Sources: Saxe et al. 2014; Le et al. 2015; Henaff et al. 2016.
    """
    if not is_through_time(finding):
        return
    layers = [diagnosis.run.architecture[name] for name in finding.layers]
    plain = tuple(layer.name for layer in layers if not any(gate in layer.type.lower() for gate in GATES))
    if plain:
        words = f"Draw the matrices of {span(plain)} orthogonal, so that a time step keeps the length of δ."
        yield Proposal((Reinitialise(plain, gain=1.0, orthogonal=True),), words)


@remedy("lighter-branches", treats=["exploding_gradient"], effect=Effect.REINITIALISES)
def lighter_branches(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Begin with residual branches 1/√L as strong, so that L of them together add no more than one.

    Each sum multiplies the mean square of the signal, and of δ, by 1 + b², where b is the branch's gain: 2^L for
    branches that keep the size of their input. The weights at the end of every branch are scaled.

    Sources: Hanin & Rolnick 2018; Zhang et al. 2019; De & Smith 2020.
    """
    for change in changes(diagnosis, finding):
        scaled = [edit for edit in change.edits if isinstance(edit, ScaleWeights)]
        if scaled and len(scaled) == len(change.edits):
            words = f"Multiply the weights of {span(scaled[0].layers)} by {scaled[0].factor:.2g}"
            yield Proposal(change.edits, with_what_is_foretold(words, change), change.expected)
