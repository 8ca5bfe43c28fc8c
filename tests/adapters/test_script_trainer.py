"""Scripts that are trained again and again, in processes of their own."""

from dataclasses import replace
from math import isnan
from textwrap import dedent

import numpy as np
import pytest

import isometry
from isometry.adapters.script_trainer import ScriptTrainer, _printed, placed
from isometry.errors import IsometryError
from isometry.history.store import open_run
from isometry.network.edits import Clip, ReplaceActivation, ScaleRate, SetPrecision, Standardise
from isometry.network.script import Metric, Script

REGRESSION = """
    import sys
    import torch
    from torch import nn

    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    torch.manual_seed(3)
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(96, 5, generator=numbers) * 7 + 20
    y = x.sum(1, keepdim=True).sin()
    net = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for step in range(steps):
        chosen = torch.randperm(96)[:32]
        loss = nn.functional.mse_loss(net(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}  error: {loss.item():.6f}")
    final = 0.25
"""


@pytest.fixture
def trainer(tmp_path):
    def make(text, *, name="train.py", arguments=(), **options):
        (tmp_path / name).write_text(dedent(text), encoding="utf-8")
        script = placed(Script(name, arguments, folder=tmp_path, **options))
        return ScriptTrainer(script, tmp_path / "study")

    return make


@pytest.mark.slow
def test_a_script_is_trained_as_it_is_and_its_run_opens(trainer, tmp_path):
    made = trainer(REGRESSION)
    course = made.train((), seed=0, run=tmp_path / "study" / "runs" / "untreated")
    assert (course.fault, course.steps, course.cut) == ("", 12, False)
    run = open_run(course.run)
    assert run.architecture.names == ("0", "2")
    heard = run.history.scalars["loss"].values
    assert np.allclose(course.losses, heard)
    assert course.score == pytest.approx(-heard[-5:].mean())
    printed = [float(line.split()[-1]) for line in (tmp_path / "study/output/untreated.txt").read_text().splitlines()]
    assert np.allclose(printed, heard, atol=1e-5)


@pytest.mark.slow
def test_the_same_trial_gives_the_same_numbers_and_another_one_others(trainer):
    made = trainer(REGRESSION)
    first, again, other = (made.train((), seed=seed, run=None).losses for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.slow
def test_arms_begin_from_the_same_weights_and_the_same_batches(trainer):
    made = trainer(REGRESSION, arguments=("3",))
    plain, slow = made.train((), seed=1, run=None), made.train((ScaleRate(1e-9),), seed=1, run=None)
    assert plain.losses[0] == slow.losses[0]
    assert plain.losses[2] != slow.losses[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        "net = torch.compile(net, backend='eager')",
        "net.compile(backend='aot_eager')",
        "net[0] = torch.compile(net[0], backend='eager'); net[2].compile(backend='eager')",
    ],
)
def test_what_a_script_compiles_is_trained_as_it_was_written(trainer, how):
    before = "optimizer ="
    made = trainer(REGRESSION.replace(before, f"{how}\n    {before}", 1))
    plain = trainer(REGRESSION, name="plain.py")
    for edits in ((), (ReplaceActivation(("0",), "relu"), ScaleRate(0.5))):
        found, expected = (one.train(edits, seed=0, run=None) for one in (made, plain))
        assert found.fault == ""
        assert np.array_equal(found.losses, expected.losses)
        assert open_run(found.run).architecture == open_run(expected.run).architecture


@pytest.mark.slow
def test_edits_are_carried_out_in_the_script(trainer):
    made = trainer(REGRESSION)
    made.train((), seed=0, run=None)
    course = made.train((Standardise(), ReplaceActivation(("0",), "relu"), Clip(0.5)), seed=0, run=None)
    assert course.fault == ""
    run = open_run(course.run)
    assert run.architecture["0"].activation == "relu"
    mean, std = (run.history["input", statistic][0, 0] for statistic in ("mean", "std"))
    assert abs(mean) < 3 * std, "inputs of mean 20 would show here"
    norms = run.history["weight_gradient", "rms"][0] * np.sqrt([80, 16])
    assert float(np.hypot(*norms)) <= 0.5 * 1.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lower", "score"), [("error", True, None), ("final", False, 0.25), ("ERROR", True, None)]
)
def test_a_metric_is_a_global_variable_or_what_is_printed_last(trainer, tmp_path, name, lower, score):
    made = trainer(REGRESSION, metric=Metric(name, lower))
    course = made.train((), seed=0, run=tmp_path / "study" / "runs" / "first")
    last = open_run(course.run).history.scalars["loss"].values[-1]
    assert course.score == pytest.approx(score if score is not None else -last, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ValueError('no data')", r"before its first training step: ValueError: no data"),
        ("import sys; print('bye'); sys.exit(3)", r"exit code 3; its last words: bye\. What it printed is in"),
        ("import argparse as a; p = a.ArgumentParser(); p.add_argument('x'); p.parse_args()", r"x.*Arguments of the"),
        ("print('hello')", r"never used torch"),
        ("import torch; torch.nn.Linear(2, 2)(torch.ones(1, 2))", r"no training step that could be seen"),
        ("import os; os._exit(9)", r"its process ended with exit code 9"),
        ("input('which data? ')", r"EOFError"),
        ("this is no python", r"SyntaxError: invalid syntax \(train\.py, line 1\)\.$"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_be_trained_says_why(trainer, text, words):
    made = trainer(text)
    with pytest.raises(IsometryError, match=words):
        made.train((), seed=0, run=None)
    if "torch" not in text:
        rehearsed = replace(made, rehearsed=True).train((), seed=0, run=None)
        assert rehearsed.fault or rehearsed.run is None
        assert isnan(rehearsed.score)


@pytest.mark.slow
def test_paths_are_told_as_the_user_knows_them(trainer, tmp_path):
    """A script is run in a mirror of its folder, which is gone when the message is read."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "net.py").write_text("def net(:\n    pass\n")
    with pytest.raises(IsometryError, match=r"SyntaxError: invalid syntax \(parts/net\.py, line 1\)\. What"):
        trainer("from parts.net import net").train((), seed=0, run=None)
    text = "import os; print(os.getcwd())\nraise ValueError(__file__)"
    with pytest.raises(IsometryError, match=f"ValueError: {tmp_path}/train.py\\."):
        trainer(text).train((), seed=1, run=None)
    outputs = [path.read_text() for path in sorted((tmp_path / "study/output").iterdir())]
    assert outputs[0].startswith("Traceback")
    assert f'File "{tmp_path}/train.py", line 1' in outputs[0]
    assert outputs[1].startswith(f"{tmp_path}\n")
    assert not any("scratch" in output for output in outputs)


@pytest.mark.slow
def test_the_run_names_the_script_itself(trainer, tmp_path):
    course = trainer(REGRESSION).train((), seed=0, run=None)
    assert open_run(course.run).provenance["command"] == [f"{tmp_path}/train.py"]


@pytest.mark.slow
def test_a_script_that_never_trains_leaves_no_folder_unless_it_printed_something(trainer, tmp_path):
    for text, says_more in (("x = [1", False), ("import torch", False), ("print('hello')", True)):
        with pytest.raises(IsometryError) as told:
            trainer(text).train((), seed=0, run=None)
        assert (tmp_path / "study").exists() == says_more == ("What it printed is in" in str(told.value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("acc: 0.93, loss: 1", 0.93),
        ("acc 0.1\racc 0.2\r", 0.2),
        ("{'acc': np.float64(0.9)}", 0.9),
        ('{"acc": 0.91}', 0.91),
        ("acc (test) is 93.1%", 93.1),
        ("acc: tensor([0.5000], device='cpu')", 0.5),
        ("\x1b[32macc\x1b[0m: \x1b[1m7e-1\x1b[0m", 0.7),
        ("acc: 485,165,195.41", 485165195.41),
        ("val_acc: 0.5", None),
        ("acc: 0.95s", None),
        ("acc: 12.5k", None),
        ("acc: 10,20", None),
        ("acc: 1.2.3", None),
    ],
)
def test_a_printed_number_is_read_whole_or_not_at_all(tmp_path, text, value):
    (tmp_path / "output.txt").write_text(text, encoding="utf-8")
    assert _printed("acc", tmp_path / "output.txt") == value


@pytest.mark.slow
def test_a_metric_that_is_nowhere_is_an_error(trainer):
    with pytest.raises(IsometryError, match="number called 'accuracy', neither as a global variable nor printed"):
        trainer(REGRESSION, metric=Metric("accuracy")).train((), seed=0, run=None)


@pytest.mark.slow
def test_a_script_without_end_is_ended_and_all_others_take_as_many_steps(trainer):
    made = trainer(REGRESSION.replace("range(steps)", "range(10**9)"), limit=4.0)
    first = made.train((), seed=0, run=None)
    assert first.cut
    assert first.fault == ""
    assert first.steps > 1
    paced = replace(made.paced_by(first), steps=7)
    course = paced.train((ScaleRate(0.5),), seed=1, run=None)
    assert (course.steps, course.fault, course.cut) == (7, "", False)


@pytest.mark.slow
def test_what_breaks_after_some_steps_keeps_its_run_and_names_its_fault(trainer):
    course = trainer(REGRESSION.replace("final = 0.25", "raise RuntimeError('the disk is full')")).train(
        (), seed=0, run=None
    )
    assert course.fault == "RuntimeError: the disk is full"
    assert isnan(course.score)
    assert open_run(course.run).history.total_steps == 12


@pytest.mark.slow
def test_an_exit_code_after_all_steps_is_an_ending_and_before_a_fault(trainer):
    ended = "sys.exit(3 if loss.item() < 1e9 else 'it diverged')"
    made = trainer(REGRESSION.replace("final = 0.25", f"final = 0.25\n    {ended}"), metric=Metric("final"))
    first = made.train((), seed=0, run=None)
    assert (first.fault, first.score, first.steps) == ("", 0.25, 12)
    with_arms = made.paced_by(first)
    assert (with_arms.train((ScaleRate(0.5),), seed=0, run=None).fault, with_arms.steps) == ("", None)
    early = replace(with_arms, full=13).train((ScaleRate(0.5),), seed=0, run=None)
    assert early.fault.startswith("it left with exit code 3; its last words: ")
    assert isnan(early.score)
    unread = replace(made, script=replace(made.script, metric=Metric("nowhere"))).train((Clip(1.0),), seed=0, run=None)
    assert unread.fault.startswith("it left with exit code 3"), "no score can be read"
    broken = with_arms.train((ScaleRate(1e30),), seed=0, run=None)
    assert broken.fault


@pytest.mark.slow
@pytest.mark.parametrize(("code", "fault"), [(0, ""), (1, "its process ended with exit code 1")])
def test_a_script_that_ends_its_process_by_itself_is_trained_where_it_calls_that_no_failure(trainer, code, fault):
    made = trainer(REGRESSION.replace("final = 0.25", f"import os; os._exit({code})"), metric=Metric("error"))
    course = made.train((), seed=0, run=None) if not code else made.train((ScaleRate(0.5),), seed=0, run=None)
    assert course.fault.partition(";")[0] == fault
    assert course.died is bool(code)
    assert isnan(course.score) is bool(code)


@pytest.mark.slow
def test_a_change_that_cannot_be_made_is_the_fault_of_its_arm(trainer):
    made = trainer(REGRESSION)
    course = made.train((ReplaceActivation(("9",), "relu"),), seed=0, run=None)
    assert "`9`" in course.fault
    assert isnan(course.score)


@pytest.mark.slow
def test_nothing_of_the_users_is_overwritten_and_trainings_do_not_see_each_others_files(trainer, tmp_path):
    (tmp_path / "best.pt").write_text("weeks of work", encoding="utf-8")
    (tmp_path / "history.txt").write_text("", encoding="utf-8")
    made = trainer(
        REGRESSION
        + """
    from pathlib import Path

    torch.save(net.state_dict(), "best.pt")
    torch.save(net.state_dict(), Path(__file__).with_name("last.pt"))
    with open("history.txt", "a") as lines:
        lines.write("one more")
    length = len(Path("history.txt").read_text())
    assert isinstance(torch.load("best.pt"), dict)
    """,
        metric=Metric("length"),
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    scores = [made.train((), seed=seed, run=None).score for seed in (0, 1)]
    assert scores == [8, 8]
    assert (tmp_path / "best.pt").read_text(encoding="utf-8") == "weeks of work"
    assert (tmp_path / "history.txt").read_text(encoding="utf-8") == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "study"])


def test_other_code_is_another_script(trainer, tmp_path):
    first = trainer(REGRESSION).script
    (tmp_path / "model.py").write_text("width = 3", encoding="utf-8")
    second = placed(replace(first, code=""))
    assert first.code != second.code
    with pytest.raises(IsometryError, match=r"There is no file gone\.py"):
        placed(Script("gone.py", folder=tmp_path))


SKIPPED = """
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu")
    x, y = torch.rand(8, 3) * 3e5 + 1e5, torch.tensor([0, 1] * 4)
    for step in range(180):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
"""


@pytest.mark.slow
def test_a_script_whose_scaler_skips_every_step_is_trained_and_can_be_treated(trainer, tmp_path):
    made = trainer(SKIPPED)
    course = made.train((), seed=0, run=tmp_path / "study" / "runs" / "untreated")
    assert (course.fault, course.steps, isnan(course.score)) == ("", 180, True)
    findings = isometry.diagnose(open_run(course.run)).findings
    assert "N203" in [finding.code for finding in findings]
    treated = made.train((SetPrecision("bfloat16"),), seed=0, run=tmp_path / "study" / "runs" / "treated")
    assert (treated.fault, treated.steps, isnan(treated.score)) == ("", 180, False)
    shorter = replace(made, steps=4).train((), seed=1, run=tmp_path / "study" / "runs" / "shorter")
    assert (shorter.fault, shorter.steps) == ("", 4)
