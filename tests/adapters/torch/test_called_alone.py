"""Layers that no module's forward pass holds, as where a ``training_step`` calls them itself."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isometry
from isometry.adapters.torch.watch import watch_process
from isometry.network.script import Script
from isometry.report.outcomes.words import sentences
from isometry.treatment.outcome import Outcome


class Stepping(nn.Module):
    """Its ``training_step`` is called, never the model."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))

    def training_step(self, x: Tensor, y: Tensor) -> Tensor:
        ways = {
            "layers": lambda: self.forward(x),
            "model": lambda: self(x),
            "body and head": lambda: self.head(self.body(x)),
        }
        return F.cross_entropy(ways[self.way](), y)


def diagnosis_of(way, folder, *, process):
    torch.manual_seed(0)
    model = Stepping(way)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watching = watch_process(run=folder, every=1) if process else isometry.watch(model, optimizer, run=folder, every=1)
    with watching as watch:
        for _ in range(8):
            optimizer.zero_grad()
            model.training_step(torch.randn(16, 6), torch.arange(16) % 3).backward()
            optimizer.step()
    return isometry.diagnose(watch.run)


def note_of(way, folder, *, process):
    return " ".join(str(diagnosis_of(way, folder, process=process)).split())


@pytest.mark.parametrize("process", [True, False])
def test_layers_called_one_by_one_are_named_with_what_to_do(process, tmp_path):
    told = note_of("layers", tmp_path / "run", process=process)
    assert "first`, `" in told
    assert "second` and 1 more are called by no forward() of a module that holds them" in told
    assert "training_step calls self(x)" in told


@pytest.mark.parametrize("process", [True, False])
@pytest.mark.parametrize("way", ["model", "body and head"])
def test_a_model_or_its_larger_parts_are_called_without_a_word(way, process, tmp_path):
    assert "called by no forward()" not in note_of(way, tmp_path / "run", process=process)


def test_an_outcome_tells_what_could_not_be_seen_of_the_untreated_training(tmp_path):
    before = diagnosis_of("layers", tmp_path / "run", process=True)
    outcome = Outcome("nothing to fix", "Nothing was found", (), None, None, before, None, Script("train.py"))
    found, seen = sentences(outcome)
    assert found == "Nothing was found."
    assert "are called by no forward() of a module that holds them" in seen
