"""A PostgreSQL and a RabbitMQ of our own, on ports of our own: killed and restarted at will, nobody else's is touched."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg


class MissingServiceError(Exception):
    """The programs are not installed here."""


def free_port(start: int) -> int:
    """A free port from ``start`` on, below 32768 (clients are given the ones above)."""
    for port in range(start, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                with contextlib.suppress(OSError):
                    probe = socket.socket()
                    probe.bind(("127.0.0.1", port))
                    probe.close()
                    return port
    raise AssertionError("no free port")


def find_program(name: str, *places: str) -> str:
    """A server program's path; raises MissingServiceError."""
    for place in [*sorted(str(path) for path in Path("/").glob("usr/lib/postgresql/*/bin")), "/usr/lib/rabbitmq/bin", *places]:
        if (Path(place) / name).exists():
            return str(Path(place) / name)
    found = shutil.which(name)
    if found is None:
        raise MissingServiceError(f"{name} is not installed: the chaos suite starts its own PostgreSQL and RabbitMQ")
    return found


class Postgres:
    """A cluster in ``folder``; fsync is on."""

    disk: "Disk | None" = None

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self._process: subprocess.Popen[bytes] | None = None
        self._user = "postgres" if os.getuid() == 0 else None
        folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            entry = pwd.getpwnam(self._user)
            for path in (folder, *folder.parents):
                if path == Path("/tmp"):
                    break
                path.chmod(path.stat().st_mode | 0o055)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        program = find_program("initdb")
        subprocess.run(
            [program, "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"],
            user=self._user, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        program = find_program("postgres")
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 200,
                   "shared_buffers": "128MB", "log_min_messages": "fatal"}  # fmt: skip
        if self.disk is not None:
            options |= {"max_wal_size": "128MB"}
        arguments = [item for name, value in options.items() for item in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [program, "-D", str(self.folder / "data"), *arguments], user=self._user, cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=(self.folder / "log").open("ab"),
        )  # fmt: skip
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/postgres", connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None:  # an old child still holds the memory: again
                    time.sleep(0.3)
                    return self.start()
                assert time.monotonic() < until, "PostgreSQL does not start"
                time.sleep(0.05)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9 of the postmaster and its children."""
        assert self._process is not None
        children = self.pids()[1:]
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "data/postmaster.pid").unlink()

    def pids(self) -> list[int]:
        """The postmaster and its children."""
        assert self._process is not None
        found = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True, check=False)
        return [self._process.pid, *(int(pid) for pid in found.stdout.split())]

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)


class RabbitMQ:
    """A node in ``folder`` with an epmd of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{port}\nloopback_users = none\nvm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 50MB\nlog.file.level = error\n"
        )
        (folder / "enabled_plugins").write_text("[].")
        self._epmd = free_port(port + 200)
        self._environment = {
            **os.environ, "HOME": str(folder), "RABBITMQ_NODENAME": f"chaos{port}@localhost", "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port(port + 100)), "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"), "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"), "RABBITMQ_PID_FILE": str(folder / "pid"),
            "ERL_EPMD_PORT": str(self._epmd), "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        program = find_program("rabbitmq-server")
        self._process = subprocess.Popen(
            [program], env=self._environment, cwd=self.folder, stdout=(self.folder / "out").open("ab"),
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.wait()

    def wait(self, seconds: float = 120.0) -> None:
        """Until it speaks AMQP."""
        import pika

        until = time.monotonic() + seconds
        while True:
            try:
                pika.BlockingConnection(pika.URLParameters(self.url)).close()
                return
            except Exception:
                assert self._process is not None
                assert self._process.poll() is None, (self.folder / "out").read_text()[-2000:]
                assert time.monotonic() < until, "RabbitMQ does not start"
                time.sleep(0.2)

    def pids(self) -> list[int]:
        """The node's own processes (its session), the virtual machine among them."""
        assert self._process is not None
        found = subprocess.run(["pgrep", "-s", str(self._process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def signal(self, number: int) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def control(self, *arguments: str) -> str:
        """rabbitmqctl."""
        program = find_program("rabbitmqctl")
        result = subprocess.run([program, *arguments], env=self._environment, capture_output=True, text=True, check=True)
        return result.stdout

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        # epmd was started by the node and outlives it: ours has a port nobody else uses
        found = subprocess.run(["pgrep", "-x", "epmd"], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/environ").read_bytes()
                if f"ERL_EPMD_PORT={self._epmd}".encode() in text:
                    os.kill(int(pid), signal.SIGKILL)


class Disk:
    """A small file system that can be filled: a tmpfs in ``folder`` (needs root; without it `available` is False)."""

    def __init__(self, folder: Path, megabytes: int = 700) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._filler = folder, folder / "filler"
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
        try:
            self.available = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            self.available = False

    def fill(self) -> None:
        """Nothing more can be written."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65536)

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        if self.available:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)


class WallClock:
    """The wall clock of the processes started with `environment`; the monotonic one goes on. Needs libfaketime."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall-clock"
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        self.available = bool(found)
        self.environment = {
            "LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        } if found else {}  # fmt: skip
        self.step(0)

    def step(self, seconds: int) -> None:
        """Set it so many seconds off."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.rename(self._file)


@contextlib.contextmanager
def running(folder: Path, start: int = 24000, small_disk: bool = False) -> Iterator[tuple[Any, Any]]:
    """(PostgreSQL, RabbitMQ), started; stopped and removed afterwards. Raises MissingServiceError.

    ``small_disk``: the database lies on a small file system of its own (`Postgres.disk`), where that can be made.
    """
    for name in ("initdb", "postgres", "rabbitmq-server"):
        find_program(name)
    disk = Disk(folder / "pg") if small_disk else None
    postgres, rabbit = Postgres(folder / "pg", free_port(start)), RabbitMQ(folder / "mq", free_port(start + 10))
    postgres.disk = disk if disk is not None and disk.available else None
    try:
        postgres.start()
        rabbit.start()
        yield postgres, rabbit
    finally:
        rabbit.stop()
        postgres.stop()
        if disk is not None:
            disk.close()
