"""Gates that keep the past, of LSTMs and GRUs of several kinds, by what they do to their state."""

import copy

import pytest
import torch
from torch import Tensor, nn

import isometry
from isometry import CannotEdit
from isometry.adapters.torch.edit import edit
from isometry.network.edits import Reinitialise, SetForgetBias


class Reader(nn.Module):
    """Layers of several kinds, none of them called like in the examples."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.memory, self.leave = core, nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.memory(x)[0][:, -1, :5])


def kept(layer: nn.LSTM, value: float) -> None:
    """All cell states pass a step times σ(value), where nothing else comes in."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "weight" in name:
                parameter.zero_()
    ways = (2 if layer.bidirectional else 1) * layer.num_layers
    cell = torch.ones(ways, 3, layer.hidden_size)
    hidden = torch.zeros(ways, 3, layer.proj_size or layer.hidden_size)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias_"):  # the cell's own input is 0, so that nothing is added
                parameter.view(4, -1)[2] = 0
        _, (_, after) = layer(torch.randn(3, 1, layer.input_size), (hidden, cell))
    torch.testing.assert_close(after, torch.full_like(after, torch.tensor(value).sigmoid().item()))


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize(
    "more", [{}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}, {"proj_size": 3}], ids=str
)
@pytest.mark.parametrize("value", [-2.0, 1.0, 4.6])
def test_a_cell_keeps_what_the_bias_says(more, value):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 6, batch_first=True, **more))
    before = copy.deepcopy(model.state_dict())
    assert edit(model, [SetForgetBias(("1",), value)], batch=torch.randn(3, 2, 4)) == ()
    for name, parameter in model.named_parameters():
        same = parameter == before[name]
        if "bias" in name and name.startswith("1."):
            same = same.view(4, -1)[[0, 2, 3]]
        assert same.all()
    kept(model[1], value)


@pytest.mark.parametrize("more", [{}, {"num_layers": 3}, {"bidirectional": True, "num_layers": 2}], ids=str)
@pytest.mark.parametrize("value", [-2.0, 1.0, 4.6])
@pytest.mark.parametrize("opposed", [False, True])
def test_a_gru_keeps_what_the_bias_says(more, value, opposed):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.GRU(4, 6, batch_first=True, **more))
    before = copy.deepcopy(model.state_dict())
    assert edit(model, [SetForgetBias(("1",), value, opposed)], batch=torch.randn(3, 2, 4)) == ()
    for name, parameter in model.named_parameters():
        same = parameter == before[name]
        if "bias" in name and name.startswith("1."):
            same = same.view(3, -1)[[0, 2]]
        assert same.all()
    with torch.no_grad():
        for name, parameter in model[1].named_parameters():
            if "weight" in name:
                parameter.zero_()
            else:
                parameter.view(3, -1)[2] = 0  # nothing new comes in
        kept = torch.ones((2 if model[1].bidirectional else 1) * model[1].num_layers, 3, 6)
        _, after = model[1](torch.randn(3, 2, 4), kept)
    torch.testing.assert_close(after, torch.full_like(after, torch.tensor(value).sigmoid().item() ** 2))


def test_an_applied_bias_of_a_gru_is_taken_back_bit_for_bit():
    torch.manual_seed(0)
    model = nn.ModuleDict({"past": nn.GRU(3, 5, num_layers=2, bidirectional=True), "cell": nn.GRUCell(5, 7)})
    before = copy.deepcopy(model.state_dict())
    applied = isometry.apply([SetForgetBias(("past", "cell"), 3.0)], model)
    assert torch.equal((model.cell.bias_ih + model.cell.bias_hh).view(3, -1)[1], torch.full((7,), 3.0))
    assert not torch.equal(model.past.bias_ih_l1_reverse, before["past.bias_ih_l1_reverse"])
    applied.undo()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_input_gates_may_begin_as_far_shut():
    model = nn.Sequential(nn.LSTM(4, 6, num_layers=2))
    edit(model, [SetForgetBias(("0",), 3.0, opposed=True)], batch=None)
    for layer in range(2):
        total = getattr(model[0], f"bias_ih_l{layer}") + getattr(model[0], f"bias_hh_l{layer}")
        assert total.view(4, -1)[:2].tolist() == [[-3.0] * 6, [3.0] * 6]


def test_single_cells_have_gates_too_and_frozen_ones_stay():
    cell = nn.LSTMCell(4, 6)
    model = nn.ModuleDict({"cell": cell})
    edit(model, [SetForgetBias(("cell",), 3.0)], batch=None)
    assert torch.equal((cell.bias_ih + cell.bias_hh).view(4, -1)[1], torch.full((6,), 3.0))
    cell.bias_hh.requires_grad_(False)
    with pytest.raises(CannotEdit, match="`cell`: its biases are frozen"):
        edit(model, [SetForgetBias(("cell",), 1.0)], batch=None)
    assert torch.equal((cell.bias_ih + cell.bias_hh).view(4, -1)[1], torch.full((6,), 3.0))


def test_layers_without_forget_gates_are_told():
    model = nn.ModuleDict({"a": nn.RNN(2, 3), "b": nn.LSTM(2, 3, bias=False), "c": nn.LSTM(2, 3)})
    told = edit(model, [SetForgetBias(("a", "b", "c", "d"), 1.0)], batch=None)
    assert [words.split(":")[0] for words in told] == ["`a`", "`b`", "`d`"]
    assert "a RNN has no forget gates" in told[0]
    with pytest.raises(CannotEdit, match="possible at none of its layers"):
        edit(model, [SetForgetBias(("a", "d"), 1.0)], batch=None)
    with pytest.raises(CannotEdit, match="value = nan"):
        edit(model, [SetForgetBias(("c",), float("nan"))], batch=None)


def test_a_draw_before_it_does_not_undo_it_and_a_failure_does():
    torch.manual_seed(0)
    model = Reader(nn.LSTM(3, 5, batch_first=True))
    edits = [Reinitialise(("memory",), 1.0, orthogonal=True), SetForgetBias(("memory",), 2.0)]
    edit(model, edits, batch=torch.randn(4, 6, 3))
    assert model.memory.bias_ih_l0.view(4, -1)[:, 0].tolist() == [0.0, 2.0, 0.0, 0.0]
    with pytest.raises(CannotEdit):
        edit(model, [SetForgetBias(("memory",), 7.0), Reinitialise(("nowhere",), 1.0)], batch=torch.randn(4, 6, 3))
    assert model.memory.bias_ih_l0.view(4, -1)[:, 0].tolist() == [0.0, 2.0, 0.0, 0.0]
