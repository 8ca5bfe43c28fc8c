"""Trainings on a Ray cluster, or on as many cores of this machine as Ray finds.

Whatever is defined in the script itself travels by value. Modules travel by name: other machines need isometry and what
the experiment imports, and files of one's own at the same path, as on a shared file system. So do the folders of runs.

Needs ``ray`` alone, without its extras.
"""

import logging
import os
import pickle
import platform
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from isometry.errors import IsometryError
from isometry.treatment.engines.answers import Died, answer, refusal, result
from isometry.treatment.engines.machine import unless_set

__all__ = ["Ray"]

Task = TypeVar("Task")
Result = TypeVar("Result")

PATIENCE = 5.0
"""How long to wait for a cluster to answer, and until trainings that were cancelled have ended. [seconds]"""


class Ray:
    """The engine that uses a Ray cluster.

    A Ray that the script has connected to is used as it is, and stays. Otherwise one is connected to, or started on
    this machine, and ``close`` lets it go.

    Args:
        workers: trainings at once; as many as there is room for if left out.
        address: of the cluster, as for ``ray.init``. Left out, it is that in ``RAY_ADDRESS``, or of a Ray that runs on
            this machine, or one is started here.
        cpus_per_task: what Ray sets aside for one training. A training has as many threads, at least one, unless
            ``OMP_NUM_THREADS`` says otherwise.
        gpus_per_task: likewise, parts of one allowed. With none, a training sees all GPUs of its machine.
        say: gets one sentence where no machine has that much, so that trainings wait for one that has.

    Raises:
        IsometryError: Ray is not installed, or a number makes no sense.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        cpus_per_task: float = 1,
        gpus_per_task: float = 0,
        say: Callable[[str], None],
    ) -> None:
        if workers is not None and workers < 1:
            raise IsometryError(f"workers={workers}: a whole number from 1 upwards is needed.")
        if cpus_per_task < 0 or gpus_per_task < 0:
            raise IsometryError(
                f"cpus_per_task={cpus_per_task}, gpus_per_task={gpus_per_task}: numbers from 0 upwards are needed."
            )
        self._ray = _imported()
        self._workers = workers
        self._address = address
        self._needs = {"CPU": cpus_per_task, "GPU": gpus_per_task}
        self._say = say
        self._started = False

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Generator[tuple[int, Result | Died], None, None]:
        if not tasks:
            return
        packed, *packed_tasks = self._packed(function, *tasks)
        self._connect()
        self._tell_of_waiting()
        shared = self._ray.put(packed)  # once, for all
        train = self._ray.remote(_carried_out).options(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs["GPU"],
            max_retries=0,
            runtime_env={"env_vars": self._environment()},
            name="isometry-training",
        )
        calls = (train.remote(shared, task, sys.path, str(Path.cwd())) for task in packed_tasks)
        with closing(self._heard(enumerate(calls))) as heard:
            for place, reply in heard:
                yield place, self._result(reply)

    def close(self) -> None:
        if self._started:
            self._ray.shutdown()
        self._started = False

    def _packed(self, *parts: Any) -> list[bytes]:
        try:
            return [self._ray.cloudpickle.dumps(part) for part in parts]
        except Exception as fault:  # whatever a user's object raises when it is pickled
            raise IsometryError(
                f"The experiment cannot be sent to Ray: {fault}. Make what cannot be pickled (open files, locks, "
                f"generators) inside its functions."
            ) from fault

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        address = self._address or os.environ.get("RAY_ADDRESS", "")
        try:
            _require_listener(address)
            with unless_set("RAY_USAGE_STATS_ENABLED", "0"):  # nobody is to be told of a Ray that we start
                self._ray.init(
                    address=self._address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
                )
        except (ConnectionError, RuntimeError, ValueError, OSError) as fault:
            place = f"at {address}" if address else "on this machine"
            raise IsometryError(
                f"Ray could not be reached or started {place}: {fault}. `ray status` tells whether one runs, "
                f"`ray start --head` starts one, and its address is what it prints. One that asks for a token needs "
                f"RAY_AUTH_MODE and RAY_AUTH_TOKEN set here as there."
            ) from fault
        self._started = True

    def _environment(self) -> dict[str, str]:
        """Of the processes that train."""
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, int(self._needs["CPU"]))))
        # Older versions of Ray hide all GPUs from whoever was promised none.
        return {"OMP_NUM_THREADS": threads, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

    def _tell_of_waiting(self) -> None:
        """Trainings for which there is no room would wait without a word."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(have.get(kind, 0) >= need for kind, need in self._needs.items()) for have in machines):
            most = ", ".join(f"{max(have.get(kind, 0) for have in machines):g} {kind}" for kind in self._needs)
            needed = ", ".join(f"{need:g} {kind}" for kind, need in self._needs.items())
            self._say(f"A training needs {needed}, and no machine of this Ray has more than {most}: waiting for one.")

    def _heard(self, calls: Iterator[tuple[int, Any]]) -> Generator[tuple[int, Any], None, None]:
        """Place and reply of each call as it ends; calls are made as others end."""
        running = {call: place for place, call in islice(calls, self._workers)}
        try:
            while running:
                (reply,), _ = self._ray.wait(list(running), num_returns=1)
                place = running.pop(reply)
                running |= {call: further for further, call in islice(calls, 1)}
                yield place, reply
        finally:
            if running and self._ray.is_initialized():
                for call in running:
                    self._ray.cancel(call, force=True)
                self._ray.wait(list(running), num_returns=len(running), timeout=PATIENCE)

    def _result(self, reply: Any) -> Any:
        try:
            packed = self._ray.get(reply)
        except self._ray.exceptions.RayTaskError as fault:  # Ray could not even begin
            raise IsometryError(
                f"A training could not begin on another machine: {fault}. Every machine needs the same versions of "
                f"Python, Ray and isometry."
            ) from fault
        except self._ray.exceptions.RayError as fault:
            sentence, *_ = " ".join(str(fault).split()).split(". ")
            return Died(f"Ray lost its process: {sentence.rstrip('.')} ({type(fault).__name__})")
        return result(packed)


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise IsometryError(
            "engine='ray' needs Ray, which is not installed here. Install it: pip install isometry[ray]"
        ) from None
    return ray


def _require_listener(address: str) -> None:
    """Where nobody listens, Ray goes on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()


def _carried_out(function: bytes, task: bytes, paths: Sequence[str], folder: str) -> bytes:
    """In the process: modules and files are found as where the task came from."""
    sys.path[:] = [*paths, *(path for path in sys.path if path not in paths)]
    if Path(folder).is_dir():
        os.chdir(folder)
    try:
        known = pickle.loads(function)
    except Exception as fault:  # noqa: BLE001  whatever a user's module raises when it is imported
        return refusal(
            f"The experiment cannot be read on {platform.node()}: {type(fault).__name__}: {fault}. Its modules are "
            f"needed there at the same path, as on a shared file system, and the packages that it imports."
        )
    return answer(known, task)
