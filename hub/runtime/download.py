"""Files of a catalogue, from a folder or over HTTP: bounded in time and size, so that a server can neither hold nor flood."""

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from urllib.parse import unquote, urlsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

_CHUNK = 65536
MAX_BYTES = 24 * 1024 * 1024


class Download(FetcherInterface):
    """`file://` and http(s) URLs; each file whole within ``seconds``, headers included, whatever the server does."""

    def __init__(self, seconds: float = 30.0) -> None:
        self._seconds = seconds
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=5))

    def _fetch(self, url: str) -> Iterator[bytes]:
        if urlsplit(url).scheme == "file":
            path = Path(unquote(urlsplit(url).path))
            if not path.is_file():
                raise DownloadHTTPError(f"{path}: no such file", 404)
            return iter([path.read_bytes()])
        answer: SimpleQueue[bytes | Exception] = SimpleQueue()
        given_up = threading.Event()
        threading.Thread(target=self._get, args=(url, answer, given_up), name="download", daemon=True).start()
        try:
            content = answer.get(timeout=self._seconds)
        except Empty:
            given_up.set()
            raise DownloadError(f"{url} is not here after {self._seconds:.0f} s") from None
        if isinstance(content, Exception):
            raise content
        return iter([content])

    def _get(self, url: str, answer: "SimpleQueue[bytes | Exception]", given_up: threading.Event) -> None:
        """In a thread of its own: headers that drip in block it for as long as they like, and nobody else."""
        try:
            response = self._pool.request(
                "GET", url, preload_content=False, redirect=False, headers={"User-Agent": "crossdock"}
            )
            try:
                answer.put(self._body(url, response, given_up))
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError, DownloadError) as error:
            answer.put(error if isinstance(error, DownloadError) else DownloadError(f"{url}: {error}"))

    @staticmethod
    def _body(url: str, response: urllib3.BaseHTTPResponse, given_up: threading.Event) -> bytes:
        if response.status != 200:
            raise DownloadHTTPError(f"{url} answered {response.status}", response.status)
        content = bytearray()
        while (chunk := response.read1(_CHUNK)) and not given_up.is_set():
            content += chunk
            if len(content) > MAX_BYTES:
                raise DownloadError(f"{url} is longer than {MAX_BYTES} bytes")
        return bytes(content)
