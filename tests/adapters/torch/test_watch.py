"""What a watch records of trainings of every ordinary shape."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import isometry
from isometry import Signal
from isometry.history.run import Run
from tests.adapters.torch.nets import NETS, HandMadeRnn, mlp, train


def watched(
    model: nn.Module,
    step: Callable[[], object],
    folder: Path,
    optimizer: torch.optim.Optimizer | list[torch.optim.Optimizer] | None = None,
    steps: int = 4,
) -> Run:
    """The run of so many calls of ``step``, everything recorded."""
    with isometry.watch(model, optimizer, run=folder, every=1) as watch:
        for _ in range(steps):
            step()
    return watch.run


def ordinary(
    model: nn.Module,
    folder: Path,
    inputs: Tensor,
    loss: Callable[[Tensor], Tensor],
    steps: int = 4,
    rate: float = 0.1,
) -> Run:
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    def step() -> None:
        optimizer.zero_grad()
        loss(model(inputs)).backward()
        optimizer.step()

    return watched(model, step, folder, optimizer, steps)


def scaled_identities(layers: int, factor: float, width: int = 8) -> nn.Sequential:
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers)))
    for layer in model:
        nn.init.eye_(layer.weight)
        layer.weight.data *= factor
    return model


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.5])
def test_a_linear_net_loses_log_a_per_layer(factor: float, tmp_path: Path) -> None:
    model = scaled_identities(20, factor)
    run = ordinary(model, tmp_path / "run", torch.randn(16, 8), lambda out: out.square().mean(), steps=1)
    delta = run.history[Signal.DELTA, "rms"][0]
    assert delta.shape == (20,)
    assert np.polyfit(np.arange(20), -np.log10(delta), 1)[0] == pytest.approx(np.log10(factor), abs=1e-3)


def test_what_float32_cannot_hold_is_told_with_the_slope(tmp_path: Path) -> None:
    model = scaled_identities(152, 0.5)
    run = ordinary(model, tmp_path / "run", torch.randn(16, 8), lambda out: out.sum(), steps=1)
    finding = next(f for f in isometry.diagnose(run).findings if f.problem == "vanishing_gradient")
    assert "45.8" in finding.summary
    assert "float32" in finding.summary
    assert finding.first_step == 0


@pytest.mark.slow
def test_the_size_of_the_loss_changes_no_finding(tmp_path: Path) -> None:
    found = []
    for scale in (1.0, 1e-12, 1e6):
        torch.manual_seed(1)
        model = mlp(10, nn.Sigmoid)
        inputs, targets = torch.randn(64, 24), torch.randint(0, 10, (64,))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1 / scale)

        def step(
            model: nn.Module = model,
            optimizer: torch.optim.Optimizer = optimizer,
            inputs: Tensor = inputs,
            targets: Tensor = targets,
            scale: float = scale,
        ) -> None:
            optimizer.zero_grad()
            (F.cross_entropy(model(inputs), targets) * scale).backward()
            optimizer.step()

        run = watched(model, step, tmp_path / str(scale), optimizer, 20)
        found.append({(f.problem, f.code, f.severity, f.layers) for f in isometry.diagnose(run).findings})
    assert found[0] == found[1] == found[2]
    assert any(problem == "vanishing_gradient" for problem, *_ in found[0])


def test_gradients_of_micro_batches_are_pooled_and_the_optimiser_counts_the_steps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1))
    whole = torch.randn(32, 6)
    rows = {}
    for name, parts in (("whole", 1), ("parts", 4)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

        def step(optimizer: torch.optim.Optimizer = optimizer, parts: int = parts) -> None:
            optimizer.zero_grad()
            for part in whole.chunk(parts):
                (model(part).square().mean() / parts).backward()
            optimizer.step()

        run = watched(model, step, tmp_path / name, optimizer, 3)
        assert list(run.history.steps) == [0, 1, 2]
        rows[name] = {signal: run.history[signal, "rms"][0] for signal in (Signal.DELTA, Signal.WEIGHT_GRADIENT)}
    for signal in rows["whole"]:
        np.testing.assert_allclose(rows["whole"][signal], rows["parts"][signal], rtol=1e-5)


def test_the_optimisers_gradient_is_the_clipped_one(tmp_path: Path) -> None:
    model = nn.Linear(4, 4, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def step() -> None:
        optimizer.zero_grad()
        (model(torch.ones(3, 4)) * 100).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    run = watched(model, step, tmp_path / "run", optimizer, 2)
    assert run.history[Signal.WEIGHT_GRADIENT, "rms"][0, 0] == pytest.approx(1 / 4, rel=1e-5)
    assert run.history[Signal.UPDATE, "rms"][0, 0] == pytest.approx(1 / 4, rel=1e-5)
    assert run.history[Signal.DELTA, "rms"][0, 0] == pytest.approx(100)


def test_a_loss_scale_is_taken_out(tmp_path: Path) -> None:
    rows = []
    for scale in (1.0, 2.0**14):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        inputs, targets = torch.randn(8, 4), torch.randint(0, 2, (8,))

        def step(
            model: nn.Module = model,
            optimizer: torch.optim.Optimizer = optimizer,
            scaler: torch.amp.GradScaler = scaler,
            inputs: Tensor = inputs,
            targets: Tensor = targets,
        ) -> None:
            optimizer.zero_grad()
            scaler.scale(F.cross_entropy(model(inputs), targets)).backward()
            scaler.step(optimizer)
            scaler.update()

        run = watched(model, step, tmp_path / str(scale), optimizer, 3)
        rows.append(
            [
                run.history[Signal.DELTA, "rms"],
                run.history[Signal.WEIGHT_GRADIENT, "rms"],
                run.history.scalars["loss"].values[:, None],
            ]
        )
    for plain, unscaled in zip(*rows, strict=True):
        np.testing.assert_allclose(plain, unscaled, rtol=1e-5)


def overflowing(factor: float = 1e30) -> tuple[nn.Module, torch.optim.Optimizer, Callable[[], object]]:
    """A training whose δ leaves float16 in every step, so that its scaler skips all of them and falls to 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.Adam(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-140)
    inputs, targets = torch.randn(8, 4), torch.randint(0, 2, (8,))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            outputs = model(factor * inputs)
        scaler.scale(F.cross_entropy(outputs.float(), targets)).backward()
        scaler.step(optimizer)
        scaler.update()

    return model, optimizer, step


def test_steps_that_a_scaler_skips_are_steps_also_once_its_scale_is_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, optimizer, step = overflowing()
    run = watched(model, step, tmp_path, optimizer, 16)
    assert "stopped" not in capsys.readouterr().err
    assert run.history.steps.tolist() == [*range(16)]
    scales = [event["scale"] for event in run.history.events("loss_scale")]
    assert scales == [*(2.0**-power for power in range(140, 150)), 0.0]
    assert run.history.scalars["loss"].steps.tolist() == [*range(10)], "of a loss times 0 nothing is left"
    assert np.isnan(run.history[Signal.DELTA, "rms"][10:]).all()
    assert (Signal.UPDATE, "rms") not in run.history


def test_a_skipped_step_between_others_is_one_of_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler, factors = torch.amp.GradScaler("cpu", init_scale=4.0), iter([1.0, 1e38, 1.0])
    inputs, targets = torch.randn(8, 4), torch.randint(0, 2, (8,))

    def step() -> None:
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(inputs), targets) * next(factors)).backward()
        scaler.step(optimizer)
        scaler.update()

    run = watched(model, step, tmp_path, optimizer, 3)
    assert run.history.steps.tolist() == [0, 1, 2]
    assert (run.history[Signal.UPDATE, "applied"][:, 0] == 1).tolist() == [True, False, True]


def test_lbfgs_evaluates_its_closure_many_times_in_one_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    inputs = torch.randn(32, 4)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        loss.backward()
        return loss

    run = watched(model, lambda: optimizer.step(closure), tmp_path / "run", optimizer, 3)
    assert list(run.history.steps) == [0, 1, 2]
    assert (run.history[Signal.UPDATE, "rms"] > 0).all()
    assert (run.history[Signal.WEIGHT_GRADIENT, "rms"] > 0).all()


@pytest.mark.parametrize("way", ["backward", "autograd.grad"])
def test_a_training_without_optimiser_has_steps_too(way: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 1))
    inputs = torch.randn(8, 4)

    def step() -> None:
        loss = (model(inputs) - 1).square().mean()
        if way == "backward":
            model.zero_grad()
            loss.backward()
            gradients = [p.grad for p in model.parameters()]
        else:
            gradients = list(torch.autograd.grad(loss, list(model.parameters())))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.data -= 0.1 * gradient

    run = watched(model, step, tmp_path / "run", steps=5)
    assert list(run.history.steps) == [0, 1, 2, 3, 4]
    expected = 0.1 * run.history[Signal.WEIGHT_GRADIENT, "rms"]
    np.testing.assert_allclose(run.history[Signal.UPDATE, "rms"], expected, rtol=1e-3)
    assert len(run.history.scalars["loss"].values) == 5


def test_a_gan_is_one_run_of_two_models(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    of_generator = torch.optim.Adam(generator.parameters())
    of_critic = torch.optim.Adam(critic.parameters())

    def step() -> None:
        fake = generator(torch.randn(16, 4))
        of_critic.zero_grad()
        (F.softplus(-critic(torch.randn(16, 2))) + F.softplus(critic(fake.detach()))).mean().backward()
        of_critic.step()
        of_generator.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        of_generator.step()

    models = {"generator": generator, "critic": critic}
    with isometry.watch(models, [of_critic, of_generator], run=tmp_path / "run", every=1) as watch:
        for _ in range(6):
            step()
    run = watch.run
    assert set(run.architecture.names) == {"generator.0", "generator.2", "critic.0", "critic.2"}
    applied = run.history[Signal.UPDATE, "applied"]
    for name in run.architecture.names:
        assert np.nansum(applied[:, run.architecture.index(name)]) >= 5
    assert (run.history[Signal.DELTA, "rms"][1:] > 0).all()  # a round is one step, for both models
    assert not run.history.events("no_gradient")
    assert isometry.diagnose(run).healthy


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_layers_are_heard(reentrant: bool, tmp_path: Path) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 6))
            self.last = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(checkpoint(self.inner, self.first(x), use_reentrant=reentrant))

    torch.manual_seed(0)
    model = Checkpointed()
    run = ordinary(model, tmp_path / "run", torch.randn(8, 6), lambda out: F.cross_entropy(out, torch.zeros(8).long()))
    assert run.architecture.names == ("first", "inner.0", "inner.2", "last")
    assert (run.history[Signal.DELTA, "rms"] > 0).all()
    assert (run.history[Signal.DELTA, "rms"][1:] > 0).all()  # a round is one step, for both models
    assert not run.history.events("no_gradient")


def test_modules_may_return_tuples_and_dicts(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode = nn.Linear(4, 4)
            self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 3)})

        def forward(self, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, ...]]:
            hidden = F.gelu(self.encode(batch["x"]))
            return {"heads": tuple(head(hidden) for head in self.heads.values())}

    model = Odd()
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        first, second = model({"x": torch.randn(5, 4)})["heads"]
        (first.square().mean() + second.square().mean()).backward()
        optimizer.step()

    run = watched(model, step, tmp_path / "run", optimizer)
    assert run.architecture.names == ("encode", "heads.a", "heads.b")
    assert run.architecture["encode"].activation == "gelu"
    assert run.architecture["heads.a"].output
    assert (run.history[Signal.DELTA, "rms"] > 0).all()


def test_a_module_that_is_called_often_is_one_layer(tmp_path: Path) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(5):
                x = torch.tanh(self.layer(x))
            return x

    run = ordinary(Shared(), tmp_path / "run", torch.randn(6, 4), lambda out: out.square().mean())
    layer = run.architecture["layer"]
    assert layer.calls == 5
    assert layer.recurrent
    assert run.history[Signal.PRE_ACTIVATION, "count"][0, 0] == 5 * 24
    assert len(run.history.events("through_time")[0]["rms"]) == 5


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_recurrent_layer_shows_its_gradient_by_time_step(kind: type[nn.RNNBase], tmp_path: Path) -> None:
    """∂L/∂x_t of an input that asks for a gradient is the reference."""
    torch.manual_seed(0)
    model = kind(3, 5, batch_first=True)
    inputs = torch.randn(4, 7, 3)
    reference = inputs.clone().requires_grad_()
    model(reference)[0][:, -1].square().sum().backward()
    assert reference.grad is not None
    expected = reference.grad.double().square().mean(dim=(0, 2)).sqrt()
    run = ordinary(model, tmp_path / "run", inputs, lambda out: out[0][:, -1].square().sum(), steps=1)
    profile = run.history.events("through_time")[0]["rms"]
    np.testing.assert_allclose(profile, expected, rtol=1e-5)


def test_a_hand_made_recurrence_shows_it_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = ordinary(
        HandMadeRnn(),
        tmp_path / "run",
        torch.randn(16, 12, 4),
        lambda out: F.cross_entropy(out, torch.zeros(16).long()),
        steps=1,
    )
    profiles = {event["layer"]: event["rms"] for event in run.history.events("through_time")}
    assert len(profiles["h2h"]) == 12
    assert profiles["h2h"][0] < profiles["h2h"][-1]


def test_parts_of_a_model_may_be_called_instead_of_it(tmp_path: Path) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(6, 3)
            self.decoder = nn.Linear(3, 6)

    model = Pair()
    optimizer = torch.optim.Adam(model.parameters())
    inputs = torch.randn(8, 6)

    def step() -> None:
        optimizer.zero_grad()
        F.mse_loss(model.decoder(torch.tanh(model.encoder(inputs))), inputs).backward()
        optimizer.step()

    run = watched(model, step, tmp_path / "run", optimizer, 8)
    assert run.architecture.names == ("encoder", "decoder")
    assert (run.history[Signal.DELTA, "rms"][-1] > 0).all()


def test_a_validation_pass_is_not_mixed_in(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def step() -> None:
        model(1e6 * torch.ones(50, 3))  # somebody forgot no_grad
        optimizer.zero_grad()
        model(torch.ones(10, 3)).sum().backward()
        optimizer.step()

    run = watched(model, step, tmp_path / "run", optimizer, 3)
    assert (run.history[Signal.PRE_ACTIVATION, "count"][:, 0] == 30).all()
    assert (run.history[Signal.PRE_ACTIVATION, "abs_max"][:, 0] < 100).all()


def test_reasons_for_a_missing_gradient_are_told_apart(tmp_path: Path) -> None:
    class Gaps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(4, 4)
            self.frozen = nn.Linear(4, 4).requires_grad_(False)
            self.cut = nn.Linear(4, 4)
            self.silent = nn.Linear(4, 4)
            self.spare = nn.Linear(4, 4)
            self.unused = nn.Linear(4, 4)
            self.aside = nn.Linear(4, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.frozen(self.stem(x))
            x = x + self.cut(x).detach()
            with torch.no_grad():
                gate = self.silent(x)
            return self.head(self.aside(x) * gate), self.spare(x)

    model = Gaps()
    listed = [p for name, p in model.named_parameters() if not name.startswith("aside")]
    optimizer = torch.optim.Adam([p for p in listed if p.requires_grad])

    def step() -> None:
        optimizer.zero_grad()
        model(torch.randn(5, 4))[0].square().mean().backward()
        optimizer.step()

    run = watched(model, step, tmp_path / "run", optimizer, 5)
    entries = run.history.events("no_gradient")[-1]["parameters"]
    reasons = {entry["layer"]: entry["reason"] for entry in entries}
    assert reasons == {
        "frozen": "frozen",
        "cut": "detached",
        "silent": "ran without gradient",
        "spare": "output unused",
        "unused": "never ran",
        "aside": "not in any optimizer",
    }


@pytest.mark.parametrize("every", [1, 1000])
def test_the_operation_that_made_a_nan_is_named(every: int, tmp_path: Path) -> None:
    """Also on a step that was not recorded: autograd's saved tensors tell."""

    class Logarithm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.log(self.first(x)))

    model = Logarithm()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    bad = -torch.ones(4, 4)
    with torch.no_grad():
        model.first.weight.copy_(torch.eye(4))
        model.first.bias.zero_()
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=every) as watch:
        for number in range(8):
            optimizer.zero_grad()
            model(bad if number == 6 else torch.rand(4, 4) + 1).square().mean().backward()
            if number != 6:
                for parameter in model.parameters():
                    parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
    event = watch.run.history.events("non_finite")[0]
    assert event["step"] == 6
    assert event["direction"] == "forward"
    assert event["layer"] in ("first", "second")
    finding = next(f for f in isometry.diagnose(watch.run).findings if f.problem == "non_finite")
    assert finding.first_step == 6


def test_dead_units_are_those_silent_on_all_data(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 1))
    with torch.no_grad():
        model[0].bias[:3] = -1e3
        model[0].bias[3:] = -1.0  # mostly, but not always, silent
    run = ordinary(model, tmp_path / "run", torch.randn(256, 8), lambda out: out.square().mean(), rate=0.0)
    assert run.history[Signal.ACTIVATION, "dead"][-1, 0] == 3
    assert run.history[Signal.ACTIVATION, "units"][-1, 0] == 10
    assert run.history[Signal.ACTIVATION, "seen"][-1, 0] == 4 * 256


def test_signals_can_be_chosen(tmp_path: Path) -> None:
    net = NETS["mlp"]
    model = net.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1, signals=["delta"]) as watch:
        train(net, model, optimizer, 3)
    history = watch.run.history
    assert (history["delta", "rms"] > 0).all()
    assert np.isnan(history["weight", "rms"]).all() if ("weight", "rms") in history else True


@pytest.mark.parametrize("alone", ["weight", "weight_gradient", "update"])
def test_a_signal_recorded_alone_is_what_it_is_among_all(alone: str, tmp_path: Path) -> None:
    found = []
    for name, signals in (("all", None), ("alone", [alone])):
        net = NETS["mlp"]
        torch.manual_seed(0)
        model = net.build()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with isometry.watch(model, optimizer, run=tmp_path / name, every=2, signals=signals) as watch:
            train(net, model, optimizer, 5)
        found.append(watch.run.history)
    together, by_itself = found
    assert list(by_itself.steps) == [0, 2, 4]
    assert {signal for signal, _ in by_itself.columns} <= {alone, Signal.WEIGHT}  # an update is nothing without W
    np.testing.assert_array_equal(by_itself[alone, "std"], together[alone, "std"])


def test_metrics_are_kept_beside_the_loss(tmp_path: Path) -> None:
    net = NETS["mlp"]
    model = net.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isometry.watch(model, optimizer, run=tmp_path / "run") as watch:
        losses = train(net, model, optimizer, 6, lambda step: watch.log(accuracy=step / 10))
    scalars = watch.run.history.scalars
    np.testing.assert_allclose(scalars["loss"].values, losses, rtol=1e-6)
    np.testing.assert_allclose(scalars["accuracy"].values, np.arange(6) / 10)
    assert list(scalars["accuracy"].steps) == list(range(6))


def test_what_is_no_model_is_refused_with_a_sentence() -> None:
    with pytest.raises(isometry.UnsupportedModel, match="is needed"):
        isometry.watch(nn.Linear, run="unused")
    with pytest.raises(isometry.UnsupportedModel, match="optimizer: a float"):
        isometry.watch(nn.Linear(2, 2), 0.1, run="unused")  # type: ignore[arg-type]
    with pytest.raises(isometry.IsometryError, match="signals"):
        isometry.watch(nn.Linear(2, 2), run="unused", signals=["gradients"])


def test_nothing_recorded_is_said(tmp_path: Path) -> None:
    with isometry.watch(nn.Linear(2, 2), run=tmp_path / "run") as watch:
        pass
    with pytest.raises(isometry.NotRecorded, match="no training step was seen"):
        _ = watch.run


def test_a_forgotten_optimizer_step_is_noticed(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    optimizer = torch.optim.Adam(model.parameters())
    targets = torch.randint(0, 3, (16,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(torch.randn(16, 4)), targets).backward()

    run = watched(model, step, tmp_path / "run", optimizer, 100)
    assert "no optimizer step" in run.history.events("trouble")[0]["words"]
    losses = run.history.scalars["loss"].values
    assert len(losses) >= 30
    assert max(losses) < 3 * float(np.log(3))  # the first is the mean of the passes that were waited for
    assert ("update", "rms") not in run.history


@pytest.mark.parametrize("change", [lambda loss: 1e-3 * loss, lambda loss: loss / 7, lambda loss: loss])
def test_the_kind_of_loss_is_read_off_its_graph(change: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    inputs, targets = torch.randn(16, 4), torch.randint(0, 3, (16,))
    model = nn.Linear(4, 3)
    expected = F.cross_entropy(model(inputs), targets).item()
    run = ordinary(model, tmp_path / "run", inputs, lambda out: change(F.cross_entropy(out, targets)), steps=2)
    (event,) = run.history.events("loss_kind")
    assert (event["kind"], event["classes"]) == ("cross_entropy", 3)
    assert event["value"] == pytest.approx(expected, rel=1e-5)


def test_targets_of_a_regression_are_measured(tmp_path: Path) -> None:
    targets = 1e4 + torch.randn(32, 1)
    run = ordinary(nn.Linear(4, 1), tmp_path / "run", torch.randn(32, 4), lambda out: F.mse_loss(out, targets), steps=2)
    (event,) = run.history.events("loss_kind")
    assert event["kind"] == "mse"
    assert event["targets"]["mean"] == pytest.approx(1e4, rel=1e-3)


def test_a_comparison_cuts_the_graph(tmp_path: Path) -> None:
    class Hard(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(4, 6)
            self.head = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.encoder(x) > 0).float())

    run = ordinary(Hard(), tmp_path / "run", torch.randn(8, 4), lambda out: out.square().mean(), steps=5)
    entries = run.history.events("no_gradient")[-1]["parameters"]
    assert {(entry["layer"], entry["reason"]) for entry in entries} == {("encoder", "detached")}


def test_a_second_model_is_looked_at_from_its_first_steps_on(tmp_path: Path) -> None:
    models = [nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)) for _ in range(2)]
    with isometry.watch({"first": models[0], "second": models[1]}, run=tmp_path / "run") as watch:
        for model in models:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            for _ in range(60):
                optimizer.zero_grad()
                model(torch.randn(8, 4)).square().mean().backward()
                optimizer.step()
    run = watch.run
    heard = run.history[Signal.DELTA, "rms"][:, run.architecture.index("second.0")] > 0
    assert heard.sum() >= 3
    assert not run.history.events("no_gradient") or not run.history.events("no_gradient")[-1]["parameters"]


class Branching(nn.Module):
    """Three residual sums x + f(x) of ever stronger branches, and one whose skip is projected."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 6)
        self.branches = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.skip, self.last = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.forks = []
        for scale, branch in enumerate(self.branches):
            self.forks.append(x)
            x = x + (scale + 1.0) * torch.tanh(branch(x))
        return self.skip(x) + self.last(x)


def test_what_comes_back_through_a_residual_branch_is_told_from_the_skip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Branching()
    inputs = torch.randn(9, 6)
    run = ordinary(model, tmp_path / "run", inputs, lambda out: out.square().sum(), steps=1, rate=0.0)
    names = [layer.name for layer in run.architecture if layer.kind == "sum"]
    gains = [run.history[Signal.DELTA, "branch_gain"][0, run.architecture.index(name)] for name in names]
    cosines = [run.history[Signal.DELTA, "branch_cosine"][0, run.architecture.index(name)] for name in names]
    assert len(names) == 4
    out = model(inputs).square().sum()
    ends = torch.autograd.grad(out, [model.forks[1], model.forks[2]], retain_graph=True)
    starts = torch.autograd.grad(out, [model.forks[0], model.forks[1]])
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        back = start - end
        assert gains[place] == pytest.approx(float(back.norm() / end.norm()), rel=1e-5)
        assert cosines[place] == pytest.approx(float(F.cosine_similarity(back.ravel(), end.ravel(), dim=0)), abs=1e-5)
    assert np.isfinite(gains[2])
    assert np.isnan(gains[3])  # neither operand is the fork itself
