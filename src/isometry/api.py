"""The verbs: each finds the room that does the work and hands over."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import thread_time
from typing import TYPE_CHECKING, Any

import numpy as np

from isometry.adapters.framework import Applied, Inspector, Watch, adapter_of, loaded_adapter
from isometry.adapters.script_trainer import ScriptTrainer, placed, stop_all
from isometry.diagnosis.check import Check, Prediction
from isometry.diagnosis.diagnose import diagnose as diagnose_run
from isometry.diagnosis.finding import AS_IT_IS, Diagnosis
from isometry.errors import IsometryError
from isometry.history.history import Floats
from isometry.history.inspection import Drawn, Inspection
from isometry.history.recorder import fresh_folder
from isometry.history.run import Run
from isometry.history.store import open_run
from isometry.network.edits import Edit
from isometry.network.experiment import Experiment
from isometry.network.script import Script
from isometry.report.report import report as write_report

if TYPE_CHECKING:  # loaded when they are first asked for
    from isometry.network.trial import Trainer
    from isometry.treatment.engines import Engine
    from isometry.treatment.outcome import Outcome
    from isometry.treatment.prescription import Effect, Prescription

__all__ = ["apply", "check", "diagnose", "fix", "load", "predict", "prescribe", "report", "watch"]

NETS = 20
"""Networks that a prediction is drawn from …"""
NETS_CHANGED = 5
"""… and those that a change is tried on."""
LEAST_NETS = 3
CHANGES_AT_LEAST = 3
"""Changes that are tried on one network at least, however long it takes."""
FOR_BAND, FOR_CHANGES = 0.3, 0.3
"""Shares of the time for networks as they are, and for those with changes; the rest is for everything else."""


def watch(
    model: Any,
    optimizer: Any = None,
    *,
    run: str | Path | None = None,
    budget: float = 0.01,
    every: int | None = None,
    signals: Sequence[str] | None = None,
) -> Watch:
    """Record what happens to the signals of a model while it is trained.

    Put it round any training loop; the loss is noticed by itself::

        with isometry.watch(model, optimizer, run="runs/first") as watch:
            ...
        print(isometry.diagnose(watch.run))

    Args:
        model: the model that is trained, for PyTorch a ``torch.nn.Module``; several in a list, or by name in a dict.
        optimizer: its optimiser; several in a list, or none.
        run: the folder to keep the run in; a fresh one under ``runs/`` if none is named.
        budget: the greatest share of step time that watching may cost. [fraction]
        every: record each ``every``-th step and never thin; ``1`` records everything.
        signals: names of the signals to keep; all if none are named.

    Raises:
        UnsupportedModel: no adapter knows the model's class.
    """
    return adapter_of(model).watch(model, optimizer, run=run, budget=budget, every=every, signals=signals)


def check(
    model: Any,
    batch: Any = None,
    loss_fn: Any = None,
    *,
    nets: int | None = None,
    seconds: float = 4.0,
    seed: int = 0,
) -> Check:
    """Say before the first step what the signals of a network do, what they should do, and what would change them.

    One forward and backward pass is measured, and the same in networks whose weights are drawn from the same law::

        print(isometry.check(model, (inputs, targets), torch.nn.functional.cross_entropy))

    Everything happens in a copy; the model, and the framework's random numbers, stay as they are.

    Args:
        model: a model as it is before training, or an ``Experiment``, which needs nothing else.
        batch: one batch of training data: ``(inputs, targets)``, the inputs alone, or a dict taken by name.
        loss_fn: (model's output, targets) → one number. Without it the loss is taken from an output that has one, and
            else a random direction is sent back.
        nets: how many networks to draw; as many as time allows up to 20 if None.
        seconds: time to take beyond that of the measured pass; a large network takes longer, for three are drawn at
            least.
        seed: same seed, same networks.

    Raises:
        UnsupportedModel: no adapter knows the model's class, it cannot be copied, or its forward pass fails.
        IsometryError: the batch or the loss is not what is needed.
    """
    _require_counts(nets, seconds)
    return _checked(_inspector(model, batch, loss_fn, seed), nets, seconds)


def check_captured(captured: Any, *, nets: int | None = None, seconds: float = 4.0, seed: int = 0) -> Check:
    """``check`` of the first training step that an adapter's ``capturing`` came upon in somebody's script."""
    _require_counts(nets, seconds)
    return _checked(loaded_adapter().inspect_captured(captured, seed=seed), nets, seconds)


def predict(
    model: Any, batch: Any = None, *, nets: int | None = None, seconds: float = 4.0, seed: int = 0
) -> Prediction:
    """Say what the signals of a network of this architecture, with weights of this law, should do before training.

    Args:
        model: as for ``check``; so are ``batch``, ``nets``, ``seconds`` and ``seed``.
        batch: the inputs decide how large the first signal is.
        nets: how many networks to draw.
        seconds: time to take.
        seed: same seed, same networks.
    """
    from isometry.diagnosis import judge

    _require_counts(nets, seconds)
    inspector = _inspector(model, batch, None, seed)
    run = inspector.measure()
    return judge.predict(_inspection(inspector, run, inspector.draw(nets or NETS, seconds=_unless(nets, seconds))))


def prescribe(diagnosis: Diagnosis, *, effects: Sequence[str] | None = None) -> "tuple[Prescription, ...]":
    """What to change, the most promising first, with what theory expects of it; nothing where a training is healthy.

    Args:
        diagnosis: of a run or a check.
        effects: kinds of change that may be proposed, of ``retunes``, ``reinitialises`` and ``restructures``; all if
            none are named.

    Raises:
        IsometryError: there is no such effect.
    """
    from isometry.treatment.prescribe import prescribe as prescribe_for

    return prescribe_for(diagnosis, effects=_effects(effects))


def apply(
    plan: "Prescription | Sequence[Edit]",
    model: Any,
    optimizer: Any = None,
    *,
    batch: Any = None,
    dry_run: bool = False,
    seed: int = 0,
    keep: bool = False,
) -> Applied:
    """Carry out a plan on a live model and its optimiser, in place; all of it, or nothing.

    Parameters that come with it join the group of the optimiser that holds most of the model's; what the optimiser
    knows of the others stays. It can be taken back::

        applied = isometry.apply(isometry.prescribe(diagnosis)[0], model, optimizer)
        applied.undo()

    Make schedules of the learning rate afterwards: they keep the rate that they begin with.

    Args:
        plan: what ``prescribe`` gave, or its ``edits``.
        model: the model that is trained.
        optimizer: its optimiser; needed where the plan changes the rate, the clipping or the optimiser.
        batch: one batch of training data, as for ``check``: to follow the forward pass with, and to take means and
            deviations from where inputs are to be scaled (then as many as there are). Inputs are made up where none are
            given and the first layer tells their shape.
        dry_run: find out on copies whether it can be done, and what would come of it.
        seed: of weights that are drawn; the framework's own random numbers stay as they are.
        keep: let the network compute, right after the change, exactly what it did before, so that a training that is
            under way goes on from where it was. Norms and skips then come with a factor α each, which is learned from 0
            on: z + α(N(z) - z) in place of N(z), φ(z) + αx in place of φ(z) + x. Other changes to what a network
            computes are refused.

    Raises:
        CannotEdit: the plan cannot be carried out here, or not with ``keep``. Model and optimiser are then as they
                were.
        UnsupportedModel: no adapter knows the model's class, or its forward pass fails on the batch.
    """
    edits = plan if isinstance(plan, list | tuple) else getattr(plan, "edits", None)
    if edits is None:
        raise IsometryError(
            f"plan: a {type(plan).__name__} was given; one of those that isometry.prescribe gives is needed, or edits."
        )
    return adapter_of(model).apply(edits, model, optimizer, batch=batch, dry_run=dry_run, seed=seed, keep=keep)


def fix(
    experiment: Experiment | Script | str | Path,
    *,
    seeds: int = 3,
    engine: str = "local",
    ray_address: str | None = None,
    most: int = 5,
    effects: Sequence[str] | None = None,
    folder: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> "Outcome":
    """Train an experiment as it is, find what is wrong, change it, train again, and say whether that helped.

    Every arm is trained from the same seeds, on the same data in the same order, for as many steps::

        outcome = isometry.fix(experiment)
        print(outcome)

    Nothing of yours is changed; ``outcome.experiment`` is the treated one. A script is started again and again, as
    ``python train.py`` does it, and changed while it runs::

        outcome = isometry.fix("train.py")

    Args:
        experiment: what to train, or the training script. Without a metric the score is minus the loss.
        seeds: trainings of each arm; from three on an interval says much.
        engine: ``local`` uses several processes where the experiment can be sent to them, ``serial`` this one,
            ``ray`` a Ray cluster.
        ray_address: of the cluster, as for ``ray.init``; if left out, one that runs here is used, or started.
        most: changes that are tried at most.
        effects: kinds of change that may be tried, as for ``prescribe``.
        folder: for the runs; a fresh one under ``runs/`` if none is named. What is done in it is not done again.
        say: gets a line about each training that has ended.

    Raises:
        IsometryError: the experiment, or one of the options, is not what is needed.
    """
    from isometry.treatment.prescribe import prescribe as prescribe_for
    from isometry.treatment.study import treat

    if isinstance(experiment, str | Path):
        experiment = Script(str(experiment))
    if not isinstance(experiment, Experiment | Script):
        raise IsometryError(
            f"A {type(experiment).__name__} was given; the path of a training script is needed, or an "
            "isometry.Experiment, which can be trained again from nothing: Experiment(build, data, loss_fn, optimizer, "
            "epochs, batch_size, metric)."
        )
    if seeds < 1 or most < 1:
        raise IsometryError(f"seeds={seeds}, most={most}: whole numbers from 1 upwards are needed.")
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise IsometryError(f"{folder} is a file; a folder is needed to keep the runs in. Name another one.")
    tell = say or (lambda words: None)
    if seeds == 1:
        tell("With one seed only a breakdown can be told from luck: whatever else comes out is no proof.")
    allowed = _effects(effects)
    place = (Path(folder) if folder is not None else fresh_folder(Path("runs") / "fix")).resolve()
    trainer, chosen = _who_trains(experiment, place, engine, ray_address, tell)
    return treat(
        trainer,
        seeds=range(seeds),
        folder=place,
        diagnose=diagnose_run,
        prescribe=lambda diagnosis: prescribe_for(diagnosis, effects=allowed),
        engine=chosen,
        most=most,
        say=tell,
    )


def _who_trains(
    experiment: Experiment | Script, folder: Path, engine: str, ray_address: str | None, say: Callable[[str], None]
) -> "tuple[Trainer, Engine]":
    """Who trains an experiment or a script, and where."""
    from isometry.treatment.engines import Pool, Ray, Serial
    from isometry.treatment.engines.machine import cores
    from isometry.treatment.engines.threads import Threads

    engines: dict[str, Callable[[], Engine]] = {
        "local": lambda: Pool(say=say),
        "serial": Serial,
        "ray": lambda: Ray(address=ray_address, say=say),
    }
    if engine not in engines:
        raise IsometryError(f"engine={engine!r}: one of {', '.join(engines)} is needed.")
    if ray_address is not None and engine != "ray":
        raise IsometryError(f"ray_address={ray_address!r} is for engine='ray', and engine={engine!r} was asked for.")
    if isinstance(experiment, Experiment):
        return loaded_adapter().trainer(experiment), engines[engine]()
    if engine == "ray":
        raise IsometryError(
            "engine='ray': a script is trained on this machine alone. Take engine='local', or make an "
            "isometry.Experiment of it."
        )
    programs = cores() if engine == "local" else 1
    trainer = ScriptTrainer(placed(experiment), folder, programs=programs)
    return trainer, Threads(programs, stop=stop_all)


def _effects(names: Sequence[str] | None) -> "tuple[Effect, ...]":
    from isometry.treatment.prescription import Effect

    if names is None:
        return tuple(Effect)
    known = [str(effect) for effect in Effect]
    if isinstance(names, str) or not names or not set(names) <= set(known):
        raise IsometryError(f"effects={names!r}: a list of some of {', '.join(known)} is needed.")
    return tuple(Effect(name) for name in names)


def _inspector(model: Any, batch: Any, loss_fn: Any, seed: int) -> Inspector:
    if isinstance(model, Experiment) and (batch is not None or loss_fn is not None):
        raise IsometryError("An experiment brings its own data and loss: check(experiment), without a batch.")
    if isinstance(model, Experiment):
        return loaded_adapter().inspect_experiment(model, seed=seed)
    if batch is None:
        raise IsometryError(
            "batch: none was given; one batch of training data is needed: check(model, (inputs, targets), loss_fn)."
        )
    return adapter_of(model).inspect(model, batch, loss_fn, seed=seed)


def _require_counts(nets: int | None, seconds: float) -> None:
    if nets is not None and (not isinstance(nets, int) or nets < LEAST_NETS):
        raise IsometryError(f"nets={nets}: a whole number from {LEAST_NETS} upwards is needed, or None.")
    if not seconds > 0:
        raise IsometryError(f"seconds={seconds}: a positive number is needed.")


def _checked(inspector: Inspector, nets: int | None, seconds: float) -> Check:
    from isometry.diagnosis import judge  # theory comes with it, which a diagnosis does not need
    from isometry.diagnosis.alternatives import alternatives

    run = inspector.measure()
    drawn = inspector.draw(nets or NETS, seconds=_unless(nets, FOR_BAND * seconds))
    as_it_is = judge.counterfactual(AS_IT_IS, (), drawn, run.architecture)
    inspection = _inspection(inspector, run, drawn)
    told, started = [as_it_is], thread_time()
    untried: list[str] = []
    lost = not np.isfinite(inspection.measured.forward).any(axis=0).all()
    for name, edits in () if lost else alternatives(run.architecture, _typical(inspection.sigma_b)):
        left = FOR_CHANGES * seconds - (thread_time() - started)
        if nets is None and left <= 0 and len(told) > CHANGES_AT_LEAST:
            break
        try:
            changed = inspector.draw(NETS_CHANGED, edits=edits, seconds=_unless(nets, left / 4), fewest=1)
        except IsometryError as reason:  # a norm over a batch of one, say: no fault of the network that is there
            untried.append(f"{name} could not be tried: {reason}")
            continue
        told.append(judge.counterfactual(name, edits, changed, run.architecture))
    inspection = replace(inspection, notes=(*inspection.notes, *untried))
    return judge.check(replace(inspection, jacobian=inspector.jacobian()), told)


def _inspection(inspector: Inspector, run: Run, drawn: Drawn) -> Inspection:
    sigma_w, sigma_b, laws = inspector.scales()
    return Inspection(run, inspector.as_it_is(), drawn, sigma_w, sigma_b, laws, notes=inspector.notes)


def _unless(nets: int | None, seconds: float) -> float:
    """The time for drawing; as long as it takes where the user has said how many."""
    return seconds if nets is None else math.inf


def _typical(sigmas: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(sigmas)))) if len(sigmas) else 0.0


def load(path: str | Path) -> Run:
    """Open a run that was recorded earlier. No framework is needed for it.

    Raises:
        IsometryError: the folder holds no run, a damaged one, or one of a later version.
    """
    return open_run(Path(path))


def diagnose(run: Run | str | Path, *, only: Sequence[str] | None = None) -> Diagnosis:
    """Say what is wrong with a run, where, since when and why.

    Args:
        run: a run, or the folder of one.
        only: problems or rule codes to look for; all if none are named.
    """
    return diagnose_run(load(run) if isinstance(run, str | Path) else run, only=only)


def report(thing: "Run | Diagnosis | Check | Prediction | Outcome | str | Path", path: str | Path) -> Path:
    """Write a run, its diagnosis, a check, a prediction or an outcome to a file, in the form that the suffix names.

    The suffixes are .html .json .md .png .pdf.

    Args:
        thing: what ``diagnose``, ``check``, ``predict`` or ``fix`` gave; a run, or the folder of one.
        path: the file to write.
    """
    return write_report(load(thing) if isinstance(thing, str | Path) else thing, Path(path))
