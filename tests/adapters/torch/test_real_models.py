"""Models of other people's making, and ways of training that a watch must not disturb."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from torch.utils.flop_counter import FlopCounterMode

import isometry
from isometry import Signal
from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.watch import watch_process
from isometry.history.run import Run
from isometry.network.architecture import Architecture

TOKENS = torch.randint(0, 60, (3, 12), generator=torch.Generator().manual_seed(0))


def small_t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=2, num_heads=2,
        decoder_start_token_id=0, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


def small_bert() -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    return BertForMaskedLM(config)


def small_gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=16, n_embd=16, n_layer=2, n_head=2))


def small_llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def small_mixtral() -> nn.Module:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=3, num_experts_per_tok=2,
    )  # fmt: skip
    return MixtralForCausalLM(config)


def described(model: nn.Module) -> Architecture:
    return describe(model, input_ids=TOKENS, labels=TOKENS)


# ------------------------------------------------------------------ architecture


@pytest.mark.parametrize(
    ("build", "layer", "activation"),
    [
        (small_bert, "bert.encoder.layer.0.intermediate.dense", "gelu"),  # a class GELUActivation calls torch's own
        (small_gpt2, "transformer.h.0.mlp.c_fc", "gelu_tanh"),  # a class NewGELUActivation writes it out
        (small_llama, "model.layers.1.mlp.gate_proj", "silu"),
        (small_mixtral, "model.layers.1.mlp.experts.gate_up_proj", "silu"),
    ],
)
def test_the_form_of_a_named_nonlinearity_is_that_of_the_call(
    build: Callable[[], nn.Module], layer: str, activation: str
) -> None:
    found = described(build())[layer]
    assert (found.activation, found.gated, found.kind) == (activation, False, "linear")


@pytest.mark.parametrize(
    ("build", "output", "inputs"),
    [
        (small_llama, "model.layers.0.self_attn.o_proj", {"q_proj", "k_proj", "v_proj"}),
        (small_bert, "bert.encoder.layer.1.attention.output.dense", {"query", "key", "value"}),
        (small_llama, "model.layers.0.mlp.down_proj", {"gate_proj", "up_proj"}),
        (small_mixtral, "model.layers.0.mlp.experts.down_proj", {"gate_up_proj"}),
        (small_bert, "bert.embeddings.LayerNorm", {"word_embeddings", "token_type_embeddings", "position_embeddings"}),
    ],
)
def test_a_layer_behind_several_names_them_all(build: Callable[[], nn.Module], output: str, inputs: set[str]) -> None:
    found = described(build())[output].inputs
    assert {name.rpartition(".")[2] for name in found} == inputs


def test_a_norm_written_by_hand_is_seen_where_it_stands() -> None:
    architecture = described(small_llama())
    assert architecture["model.layers.0.post_attention_layernorm"].inputs == ("model.layers.0.add",)
    assert architecture["model.layers.0.add"].norm == "model.layers.0.post_attention_layernorm"


def test_an_encoder_is_no_branch_of_the_decoder_that_attends_to_it() -> None:
    architecture = described(small_t5())
    assert architecture["encoder.block.0.layer.0.add"].branch is None
    assert architecture["encoder.final_layer_norm"].branch is None
    cross = "decoder.block.0.layer.1"
    for name in "qkvo":
        assert architecture[f"{cross}.EncDecAttention.{name}"].branch == f"{cross}.add"


def test_what_only_lends_its_weight_is_no_layer() -> None:
    t5, bert = described(small_t5()), described(small_bert())
    assert "shared" not in t5
    assert t5["encoder.embed_tokens"].tied_to is None
    assert t5["lm_head"].tied_to == t5["decoder.embed_tokens"].tied_to == "encoder.embed_tokens"
    assert "cls.predictions.bias" not in bert
    assert bert["cls.predictions.decoder"].tied_to == "bert.embeddings.word_embeddings"
    assert all(layer.calls for layer in (*t5, *bert))


class Sign(torch.autograd.Function):
    """A straight-through estimator: torch functions that autograd's own mode cannot see."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return torch.sign(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        return gradients[0]


class Binary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = Sign.apply(self.first(x))
        out: Tensor = self.head(torch.relu(self.second(hidden)))
        return out


def test_the_way_is_found_through_an_autograd_function(tmp_path: Path) -> None:
    run, _ = trained(Binary(), tmp_path / "run")
    assert run.architecture["second"].inputs == ("first",)
    observed = run.history[Signal.INPUT, "count"][0]
    assert list(observed > 0) == [True, False, False]


# ------------------------------------------------------------- ways of training


X = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 3, (32,), generator=torch.Generator().manual_seed(2))


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 3))


def trained(
    model: nn.Module, folder: Path | None, call: Callable[[Tensor], Tensor] | None = None, steps: int = 6
) -> tuple[Run, dict[str, Tensor]]:
    """Run and weights after some steps; unwatched where no folder is given."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    watch = isometry.watch(model, optimizer, run=folder, every=1) if folder is not None else None
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy((call or model)(X), Y).backward()
        optimizer.step()
    if watch is not None:
        watch.close()
    return watch.run if watch is not None else None, dict(model.state_dict())  # type: ignore[return-value]


def twins(
    build: Callable[[], nn.Module],
    folder: Path,
    call: Callable[[nn.Module], Callable[[Tensor], Tensor]] | None = None,
) -> Run:
    """The run of a model that trains watched as it does unwatched."""
    weights = []
    for where in (None, folder):
        torch.manual_seed(0)
        model = build()
        run, after = trained(model, where, call(model) if call is not None else None)
        weights.append(after)
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    return run


def words(run: Run) -> str:
    return " ".join(str(event["words"]) for event in run.history.events("trouble"))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_says_why_nothing_inside_is_seen(tmp_path: Path) -> None:
    run, _ = trained(torch.jit.script(mlp()), tmp_path / "run")  # no twins: its second compilation rounds otherwise
    assert "TorchScript" in words(run)
    assert "TorchScript" in str(isometry.diagnose(run))
    assert "stopped" not in words(run)
    assert np.isfinite(run.history[Signal.UPDATE, "rms"]).all()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_part_hides_itself_alone(tmp_path: Path) -> None:
    model = mlp()
    model[2] = torch.jit.script(model[2])
    run, _ = trained(model, tmp_path / "run")
    architecture = run.architecture
    assert architecture["3"].inputs == ("0",)  # found through the graph
    assert np.isfinite(run.history[Signal.DELTA, "rms"][:, architecture.index("3")]).all()


@pytest.mark.parametrize("parts", [1, 4])
def test_the_loss_of_a_step_is_the_one_whose_gradient_is_stepped_on(parts: int, tmp_path: Path) -> None:
    """Micro-batches each give their part of it; a closure that is called again gives it again."""
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    whole = float(F.cross_entropy(model(X), Y).detach())
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        for _ in range(3):
            optimizer.zero_grad()
            for x, y in zip(X.chunk(parts), Y.chunk(parts), strict=True):
                (F.cross_entropy(model(x), y) / parts).backward()
            optimizer.step()
    assert watch.run.history.scalars["loss"].values == pytest.approx([whole] * 3)

    search = torch.optim.LBFGS(model.parameters(), lr=0.0, max_iter=parts)

    def closure() -> Tensor:
        search.zero_grad(set_to_none=parts == 1)
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    with isometry.watch(model, search, run=tmp_path / "search", every=1) as watch:
        for _ in range(3):
            search.step(closure)
    assert watch.run.history.scalars["loss"].values == pytest.approx([whole] * 3)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("in_place", [True, False])
def test_compiled_parts_are_left_alone(in_place: bool, tmp_path: Path) -> None:
    compilations: list[int] = []

    def build() -> nn.Module:
        torch._dynamo.reset()
        compilations.clear()
        model = mlp()
        model[2] = Block()

        def backend(graph: Any, inputs: Any) -> Any:
            compilations.append(1)
            return graph.forward

        if in_place:
            model[2].compile(backend=backend)
        else:
            model[2] = torch.compile(model[2], backend=backend)
        return model

    run = twins(build, tmp_path / "run")
    assert len(compilations) == 1  # watching compiles nothing again
    assert "2 is compiled" in words(run)
    assert isometry.diagnose(run).healthy


def test_a_model_that_is_called_compiled_and_watched_plain_is_said_to_be_unseen(tmp_path: Path) -> None:
    run = twins(mlp, tmp_path / "run", lambda model: torch.compile(model, backend="eager"))
    assert "No forward pass" in words(run)


SCRIPT = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))

model = Net()
{call}
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    optimizer.zero_grad()
    call(torch.randn(5, 6)).square().mean().backward()
    optimizer.step()
"""


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize(
    "call",
    [
        "call = torch.compile(model, backend='eager')",
        "call = model; model.compile(backend='eager')",
        "call = lambda x: torch.func.vmap(model)(x)",
    ],
)
def test_a_compiled_model_of_a_script_is_found(call: str, tmp_path: Path) -> None:
    torch._dynamo.reset()
    with watch_process(run=tmp_path / "run", every=1) as watch:
        exec(compile(SCRIPT.format(call=call), "script", "exec"), {"__name__": "script"})
    run = watch.run
    assert run.architecture.names == ("first", "second")
    assert np.isfinite(run.history[Signal.UPDATE, "rms"][-1]).all()


def test_weights_put_in_by_functional_call_do_not_replace_the_models_own(tmp_path: Path) -> None:
    """As in MAML: the second pass runs with weights one gradient step on."""

    def adapted(model: nn.Module) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            own = dict(model.named_parameters())
            loss = F.cross_entropy(torch.func.functional_call(model, own, (x,)), Y)
            gradients = torch.autograd.grad(loss, list(own.values()), create_graph=True)
            fast = {
                name: value - 0.1 * gradient for (name, value), gradient in zip(own.items(), gradients, strict=True)
            }
            return torch.func.functional_call(model, fast, (x,))

        return call

    run = twins(mlp, tmp_path / "run", adapted)
    assert not run.history.events("no_gradient")
    assert run.architecture["3"].inputs == ("2.0",)
    assert np.isfinite(run.history[Signal.DELTA, "rms"]).all()


def test_optimisers_that_step_inside_the_backward_pass_wait_for_its_end(tmp_path: Path) -> None:
    model = mlp()
    optimizers = {parameter: torch.optim.SGD([parameter], lr=0.1) for parameter in model.parameters()}

    def step(parameter: Tensor) -> None:
        optimizers[parameter].step()  # type: ignore[index]
        optimizers[parameter].zero_grad()  # type: ignore[index]

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    with isometry.watch(model, list(optimizers.values()), run=tmp_path / "run", every=1) as watch:
        for _ in range(4):
            F.cross_entropy(model(X), Y).backward()
    history = watch.run.history
    assert list(history.steps) == [0, 1, 2, 3]
    for signal in (Signal.DELTA, Signal.WEIGHT_GRADIENT, Signal.UPDATE):
        assert np.isfinite(history[signal, "rms"]).all(), signal


class Checkpointed(nn.Module):
    """Keeps all results of a block, as selective checkpointing may: one more operation there would shift them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        def contexts() -> Any:
            return create_selective_checkpoint_contexts(lambda *_, **__: CheckpointPolicy.MUST_SAVE)

        hidden = self.first(x)
        hidden = hidden + checkpoint(self.block, hidden, use_reentrant=False, context_fn=contexts)
        out: Tensor = self.head(torch.relu(hidden))
        return out


def test_what_is_measured_stays_out_of_the_users_dispatch_modes(tmp_path: Path) -> None:
    twins(Checkpointed, tmp_path / "run")
    counted = []
    for folder in (None, tmp_path / "counted"):
        model, flops = mlp(), []

        def call(x: Tensor, model: nn.Module = model, flops: list[int] = flops) -> Tensor:
            with FlopCounterMode(display=False) as counter:
                result: Tensor = model(x)
            flops.append(counter.get_total_flops())
            return result

        trained(model, folder, call)
        counted.append(flops)
    assert counted[0] == counted[1]


def test_trainings_in_several_threads_are_kept_apart(tmp_path: Path) -> None:
    runs: dict[int, Run] = {}

    def train(number: int) -> None:
        runs[number], _ = trained(mlp(), tmp_path / str(number), steps=100)

    threads = [threading.Thread(target=train, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs.values():
        assert np.isfinite(run.history[Signal.DELTA, "rms"]).all()
        assert run.architecture.names == ("0", "2.0", "3")
        assert [layer.activation for layer in run.architecture] == ["relu", "tanh", None]


def test_a_backward_pass_of_another_thread_takes_nothing_from_a_training_that_begins(tmp_path: Path) -> None:
    model, other = mlp(), nn.Linear(6, 3)
    optimizer, of_other = (torch.optim.Adam(part.parameters(), lr=0.01) for part in (model, other))
    under_way, over = threading.Event(), threading.Event()

    def hold(gradient: Tensor) -> None:
        under_way.set()
        over.wait()

    def train_other() -> None:
        loss = 1000 + F.cross_entropy(other(X), Y)
        loss.register_hook(hold)
        loss.backward()
        of_other.step()

    thread = threading.Thread(target=train_other)
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        thread.start()
        under_way.wait()
        F.cross_entropy(model(X), Y).backward()
        over.set()
        thread.join()
        optimizer.step()
        optimizer.zero_grad()
    history = watch.run.history
    assert np.isfinite(history[Signal.DELTA, "rms"]).all()
    assert history.steps.tolist() == [0]
    assert history.scalars["loss"].values[0] < 10


class Batched(nn.Module):
    """One part runs under ``vmap``, where tensors have no values."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.func.vmap(lambda row: torch.tanh(self.first(row)))(x))
        return out


def test_transforms_inside_a_model_are_passed_over(tmp_path: Path) -> None:
    run = twins(Batched, tmp_path / "run")
    assert "stopped" not in words(run)
    assert np.isfinite(run.history[Signal.WEIGHT_GRADIENT, "rms"]).all()
