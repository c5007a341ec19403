"""A vendor's webhook sender: queues, retries until 2xx as vendors do, and can duplicate or delay on request."""

import http.client
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class OutgoingWebhook:
    """One webhook to send not before ``due`` (monotonic seconds); ``statuses`` are the answers so far (0: no answer)."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    due: float = 0.0
    attempts: int = 0
    statuses: list[int] = field(default_factory=list)


class WebhookSender:
    """Sends queued webhooks in order of their due time from one thread; no answer or no 2xx is tried again with backoff.

    Attributes:
        acknowledged: webhooks that got their 2xx.
        refused: webhooks that got a 4xx (vendors retry these as well; here they end, to be looked at).
    """

    def __init__(self, retry_seconds: float = 0.5, timeout_seconds: float = 10.0) -> None:
        self.acknowledged: list[OutgoingWebhook] = []
        self.refused: list[OutgoingWebhook] = []
        self._queue: list[OutgoingWebhook] = []
        self._retry, self._timeout = retry_seconds, timeout_seconds
        self._wake = threading.Condition()
        self._stop = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(4)]
        self._busy = 0
        for thread in self._threads:
            thread.start()

    def send(self, webhook: OutgoingWebhook, delay: float = 0.0) -> None:
        """Queue a webhook, ``delay`` seconds from now."""
        webhook.due = time.monotonic() + delay
        with self._wake:
            self._queue.append(webhook)
            self._wake.notify()

    @property
    def waiting(self) -> int:
        """How many are queued or under way."""
        with self._wake:
            return len(self._queue) + self._busy

    def close(self) -> None:
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(self._timeout + 1)

    def _run(self) -> None:
        while True:
            with self._wake:
                webhook = None
                while webhook is None:
                    if self._stop:
                        return
                    due = [item for item in self._queue if item.due <= time.monotonic()]
                    if due:
                        webhook = min(due, key=lambda item: item.due)
                        self._queue.remove(webhook)
                        self._busy += 1
                    else:
                        self._wake.wait(0.05)
            status = post(webhook, self._timeout)
            webhook.attempts += 1
            webhook.statuses.append(status)
            with self._wake:
                self._busy -= 1
                if 200 <= status < 300:
                    self.acknowledged.append(webhook)
                elif 400 <= status < 500 and status != 429:
                    self.refused.append(webhook)
                else:
                    webhook.due = time.monotonic() + min(self._retry * 2 ** min(webhook.attempts - 1, 4), 5.0)
                    self._queue.append(webhook)
                    self._wake.notify()


def post(webhook: OutgoingWebhook, timeout: float = 10.0) -> int:
    """The status the receiver answered, 0 if it did not."""
    url = urlsplit(webhook.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout)
    try:
        connection.request("POST", url.path, webhook.body, {"content-type": "application/json", **webhook.headers})
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
