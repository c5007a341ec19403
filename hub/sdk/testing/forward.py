"""A pass-through to a real system, so that faults can be put in front of an ERP that nobody here wrote."""

import http.client
from urllib.parse import urlencode, urlsplit

from hub.sdk.steps import Response
from hub.sdk.testing.simulator import SimRequest, answer


class Forward:
    """Hands each request to ``base_url`` unchanged and returns its answer."""

    def __init__(self, base_url: str, timeout_seconds: float = 60.0) -> None:
        self._url = urlsplit(base_url)
        self._timeout = timeout_seconds

    def handle(self, request: SimRequest) -> Response:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=self._timeout)
        try:
            target = request.path + (f"?{urlencode(request.params)}" if request.params else "")
            drop = ("host", "connection", "accept-encoding")
            headers = {name: value for name, value in request.headers.items() if name not in drop}
            connection.request(request.method, target, request.body or None, headers)
            raw = connection.getresponse()
            content = raw.read()
            keep = ("content-type", "retry-after")
            kept = {name.lower(): value for name, value in raw.getheaders() if name.lower() in keep}
            return Response(raw.status, kept, content)
        finally:
            connection.close()

    def throttled(self, seconds: int) -> Response:
        return answer(429, {"detail": "throttled by the fault proxy"}, {"retry-after": str(seconds)})
