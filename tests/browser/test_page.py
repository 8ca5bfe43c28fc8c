"""The page in a real browser: it opens, holds together, and runs nothing."""

import subprocess
from pathlib import Path

import pytest

from isometry.report.html import page
from tests.report.drawn import RUNS, diagnosed, hostile, vanishing
from tests.requirements import need_browser

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def opened(text: str, folder: Path, *wishes: str) -> str:
    """What the browser makes of a page, as markup."""
    browser = need_browser()
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", *wishes, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.parametrize("name", ["vanishing", "empty", "breaking"])
def test_the_browser_keeps_the_page_as_written(name, tmp_path):
    shown = opened(page(diagnosed(RUNS[name]())), tmp_path, "--dump-dom")
    assert '<html lang="en">' in shown
    assert '<main id="main">' in shown
    assert "<title>" in shown
    assert "The gradient vanishes</h1>" in shown
    assert shown.count("<h1") == 1


def test_hostile_names_run_nothing(tmp_path):
    # The same page with a witness: had any name become a script or a handler, or did the policy let one through,
    # the witness' title would be changed by it.
    text = page(diagnosed(hostile())).replace("</body>", "<script>document.title = 'RAN'</script></body>")
    shown = opened(text, tmp_path, "--dump-dom")
    assert "<title>RAN" not in shown
    assert "<img" not in shown
    assert shown.count("<script") == 1


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("wishes", [(), ("--blink-settings=preferredColorScheme=0",)], ids=["light", "dark"])
def test_the_page_is_painted_in_light_and_dark_narrow_and_wide(width, wishes, tmp_path):
    picture = tmp_path / "page.png"
    opened(page(diagnosed(vanishing())), tmp_path, *wishes, f"--screenshot={picture}", f"--window-size={width},1600")
    assert picture.stat().st_size > 20_000
