"""Models that nobody here wrote, trained for real under watch: what breaks, what is misreported, what it costs.

Every case is trained twice from one seed, plainly and watched. The table says whether the weights are bit-identical,
how many layers were seen and for how many of them a gradient signal was, what watching cost, and which findings a
training that learns well has got: each of those is a false alarm.

    python benchmarks/real_models.py [--steps N] [--show] [--report FOLDER] [CASE ...]

It needs transformers; cases of other packages (lightning, timm, resemblyzer, facenet-pytorch, torchcrepe, silero-vad)
are named as missing where their package is. Nothing is downloaded.
"""

import argparse
import contextlib
import io
import json as jsonlib
import sys
import sysconfig
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isometry
from isometry import Severity, Signal

Step = Callable[[int], float]


@dataclass
class Training:
    """One training, ready to run: ``step(i)`` does the i-th step and returns its loss."""

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    step: Step
    watched: Any = None
    """What is handed to the watch; the model where it is None."""
    extra: dict[str, Any] = field(default_factory=dict)


CASES: dict[str, Callable[[], Training]] = {}


def case(build: Callable[[], Training]) -> Callable[[], Training]:
    CASES[build.__name__] = build
    return build


# --------------------------------------------------------------------- data


def digits() -> tuple[Tensor, Tensor]:
    """Handwritten digits, 8×8, to unit size."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
    return images, torch.tensor(data.target)


def text() -> Tensor:
    """The standard library's sources as bytes, the rare ones folded."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    raw = b"".join((folder / name).read_bytes() for name in ("argparse.py", "ast.py", "typing.py", "inspect.py"))
    return torch.tensor(np.frombuffer(raw, dtype=np.uint8).copy()).long().clamp(max=127)


class Batches:
    """Draws batches from a generator of its own, so that models cannot disturb the data."""

    def __init__(self, size: int, seed: int = 7) -> None:
        self.size, self.generator = size, torch.Generator().manual_seed(seed)

    def of(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        index = torch.randint(0, len(tensors[0]), (self.size,), generator=self.generator)
        return tuple(tensor[index] for tensor in tensors)

    def windows(self, stream: Tensor, length: int) -> Tensor:
        starts = torch.randint(0, len(stream) - length, (self.size,), generator=self.generator)
        return torch.stack([stream[start : start + length] for start in starts.tolist()])


def enlarge(images: Tensor, size: int, channels: int = 3) -> Tensor:
    return F.interpolate(images, size=(size, size), mode="bilinear").expand(-1, channels, -1, -1).contiguous()


def ordinary(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], clip: float | None = None
) -> Training:
    def step(_: int) -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return float(value)

    return Training(model, [optimizer], step)


def adamw(model: nn.Module, rate: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=rate)


def classifier(
    model: nn.Module, size: int, rate: float = 1e-3, channels: int = 3, batch: int = 16, clip: float | None = None
) -> Training:
    """Digits, enlarged, for an image classifier of any package."""
    images, labels = digits()
    batches = Batches(batch)

    def loss() -> Tensor:
        x, y = batches.of(images, labels)
        out = model(enlarge(x, size, channels))
        return F.cross_entropy(getattr(out, "logits", out), y)

    model.train()
    return ordinary(model, adamw(model, rate), loss, clip)


def language(
    model: nn.Module, length: int = 48, rate: float = 1e-3, batch: int = 8, clip: float | None = 1.0
) -> Training:
    stream, batches = text(), Batches(batch)

    def loss() -> Tensor:
        tokens = batches.windows(stream, length)
        value: Tensor = model(input_ids=tokens, labels=tokens).loss
        return value

    model.train()
    return ordinary(model, adamw(model, rate), loss, clip)


# ------------------------------------------------------------- transformers


@case
def gpt2() -> Training:
    from transformers import GPT2Config, GPT2LMHeadModel

    return language(GPT2LMHeadModel(GPT2Config(vocab_size=128, n_positions=64, n_embd=64, n_layer=4, n_head=4)))


@case
def llama() -> Training:
    from transformers import LlamaConfig, LlamaForCausalLM

    return language(
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=4,
                num_attention_heads=4, num_key_value_heads=2,
            )
        )
    )  # fmt: skip


@case
def mixtral() -> Training:
    from transformers import MixtralConfig, MixtralForCausalLM

    return language(
        MixtralForCausalLM(
            MixtralConfig(
                vocab_size=128, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, output_router_logits=True,
            )
        )
    )  # fmt: skip


@case
def qwen3() -> Training:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return language(
        Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=3,
                num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True,
            )
        )
    )  # fmt: skip


@case
def gpt_neox() -> Training:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return language(
        GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
            )
        )
    )  # fmt: skip


@case
def bert_masked() -> Training:
    from transformers import BertConfig, BertForMaskedLM

    model = BertForMaskedLM(
        BertConfig(
            vocab_size=128, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128,
            max_position_embeddings=64,
        )
    )  # fmt: skip
    model.train()
    stream, batches = text(), Batches(8)

    def loss() -> Tensor:
        tokens = batches.windows(stream, 48)
        hidden = torch.rand(tokens.shape, generator=batches.generator) < 0.15
        labels = torch.where(hidden, tokens, -100)
        value: Tensor = model(input_ids=tokens.masked_fill(hidden, 0), labels=labels).loss
        return value

    return ordinary(model, adamw(model), loss)


@case
def bert_classifier_frozen_encoder() -> Training:
    """Is this window from a file's typing module part? Only the head is trained."""
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=128, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
            max_position_embeddings=64, num_labels=2,
        )
    )  # fmt: skip
    for parameter in model.bert.encoder.parameters():
        parameter.requires_grad_(False)
    for parameter in model.bert.embeddings.parameters():
        parameter.requires_grad_(False)
    model.train()
    stream, batches = text(), Batches(16)

    def loss() -> Tensor:
        tokens = batches.windows(stream, 32)
        labels = (tokens == 32).sum(1).gt(8).long()
        value: Tensor = model(input_ids=tokens, labels=labels).loss
        return value

    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    return ordinary(model, optimizer, loss)


@case
def t5() -> Training:
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=128, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_decoder_layers=2, num_heads=4,
            decoder_start_token_id=0, feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip
    return copying(model)


@case
def bart() -> Training:
    from transformers import BartConfig, BartForConditionalGeneration

    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=128, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=64,
        )
    )  # fmt: skip
    return copying(model)


def copying(model: nn.Module) -> Training:
    """Short texts from the input to the output."""
    model.train()
    stream, batches = text(), Batches(16)

    def loss() -> Tensor:
        tokens = batches.windows(stream, 16)
        value: Tensor = model(input_ids=tokens, labels=tokens).loss
        return value

    return ordinary(model, adamw(model, 2e-3), loss, 1.0)


@case
def vit() -> Training:
    from transformers import ViTConfig, ViTForImageClassification

    return classifier(
        ViTForImageClassification(
            ViTConfig(
                hidden_size=48, num_hidden_layers=4, num_attention_heads=4, intermediate_size=96, image_size=16,
                patch_size=4, num_labels=10,
            )
        ),
        16,
    )  # fmt: skip


@case
def swin() -> Training:
    from transformers import SwinConfig, SwinForImageClassification

    return classifier(
        SwinForImageClassification(
            SwinConfig(
                image_size=32, patch_size=2, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4,
                num_labels=10,
            )
        ),
        32,
    )  # fmt: skip


@case
def convnext() -> Training:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    return classifier(
        ConvNextForImageClassification(
            ConvNextConfig(hidden_sizes=[24, 48], depths=[2, 2], num_stages=2, patch_size=2, num_labels=10)
        ),
        16,
    )


@case
def resnet_hf() -> Training:
    from transformers import ResNetConfig, ResNetForImageClassification

    return classifier(
        ResNetForImageClassification(
            ResNetConfig(
                embedding_size=16, hidden_sizes=[16, 32, 64], depths=[2, 2, 2], layer_type="basic", num_labels=10
            )
        ),
        32,
    )


@case
def wav2vec2() -> Training:
    """Which of eight tones a noisy waveform is."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    model = Wav2Vec2ForSequenceClassification(
        Wav2Vec2Config(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
            conv_dim=(32, 32, 32), conv_stride=(5, 4, 2), conv_kernel=(10, 8, 4), num_feat_extract_layers=3,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, num_labels=8, mask_time_prob=0.0,
            classifier_proj_size=32,
        )
    )  # fmt: skip
    model.train()
    batches = Batches(16)

    def loss() -> Tensor:
        labels = torch.randint(0, 8, (16,), generator=batches.generator)
        time_axis = torch.arange(800) / 800
        pitch = 20.0 * (labels + 1)[:, None]
        wave = torch.sin(2 * torch.pi * pitch * time_axis) + 0.3 * torch.randn((16, 800), generator=batches.generator)
        value: Tensor = model(input_values=wave, labels=labels).loss
        return value

    return ordinary(model, adamw(model), loss, 1.0)


@case
def detr_like() -> Training:
    """Queries that look for the digit's centre of mass: cross attention, learned queries, two losses."""

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU())
            self.query_pos = nn.Parameter(torch.rand(4, 48))
            self.row_embed = nn.Parameter(torch.rand(50, 24))
            self.col_embed = nn.Parameter(torch.rand(50, 24))
            self.transformer = nn.Transformer(48, 4, 2, 2, 96, batch_first=True)
            self.linear_class = nn.Linear(48, 11)
            self.linear_bbox = nn.Linear(48, 2)

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            h = self.backbone(inputs)
            height, width = h.shape[-2:]
            pos = torch.cat(
                [
                    self.col_embed[:width].unsqueeze(0).repeat(height, 1, 1),
                    self.row_embed[:height].unsqueeze(1).repeat(1, width, 1),
                ],
                dim=-1,
            ).flatten(0, 1)
            queries = self.query_pos.unsqueeze(0).repeat(len(inputs), 1, 1)
            h = self.transformer(pos + 0.1 * h.flatten(2).transpose(1, 2), queries)
            return {"pred_logits": self.linear_class(h), "pred_boxes": self.linear_bbox(h).sigmoid()}

    images, labels = digits()
    model, batches = Detector(), Batches(32)

    def loss() -> Tensor:
        x, y = batches.of(images, labels)
        out = model(F.interpolate(x, 16))
        mass = (x[:, 0] + 1) / (x[:, 0] + 1).sum((1, 2), keepdim=True)
        axis = torch.linspace(0, 1, 8)
        centre = torch.stack([(mass.sum(1) * axis).sum(1), (mass.sum(2) * axis).sum(1)], 1)
        classes = torch.full((32, 4), 10)
        classes[:, 0] = y
        found = F.cross_entropy(out["pred_logits"].flatten(0, 1), classes.flatten())
        return found + F.l1_loss(out["pred_boxes"][:, 0], centre)

    return ordinary(model, adamw(model), loss, 0.1)


@case
def unet() -> Training:
    """A U-Net as everybody writes it, removing noise from digits."""

    class DoubleConv(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.double_conv = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
                nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            )

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.double_conv(x)
            return out

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inc = DoubleConv(1, 16)
            self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(16, 32))
            self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(32, 64))
            self.up1 = nn.ConvTranspose2d(64, 32, 2, 2)
            self.conv1 = DoubleConv(64, 32)
            self.up2 = nn.ConvTranspose2d(32, 16, 2, 2)
            self.conv2 = DoubleConv(32, 16)
            self.outc = nn.Conv2d(16, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            x1 = self.inc(x)
            x2 = self.down1(x1)
            x3 = self.down2(x2)
            x = self.conv1(torch.cat([x2, self.up1(x3)], dim=1))
            x = self.conv2(torch.cat([x1, self.up2(x)], dim=1))
            out: Tensor = self.outc(x)
            return out

    images, _ = digits()
    model, batches = UNet(), Batches(16)

    def loss() -> Tensor:
        (x,) = batches.of(images)
        x = F.interpolate(x, 16)
        return F.mse_loss(model(x + 0.5 * torch.randn(x.shape, generator=batches.generator)), x)

    return ordinary(model, adamw(model), loss)


# ----------------------------------------------------------- other packages


@case
def timm_resnet() -> Training:
    import timm

    return classifier(timm.create_model("resnet10t", num_classes=10), 32, batch=8)


@case
def timm_vit() -> Training:
    import timm

    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=4, num_heads=4, num_classes=10
    )
    return classifier(model, 32)


@case
def timm_mixer() -> Training:
    import timm

    return classifier(timm.create_model("gmixer_12_224", img_size=32, num_classes=10), 32, rate=3e-4, batch=4)


@case
def timm_mobilenet() -> Training:
    import timm

    return classifier(timm.create_model("mobilenetv3_small_050", num_classes=10), 64, rate=2e-3)


@case
def timm_efficientnet() -> Training:
    import timm

    return classifier(timm.create_model("test_efficientnet", num_classes=10), 64)


@case
def resemblyzer_lstm() -> Training:
    """The pretrained speaker encoder, fine-tuned to tell tones apart."""
    import importlib.util

    spec = importlib.util.find_spec("resemblyzer")
    if spec is None or spec.origin is None:
        raise ImportError("resemblyzer")
    state = torch.load(Path(spec.origin).parent / "pretrained.pt", weights_only=True, map_location="cpu")["model_state"]

    class SpeakerEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
            self.linear = nn.Linear(256, 256)
            self.relu = nn.ReLU()
            self.head = nn.Linear(256, 8)

        def forward(self, mels: Tensor) -> Tensor:
            _, (hidden, _) = self.lstm(mels)
            raw = self.relu(self.linear(hidden[-1]))
            out: Tensor = self.head(raw / torch.norm(raw, dim=1, keepdim=True))
            return out

    model = SpeakerEncoder()
    model.load_state_dict(state, strict=False)
    batches = Batches(8)

    def loss() -> Tensor:
        labels = torch.randint(0, 8, (8,), generator=batches.generator)
        mels = 0.05 * torch.rand((8, 40, 40), generator=batches.generator)
        mels[torch.arange(8), :, 4 * labels] += 0.5
        return F.cross_entropy(model(mels), labels)

    return ordinary(model, adamw(model), loss, 3.0)


def facenet(which: str, size: int) -> Training:
    import importlib.util

    spec = importlib.util.find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        raise ImportError("facenet_pytorch")
    folder = Path(spec.origin).parent
    module_spec = importlib.util.spec_from_file_location("mtcnn_nets", folder / "models" / "mtcnn.py")
    assert module_spec is not None and module_spec.loader is not None
    source = (folder / "models" / "mtcnn.py").read_text()
    source = "\n".join(line for line in source.splitlines() if "utils.detect_face" not in line)
    space: dict[str, Any] = {"__file__": str(folder / "models" / "mtcnn.py"), "__name__": "facenet_pytorch.mtcnn"}
    exec(compile(source, "mtcnn.py", "exec"), space)
    net = space[which](pretrained=True)
    images, labels = digits()
    batches = Batches(16)

    def loss() -> Tensor:
        x, y = batches.of(images, labels)
        out = net(enlarge(x, size))
        return F.nll_loss(torch.log(out[-1].clamp_min(1e-6)), (y > 4).long())

    return ordinary(net, adamw(net, 3e-4), loss)


@case
def facenet_onet() -> Training:
    return facenet("ONet", 48)


@case
def facenet_rnet() -> Training:
    return facenet("RNet", 24)


@case
def silero_torchscript() -> Training:
    """A TorchScript model: there is nothing to be seen inside, and the watch has to say so."""
    import importlib.util

    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise ImportError("silero_vad")
    model = torch.jit.load(Path(spec.origin).parent / "data" / "silero_vad.jit", map_location="cpu")
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.train()
    batches = Batches(8)

    def loss() -> Tensor:
        labels = torch.randint(0, 2, (8,), generator=batches.generator)
        wave = torch.randn((8, 512), generator=batches.generator) * (0.02 + 0.5 * labels[:, None])
        model.reset_states()
        out = model(wave, 16000).reshape(-1)
        return F.binary_cross_entropy(out.clamp(1e-6, 1 - 1e-6), labels.float())

    return ordinary(model, adamw(model, 1e-4), loss)


# ------------------------------------------------------------- the measuring


@dataclass
class Result:
    name: str
    words: str = ""
    parameters: int = 0
    layers: int = 0
    heard: int = 0
    same: bool = False
    plain: float = 0.0
    watched: float = 0.0
    losses: tuple[float, float] = (0.0, 0.0)
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    said: str = ""


def weights(training: Training) -> list[Tensor]:
    """Everything that training changes, as raw bits."""
    return [value.detach().clone() for value in training.model.state_dict().values() if isinstance(value, Tensor)]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b) or bool(torch.equal(a.isnan(), b.isnan()) and torch.equal(a[~a.isnan()], b[~b.isnan()]))
        for a, b in zip(first, second, strict=True)
    )


def run_case(name: str, steps: int, folder: Path, every: int | None) -> tuple[Result, Any]:
    result = Result(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        training = CASES[name]()
        started = time.process_time()
        losses = [training.step(i) for i in range(steps)]
        result.plain = time.process_time() - started
        result.losses = (float(np.mean(losses[:10])), float(np.mean(losses[-10:])))
        result.parameters = sum(p.numel() for p in training.model.parameters())
        plain, random = weights(training), torch.get_rng_state()
        torch.manual_seed(0)
        training = CASES[name]()
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            target = training.watched if training.watched is not None else training.model
            started = time.process_time()
            with isometry.watch(target, list(training.optimizers), run=folder / name, every=every) as watch:
                for i in range(steps):
                    training.step(i)
            result.watched = time.process_time() - started
    result.said = said.getvalue().strip()
    result.same = equal(plain, weights(training)) and torch.equal(random, torch.get_rng_state())
    run = watch.run
    result.layers = len(run.architecture.layers)
    with contextlib.suppress(Exception):
        delta = run.history[Signal.DELTA, "rms"]
        result.heard = int(np.isfinite(delta).any(0).sum())
    diagnosis = isometry.diagnose(run)
    result.findings = tuple(f"{f.severity.name} {f.problem}/{f.code}" for f in diagnosis.findings)
    result.notes = tuple(str(event["words"]) for event in run.history.events("trouble"))
    return result, diagnosis


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=None)
    parser.add_argument("--show", action="store_true", help="print layers and verdict of every case")
    parser.add_argument("--report", type=Path, default=None, help="keep the runs and write an HTML report of each here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bad = 0
    header = f"{'case':<32}{'params':>9}{'layers':>7}{'δ':>5}{'same':>6}{'loss':>16}{'time':>14}  findings"
    print(header, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.report or Path(scratch)
        for name in arguments.cases or CASES:
            try:
                result, diagnosis = run_case(name, arguments.steps, folder, arguments.every)
            except ImportError as missing:
                print(f"{name:<32}not installed: {missing.name or missing}", flush=True)
                continue
            except Exception:  # noqa: BLE001  the table goes on
                bad += 1
                print(f"{name:<32}FAILED", flush=True)
                traceback.print_exc()
                continue
            alarms = [f for f in diagnosis.findings if f.severity >= Severity.SLOWS]
            bad += bool(alarms) or not result.same
            loss = f"{result.losses[0]:.3g} → {result.losses[1]:.3g}"
            seconds = f"{result.plain:.1f} → {result.watched:.1f} s"
            print(
                f"{name:<32}{result.parameters:>9,}{result.layers:>7}{result.heard:>5}"
                f"{'yes' if result.same else 'NO':>6}{loss:>16}{seconds:>14}  {', '.join(result.findings) or '-'}",
                flush=True,
            )
            for note in result.notes:
                print(f"    note: {note}")
            if result.said:
                print(f"    stderr: {result.said}")
            if arguments.show:
                show(diagnosis)
            if arguments.report:
                isometry.report(diagnosis, folder / f"{name}.html")
                (folder / f"{name}.json").write_text(jsonlib.dumps(diagnosis.to_dict(), default=str))
    return 1 if bad else 0


def show(diagnosis: Any) -> None:
    history = diagnosis.run.history
    delta = history[Signal.DELTA, "rms"][0] if (Signal.DELTA, "rms") in history else None
    for index, layer in enumerate(diagnosis.run.architecture.layers):
        size = f"{delta[index]:.2e}" if delta is not None else "-"
        flags = " ".join(
            word
            for word, on in (
                ("tied to " + str(layer.tied_to), layer.tied_to),
                ("recurrent", layer.recurrent),
                ("gated", layer.gated),
                ("output", layer.output),
                ("frozen", not layer.trainable),
                (f"calls {layer.calls}", layer.calls != 1),
                (f"norm {layer.norm}", layer.norm),
                (f"branch {layer.branch}", layer.branch),
            )
            if on
        )
        kind = f"{layer.kind:<10} {layer.activation or '':<11}{size:<10}"
        print(f"    {layer.name:<52} {kind}{flags}  ← {', '.join(layer.inputs)}")
    print(diagnosis)


if __name__ == "__main__":
    sys.exit(main())
