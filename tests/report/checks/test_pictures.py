"""Pictures of checks, as data and as ink."""

import re
from dataclasses import replace

import numpy as np
import pytest

from isometry.diagnosis.check import Band
from isometry.errors import NotRecorded
from isometry.report.chart import Line, Mark, Note, Points, Ribbon, Whiskers, within
from isometry.report.checks.changes import changes_chart
from isometry.report.checks.phases import phase_diagram
from isometry.report.checks.pictures import check_album, prediction_album
from isometry.report.checks.profiles import backward_profile, forward_profile
from isometry.report.svg import svg
from tests.report.checks.made import CHECKS, branched, broken, explained, healthy, sick, single


@pytest.fixture(scope="module")
def albums():
    return {name: (check_album(made()), prediction_album(made().prediction)) for name, made in CHECKS.items()}


def test_measured_and_predicted_stand_in_one_picture():
    chart = backward_profile(sick().prediction, sick())
    (band,), (mean, measured) = chart.of(Ribbon), chart.of(Line)
    assert measured.words == "measured" and measured.markers
    assert mean.role == "context"
    np.testing.assert_array_equal(measured.y, sick().backward)
    np.testing.assert_array_equal(band.low, sick().prediction.backward.low)
    assert chart.title == "δ falls by 7.0 decades from fc12 to fc1"
    assert chart.y.title == "size of δ = ∂L/∂z, against fc12  [decades]"


def test_what_has_no_place_is_a_sign_and_what_stands_alone_has_whiskers():
    chart = backward_profile(broken().prediction, broken())
    assert [mark.x for mark in chart.of(Mark)] == [0.0, 1.0]
    (alone,) = chart.of(Whiskers)
    assert list(alone.at) == [1.0]
    assert alone.low[0] == -4.0  # −∞ is drawn below all that is seen
    assert chart.title == "δ does not reach fc2"


def test_branches_stand_beside_the_main_path():
    check = branched()
    chart = backward_profile(check.prediction, check)
    (band,), (mean, measured), (beside,) = chart.of(Ribbon), chart.of(Line), chart.of(Points)
    on_path = [k for k, layer in enumerate(check.prediction.architecture) if layer.branch is None]
    assert list(measured.x) == list(mean.x) == list(band.x) == on_path
    assert list(beside.x) == list(chart.of(Whiskers)[0].at) == sorted(set(range(len(check.backward))) - set(on_path))


def test_one_layer_has_a_band_all_the_same():
    (alone,) = forward_profile(single().prediction, single()).of(Whiskers)
    assert alone.words == "predicted: 95 % of networks drawn anew"


def test_a_signal_that_nobody_saw_has_no_picture():
    with pytest.raises(NotRecorded, match="neither predicted nor measured"):
        forward_profile(broken().prediction, broken())


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b"), [("tanh", 1.0, 0.2), ("gelu", 1.4, 0.3), ("sigmoid", 1.0, 0.0)]
)
def test_the_critical_line_is_where_the_gradient_keeps_its_size(activation, sigma_w, sigma_b):
    from isometry import theory

    chart = phase_diagram(explained(activation, sigma_w, sigma_b, 11))
    (line,), (network,) = chart.of(Line), chart.of(Points)
    assert (network.x[0], network.y[0]) == pytest.approx((sigma_w**2, sigma_b**2))
    assert theory.chi(activation, line.x[-1] ** 0.5, line.y[-1] ** 0.5) == pytest.approx(1, abs=1e-6)
    for note in chart.of(Note):
        phase = note.words.partition(":")[0]
        if phase != "critical":
            assert theory.phase(activation, note.x**0.5, note.y**0.5) == phase


def test_order_and_chaos_are_named_in_the_picture():
    said = {note.words for note in phase_diagram(explained("tanh", 1.0, 0.2, 11)).of(Note)}
    assert said == {"ordered: gradients vanish", "chaotic: gradients explode", "critical: χ₁ = 1"}


@pytest.mark.parametrize(
    ("explanation", "reason"),
    [
        (None, "theory has nothing to say"),
        (explained("relu", 1.0, 0.1, 9), "relu keeps its shape at every scale"),
        (explained("softplus", 1.0, 0.1, 9), "softplus has no critical line"),
        (replace(explained("tanh", 1.0, 0.1, 9), norm="layer norm before"), "norm layers set the size of z"),
    ],
)
def test_there_is_no_phase_diagram_where_it_would_say_nothing(explanation, reason):
    with pytest.raises(NotRecorded, match=reason):
        phase_diagram(explanation)


def test_changes_are_ranked_and_the_network_as_it_is_stands_out():
    chart = changes_chart(sick().prediction, sick().counterfactuals)
    changed, present = chart.of(Points)
    assert chart.y.names[4] == "as it is"
    assert list(present.y) == [4.0] and present.words == "the network as it is"
    assert present.style != changed.style
    assert chart.title == "Layer norm after sigmoid would bring δ from −7.0 to +0.07 decades"
    (left, right), _ = within(chart)
    assert left <= -10.4 and right >= 0.16


def test_the_profile_proves_a_vanishing_gradient(albums):
    album = albums["sick"][0]
    assert [proof.name for proof in album.proofs] == ["delta-against-prediction"]
    assert "delta-against-prediction" not in [chart.name for chart in album.others]


def test_a_picture_that_could_not_be_made_is_named(albums):
    assert {entry.name for entry in albums["broken"][0].missing} == {
        "z-against-prediction",
        "phase-diagram",
        "singular-values",
    }


@pytest.mark.parametrize("name", CHECKS)
def test_every_picture_has_words_and_numbers(albums, name):
    for album in albums[name]:
        for chart in album.all:
            assert chart.title and chart.reading and chart.alt
            assert all(len(row) == len(chart.table.columns) for row in chart.table.rows)
            assert re.search(r"<svg .*</svg>$", svg(chart, identifier="one"))
            assert "nan" not in re.sub(r'<(title|desc).*?</\1>|class="[^"]*"', "", svg(chart, identifier="one"))


def test_a_band_is_interrupted_where_nothing_is_said():
    gap = sick().prediction.backward
    low = gap.low.copy()
    low[5] = np.nan
    chart = backward_profile(replace(sick().prediction, backward=Band(gap.mean, low, gap.high)))
    (outline,) = re.findall(r'class="ribbon s4" d="([^"]*)"><title>predicted', svg(chart, identifier="one"))
    assert outline.count("M") == outline.count("z") == 2


def test_whiskers_have_a_bar_at_each_end():
    chart = changes_chart(sick().prediction, sick().counterfactuals)
    assert svg(chart, identifier="one").count('class="whisker') == len(sick().counterfactuals)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_every_picture_can_be_drawn(albums, name):
    pytest.importorskip("matplotlib")
    from isometry.report.draw import encoded, figure

    for chart in albums[name][0].all:
        assert encoded(figure(chart), "png").startswith(b"\x89PNG")


def test_words_on_figures_lie_on_the_sheet():
    pytest.importorskip("matplotlib")
    from isometry.report.draw import figure

    sheet = figure(phase_diagram(healthy().prediction.explanation))
    sheet.canvas.draw()
    (axes,) = sheet.axes
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= sheet.get_figwidth() * sheet.dpi
