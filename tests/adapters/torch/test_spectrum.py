import numpy as np
import pytest
import torch
from torch import nn

from isometry.adapters.torch import spectrum as module
from isometry.adapters.torch.batch import inspect
from isometry.adapters.torch.jacobian import jacobian_of
from isometry.theory import jacobian_variance


def dense(model, inputs, output=lambda outputs: outputs):
    """Singular values of each sample's Jacobian, by autograd's own Jacobian and NumPy in double precision."""
    model, rows = model.double(), []
    for sample in inputs.double():
        jacobian = torch.autograd.functional.jacobian(lambda x: output(model(x[None])).flatten(), sample)
        rows.append(np.linalg.svd(jacobian.flatten(1).numpy(), compute_uv=False))
    model.float()
    return np.array(rows)


def computed(model, inputs):
    facts = jacobian_of(model, (inputs.clone(),), {})
    assert facts.spectrum is not None, facts.unlisted or facts.reason
    return facts


def agree(facts, expected):
    """Up to the rounding of float32 through the layers, which is relative to the largest."""
    np.testing.assert_allclose(np.array(facts.spectrum.values), expected, atol=2e-5 * expected.max(), rtol=0)


def mlp(*, inputs=12, outputs=5, activation=nn.Tanh):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(inputs, 40), activation(), nn.Linear(40, 33), activation(), nn.Linear(33, outputs, bias=False)
    )


class Named(nn.Module):
    """A dict out, whose first entry needs no gradient."""

    def __init__(self):
        super().__init__()
        self.inner = mlp(inputs=7, outputs=9)

    def forward(self, x):
        return {"mask": torch.ones(len(x)), "logits": self.inner(x), "second": x.sum(1)}


def test_of_a_dense_network_all_are_found():
    inputs = torch.randn(20, 12)
    facts = computed(mlp(), inputs)
    expected = dense(mlp(), inputs[:8])
    agree(facts, expected)
    assert facts.spectrum.samples == 8 and not facts.spectrum.together
    assert facts.probes == 0
    assert facts.mean_square == pytest.approx((expected**2).mean(), rel=1e-4)
    assert facts.variance == pytest.approx((expected**4).mean() / (expected**2).mean() ** 2 - 1, rel=1e-3)
    assert facts.largest == pytest.approx(expected.max(), rel=1e-4)


def test_of_fewer_inputs_than_outputs_the_columns_are_taken():
    inputs = torch.randn(5, 3)
    agree(computed(mlp(inputs=3, outputs=300), inputs), dense(mlp(inputs=3, outputs=300), inputs))


def test_of_a_convolutional_network_all_are_found():
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2), nn.ELU(), nn.Conv2d(6, 4, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(1), nn.GELU()
    )
    inputs = torch.randn(6, 2, 11, 9)
    expected = dense(model, inputs)
    assert expected.shape == (6, 16)
    agree(computed(model, inputs), expected)


def test_a_dict_gives_the_first_output_that_depends_on_the_input():
    inputs = torch.randn(4, 7)
    agree(computed(Named(), inputs), dense(Named(), inputs, lambda outputs: outputs["logits"]))


def test_under_batch_norm_the_samples_are_one():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(10, 14), nn.BatchNorm1d(14), nn.Tanh(), nn.Linear(14, 4))
    inputs = torch.randn(30, 10)
    facts = computed(model, inputs)
    assert facts.spectrum.together and facts.spectrum.samples == 8
    whole = torch.autograd.functional.jacobian(model, inputs[:8]).reshape(32, 80).double().numpy()
    agree(facts, np.linalg.svd(whole, compute_uv=False)[None])
    model.eval()
    facts = computed(model, inputs)
    assert not facts.spectrum.together
    agree(facts, dense(model, inputs[:8]))


class Neighbours(nn.Module):
    """Only two samples of the batch hang together."""

    def __init__(self, one, other):
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x):
        added = torch.zeros_like(x)
        added[self.one] = 1e-6
        return torch.tanh(x + added * x[self.other])


@pytest.mark.parametrize(("one", "other"), [(0, 7), (7, 0), (2, 4), (5, 4), (3, 2), (1, 5)])
def test_any_two_samples_that_hang_together_are_found(one, other):
    assert computed(Neighbours(one, other), torch.randn(8, 6)).spectrum.together


def test_deep_orthogonal_linear_networks_are_an_isometry():
    torch.manual_seed(0)
    layers = [nn.Linear(24, 24, bias=False) for _ in range(60)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
    facts = computed(nn.Sequential(*layers), torch.randn(8, 24))
    np.testing.assert_allclose(facts.spectrum.values, np.ones((8, 24)), atol=1e-5)
    assert (facts.mean_square, facts.largest) == pytest.approx((1, 1), abs=1e-5)
    assert facts.variance == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("activation", "name", "gain"), [(nn.Identity, "identity", 1.0), (nn.ReLU, "relu", 2**0.5)])
def test_the_spread_of_wide_networks_is_that_of_theory(activation, name, gain):
    """One network scatters by 5 to 8 %, and at 120 units the mean lies 3 to 7 % above the limit of wide layers."""
    found = []
    for seed in range(6):
        torch.manual_seed(seed)
        layers = [part for _ in range(5) for part in (nn.Linear(120, 120, bias=False), activation())]
        for layer in layers[::2]:
            nn.init.normal_(layer.weight, std=gain / 120**0.5)
        found.append(computed(nn.Sequential(*layers), torch.randn(4, 120)).variance)
    assert np.mean(found) == pytest.approx(jacobian_variance(name, gain, 0.0, 5), rel=0.12)


def test_a_stack_of_sigmoids_hardly_lets_anything_through():
    torch.manual_seed(0)
    stack = [part for _ in range(30) for part in (nn.Linear(16, 16), nn.Sigmoid())]
    facts = computed(nn.Sequential(*stack), torch.randn(8, 16))
    values = np.array(facts.spectrum.values)
    assert 0 < values.max() < 1e-15
    assert facts.largest == values.max() and facts.mean_square > 0


def test_what_a_softmax_makes_zero_is_below_the_rounding():
    facts = computed(nn.Sequential(mlp(outputs=6), nn.Softmax(1)), torch.randn(8, 12))
    values = np.array(facts.spectrum.values)
    floor = values[:, 0] * facts.spectrum.rounding
    assert (values[:, -1] <= floor).all() and (values[:, -2] > 100 * floor).all()


def test_units_that_are_off_give_exact_zeros():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    nn.init.constant_(model[0].bias, -1e3)
    facts = computed(model, torch.randn(4, 6))
    assert facts.spectrum.values == ((0.0,) * 3,) * 4
    assert facts.largest == 0 and np.isnan(facts.variance)


def test_a_sample_without_a_finite_jacobian_leaves_the_others_alone():
    inputs = torch.randn(4, 12)
    inputs[1, 3] = float("nan")
    values = np.array(computed(mlp(), inputs).spectrum.values)
    assert np.isnan(values[1]).all() and np.isfinite(values[[0, 2, 3]]).all()


def test_whole_numbers_have_none():
    facts = jacobian_of(nn.Embedding(9, 3), (torch.zeros(4, 2, dtype=torch.int64),), {})
    assert facts.spectrum is None and "whole numbers" in facts.reason


def test_too_many_are_estimated_and_it_says_why():
    facts = jacobian_of(nn.Linear(140, 200), (torch.randn(4, 140),), {})
    assert facts.spectrum is None and facts.probes > 0 and facts.mean_square > 0
    assert facts.unlisted == "inputs and outputs are more than 128 each"
    batch_norm = nn.Sequential(nn.Linear(30, 30), nn.BatchNorm1d(30))
    assert "depend on each other" in jacobian_of(batch_norm, (torch.randn(16, 30),), {}).unlisted


def test_where_time_is_short_fewer_samples_are_taken(monkeypatch):
    inputs = torch.randn(8, 12)
    monkeypatch.setattr(module, "_hang_together", lambda *ends, hopeless: (False, module.SECONDS / 5 * 8 / 3.5))
    facts = computed(mlp(), inputs)
    assert facts.spectrum.samples == 3
    agree(facts, dense(mlp(), inputs[:3]))


class Picky(nn.Module):
    """Takes batches of four and more."""

    def forward(self, x):
        if len(x) < 4:
            raise ValueError("four at least\nand more")
        return torch.tanh(x)


def test_a_model_that_takes_no_fewer_samples_is_estimated(monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", 2 * 6 * 6)
    facts = jacobian_of(Picky(), (torch.randn(8, 6),), {})
    assert facts.probes > 0 and facts.mean_square > 0
    assert facts.unlisted == "the forward pass fails with 2 samples: ValueError: four at least"
    assert jacobian_of(Picky(), (torch.randn(3, 6),), {}).reason.endswith("four at least")


def test_where_inputs_are_large_fewer_samples_are_taken(monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", 2 * 5 * 12)
    assert computed(mlp(), torch.randn(8, 12)).spectrum.samples == 2


def test_where_there_is_no_time_it_is_estimated(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.0)
    facts = jacobian_of(mlp(), (torch.randn(8, 12),), {})
    assert facts.spectrum is None and facts.mean_square > 0
    assert facts.unlisted == "5 backward passes through this network would take too long"


def test_where_time_does_not_depend_on_the_samples_it_is_estimated(monkeypatch):
    monkeypatch.setattr(module, "_hang_together", lambda *ends, hopeless: (False, module.SECONDS))
    monkeypatch.setattr(module, "_seconds", lambda target, source: module.SECONDS)
    assert "too long" in jacobian_of(mlp(), (torch.randn(8, 12),), {}).unlisted


class Once(torch.autograd.Function):
    """Can be derived, but its derivative cannot."""

    @staticmethod
    def forward(ctx, x):
        return 3 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, back):
        return 3 * back


def test_model_and_generators_stay_as_they_are():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    inputs, targets = torch.randn(16, 6), torch.randint(0, 3, (16,))
    before, numbers = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    given = inputs.clone()
    facts = inspect(model, (inputs, targets), nn.functional.cross_entropy).jacobian()
    assert facts.spectrum is not None and facts.spectrum.together
    assert torch.equal(torch.get_rng_state(), numbers) and torch.equal(inputs, given)
    assert not inputs.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_rows_need_no_second_derivative():
    class Tripled(nn.Module):
        def forward(self, x):
            return Once.apply(x)

    np.testing.assert_allclose(computed(Tripled(), torch.randn(3, 5)).spectrum.values, 3.0)
