"""Jobs are done once, kept as they come, and never mixed."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from audit.core.parcel import Parcel
from audit.executor import Job, Store, execute, processes


def square(payloads: Sequence[float]) -> Iterator[Parcel]:
    for payload in payloads:
        if payload < 0:
            raise ValueError("negative")
        yield Parcel(arrays={"square": np.array([payload**2])})


def wait_long(payloads: Sequence[float]) -> Iterator[Parcel]:
    for payload in payloads:
        time.sleep(payload)
        yield Parcel()


def jobs(*payloads: float) -> list[Job[float]]:
    return [Job(key=f"k{payload}", payload=payload) for payload in payloads]


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (1, 3), (2, 2)])
def test_every_job_is_done_wherever_it_runs(tmp_path: Path, workers: int, batch: int) -> None:
    store, counted = Store(folder=tmp_path), []
    wanted = jobs(1.0, 2.0, 3.0, 4.0)
    execute(wanted, square, store, workers=workers, batch=batch, done=counted.append)
    assert [float(store.read(j.key).arrays["square"][0]) for j in wanted] == [1.0, 4.0, 9.0, 16.0]
    assert sum(counted) == 4


def test_what_is_there_is_not_done_again(tmp_path: Path) -> None:
    store = Store(folder=tmp_path)
    execute(jobs(1.0, 2.0), square, store, workers=1, batch=1)
    before = store.path("k1.0").stat().st_mtime_ns
    counted: list[int] = []
    execute(jobs(1.0, 2.0, 3.0), square, store, workers=1, batch=1, done=counted.append)
    assert counted == [1]
    assert store.path("k1.0").stat().st_mtime_ns == before


def test_an_error_keeps_what_was_done_and_a_second_call_goes_on(tmp_path: Path) -> None:
    store = Store(folder=tmp_path)
    with pytest.raises(ValueError, match="negative"):
        execute(jobs(1.0, -1.0, 2.0), square, store, workers=1, batch=3)
    assert [j.payload for j in store.missing(jobs(1.0, -1.0, 2.0))] == [-1.0, 2.0]
    execute(jobs(1.0, 2.0), square, store, workers=1, batch=1)
    assert not store.missing(jobs(1.0, 2.0))


def test_an_interrupt_stops_the_workers_at_once_and_keeps_what_came_in(tmp_path: Path) -> None:
    store = Store(folder=tmp_path)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        execute(jobs(0.1, 300.0, 300.0), wait_long, store, workers=2, batch=1, done=interrupt)
    assert time.monotonic() - started < 60
    assert not multiprocessing.active_children()
    assert store.path("k0.1").is_file()


def test_an_error_in_a_worker_comes_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="negative"):
        execute(jobs(-1.0, -2.0), square, Store(folder=tmp_path), workers=2, batch=1)


def die(payloads: Sequence[float]) -> Iterator[Parcel]:
    os._exit(1)
    yield Parcel()


def test_a_worker_that_dies_is_an_error_and_no_endless_wait(tmp_path: Path) -> None:
    with pytest.raises(BrokenProcessPool):
        execute(jobs(1.0, 2.0), die, Store(folder=tmp_path), workers=2, batch=1)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "slow_jobs.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from audit.executor import Job, Store, execute\n"
        "def work(payloads):\n"
        "    for folder in payloads:\n"
        "        Path(folder, f'{os.getpid()}.pid').touch()\n"
        "        time.sleep(60)\n"
        "        yield None\n"
        "if __name__ == '__main__':\n"
        "    here = os.getcwd()\n"
        "    jobs = [Job(key=str(i), payload=here) for i in range(2)]\n"
        "    execute(jobs, work, Store(folder=Path(here)), workers=2, batch=1)\n"
    )
    parent = subprocess.Popen([sys.executable, "slow_jobs.py"], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_what_goes_wrong_in_one_pool_leaves_another_one_alone(tmp_path: Path) -> None:
    with processes(1) as pool:
        first = pool.submit(os.getpid).result()
        with pytest.raises(ValueError, match="negative"):
            execute(jobs(-1.0, -2.0), square, Store(folder=tmp_path), workers=2, batch=1)
        assert pool.submit(os.getpid).result() == first


def test_an_error_ends_workers_in_the_middle_of_a_job() -> None:
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), processes(2) as pool:
        for _ in range(4):
            pool.submit(time.sleep, 60)
        time.sleep(0.5)
        raise KeyboardInterrupt
    assert time.monotonic() - begun < 30
