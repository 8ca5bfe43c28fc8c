"""Transformers with the norm before each branch or behind each sum: at the start, and in their first steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.comparison import scattered
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.report.chart import Axis, Chart, Level, Line, Ribbon, Shape, Table
from isometry.report.words import decades, number

Numbers = NDArray[np.float64]

PRE, POST, WARMED = "pre-norm", "post-norm", "post-norm, warm-up"
BLOCKS = (2, 4, 8, 16)
TRAINED = (6, 12)
"""Blocks of the transformers that are trained: 12 and 24 branches."""
RATE = 3e-3
WARM = 64
"""Steps over which the learning rate rises."""
SEEDS = 5
"""Of those that the study offers, for training."""
COST = 0.15
"""Decades that a branch can take from δ behind a norm: ½ log10 2, where it puts out as much as it takes in."""
ROOT = -0.5
"""Exponent of 1 / √L."""
STEADY = 0.15
"""Of an exponent of the depth: 8 times the depth make less than 1.4 of it."""
ALWAYS = 0.17
"""Accuracy of the word that is most frequent."""
ALIKE = 0.9
"""Mean cosine from which on tokens are called alike."""


@dataclass(frozen=True, slots=True)
class Starts:
    """Untrained transformers of one kind and depth, one row a seed."""

    delta: Numbers
    """At the sum behind every branch, input first. [rms], shape (seeds, branches)"""
    cosines: Numbers
    """Of two tokens of a text, behind every block. shape (seeds, blocks)"""
    last: Numbers
    """‖∂L/∂W‖ of the last layer of the last block. shape (seeds,)"""

    @property
    def change(self) -> Numbers:
        """log10 of δ at the first sum over δ at the last. [decades], shape (seeds,)"""
        return np.asarray(np.log10(self.delta[:, 0] / self.delta[:, -1]))

    @property
    def lowest(self) -> Numbers:
        """log10 of δ where it is least over δ at the last sum. [decades], shape (seeds,)"""
        return np.asarray(np.log10(self.delta.min(axis=1) / self.delta[:, -1]))


Found = Mapping[str, Mapping[int, Starts]]
Accuracies = Mapping[int, Mapping[str, Numbers]]
"""By blocks and by kind of transformer, one number a seed."""


@classic(
    "pre-post-norm",
    title="Does it matter whether a transformer's norm stands before a branch or behind the sum?",
    covers=("B7", "B9", "B10"),
    source="Xiong et al. 2020, On layer normalization in the transformer architecture; Noci et al. 2022",
    place=69,
)
def pre_post_norm(study: Study) -> Exhibit:
    """Causal transformers x + f(norm(x)) (pre-norm) and norm(x + f(x)) (post-norm), layer normalisation, four heads,
    feed-forward layers of twice the width with ReLU; weights of variance 1 / n_in, biases 0. Texts are made up: of 8
    words, the two last decide the next by a table, and a fifth of the words is random.

    Before training, with 2 to 16 blocks, width 64 and 8 texts of 32 words: δ at every sum, the mean cosine of two
    tokens of a text behind every block, and the gradient of the last block's last weights, which by Xiong et al.
    falls as 1 / √L in pre-norm and does not depend on the depth L in post-norm.

    Then 6 and 12 blocks of width 32 are trained with Adam at 0.003 for 128 steps of 16 texts of 16 words: pre-norm,
    post-norm, and post-norm with a learning rate that rises over the first 64 steps. The accuracy is that on other
    texts; table and noise allow 0.83, always the same word some 0.17.
    """
    depths = study.size(BLOCKS, (2, 8, 16))
    found = {kind: {blocks: _starts(kind, blocks, study) for blocks in depths} for kind in (PRE, POST)}
    trained = _trained(study)
    return Exhibit(
        claims=(
            _larger_claim(found),
            _root_claim(found),
            _delta_claim(found),
            _tokens_claim(found),
            _training_claim(trained),
            _warm_up_claim(trained),
        ),
        charts=(_accuracy_chart(trained), _last_chart(found), _delta_chart(found), _cosine_chart(found)),
        numbers={
            "start": {
                kind: {
                    str(blocks): {
                        "last_gradient": one.last.tolist(),
                        "delta_decades_first_against_last_sum": one.change.tolist(),
                        "token_cosine_at_the_end": one.cosines[:, -1].tolist(),
                    }
                    for blocks, one in of_kind.items()
                }
                for kind, of_kind in found.items()
            },
            "accuracy": {
                str(blocks): {name: values.tolist() for name, values in of.items()} for blocks, of in trained.items()
            },
        },
        diagnoses=_watched(study),
        remarks=(
            f"Narrow transformers, one made-up task, one learning rate and {WARM * 2} steps show who gets going, not "
            "how far each could come, nor that no other warm-up would do.",
            f"The {COST} decades a branch are for attention in which every token sees all, where tokens are alike and "
            "δ is not. Here they look only back, and every other branch is a feed-forward layer, which costs none.",
        ),
    )


# What is measured -----------------------------------------------------------------------------------------------------


def _starts(kind: str, blocks: int, study: Study) -> Starts:
    from isometry.classics.build import transformers

    study.say(f"{kind}, {blocks} blocks, untrained")
    drawn = [transformers.start(kind, blocks=blocks, seed=seed) for seed in study.seeds]
    delta, cosines, last = (np.array(part, dtype=np.float64) for part in zip(*drawn, strict=True))
    return Starts(delta, cosines, last)


def _trained(study: Study) -> Accuracies:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import transformers

    settings = {PRE: (PRE, 0), POST: (POST, 0), WARMED: (POST, WARM)}
    found: dict[int, dict[str, Numbers]] = {}
    for blocks in study.size(TRAINED, TRAINED[-1:]):
        found[blocks] = {}
        for name, (kind, warm_up) in settings.items():
            study.say(f"trained: {name}, {blocks} blocks")
            experiment = transformers.on_text(kind, blocks=blocks, rate=RATE, rows=32 * WARM, warm_up=warm_up)
            found[blocks][name] = train_many(experiment, study.seeds[: study.size(SEEDS, 2)]).metrics
    return found


def _watched(study: Study) -> dict[str, Diagnosis]:
    from isometry.adapters.torch.train import train
    from isometry.classics.build import transformers

    found = {}
    for kind in (PRE, POST):
        study.say(f"watched: {kind}")
        experiment = transformers.on_text(kind, blocks=TRAINED[-1], rate=RATE, rows=study.size(1024, 256))
        run = train(experiment, seed=study.seeds[0], run=study.runs / kind, every=32).run
        assert run is not None
        found[f"{kind}, {TRAINED[-1]} blocks"] = diagnose(run)
    return found


def _exponents(of_kind: Mapping[int, Starts]) -> Numbers:
    """Exponent of the depth by which the last gradient goes, one number a seed."""
    depths = np.log([float(blocks) for blocks in of_kind])
    return np.asarray(np.polyfit(depths, np.log([one.last for one in of_kind.values()]), 1)[0])


# Claims ---------------------------------------------------------------------------------------------------------------


def _larger_claim(found: Found) -> Claim:
    """It stands where this is so of every seed at every depth, and more so at the greatest depth than at the least."""
    ratios = {blocks: found[POST][blocks].last / found[PRE][blocks].last for blocks in found[PRE]}
    first, deepest = min(ratios), max(ratios)
    grows = _middle(ratios[deepest]) > _middle(ratios[first])
    share = float(np.mean([np.mean(values > 1) for values in ratios.values()]))
    said = "; ".join(f"{blocks} blocks {spread(values, number)}" for blocks, values in ratios.items())
    return Claim(
        words="At the start the last layers' gradient is larger in post-norm than in pre-norm, the more so the deeper.",
        measured=f"‖∂L/∂W‖ of the last block's last weights, post-norm over pre-norm: {said}.",
        verdict=Verdict.STANDS if share == 1 and grows else Verdict.PARTLY if share > 0.5 and grows else Verdict.FALLS,
    )


def _root_claim(found: Found) -> Claim:
    """It stands where both exponents are those of the paper, in part where one is or pre-norm's falls and no other."""
    pre, post = _middle(_exponents(found[PRE])), _middle(_exponents(found[POST]))
    right = abs(pre - ROOT) < STEADY, abs(post) < STEADY
    falls_alone = pre < -STEADY < post
    verdict = Verdict.STANDS if all(right) else Verdict.PARTLY if any(right) or falls_alone else Verdict.FALLS
    depths = f"{min(found[PRE])} to {max(found[PRE])} blocks"
    return Claim(
        words="That gradient falls as 1 / √L in pre-norm, and does not depend on the depth L in post-norm.",
        measured=f"From {depths} it goes as L to the power of {spread(_exponents(found[PRE]), _two)} in pre-norm, of "
        f"{spread(_exponents(found[POST]), _two)} in post-norm. Expected: −0.50 and 0, for tokens that are unlike.",
        verdict=verdict,
        expected=Verdict.PARTLY,
    )


def _delta_claim(found: Found) -> Claim:
    """It stands where δ loses as much as that in half of the branches, in part where it falls from end to end."""
    blocks = max(found[POST])
    pre, post = found[PRE][blocks], found[POST][blocks]
    change = _middle(post.change)
    verdict = Verdict.STANDS if change < -COST * blocks / 2 else Verdict.PARTLY if change < -COST else Verdict.FALLS
    return Claim(
        words=f"In post-norm δ falls towards the input, by up to {COST} decades a branch; in pre-norm it does not.",
        measured=f"From the last sum to the first of {blocks} blocks δ changes by {spread(post.change, decades)} "
        f"decades in post-norm, and is least {spread(post.lowest, decades)} decades below the last one on the way; by "
        f"{spread(pre.change, decades)} in pre-norm (½ log10 (L + 1) = {decades(0.5 * np.log10(blocks + 1))}).",
        verdict=verdict,
        expected=Verdict.FALLS,
    )


def _tokens_claim(found: Found) -> Claim:
    blocks = max(found[POST])
    pre, post = found[PRE][blocks].cosines, found[POST][blocks].cosines
    alike, apart = bool(np.min(post[:, -1]) > ALIKE), bool(np.median(pre[:, -1]) < ALIKE)
    return Claim(
        words="With depth post-norm makes all tokens of a text alike; pre-norm, whose branches weigh less and less, "
        "does not.",
        measured=f"Mean cosine of two tokens: {spread(post[:, 0], _two)} behind the first block and "
        f"{spread(post[:, -1], _three)} behind the {blocks}th in post-norm; {spread(pre[:, 0], _two)} and "
        f"{spread(pre[:, -1], _two)} in pre-norm.",
        verdict=Verdict.STANDS if alike and apart else Verdict.PARTLY if alike else Verdict.FALLS,
    )


def _training_claim(trained: Accuracies) -> Claim:
    """It stands where at the greatest depth no seed of post-norm comes up to one of pre-norm."""
    deepest = trained[max(trained)]
    return Claim(
        words="Without warm-up post-norm does not train at a learning rate at which pre-norm does.",
        measured=f"Accuracy after {2 * WARM} steps with Adam at {RATE:g}, {len(deepest[PRE])} seeds: "
        f"{_said(trained, PRE, POST)}.",
        verdict=Verdict.STANDS if deepest[POST].max() < deepest[PRE].min() else Verdict.FALLS,
    )


def _warm_up_claim(trained: Accuracies) -> Claim:
    """It stands where at every depth its middle seed comes up to pre-norm's worst, in part where at some depth."""
    equal = [_middle(of[WARMED]) >= of[PRE].min() for of in trained.values()]
    return Claim(
        words="With warm-up post-norm trains as well as pre-norm without.",
        measured=f"With a rate that rises over {WARM} steps: {_said(trained, WARMED, POST, PRE)}.",
        verdict=Verdict.STANDS if all(equal) else Verdict.PARTLY if any(equal) else Verdict.FALLS,
        expected=Verdict.FALLS,
    )


def _said(trained: Accuracies, *names: str) -> str:
    return "; ".join(
        f"{blocks} blocks: " + ", ".join(f"{name} {spread(of[name], _two)}" for name in names)
        for blocks, of in trained.items()
    )


def _middle(values: Numbers) -> float:
    return float(np.median(values))


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _three(value: float) -> str:
    return f"{value:.3f}"


# Pictures -------------------------------------------------------------------------------------------------------------


def _accuracy_chart(trained: Accuracies) -> Chart:
    short = {PRE: "pre", POST: "post", WARMED: "post, slow"}
    groups = {f"{short[name]}, {blocks}": values for blocks, of in trained.items() for name, values in of.items()}
    deepest = max(trained)
    pre, post, warm = (_two(_middle(trained[deepest][name])) for name in (PRE, POST, WARMED))
    return Chart(
        title=f"At the same rate {deepest} blocks reach {pre} in pre-norm, {post} in post-norm and {warm} with warm-up",
        reading=f"Share of the next words guessed after {2 * WARM} steps with Adam at {RATE:g}, by kind and blocks; "
        f"slow: with a rate that rises over {WARM} steps. Dotted: always the same word.",
        x=Axis("transformer, blocks", scale="layers", names=tuple(groups)),
        y=Axis("accuracy on other texts", low=0.0, high=1.0),
        shapes=(Level(ALWAYS, ""), *scattered(groups)),
        alt=f"Accuracy of every seed. {_said(trained, PRE, POST, WARMED)}.",
        table=Table(
            ("transformer", "accuracy"), tuple((name, spread(values, _two)) for name, values in groups.items())
        ),
    )


def _last_chart(found: Found) -> Chart:
    shapes: list[Shape] = []
    for style, (kind, of_kind) in enumerate(found.items()):
        x = np.array(list(of_kind), dtype=np.float64)
        low, middle, high = quartiles(np.array([one.last for one in of_kind.values()]), axis=1)
        shapes.append(Ribbon("quartiles over the seeds" if style == 0 else "", x, low, high, style=style))
        shapes.append(Line(kind, x, middle, style=style, markers=True))
        if kind == PRE:
            shapes.append(Line("1 / √L", x, middle[0] * (x / x[0]) ** ROOT, role="implied"))
    deepest = max(found[PRE])
    ratio = _middle(found[POST][deepest].last / found[PRE][deepest].last)
    return Chart(
        title=f"Untrained, the last gradient of post-norm is {number(ratio)} times pre-norm's at {deepest} blocks",
        reading="Gradient of the last block's last weights before training. Medians; dotted: what Xiong et al. expect "
        "of pre-norm.",
        x=Axis("blocks", scale="log"),
        y=Axis("‖∂L/∂W‖ of the last block", scale="log"),
        shapes=tuple(shapes),
        alt=f"Two lines over the depth on log scales. Post-norm's lies above pre-norm's, {number(ratio)} times at "
        f"{deepest} blocks.",
        table=Table(
            ("blocks", *found),
            tuple(
                (str(blocks), *(spread(of_kind[blocks].last, number) for of_kind in found.values()))
                for blocks in found[PRE]
            ),
        ),
    )


def _delta_chart(found: Found) -> Chart:
    blocks = max(found[PRE])
    shapes: list[Shape] = [Level(1.0, "")]
    for style, (kind, of_kind) in enumerate(found.items()):
        delta = of_kind[blocks].delta
        low, middle, high = quartiles(delta / delta[:, -1:])
        x = np.arange(1.0, len(middle) + 1) / 2
        shapes.append(Ribbon("quartiles over the seeds" if style == 0 else "", x, low, high, style=style))
        shapes.append(Line(kind, x, middle, style=style))
    changes = {kind: of_kind[blocks].change for kind, of_kind in found.items()}
    return Chart(
        title=f"Over {blocks} blocks δ changes by {decades(_middle(changes[PRE]))} decades in pre-norm, by "
        f"{decades(_middle(changes[POST]))} in post-norm",
        reading="δ at the sum behind every branch against the last one, untrained; two sums a block.",
        x=Axis("block, input first"),
        y=Axis("size of δ against the last sum", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt="Two lines over depth on a log scale. From the last sum to the first: "
        + "; ".join(f"{kind} {decades(_middle(change))} decades" for kind, change in changes.items())
        + ".",
        table=Table(
            ("transformer", "decades, last sum to first", "least on the way"),
            tuple(
                (kind, spread(of_kind[blocks].change, decades), spread(of_kind[blocks].lowest, decades))
                for kind, of_kind in found.items()
            ),
        ),
    )


def _cosine_chart(found: Found) -> Chart:
    blocks = max(found[PRE])
    shapes: list[Shape] = [Level(1.0, "all tokens alike")]
    for style, (kind, of_kind) in enumerate(found.items()):
        low, middle, high = quartiles(of_kind[blocks].cosines)
        x = np.arange(1.0, blocks + 1)
        shapes.append(Ribbon("quartiles over the seeds" if style == 0 else "", x, low, high, style=style))
        shapes.append(Line(kind, x, middle, style=style))
    ends = {kind: _three(_middle(of_kind[blocks].cosines[:, -1])) for kind, of_kind in found.items()}
    return Chart(
        title=f"Behind {blocks} blocks two tokens have a cosine of {ends[PRE]} in pre-norm, {ends[POST]} in post-norm",
        reading="Mean cosine of two tokens of the same text behind every block, untrained.",
        x=Axis("block, input first"),
        y=Axis("cosine of two tokens", low=0.0, high=1.05),
        shapes=tuple(shapes),
        alt="Two rising lines. At the end: " + "; ".join(f"{kind} {end}" for kind, end in ends.items()) + ".",
        table=Table(
            ("transformer", "behind the first block", "behind the last"),
            tuple(
                (kind, *(spread(of_kind[blocks].cosines[:, place], _three) for place in (0, -1)))
                for kind, of_kind in found.items()
            ),
        ),
    )
