"""Pure, independent jobs keyed by a hash of their content: done once, kept, never mixed.

A job's result depends on its payload alone, and its key on everything that shapes the result. So
results can be kept under their keys, an interrupted call goes on where it stopped, and it does not
matter where the work is done.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from audit.core.parcel import Parcel
from audit.formats.parcels import read_parcel, write_parcel

RESULT = "result.safetensors"

Payload = TypeVar("Payload")
Work = Callable[[Sequence[Payload]], Iterator[Parcel]]
"""A function of a module, which worker processes find by its name: payloads to their results."""


@dataclass(frozen=True, kw_only=True)
class Job(Generic[Payload]):
    """One job.

    Args:
        key: Hash of everything that shapes the result, code included.
        payload: What the work needs.
    """

    key: str
    payload: Payload


@dataclass(frozen=True, kw_only=True)
class Store:
    """Results under their keys, ``<folder>/<key>/result.safetensors``.

    Args:
        folder: It need not exist.
    """

    folder: Path

    def path(self, key: str) -> Path:
        """Return where a result lies, or would."""
        return self.folder / key / RESULT

    def missing(self, jobs: Sequence[Job[Payload]]) -> list[Job[Payload]]:
        """Return the jobs without a result."""
        return [job for job in jobs if not self.path(job.key).is_file()]

    def read(self, key: str) -> Parcel:
        """Return a result.

        Raises:
            IntegrityError: It is missing or damaged.
        """
        return read_parcel(self.path(key))


def execute(
    jobs: Sequence[Job[Payload]],
    work: Work[Payload],
    store: Store,
    *,
    workers: int,
    batch: int,
    done: Callable[[int], None] = lambda _: None,
) -> None:
    """Do the jobs that have no result yet; each result is kept as soon as it is there.

    Args:
        jobs: What is wanted.
        work: How it is done; several payloads at a time, since some work is cheaper together.
        store: Where results are kept.
        workers: Processes; 1: this one.
        batch: Payloads that are worked on together.
        done: Told how many results came in.

    Raises:
        Exception: What the work raised; results that came before are kept.
    """
    todo = store.missing(jobs)
    groups = [todo[i : i + batch] for i in range(0, len(todo), batch)]
    if workers == 1 or len(groups) == 1:
        for group in groups:
            for _ in _perform(work, group, store):
                done(1)
        return
    with processes(min(workers, len(groups))) as pool:
        futures = [pool.submit(_performed, work, group, store) for group in groups]
        for future in as_completed(futures):
            done(future.result())


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Give worker processes, which start when they are needed.

    They leave an interrupt to this process, and end with it. Where the block ends by an exception
    they end at once, in the middle of what they do.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_follow_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
                child.join()
            raise


def processors() -> int:
    """Return how many processes this machine runs side by side."""
    return len(os.sched_getaffinity(0))


def _perform(work: Work[Payload], jobs: Sequence[Job[Payload]], store: Store) -> Iterator[None]:
    results = work([job.payload for job in jobs])
    for job, result in zip(jobs, results, strict=True):
        write_parcel(store.path(job.key), result)
        yield


def _follow_parent() -> None:
    """Let the parent process alone answer an interrupt, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _performed(work: Work[Payload], jobs: Sequence[Job[Payload]], store: Store) -> int:
    """Do a group in a worker process; return how many results it made."""
    return sum(1 for _ in _perform(work, jobs, store))
