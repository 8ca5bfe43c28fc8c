"""Post-norm needs a slower start than pre-norm, and pre-norm transformers in its place are found out."""

import numpy as np
import pytest
import torch

from isometry.classics.build import transformers
from isometry.classics.classic import Verdict
from isometry.classics.experiments.pre_post_norm import pre_post_norm
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_post_norm_does_not_start_as_pre_norm_does(tmp_path):
    exhibit = pre_post_norm(fast_study(tmp_path))
    assert exhibit.as_expected


@pytest.mark.slow
def test_pre_norm_in_its_place_is_found_out(tmp_path, monkeypatch):
    made = transformers.Transformer

    def healthy(kind: str, **sizes: int) -> transformers.Transformer:
        return made("pre-norm", **sizes)

    monkeypatch.setattr(transformers, "Transformer", healthy)
    exhibit = pre_post_norm(fast_study(tmp_path, seeds=3))
    assert {claim.verdict for claim in exhibit.claims[:5]} == {Verdict.FALLS}
    assert min(exhibit.numbers["accuracy"]["12"]["post-norm, warm-up"]) > 0.4  # post-norm stays at 0.17


def test_a_fifth_of_the_words_leaves_the_table():
    read, following = transformers.text(500, tokens=16)
    pairs = transformers.WORDS * read[:, :-1] + read[:, 1:]
    nexts = following[:, 1:]
    usual = torch.tensor([nexts[pairs == pair].mode().values.item() for pair in range(transformers.WORDS**2)])
    share = float((usual[pairs] == nexts).double().mean())
    assert share == pytest.approx(1 - 0.2 * 7 / 8, abs=0.02)  # a random word is the table's one in eight times


def test_no_token_sees_what_comes_later():
    torch.manual_seed(0)
    model = transformers.Transformer("post-norm", blocks=2, width=32, tokens=16)
    read, _ = transformers.text(4, tokens=16)
    changed = read.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % transformers.WORDS
    assert torch.allclose(model(read)[:, :10], model(changed)[:, :10], atol=1e-6)
    assert not torch.allclose(model(read)[:, 10:], model(changed)[:, 10:], atol=1e-3)


def test_the_rate_rises_evenly_and_stays():
    adam = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=0.4)
    warm, rates = transformers.WarmUp(adam, steps=4), []
    for _ in range(6):
        warm.step()
        rates.append(adam.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_pre_norm_streams_grow_and_delta_with_the_root_of_the_depth():
    starts = [transformers.start("pre-norm", blocks=16, seed=seed) for seed in range(4)]
    change = np.median([np.log10(one.delta[0] / one.delta[-1]) for one in starts])
    assert change == pytest.approx(0.5 * np.log10(17), abs=0.15)
