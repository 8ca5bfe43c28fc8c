"""One neuron: the variance of z = w · x against the number of inputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import quartiles
from isometry.report.chart import Axis, Chart, Line, Points, Shape, Table
from isometry.report.words import measured, number

Numbers = NDArray[np.float64]

INPUTS = (1, 3, 10, 30, 100, 300, 1000)
DRAWS = 1000
CLOSE = 4.0
"""Standard errors by which a mean over the seeds may miss its prediction; chance does so once in some hundred runs."""
STEEP = 2.0
"""|z| from which on tanh's slope is below a fourteenth."""


@dataclass(frozen=True, slots=True)
class Law:
    """A variance of the weights, and the inputs that they meet."""

    words: str
    numerator: float | None
    """Var(w) = numerator / n; None: Var(w) = 1."""
    rectified: bool

    def variance(self, inputs: int) -> float:
        """Of one weight."""
        return 1.0 if self.numerator is None else self.numerator / inputs

    def predicted(self, inputs: int) -> float:
        """Var(z) = n Var(w) E x²; E x² is 1 for N(0, 1), and 1/2 once ReLU has set the negative half to 0."""
        return inputs * self.variance(inputs) * (0.5 if self.rectified else 1.0)


LAWS = {
    "one": Law("Var(w) = 1", None, False),
    "xavier": Law("Var(w) = 1/n", 1.0, False),
    "he": Law("Var(w) = 2/n, after ReLU", 2.0, True),
    "xavier after relu": Law("Var(w) = 1/n, after ReLU", 1.0, True),
}


@classic(
    "one-neuron",
    title="How small must the weights of a neuron be, given its number of inputs?",
    covers=("B1",),
    source="course notes on initialisation; LeCun et al. 1998; He et al. 2015",
    place=15,
)
def one_neuron(study: Study) -> Exhibit:
    """One neuron z = w · x with 1 to 1,000 inputs and no bias. Weights and inputs are drawn anew 1,000 times for each
    seed, weights from N(0, Var(w)), inputs from N(0, 1), and the variance of z is taken over the draws.

    Weights have variance 1, 1/n or 2/n. The last is meant for inputs that come out of a ReLU, which sets the negative
    half to 0 and leaves E x² = 1/2: with such inputs 2/n and, for comparison, 1/n are drawn.

    Since weights are independent of the inputs and of mean 0, Var(z) = n Var(w) E x².
    """
    inputs = study.size(INPUTS, INPUTS[:5])
    sums = _sums(inputs, study)
    found = {name: np.stack([_scaled(law, n, sums).var(axis=1) for n in inputs], axis=1) for name, law in LAWS.items()}
    predicted = {name: np.array([law.predicted(n) for n in inputs]) for name, law in LAWS.items()}
    beyond = _beyond(LAWS["one"], inputs[-1], sums), _beyond(LAWS["xavier"], inputs[-1], sums)
    return Exhibit(
        claims=(
            _small_claim(found, predicted, inputs, beyond),
            _relu_claim(found, predicted, inputs),
        ),
        charts=(_chart(found, predicted, inputs),),
        numbers={
            "inputs": inputs,
            "draws": DRAWS,
            "variance_of_z": {name: values.tolist() for name, values in found.items()},
            "predicted": {name: values.tolist() for name, values in predicted.items()},
            "share_beyond_2": {"Var(w) = 1": beyond[0], "Var(w) = 1/n": beyond[1]},
        },
        remarks=("One layer, before anything is learned. What a layer does to its input, depth raises to a power.",),
    )


def _draws(inputs: int, seed: int) -> dict[bool, Numbers]:
    """Weighted sums with weights of variance 1, of inputs as they are and behind a ReLU. shapes (draws,)"""
    generator = np.random.default_rng([seed, inputs])
    x = generator.standard_normal((DRAWS, inputs))
    w = generator.standard_normal((DRAWS, inputs))
    return {
        False: np.einsum("ij,ij->i", x, w),
        True: np.einsum("ij,ij->i", np.maximum(x, 0), w),
    }


def _sums(inputs: tuple[int, ...], study: Study) -> dict[tuple[bool, int], Numbers]:
    """The same for all seeds, by kind and number of inputs. shapes (seeds, draws)"""
    found: dict[tuple[bool, int], Numbers] = {}
    for n in inputs:
        study.say(f"{n:,} inputs")
        drawn = [_draws(n, seed) for seed in study.seeds]
        found |= {(rectified, n): np.array([one[rectified] for one in drawn]) for rectified in (False, True)}
    return found


def _scaled(law: Law, inputs: int, sums: dict[tuple[bool, int], Numbers]) -> Numbers:
    """The sums as z under a law. shape (seeds, draws)"""
    return np.asarray(np.sqrt(law.variance(inputs)) * sums[law.rectified, inputs])


def _beyond(law: Law, inputs: int, sums: dict[tuple[bool, int], Numbers]) -> float:
    """Share of neurons that a tanh would have at a slope below a fourteenth."""
    return float(np.mean(np.abs(_scaled(law, inputs, sums)) > STEEP))


def _agrees(found: Numbers, predicted: Numbers) -> bool:
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    return bool((np.abs(found.mean(axis=0) - predicted) < CLOSE * error).all())


def _small_claim(
    found: dict[str, Numbers],
    predicted: dict[str, Numbers],
    inputs: tuple[int, ...],
    beyond: tuple[float, float],
) -> Claim:
    grown, kept = quartiles(found["one"])[1][-1], quartiles(found["xavier"])[1]
    holds = _agrees(found["one"], predicted["one"]) and _agrees(found["xavier"], predicted["xavier"])
    return Claim(
        words="The more inputs a neuron has, the smaller each weight must be: Var(w) = 1/n.",
        measured=f"With Var(w) = 1 the variance of z is {number(float(grown))} at {inputs[-1]:,} inputs, and "
        f"{beyond[0]:.0%} of the neurons lie beyond |z| = 2, where tanh's slope is below a fourteenth. With 1/n it "
        f"stays between {kept.min():.2f} and {kept.max():.2f} from {inputs[0]} to {inputs[-1]:,} inputs, and "
        f"{beyond[1]:.0%} lie there. Medians over the seeds.".replace("%", " %"),
        verdict=Verdict.STANDS if holds else Verdict.FALLS,
    )


def _relu_claim(found: dict[str, Numbers], predicted: dict[str, Numbers], inputs: tuple[int, ...]) -> Claim:
    he, xavier = (quartiles(found[name])[1] for name in ("he", "xavier after relu"))
    holds = all(_agrees(found[name], predicted[name]) for name in ("he", "xavier after relu"))
    return Claim(
        words="Behind a ReLU it is Var(w) = 2/n: half of the signal was set to 0, and the 2 makes up for it.",
        measured=f"With inputs from a ReLU the variance of z is {he.min():.2f} to {he.max():.2f} with 2/n, and "
        f"{xavier.min():.2f} to {xavier.max():.2f} with 1/n, from {inputs[0]} to {inputs[-1]:,} inputs. Medians over "
        "the seeds.",
        verdict=Verdict.STANDS if holds else Verdict.FALLS,
    )


def _chart(found: dict[str, Numbers], predicted: dict[str, Numbers], inputs: tuple[int, ...]) -> Chart:
    at = np.array(inputs, dtype=np.float64)
    shapes: list[Shape] = [
        Line("", at, predicted[name], role="implied") for name in ("one", "xavier", "xavier after relu")
    ]
    for style, (name, law) in enumerate(LAWS.items()):
        middle = quartiles(found[name])[1]
        if name == "he":
            shapes.append(Points(law.words, at, middle, style=style))
        else:
            shapes.append(Line(law.words, at, middle, style=style, markers=True))
    ends = {name: number(float(quartiles(found[name])[1][-1])) for name in LAWS}
    most = f"{inputs[-1]:,}"
    return Chart(
        title=f"With {most} inputs, Var(w) = 1 gives z a variance of {ends['one']}, 1/n one of {ends['xavier']}",
        reading="Medians over the seeds. Dotted: n Var(w) E x². After ReLU, 2/n does what 1/n does before.",
        x=Axis("inputs n of the neuron", scale="log"),
        y=Axis("variance of z", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart, both axes logarithmic. With Var(w) = 1 the variance of z rises in proportion to n; with 1/n, "
        "and with 2/n behind a ReLU, it is level at 1; with 1/n behind a ReLU it is level at one half.",
        table=Table(
            ("inputs", *(law.words for law in LAWS.values())),
            tuple(
                (f"{n:,}", *(measured(float(quartiles(found[name])[1][k])) for name in LAWS))
                for k, n in enumerate(inputs)
            ),
        ),
    )
