"""What a plugin's tests and the demo need: run steps against a simulator, serve it over HTTP, inject faults.

Only the standard library and the SDK; nothing here is used by a running hub.
"""

from hub.sdk.testing.cassette import Cassette, CassetteError
from hub.sdk.testing.drive import drive
from hub.sdk.testing.faults import Fault, FaultPlan
from hub.sdk.testing.forward import Forward
from hub.sdk.testing.server import SimulatorServer
from hub.sdk.testing.simulator import SimRequest, Simulator, answer, route
from hub.sdk.testing.webhooks import OutgoingWebhook, WebhookSender

__all__ = [
    "Cassette",
    "CassetteError",
    "Fault",
    "FaultPlan",
    "Forward",
    "OutgoingWebhook",
    "SimRequest",
    "Simulator",
    "SimulatorServer",
    "WebhookSender",
    "answer",
    "drive",
    "route",
]
