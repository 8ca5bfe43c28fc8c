"""Asks every remedy about every finding and puts the proposals in order."""

import warnings
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from math import ceil

from isometry.diagnosis import limits
from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding, Severity
from isometry.network.edits import ChangeOptimizer, Edit, ScaleRate
from isometry.treatment.combination import are_compatible
from isometry.treatment.prescription import Effect, Prescription
from isometry.treatment.remedy import Proposal, Remedy, remedies
from isometry.treatment.source import by_hand

__all__ = ["prescribe"]

EFFECTS = tuple(Effect)
RATES = ("learning_rate_too_low", "learning_rate_too_high")
"""Problems of the steps: where they follow from another one, curing that may or may not be enough."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """A proposal with all that decides its place."""

    remedies: tuple[str, ...]
    proposal: Proposal
    effect: Effect
    answers: tuple[str, ...]
    """Codes of the findings."""
    primacy: int
    """Place of the problem among those that the remedy treats."""
    depth: int
    """0 against a finding that follows from no other, 1 against one that follows from such, and so on."""

    @property
    def edits(self) -> tuple[Edit, ...]:
        return self.proposal.edits


def prescribe(diagnosis: Diagnosis, *, effects: Sequence[Effect] = EFFECTS) -> tuple[Prescription, ...]:
    """What to change, the most promising first; nothing for a healthy training.

    What is proposed against a root cause comes before what is proposed against its consequences. Among these come first
    those that are foretold to let δ through; what is left of less than a decade counts as nothing. Among those alike
    the gentler ones come first: a rate before weights, weights before another network. Then what is best against such
    a problem, and what answers several findings. Where two findings of different kinds stand side by side, the best
    change against one is also proposed together with the best against the other.

    Args:
        diagnosis: of a run
        effects: what a change may cost; all of them if left out
    """
    grave = [finding for finding in diagnosis.findings if finding.severity >= Severity.SLOWS]
    allowed = frozenset(effects)
    offers = [offer for offer in _merged(_asked(diagnosis, grave)) if offer.effect in allowed]
    ordered = sorted(offers, key=_urgency)
    return tuple(_prescription(offer, diagnosis) for offer in _with_pairs(ordered, grave, diagnosis))


def _asked(diagnosis: Diagnosis, findings: Sequence[Finding]) -> Iterator[_Offer]:
    depths = _depths(findings)
    for finding, depth in zip(findings, depths, strict=True):
        for remedy in remedies():
            for proposal in _proposals(remedy, diagnosis, finding):
                primacy = remedy.treats.index(finding.problem)
                yield _Offer((remedy.name,), proposal, remedy.effect, (finding.code,), primacy, depth)


def _proposals(remedy: Remedy, diagnosis: Diagnosis, finding: Finding) -> tuple[Proposal, ...]:
    try:
        return remedy(diagnosis, finding)
    except Exception as fault:  # noqa: BLE001  one faulty remedy must not cost the user what the others propose
        warnings.warn(f"Remedy {remedy.name} failed on {finding.code}: {fault!r}", RuntimeWarning, stacklevel=2)
        return ()


def _depths(findings: Sequence[Finding]) -> list[int]:
    """How many causes stand behind each finding, one behind the other."""
    depths = dict.fromkeys((finding.code for finding in findings), 0)
    for _ in findings:  # a chain of causes is no longer than the list
        for finding in findings:
            behind = [depths[code] for code in finding.follows if code in depths and code != finding.code]
            depths[finding.code] = min(max([0, *(1 + depth for depth in behind)]), len(findings))
    return [depths[finding.code] for finding in findings]


def _merged(offers: Iterable[_Offer]) -> tuple[_Offer, ...]:
    """Equal edits once, with all the findings that they answer, in the words of the most urgent one."""
    found: dict[tuple[Edit, ...], _Offer] = {}
    for offer in offers:
        known = found.get(offer.edits)
        if known is None:
            found[offer.edits] = offer
            continue
        first, second = (known, offer) if known.depth <= offer.depth else (offer, known)
        answers = tuple(dict.fromkeys(first.answers + second.answers))
        found[offer.edits] = replace(first, answers=answers, primacy=min(first.primacy, second.primacy))
    return tuple(found.values())


def _urgency(offer: _Offer) -> tuple[int, int, int, int, int, float]:
    expected = offer.proposal.expected
    left = abs(expected) if expected is not None else 0.0
    return offer.depth, _level(offer), EFFECTS.index(offer.effect), offer.primacy, -len(offer.answers), left


def _level(offer: _Offer) -> int:
    """Whole decades that are foretold to be left; unknown of the network counts as one, of the training as none.

    A last resort counts as one too.
    """
    expected = offer.proposal.expected
    if expected is None:
        return 0 if offer.effect == Effect.RETUNES and not offer.proposal.is_resort else 1
    return 0 if abs(expected) <= limits.LITTLE.value else ceil(abs(expected))


# Two changes at once --------------------------------------------------------------------------------------------------


def _with_pairs(offers: Sequence[_Offer], findings: Sequence[Finding], diagnosis: Diagnosis) -> list[_Offer]:
    """The best offer together with the best against something that stands beside what it answers.

    Against a second root cause: the pair comes right behind the first offer. For a rate that may be wrong by itself,
    although it is called a consequence: the pair comes behind the second offer. Of a rate of plain gradient descent
    nobody can tell what suits the cured network, as its gradients will be others; Adam's can be told. And where the
    first offer leaves the network as it is, for what the network itself may contribute.
    """
    told = list(offers)
    if not told:
        return told
    first, grave = told[0], {finding.code for finding in findings}
    roots = frozenset(finding.code for finding in findings if not grave.intersection(finding.follows))
    rates = frozenset(finding.code for finding in findings if finding.problem in RATES) - roots
    adaptive = is_adaptive(diagnosis.run)
    kind = ScaleRate if adaptive else ChangeOptimizer
    retuning = [offer for offer in offers if all(isinstance(edit, kind) for edit in offer.edits)]
    if (beside := _partner(first, offers, roots - set(first.answers))) is not None:
        told.insert(1, _together(first, beside))
    reworking = [offer for offer in offers if offer.effect != Effect.RETUNES and first.effect == Effect.RETUNES]
    followers = (
        _partner(first, retuning, rates - set(first.answers) if adaptive else grave),
        _partner(first, reworking, grave - roots - set(first.answers)),
    )
    for follower in followers:
        if follower is not None and all(_together(first, follower).edits != offer.edits for offer in told):
            told.insert(1 + 1, _together(first, follower))
    return told


def _partner(first: _Offer, offers: Sequence[_Offer], codes: Set[str]) -> _Offer | None:
    """The best offer that answers one of these findings and can be carried out together with the first one."""
    return next((one for one in offers if codes & set(one.answers) and are_compatible(first.edits, one.edits)), None)


def _together(first: _Offer, second: _Offer) -> _Offer:
    network, training = sorted((first, second), key=lambda offer: -EFFECTS.index(offer.effect))
    expected = network.proposal.expected
    if network.effect == Effect.RETUNES and expected is None:
        expected = training.proposal.expected
    return _Offer(
        remedies=network.remedies + training.remedies,
        proposal=Proposal(
            network.edits + training.edits, f"{network.proposal.words} {training.proposal.words}", expected
        ),
        effect=network.effect,
        answers=tuple(dict.fromkeys(first.answers + second.answers)),
        primacy=min(first.primacy, second.primacy),
        depth=min(first.depth, second.depth),
    )


def _prescription(offer: _Offer, diagnosis: Diagnosis) -> Prescription:
    return Prescription(
        remedy=" + ".join(offer.remedies),
        edits=offer.edits,
        effect=offer.effect,
        expected=offer.proposal.expected,
        answers=offer.answers,
        words=offer.proposal.words,
        patch=by_hand(offer.edits, diagnosis.run),
    )
