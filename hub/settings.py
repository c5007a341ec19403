"""Settings: read once from the environment (HUB_*), checked, passed on as one object. Nothing reads them at import."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hub.errors import MisconfiguredError


def _described(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """Every setting with its default; the environment variable is `HUB_` + the name in capitals."""

    data_dir: Path = _described(Path("crossdock-data"), "Folder of the embedded engine: SQLite file, keys, lock.")
    database_url: str = _described("", "SQLAlchemy URL; empty: SQLite in data_dir. PostgreSQL: postgresql+psycopg://…")
    broker_url: str = _described(
        "memory://", "Broker: amqp://… is RabbitMQ (several nodes separated by ;), memory:// the embedded one, others by kombu."
    )
    broker_prefix: str = _described("", "Prefix of exchange and queue names, so that hubs can share a broker.")
    confirm_seconds: float = _described(5.0, "How long a publish waits for the broker's confirms before it counts as failed.")
    prefetch: int = _described(200, "Delivery ids a worker holds per lane; the windows per connection keep it far below.")
    drain_seconds: float = _described(20.0, "How long a worker that is told to stop may finish what it has in hand.")
    host: str = _described("127.0.0.1", "Address the HTTP edge listens on.")
    port: int = _described(8700, "Port of the HTTP edge.")
    public_url: str = _described(
        "", "URL by which vendors reach the hub (webhook signatures cover it); empty: http://host:port."
    )
    egress_private_hosts: str = _described(
        "", "Comma-separated host or host:port in private networks that connections may reach."
    )
    lease_seconds: float = _described(30.0, "How long a claim on a delivery lasts without renewal.")
    max_attempts: int = _described(12, "Tries of a delivery before it is dead-lettered (an outage or a limit does not count).")
    retry_base_seconds: float = _described(2.0, "First backoff; doubles per try, with jitter.")
    retry_cap_seconds: float = _described(3600.0, "Longest backoff.")
    backing_poll_seconds: float = _described(
        900.0, "How often what is told by webhooks is read, too: what they lose is found so."
    )
    subscription_seconds: float = _described(
        3600.0, "How often the hub looks whether systems still send their webhooks, and mends what is missing."
    )
    drift_seconds: float = _described(
        3600.0, "How often the hub looks whether the fields that maps set are still in the accounts."
    )
    full_read_ask_share: float = _described(
        0.1, "A full read that misses a larger share of the known records (and more than ten of them) asks a person before it "
        "withdraws them; it asks in any case where more than half are missing.",
    )  # fmt: skip
    backfill_share: float = _described(0.2, "Share of the time in which a backfill is read and translated beside live work.")
    backfill_alone_share: float = _described(0.75, "The same where no live work has come for ten seconds.")
    sweep_seconds: float = _described(1.0, "How often the relay sweeps by state.")
    translate_threads: int = _described(4, "Raw inputs of a connection that read their records at the same time.")
    field_sample: int = _described(
        20, "Every so-manieth body of a client has its field names noted: whom a change meets; 0: none."
    )
    max_body_bytes: int = _described(1024 * 1024, "Largest body of a single event or webhook.")
    max_batch_bytes: int = _described(10 * 1024 * 1024, "Largest body of a batch.")
    max_depth: int = _described(32, "Deepest nesting of a JSON body.")
    dedupe_days: int = _described(30, "How long source event ids and idempotency keys are remembered.")
    retention_days: int = _described(
        0, "Messages, deliveries, attempts and raw input that are over are forgotten so many days after they came; 0: never. "
        "The audit chain is kept.",
    )  # fmt: skip
    retry_horizon_days: int = _described(7, "How long a delivery may be retried, dead letters and replays included.")
    otlp_endpoint: str = _described("", "OTLP/HTTP endpoint for traces, e.g. http://jaeger:4318; empty: no export.")
    trace_sample_ratio: float = _described(
        0.1, "Share of new traces that are sampled (0 to 1); spans that fail are always recorded."
    )
    plugins_dir: str = _described("", "Folder of plugins from a catalogue and of isolated ones; empty: plugins in data_dir.")
    catalogue: str = _described(
        "", "Catalogue of plugins: a folder or http(s) URL; empty: none. Trust it once by `hub catalogue trust`."
    )
    catalogue_seconds: float = _described(60.0, "How often the catalogue is asked what was revoked.")
    in_process_plugins: str = _described(
        "crossdock-*", "Comma-separated patterns of distributions, installed beside the hub, that run in its process; every "
        "other plugin runs isolated.",
    )  # fmt: skip
    plugin_fences: str = _described(
        "files,calls", "Kernel fences without which no isolated plugin is started: network, files, calls; empty: none needed."
    )
    plugin_memory_mb: int = _described(512, "Memory of an isolated plugin's process, in MiB.")
    plugin_step_seconds: float = _described(10.0, "How long one step of an isolated plugin may take.")
    plugin_processes: int = _described(64, "Processes of isolated plugins at the same time, one per connection in use.")
    vault_key: str = _described("", "Key that encrypts credentials (44 characters, base64); empty: a key file in data_dir.")

    def __post_init__(self) -> None:
        if self.dedupe_days < self.retry_horizon_days:
            raise MisconfiguredError(
                "HUB_DEDUPE_DAYS", f"{self.dedupe_days} is less than HUB_RETRY_HORIZON_DAYS ({self.retry_horizon_days}); "
                "a replay could be applied twice",
            )  # fmt: skip
        if self.retention_days != 0 and self.retention_days < self.dedupe_days:
            raise MisconfiguredError(
                "HUB_RETENTION_DAYS", f"{self.retention_days} is less than HUB_DEDUPE_DAYS ({self.dedupe_days}): what is told "
                "again would not be known any more; 0 keeps everything",
            )  # fmt: skip
        if not 0 <= self.full_read_ask_share <= 1:
            raise MisconfiguredError("HUB_FULL_READ_ASK_SHARE", "must be between 0 and 1")
        if not 0 <= self.trace_sample_ratio <= 1:
            raise MisconfiguredError("HUB_TRACE_SAMPLE_RATIO", "must be between 0 and 1")
        for name in (
            "lease_seconds",
            "sweep_seconds",
            "backing_poll_seconds",
            "subscription_seconds",
            "drift_seconds",
            "backfill_share",
            "backfill_alone_share",
            "confirm_seconds",
            "prefetch",
            "translate_threads",
        ):
            if getattr(self, name) <= 0:
                raise MisconfiguredError(f"HUB_{name.upper()}", "must be positive")

    @property
    def embedded(self) -> bool:
        return not self.database_url

    @property
    def store_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'hub.sqlite'}"

    @property
    def plugins_home(self) -> Path:
        return Path(self.plugins_dir) if self.plugins_dir else self.data_dir / "plugins"

    @property
    def base_url(self) -> str:
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


def from_environment(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from HUB_* variables; raises MisconfiguredError naming the variable that cannot be used."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    known = {f"HUB_{item.name.upper()}": item for item in fields(Settings)}
    for name in environment:
        if name.startswith("HUB_") and name not in known:
            raise MisconfiguredError(name, f"is not a setting; known: {', '.join(sorted(known))}")
    for name, item in known.items():
        if name in environment:
            kind: Any = type(item.default)
            try:
                values[item.name] = kind(environment[name])
            except ValueError:
                raise MisconfiguredError(name, f"{environment[name]!r} is not a {kind.__name__}") from None
    return Settings(**{**values, **{key: value for key, value in overrides.items() if value is not None}})
