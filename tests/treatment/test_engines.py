"""Engines give the same, a process that dies costs one task, and a pool leaves nothing running."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from isometry.errors import IsometryError
from isometry.treatment.engines import Died, Engine, Pool, Serial


def square(number: int) -> int:
    return number * number


def own_process(_: int) -> int:
    return os.getpid()


def threads(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def refuse(number: int) -> int:
    if number == 1:
        raise ValueError("one is refused")
    return number


class Fussy(Exception):
    """Can be pickled, and not be read again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def refuse_fussily(number: int) -> int:
    raise Fussy("not", "this")


def end_the_process(number: int) -> int:
    os._exit(3)


def end_if_odd(number: int) -> int:
    if number % 2:
        os._exit(number)
    return number


def be_killed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_a_child(task: tuple[Path, int]) -> int:
    """The first dies while a child of its own goes on, which holds all that was open."""
    folder, number = task
    if number:
        return number
    child = os.fork()
    if not child:
        time.sleep(1000)
    (folder / "child.pid").write_text(str(child))
    os._exit(3)


class Fatal:
    """Can be read by a process until a file is there."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __setstate__(self, state: dict[str, Path]) -> None:
        if state["flag"].exists():
            os._exit(6)
        vars(self).update(state)

    def __call__(self, number: int) -> int:
        if number == 0:
            while not self.flag.with_name("1").exists():
                time.sleep(0.01)
            self.flag.touch()
            os._exit(5)
        self.flag.with_name(str(number)).touch()
        while not self.flag.exists():
            time.sleep(0.01)
        time.sleep(0.5)
        os._exit(7)


def note_and_wait(task: tuple[Path, int]) -> None:
    """Writes down which process it is in; the first task ends, the others do not by themselves."""
    folder, number = task
    (folder / f"{number}.pid").write_text(str(os.getpid()))
    if number:
        signal.pause()


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def quiet(words: str) -> None:
    raise AssertionError(f"nothing should be said: {words}")


@pytest.mark.parametrize("engine", [Serial(), Pool(1, say=quiet), Pool(2, say=quiet), Pool(3, say=quiet)])
def test_every_task_gives_its_own_result(engine: Engine) -> None:
    for tasks in ([], [3], [3, 1, 2, 5], [7, 7]):
        assert sorted(engine.map(square, tasks)) == sorted((place, task * task) for place, task in enumerate(tasks))
    engine.close()


def test_pool_works_in_processes_of_its_own_and_keeps_them() -> None:
    with closing(Pool(2, say=quiet)) as pool:
        (first,) = (process for _, process in pool.map(own_process, range(1)))
        both = {process for _, process in pool.map(own_process, range(6))}
        assert len(both) == 2
        assert first in both
        assert os.getpid() not in both
        assert sorted(pool.map(square, [2, 3])) == [(0, 4), (1, 9)]  # another function, in other processes
        assert not any(map(is_running, both))
        pool.close()
        assert list(pool.map(square, [2])) == [(0, 4)]


def test_pool_that_was_not_closed_lets_the_script_end(tmp_path: Path) -> None:
    script = tmp_path / "forgetful.py"
    script.write_text(
        "from isometry.treatment.engines import Pool\n"
        "import math\n"
        "if __name__ == '__main__':\n"
        "    pool = Pool(2, say=print)\n"
        "    print(sorted(pool.map(math.sqrt, [4.0, 9.0])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[(0, 2.0), (1, 3.0)]\n"


def test_threads_are_shared_out_and_the_own_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = os.cpu_count() or 1
    with closing(Pool(2, say=quiet)) as pool:
        given = {int(told or 0) for _, told in pool.map(threads, range(2))}
    assert given <= set(range(1, max(1, cores // 2) + 1))
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with closing(Pool(2, say=quiet)) as pool:
        assert {told for _, told in pool.map(threads, range(2))} == {"5"}


@pytest.mark.parametrize("engine", [Serial(), Pool(2, say=quiet)])
def test_what_the_function_raises_is_raised(engine: Engine) -> None:
    with pytest.raises(ValueError, match="one is refused"):
        list(engine.map(refuse, [0, 1, 2]))


@pytest.mark.slow
def test_exception_from_another_process_says_where_it_arose() -> None:
    with pytest.raises(ValueError, match="one is refused") as caught:
        list(Pool(2, say=quiet).map(refuse, [0, 1]))
    assert "in refuse" in caught.value.__notes__[0]
    with pytest.raises(IsometryError, match="Fussy: not this"):
        list(Pool(2, say=quiet).map(refuse_fussily, [0, 1]))


@pytest.mark.slow
def test_a_process_that_dies_costs_one_task_and_another_takes_its_place() -> None:
    with closing(Pool(2, say=quiet)) as pool:
        results = dict(pool.map(end_if_odd, range(7)))
        assert {place: given for place, given in results.items() if place % 2 == 0} == {0: 0, 2: 2, 4: 4, 6: 6}
        assert [results[place] for place in (1, 3, 5)] == [
            Died(f"its process ended with exit code {code}") for code in (1, 3, 5)
        ]
        assert sorted(pool.map(end_if_odd, [8, 10, 12])) == [(0, 8), (1, 10), (2, 12)]


def test_deaths_of_all_are_told_one_by_one() -> None:
    with closing(Pool(2, say=quiet)) as pool:
        for count in (3, 1):
            results = dict(pool.map(end_the_process, range(count)))
            assert results == dict.fromkeys(range(count), Died("its process ended with exit code 3"))


def test_process_that_died_between_two_calls_is_replaced() -> None:
    with closing(Pool(2, say=quiet)) as pool:
        processes = {process for _, process in pool.map(own_process, range(6))}
        victim = processes.pop()
        os.kill(victim, signal.SIGTERM)
        while victim in (child.pid for child in multiprocessing.active_children()):
            time.sleep(0.01)
        others = {process for _, process in pool.map(own_process, range(6))}
        assert all(isinstance(process, int) and process != victim for process in others)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_killed_process_is_told_with_what_often_kills() -> None:
    with closing(Pool(2, say=quiet)) as pool:
        ((_, died),) = pool.map(be_killed, [0])
    assert died == Died("its process ended with exit code −9, which often means that memory ran out")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_death_is_noticed_though_a_child_lives_on(tmp_path: Path) -> None:
    with closing(Pool(2, say=quiet)) as pool:
        results = dict(pool.map(die_with_a_child, [(tmp_path, number) for number in range(3)]))
    os.kill(int((tmp_path / "child.pid").read_text()), signal.SIGKILL)
    assert results == {0: Died("its process ended with exit code 3"), 1: 1, 2: 2}


@pytest.mark.slow
def test_where_no_process_can_follow_the_rest_is_told_too(tmp_path: Path) -> None:
    said: list[str] = []
    with closing(Pool(2, say=said.append)) as pool:
        results = dict(pool.map(Fatal(tmp_path / "flag"), range(4)))
    follows = "one of them ended at once, with exit code 6"
    assert results == {
        0: Died("its process ended with exit code 5"),
        1: Died("its process ended with exit code 7"),
        2: Died(f"no process was left for it: {follows}"),
        3: Died(f"no process was left for it: {follows}"),
    }
    assert said == [f"No process can take the place of one that died: {follows}."]


def test_what_cannot_be_pickled_runs_here_and_that_is_said() -> None:
    said: list[str] = []
    pool = Pool(2, say=said.append)
    for _ in range(2):
        results = pool.map(lambda number: (number, os.getpid()), [4, 5])
        assert list(results) == [(0, (4, os.getpid())), (1, (5, os.getpid()))]
    assert len(said) == 1
    assert "one after another" in said[0]


class Unwilling:
    def __reduce__(self) -> str:
        raise RuntimeError("not me")


def test_whatever_pickling_raises_is_no_fault() -> None:
    said: list[str] = []
    assert [type(result) for _, result in Pool(2, say=said.append).map(type, [Unwilling(), 1])] == [type, type]
    assert "not me" in said[0]


@pytest.fixture
def known_here_alone() -> Iterator[Callable[[int], int]]:
    """A function that can be pickled, because its module is known, and not be found by another process."""
    module = types.ModuleType("known_here_alone")
    exec("def double(number):\n    return 2 * number\n", vars(module))
    sys.modules[module.__name__] = module
    yield module.double
    del sys.modules[module.__name__]


def test_what_another_process_cannot_find_runs_here(known_here_alone: Callable[[int], int]) -> None:
    said: list[str] = []
    assert list(Pool(2, say=said.append).map(known_here_alone, [4, 5])) == [(0, 8), (1, 10)]
    assert "known_here_alone" in said[0]


@pytest.mark.slow
def test_script_without_a_guard_trains_one_after_another(tmp_path: Path) -> None:
    """Its processes would start it again; they end instead, and it goes on alone."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from isometry.treatment.engines import Pool\n"
        "import math, sys\n"
        "print(sorted(Pool(2, say=print).map(math.sqrt, [4.0, 9.0])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert "one after another" in done.stdout
    assert done.stdout.endswith("[(0, 2.0), (1, 3.0)]\n")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_generator_that_is_closed_leaves_no_process(tmp_path: Path) -> None:
    tasks = [(tmp_path, number) for number in range(3)]
    with closing(Pool(2, say=quiet).map(note_and_wait, tasks)) as results:
        assert next(results) == (0, None)
        while not (tmp_path / "1.pid").exists():
            time.sleep(0.01)
        processes = [int(file.read_text() or 0) for file in tmp_path.glob("*.pid")]
    assert not any(map(is_running, filter(None, processes)))


@pytest.mark.parametrize("workers", [0, -1])
def test_pool_needs_a_process(workers: int) -> None:
    with pytest.raises(IsometryError, match="workers"):
        Pool(workers, say=quiet)
