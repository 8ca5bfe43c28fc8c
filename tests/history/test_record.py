import contextlib
import json
import math
import zlib
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.history.record import ALIGNMENT, HeaderError, LaterFormat, Layout, Packer, plain, restored
from isometry.network.signals import MOMENTS, Signal

COLUMNS = [(signal, name) for signal in Signal for name in MOMENTS]


def layout(layers=3, *, columns=COLUMNS, double=False, wide=False):
    return Layout.of([f"l{i}" for i in range(layers)], columns, double=double, wide=wide)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("layers", [0, 1, 7])
def test_a_header_says_all_about_its_records(layers, double, wide):
    written = layout(layers, double=double, wide=wide)
    line = written.header()
    assert Layout.parse(line) == written
    assert len(line) % ALIGNMENT == 0
    assert written.dtype.itemsize == written.record_bytes
    assert written.record_bytes % 8 == 0


def test_one_column_of_one_step_is_contiguous():
    field, offset = layout(5).dtype.fields["delta.rms"][:2]
    assert field.shape == (5,)
    assert offset % 4 == 0


def header(**changes):
    """A header whose checksum is right and whose content is not."""
    table = {"layers": ["a"], "columns": [["delta", "rms", "<f4"]], "record_bytes": 32}
    table |= {key: value for key, value in changes.items() if key in table}
    checksum = zlib.crc32(json.dumps(table, sort_keys=True, separators=(",", ":")).encode())
    whole = {"schema": changes.get("schema", "isometry/steps/1"), "crc32": changes.get("crc32", checksum), **table}
    return json.dumps(whole).encode() + b"\n"


def test_a_header_of_a_later_version_says_what_to_do():
    with pytest.raises(LaterFormat, match=r"isometry/steps/2, .* reads isometry/steps/1\. Upgrade isometry"):
        Layout.parse(header(schema="isometry/steps/2"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "no JSON"),
        (b"\x80\x04garbage\n", "no JSON"),
        (b"[" * 100_000 + b"\n", "no JSON"),
        (b"9" * 10_000 + b"\n", "no JSON"),
        (b"[]\n", "no schema"),
        (b"{}\n", "no schema"),
        (header(schema="isometry/steps/0"), "not 'isometry/steps/1'"),
        (header(schema="parquet"), "not 'isometry/steps/1'"),
        (header(crc32=1), "checksum"),
        (header(crc32="x"), "checksum"),
        (header(layers=["a", "a"]), "distinct names"),
        (header(layers=5), "distinct names"),
        (header(layers=[["a"]]), "distinct names"),
        (header(layers={"a": 1}), "distinct names"),
        (header(columns=None), "signal, statistic"),
        (header(columns=[["delta", "rms"]]), "signal, statistic"),
        (header(columns=[["delta", "rms", 4]]), "signal, statistic"),
        (header(columns=[["delta", "rms", "<f4"]] * 2), "twice"),
        (header(columns=[["delta", "rms", "|O"]]), "number format"),
        (header(columns=[["delta", "rms", "<f16"]]), "number format"),
        (header(record_bytes=-1), "records of -1"),
        (header(record_bytes=10**30), "records of 1000"),
        (header(record_bytes=None), "records of None"),
        (header(record_bytes="32"), "records of 32"),
        (header(layers=[str(i) for i in range(10)]), "records of 32"),
    ],
)
def test_a_hostile_header_is_refused_with_the_reason(line, reason):
    with pytest.raises(HeaderError, match=reason):
        Layout.parse(line)


def test_records_too_large_to_be_true_are_refused():
    monstrous = layout(300_000, columns=[(f"s{i}", "rms") for i in range(1000)], double=True)
    with pytest.raises(HeaderError, match="claims records of"):
        Layout.parse(monstrous.header())


@given(st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed)))
def test_any_flipped_bit_of_a_header_is_noticed_or_harmless(random):
    written = layout(4)
    line = bytearray(written.header())
    line[random.integers(len(line) - 1)] ^= 1 << random.integers(8)
    with contextlib.suppress(HeaderError):
        assert Layout.parse(bytes(line)) == written


@pytest.mark.parametrize("double", [False, True])
def test_what_is_packed_is_read_back(double):
    record_layout = layout(3, double=double)
    values = {
        (Signal.DELTA, "rms"): np.array([1e-30, 1e30, np.nan]),
        (Signal.DELTA, "nan"): np.array([0, 5, 2**32 - 1]),
    }
    octets = Packer(record_layout).pack(42, values)
    record = np.frombuffer(octets, record_layout.dtype)[0]
    assert record["step"] == 42
    assert record["crc32"] == zlib.crc32(bytes(octets)[8:])
    np.testing.assert_allclose(record["delta.rms"], values["delta", "rms"], rtol=1e-15 if double else 1e-7)
    np.testing.assert_array_equal(record["delta.nan"], values["delta", "nan"])
    given_columns = {
        column
        for column, bit in zip(record_layout.columns, np.unpackbits(record["given"], bitorder="little"), strict=False)
        if bit
    }
    assert given_columns == values.keys()


def test_what_is_not_packed_is_nan_or_0():
    record_layout = layout(3)
    packer = Packer(record_layout)
    packer.pack(0, {(Signal.DELTA, "rms"): np.ones(3), (Signal.DELTA, "count"): np.ones(3)})
    record = np.frombuffer(packer.pack(1, {}), record_layout.dtype)[0]
    assert np.isnan(record["delta.rms"]).all()
    assert not record["delta.count"].any()


def test_counts_that_are_no_numbers_are_0():
    record_layout = layout(3)
    octets = Packer(record_layout).pack(0, {(Signal.DELTA, "count"): np.array([np.nan, np.inf, 7.0])})
    np.testing.assert_array_equal(np.frombuffer(octets, record_layout.dtype)[0]["delta.count"], [0, 0, 7])


def test_counts_beyond_32_bits_are_not_cut():
    values = {(Signal.DELTA, "count"): np.array([1.0, 2.0**32, 2.0**40])}
    with pytest.raises(OverflowError):
        Packer(layout(3)).pack(0, values)
    record_layout = layout(3, wide=True)
    octets = Packer(record_layout).pack(0, values)
    np.testing.assert_array_equal(np.frombuffer(octets, record_layout.dtype)[0]["delta.count"], [1, 2**32, 2**40])


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1)])
def test_arrays_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"instead of \(3,\)"):
        Packer(layout(3)).pack(0, {(Signal.DELTA, "rms"): np.ones(shape)})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["nan", "inf", "-inf"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_everything_json_like_comes_back(value):
    text = json.dumps(plain(value), allow_nan=False)
    np.testing.assert_equal(restored(json.loads(text)), value)


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.float32("inf"), math.inf),
        (np.float64(2.5), 2.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, -np.inf]), [1.0, -math.inf]),
        ((1, 2), [1, 2]),
        ({"b", "a"}, ["a", "b"]),
        ({1: Path("x")}, {"1": "x"}),
        (Colour.RED, "red"),
        (b"bytes", "b'bytes'"),
        ("\udc80 surrogate", "\udc80 surrogate"),
    ],
)
def test_what_json_lacks_is_kept_readably(value, kept):
    assert restored(json.loads(json.dumps(plain(value), allow_nan=False))) == kept
