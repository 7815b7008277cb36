"""The model at the service of many requests: pictures are read in threads, and embedded together by one of them."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent import futures
from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.galleries import pictures as of_rows
from geodesic.experiments.serving import batches, pictures, similarity
from geodesic.experiments.serving.refusal import Refused
from geodesic.experiments.trained import attribution


class Embedded(NamedTuple):
    """vector: f32[D], not normalised. extension: of its format. content: its bytes, where they were kept."""

    vector: np.ndarray
    extension: str
    digest: str
    content: bytes


class OneAtATime:
    """The run, whose devices one thread uses at a time: programs for many devices must start in one order on each."""

    def __init__(self, run):
        self._run, self._lock = run, threading.Lock()

    def __getattr__(self, name: str):
        return getattr(self._run, name)

    def embed_source(self, *args, **options):
        with self._lock:
            return self._run.embed_source(*args, **options)

    def embed_views(self, views: np.ndarray, batch_size: int) -> np.ndarray:
        with self._lock:
            return self._run.embed_views(views, batch_size)


class Model:
    """batch: pictures that go through the network together, always so many, padded. wait: seconds for which the first
    of them waits for others. told: of how many there were."""

    def __init__(self, run, batch: int, wait: float, most_pixels: int, told: Callable[[int], None]):
        self.run, self.most_pixels = OneAtATime(run), most_pixels
        threads = os.cpu_count() or 1
        self._readers = futures.ThreadPoolExecutor(threads, "picture")
        self._explains = futures.ThreadPoolExecutor(1, "explain")
        # So many pictures are in memory at once: the others wait as they came, the larger ones on the disk.
        self._room, self._explaining = asyncio.Semaphore(2 * threads), asyncio.Semaphore(2)
        work = lambda views: [*self.run.embed_views(np.stack(views), batch)]
        self._batches = batches.Batches(work, batch, wait if batch > 1 else 0.0, told)
        size = run.config.input.image_size
        self.run.embed_views(np.zeros((1, size, size, 3), np.uint8), batch)  # compiles before anybody waits

    async def embed(self, upload, keep: bool = False) -> Embedded:
        """Of what has a method `read`. keep: its bytes too. Raises Refused."""
        async with self._room:
            content = await upload.read()
            seen = await self._in(self._readers, self._seen, content)
            content = content if keep else b""
        row = await asyncio.wrap_future(self._batches.submit(seen.pop("view")))
        if not np.isfinite(row).all() or not row.any():
            raise Refused(422, "the embedding of the picture is zero or not finite")
        return Embedded(row, content=content, **seen)

    async def explain(self, one, other) -> tuple[float, bytes]:
        """(cosine, the similarity map as a PNG)."""
        async with self._explaining:
            contents = [await upload.read() for upload in (one, other)]
            return await self._in(self._explains, self._explained, *contents)

    async def read(self, function: Callable, *arguments):
        """What a function gives that reads pictures."""
        return await self._in(self._readers, function, *arguments)

    def waiting(self) -> int:
        return self._batches.waiting()

    def close(self) -> None:
        self._readers.shutdown()
        self._explains.shutdown()
        self._batches.close()

    def _seen(self, content: bytes) -> dict:
        extension = pictures.check(content, self.most_pixels)
        return {"view": pictures.view(content, self.run.config.input), "extension": extension,
                "digest": of_rows.digest({"image": content})}

    def _explained(self, one: bytes, other: bytes) -> tuple[float, bytes]:
        for content in (one, other):
            pictures.check(content, self.most_pixels)
        try:
            found = attribution.pair(self.run, one, other)
        except UserError as error:
            raise Refused(422, str(error)) from error
        return found.cosine, similarity.draw(found.views, found.maps)

    @staticmethod
    async def _in(pool: futures.Executor, function: Callable, *arguments):
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
