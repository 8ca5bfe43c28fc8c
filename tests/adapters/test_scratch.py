"""A script in a scratch directory works as ever, and what was there before stays as it was."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from isometry.adapters.scratch import Scratch
from isometry.errors import IsometryError

pytestmark = pytest.mark.slow  # each starts programs of its own

DRIVER = """
import sys
from pathlib import Path
from isometry.adapters.scratch import Scratch
from isometry.adapters.script import run_script
folder, module, script, *arguments = sys.argv[1:]
scratch = Scratch(Path(folder), Path.cwd())
with scratch.entered():
    script = script if module else str(scratch.mirrored(Path(script)))
    outcome = run_script(script, arguments, run=lambda: Path("never-made"), module=bool(module))
sys.exit(outcome.exit_code)
"""

WAYS_TO_WRITE = {
    "over": 'open("out.txt", "w").write("new"); assert open("out.txt").read() == "new"',
    "append": 'open("out.txt", "a").write("new"); assert open("out.txt").read() == "oldnew"',
    "in place": 'f = open("out.txt", "r+"); f.seek(1); f.write("X"); f.close(); assert open("out.txt").read() == "oXd"',
    "bytes path": 'open(b"data/a/x.txt", "wb").write(b"new"); assert open("data/a/x.txt").read() == "new"',
    "deep": 'open("data/a/new.txt", "w"); assert sorted(os.listdir("data/a")) == ["new.txt", "x.txt"]',
    "made directory": 'os.makedirs("data/a/b", exist_ok=True); open("data/a/b/new.txt", "x")',
    "descriptor": 'os.write(os.open("out.txt", os.O_WRONLY), b"X"); assert open("out.txt").read() == "Xld"',
    "raw file": 'import _io; _io.FileIO("data/a/x.txt", "a").write(b"Y"); assert open("data/a/x.txt").read() == "xY"',
    "remove": 'os.remove("data/a/x.txt"); assert os.listdir("data/a") == [] and not os.path.exists("data/a/x.txt")',
    "rename": 'os.rename("data/a", "c"); open("c/x.txt", "a").write("Y"); assert "a" not in os.listdir("data")',
    "replace": 'open("t", "w").write("new"); os.replace("t", "out.txt"); assert open("out.txt").read() == "new"',
    "rename, then write": 'os.rename("out.txt", "b"); open("b", "a").write("Y"); assert open("b").read() == "oldY"',
    "rmtree": 'shutil.rmtree("data"); os.mkdir("data"); assert not os.listdir("data")',
    "rmtree, absolute": 'shutil.rmtree(ORIGIN / "data"); assert not (ORIGIN / "data").exists()',
    "rmtree below": 'shutil.rmtree("data/a"); assert os.listdir("data") == ["y.txt"]',
    "descriptor of a directory": 'os.unlink("x.txt", dir_fd=os.open("data/a", 0)); assert not os.listdir("data/a")',
    "touch": 'Path("out.txt").touch()',
    "mode": 'os.chmod("out.txt", 0o600); assert Path("out.txt").stat().st_mode & 0o777 == 0o600',
    "truncate": 'os.truncate("out.txt", 1); assert open("out.txt").read() == "o"',
    "hard link": 'os.link("out.txt", "b"); open("b", "a").write("Y"); assert open("b").read() == "oldY"',
    "script's link": 'os.symlink("data/a", "l"); open("l/x.txt", "a").write("Y"); assert os.path.islink("l")',
    "link of before": 'open("latest/x.txt", "a").write("Y"); assert open("data/a/x.txt").read() == "xY"',
    "link to a file": 'open("last.txt", "a").write("Y"); assert open("out.txt").read() == "oldY"',
    "link made anew": 'assert os.path.islink("latest"); os.unlink("latest"); os.symlink("data", "latest")',
    "absolute": '(ORIGIN / "out.txt").write_text("new"); assert open("out.txt").read() == "new"',
    "absolute directory": '(ORIGIN / "runs/1").mkdir(parents=True); assert (ORIGIN / "runs/1").is_dir()',
    "absolute remove": '(ORIGIN / "out.txt").unlink(); assert not (ORIGIN / "out.txt").exists()',
    "absolute rename": 'os.replace(ORIGIN / "out.txt", ORIGIN / "b"); assert os.listdir(ORIGIN).count("b") == 1',
    "beside the script": '(Path(__file__).parent / "out.txt").write_text("new")',
    "beside the resolved script": '(Path(__file__).resolve().parent / "out.txt").write_text("new")',
    "up from the package": 'import package; open(package.PLACE / ".." / "out.txt", "a").write("Y")',
    "up by the system": 'open("data/../out.txt", "a").write("Y"); assert open("out.txt").read() == "oldY"',
    "up beyond": 'open("../beside/s.txt", "a").write("Y"); assert open("../beside/s.txt").read() == "sY"',
    "changed directory": 'os.chdir("data/a"); open("x.txt", "a").write("Y"); assert os.listdir() == ["x.txt"]',
    "subprocess": 'import subprocess; subprocess.run(["touch", "new"], cwd="data", check=True); os.stat("data/new")',
    "log": 'import logging; logging.basicConfig(filename="out.txt"); logging.error("Y"); logging.shutdown()',
    "database": (
        'import sqlite3; c = sqlite3.connect("app.db"); c.execute("insert into t values (2)"); c.commit()\n'
        'assert c.execute("select count(*) from t").fetchone() == (2,)'
    ),
    "numpy": (
        'import numpy as np; m = np.memmap("x.bin", "u1", "r+"); m[0] = 7; m.flush()\n'
        'assert np.fromfile("x.bin", "u1")[0] == 7'
    ),
    "copy": 'shutil.copy("out.txt", "data/a/x.txt"); assert open("data/a/x.txt").read() == "old"',
    "thread": 'import threading as t; t = t.Thread(target=Path("out.txt").write_text, args="Y"); t.start(); t.join()',
    "fork": (
        "import multiprocessing as m\n"
        'p = m.get_context("fork").Process(target=Path("data/a/x.txt").write_text, args="Y")\n'
        'p.start(); p.join(); assert open("data/a/x.txt").read() == "Y"'
    ),
}

WAYS_TO_READ = {
    "files": 'assert open("data/a/x.txt").read() == (ORIGIN / "data/a/x.txt").read_text() == "x"',
    "listing": 'assert sorted(os.listdir()) == sorted(os.listdir(ORIGIN)) and "data" in os.listdir()',
    "walk": 'assert [f for _, _, fs in os.walk(".") for f in fs].count("x.txt") == 1',
    "walk of the origin": 'assert str(ORIGIN / "data/a") in [d for d, _, _ in os.walk(ORIGIN)]',
    "walk after a write": 'open("data/n", "w"); assert ("data/a", [], ["x.txt"]) in list(os.walk("data"))',
    "glob": (
        'assert sorted(map(str, Path().rglob("x.*"))) == ["data/a/x.txt", "x.bin"]\n'
        'assert sorted(glob.glob("**/x.*", recursive=True)) == ["data/a/x.txt", "latest/x.txt", "x.bin"]'
    ),
    "entries": (
        'e = {e.name: e for e in os.scandir(ORIGIN)}; assert e["data"].is_dir() and e["latest"].is_symlink()\n'
        'assert e["out.txt"].is_file(follow_symlinks=False) and e["out.txt"].path == str(ORIGIN / "out.txt")\n'
        'assert e["out.txt"].stat().st_size == 3 and os.fspath(e["data"]) == str(ORIGIN / "data")'
    ),
    "links": 'assert os.readlink("latest") == "data/a" and not os.path.islink("data") | Path("x.bin").is_symlink()',
    "package": 'import package; assert Path(package.__file__).resolve().is_relative_to(Path.cwd())',
    "sets of os": 'assert os.stat in os.supports_dir_fd and os.scandir in os.supports_fd',
    "open in a class": 'C = type("C", (), {"opener": open}); assert C().opener("out.txt").read() == "old"',
    "pickled open": 'import pickle; assert pickle.loads(pickle.dumps((open, os.stat)))[0]("out.txt").read() == "old"',
    "missing": (
        'try: open("data/none.txt")\n'
        'except FileNotFoundError as e: assert e.filename == "data/none.txt"\n'
        'else: raise AssertionError'
    ),
    "exists": (
        'try: open("out.txt", "x")\n'
        'except FileExistsError: pass\n'
        'else: raise AssertionError'
    ),
    "full directory": (
        'try: os.rmdir("data")\n'
        'except OSError as e: assert "not empty" in str(e)\n'
        'else: raise AssertionError'
    ),
    "spawned child": (
        'import multiprocessing as m\n'
        'if __name__ == "__main__":\n'
        '    p = m.get_context("spawn").Process(target=os.stat, args=("data/a/x.txt",))\n'
        '    p.start(); p.join(); assert not p.exitcode'
    ),
}  # fmt: skip


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A project with something at every place that the scripts write to."""
    project = tmp_path / "with space" / "project"
    (project / "data" / "a").mkdir(parents=True)
    (project / "package").mkdir()
    (project.parent / "beside").mkdir()
    (project.parent / "beside" / "s.txt").write_text("s")
    (project / "out.txt").write_text("old")
    (project / "data" / "a" / "x.txt").write_text("x")
    (project / "data" / "y.txt").write_text("y")
    (project / "x.bin").write_bytes(bytes(8))
    (project / "latest").symlink_to("data/a")
    (project / "last.txt").symlink_to(project / "out.txt")
    (project / "package" / "__init__.py").write_text("from pathlib import Path\nPLACE = Path(__file__).parent\n")
    (project / "package" / "train.py").write_text("from . import PLACE\n(PLACE.parent / 'out.txt').write_text('new')\n")
    subprocess.run(
        [sys.executable, "-c", "import sqlite3; c = sqlite3.connect('app.db'); c.execute('create table t (x)');"
         "c.execute('insert into t values (1)'); c.commit()"], cwd=project, check=True,
    )  # fmt: skip
    return project


def written(origin: Path, body: str) -> str:
    words = f"import glob, os, shutil\nfrom pathlib import Path\nORIGIN = Path({str(origin)!r})\n"
    (origin / "script.py").write_text(words + textwrap.dedent(body))
    return "script.py"


def state(origin: Path) -> dict[str, object]:
    """Content, size, mode and time of all that is below the project's parent."""
    found: dict[str, object] = {}
    for place in sorted(origin.parent.rglob("*")):
        about = place.lstat()
        content = place.read_bytes() if place.is_file() else None
        found[str(place)] = (about.st_mode, about.st_mtime_ns, about.st_nlink, content)
    return found


def started(origin: Path, folder: Path, script: str, *arguments: str, module: bool = False) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", DRIVER, str(folder), "-m" if module else "", script, *arguments]
    return subprocess.Popen(command, cwd=origin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(origin: Path, folder: Path, script: str, *arguments: str, module: bool = False) -> str:
    """What it printed; it must end well and change nothing."""
    before = state(origin)
    process = started(origin, folder, script, *arguments, module=module)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert state(origin) == before
    return out


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
def test_what_a_script_writes_it_alone_sees(way: str, origin: Path, tmp_path: Path) -> None:
    script = written(origin, WAYS_TO_WRITE[way])
    run(origin, tmp_path / "scratch", script)
    before = state(origin)
    plain = subprocess.run([sys.executable, "-B", script], cwd=origin, capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    assert state(origin) != before, "the script writes nothing, so that it shows nothing"


@pytest.mark.parametrize("way", WAYS_TO_READ)
def test_what_was_there_before_is_read_as_ever(way: str, origin: Path, tmp_path: Path) -> None:
    run(origin, tmp_path / "scratch", written(origin, WAYS_TO_READ[way]))


def test_torch_and_safetensors_write_over_checkpoints_of_before(origin: Path, tmp_path: Path) -> None:
    (origin / "checkpoints").mkdir()
    torch.save({"step": torch.tensor(1)}, origin / "checkpoints" / "best.pt")
    save_file({"step": torch.tensor(1)}, origin / "checkpoints" / "model.safetensors")
    (origin / "checkpoints" / "jit.pt").write_text("of before")
    script = written(
        origin,
        """
        import torch
        from safetensors.torch import load_file, save_file
        from torch import save
        for place in (Path("checkpoints"), Path(ORIGIN, "checkpoints")):
            step = torch.load(place / "best.pt")["step"]
            save({"step": step + 1}, place / "best.pt")
            assert torch.load(place / "best.pt", mmap=True)["step"] == step + 1
            save({"step": 0}, str(place / "step.pt"))
            assert torch.load("checkpoints/step.pt") == {"step": 0}
        save_file({"step": torch.tensor(2)}, "checkpoints/model.safetensors")
        assert load_file("checkpoints/model.safetensors")["step"] == 2
        torch.jit.script(torch.nn.Linear(3, 3)).save("checkpoints/jit.pt")
        torch.jit.save(torch.jit.script(torch.nn.Linear(4, 4)), "checkpoints/jit.pt")
        assert torch.jit.load("checkpoints/jit.pt").weight.shape == (4, 4)
        print(torch.load("checkpoints/best.pt")["step"].item())
        """,
    )
    assert run(origin, tmp_path / "1", script) == "3\n"
    assert run(origin, tmp_path / "2", script) == "3\n"


def test_workers_of_a_data_loader_read_and_write(origin: Path, tmp_path: Path) -> None:
    body = """
        import torch
        class Files(torch.utils.data.Dataset):
            def __len__(self): return 8
            def __getitem__(self, i):
                open(f"data/a/cached{i}", "w").write("c")
                open("data/a/x.txt", "a").write("Y")
                return len(open(ORIGIN / "data/a/x.txt").read())
        print(len(list(torch.utils.data.DataLoader(Files(), num_workers=2))), len(os.listdir("data/a")))
        print(open("data/a/x.txt").read())
        """
    assert run(origin, tmp_path / "scratch", written(origin, body)) == "8 9\nxYYYYYYYY\n"


def test_two_at_once_do_not_meet(origin: Path, tmp_path: Path) -> None:
    body = """
        import sys
        print("ready", flush=True) if not os.path.exists("mine") else sys.exit("met")
        open("mine", "w").write(sys.argv[1])
        open("data/a/x.txt", "a").write(sys.argv[1])
        print("wrote", flush=True)
        input()
        print(open("mine").read(), open("data/a/x.txt").read(), sorted(os.listdir("data")))
        """
    script = written(origin, body)
    before = state(origin)
    command = [sys.executable, "-c", DRIVER]
    both = [
        subprocess.Popen(
            [*command, str(tmp_path / name), "", script, name], cwd=origin, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for name in "AB"
    ]  # fmt: skip
    for process in both:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "wrote\n"]
    told = [process.communicate("\n", timeout=60)[0] for process in both]
    assert told == ["A xA ['a', 'y.txt']\n", "B xB ['a', 'y.txt']\n"]
    assert state(origin) == before


def test_a_module_is_run_in_the_mirror(origin: Path, tmp_path: Path) -> None:
    run(origin, tmp_path / "scratch", "package.train", module=True)
    assert (tmp_path / "scratch" / str(origin)[1:] / "out.txt").read_text() == "new"


def test_the_folder_may_lie_in_the_project(origin: Path) -> None:
    script = written(
        origin, 'open("new", "w"); print(len(list(Path().rglob("x.txt"))), os.path.exists(ORIGIN / "new"))'
    )
    process = started(origin, origin / "runs" / "1", script)
    assert process.communicate(timeout=60) == ("1 True\n", "")
    assert not (origin / "new").exists()


def test_nothing_is_written_where_no_copy_can_be_made(origin: Path, tmp_path: Path) -> None:
    body = """
        def full(*_): raise OSError(28, "No space left on device")
        shutil.copy2 = full
        try: open("out.txt", "a").write("new")
        except OSError as fault: print(fault)
        """
    assert "No space left" in run(origin, tmp_path / "scratch", written(origin, body))


def test_left_it_does_nothing_any_more(origin: Path, tmp_path: Path) -> None:
    program = """
        import builtins, io, os, sys
        from pathlib import Path
        from isometry.adapters.scratch import Scratch
        before = [open, io.open, os.stat, os.scandir, list(sys.meta_path), os.getcwd()]
        with Scratch(Path(sys.argv[1]), Path.cwd()).entered():
            kept = os.listdir
            open("out.txt", "w").write("inside")
        assert [open, io.open, os.stat, os.scandir, list(sys.meta_path), os.getcwd()] == before
        assert type(open) is type(os.stat) is type(len)
        assert kept(os.getcwd()) == os.listdir()
        open("out.txt", "a").write(" and on")
        open(Path(sys.argv[1]) / os.getcwd()[1:] / "x.bin", "a").write(".")
        """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "scratch"], cwd=origin, check=True, timeout=60
    )
    assert (origin / "out.txt").read_text() == "old and on"
    assert (origin / "x.bin").read_bytes() == bytes(8) + b"."


def test_only_the_way_to_the_origin_is_listed(origin: Path, tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", origin)
    assert scratch.mirrored(Path()) == scratch.mirrored(origin)
    assert not scratch.mirrored(origin).is_symlink()
    assert scratch.mirrored(Path("data")).is_symlink()
    assert scratch.mirrored(Path("/usr")).is_symlink()
    assert scratch.mirrored(scratch.mirrored(Path("data"))) == scratch.mirrored(Path("data"))


def test_without_symbolic_links_it_says_so(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(IsometryError, match=r"privilege.* symbolic links"):
        Scratch(tmp_path / "scratch", origin)
