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
    """A cluster in ``folder``; fsync is on. ``of``: a standby that follows that one."""

    disk: "Disk | None" = None

    def __init__(self, folder: Path, port: int, of: "Postgres | None" = None) -> None:
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
        program, data = find_program("initdb"), str(folder / "data")
        command = [program, "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]
        if of is not None:
            command = [find_program("pg_basebackup"), "-D", data, "-h", "127.0.0.1", "-p", str(of.port), "-U", "postgres", "-R",
                       "-c", "fast"]  # fmt: skip
        subprocess.run(command, user=self._user, check=True, cwd=folder, capture_output=True)

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


class Replicated:
    """A primary and a standby that has each commit before it is answered; `fail_over` makes the standby the primary.

    The one that failed never comes back (it would take writes beside the new one); a new standby stands in its place.
    """

    disk: "Disk | None" = None

    def __init__(self, folder: Path, start: int) -> None:
        self._folder, self._made = folder, 0
        self._primary = Postgres(folder / "pg", free_port(start))
        self._standby: Postgres | None = None
        self.port, self._other = self._primary.port, free_port(start + 5)

    @property
    def url(self) -> str:
        hosts = "&".join(f"host=127.0.0.1:{port}" for port in (self.port, self._other))
        return f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs=read-write"

    @property
    def alive(self) -> bool:
        return self._primary.alive

    def start(self) -> None:
        self._primary.start()
        if self._standby is None:
            self._follow(self._other)

    def _follow(self, port: int) -> None:
        self._made += 1
        self._standby = Postgres(self._folder / f"pg{self._made}", port, self._primary)
        self._standby.start()
        self._ask("ALTER SYSTEM SET synchronous_standby_names TO '*'")
        self._ask("SELECT pg_reload_conf()")
        until = time.monotonic() + 60
        while self._ask("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != 1:
            assert time.monotonic() < until, "the standby does not follow"
            time.sleep(0.1)

    def _ask(self, text: str) -> object:
        with psycopg.connect(self._primary.url.replace("+psycopg", ""), autocommit=True) as connection:
            found = connection.execute(text)
            row = found.fetchone() if found.description else None
            return row[0] if row else None

    def kill(self) -> None:
        """kill -9 of the primary; `start` brings it back as the primary."""
        self._primary.kill()

    def fail_over(self) -> None:
        """kill -9 of the primary for ever; the standby takes its place and gets a standby of its own."""
        assert self._standby is not None
        failed = self._primary
        failed.kill()
        self._primary, self._standby = self._standby, None
        self._ask("SELECT pg_promote()")
        self._follow(failed.port)

    def pids(self) -> list[int]:
        return [pid for server in (self._primary, self._standby) if server is not None for pid in server.pids()]

    def stop(self) -> None:
        for server in (self._primary, self._standby):  # the primary first: it waits for the standby
            if server is not None:
                server.stop()


class RabbitMQ:
    """A node in ``folder`` with an epmd of its own, or that of the node ``beside``, with which it makes a cluster."""

    def __init__(self, folder: Path, port: int, beside: "RabbitMQ | None" = None) -> None:
        self.folder, self.port, self._beside = folder, port, beside
        self._home: Path = beside._home if beside else folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{port}\nloopback_users = none\nvm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 50MB\nlog.file.level = error\n"
        )
        (folder / "enabled_plugins").write_text("[].")
        self._epmd: int = beside._epmd if beside else free_port(port + 200)
        self._environment = {
            **os.environ, "HOME": str(self._home), "RABBITMQ_NODENAME": self._name, "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port(port + 100)), "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"), "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"), "RABBITMQ_PID_FILE": str(folder / "pid"),
            "ERL_EPMD_PORT": str(self._epmd), "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _name(self) -> str:
        return f"chaos{self.port}@localhost"

    def join(self) -> None:
        """Become part of the cluster of the node beside."""
        assert self._beside is not None
        for arguments in (("stop_app",), ("join_cluster", self._beside._name), ("start_app",)):
            self.control(*arguments)
        self.wait()

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


class RabbitCluster:
    """Several nodes as one broker: `kill` takes the next in turn, `start` brings it back; the others go on."""

    def __init__(self, folder: Path, start: int, nodes: int) -> None:
        first = RabbitMQ(folder / "mq", free_port(start))
        self._nodes = [first, *(RabbitMQ(folder / f"mq{n}", free_port(start + 20 * n), first) for n in range(1, nodes))]
        self._turn = -1
        self.port = first.port

    @property
    def url(self) -> str:
        return ";".join(node.url for node in self._nodes)

    def start(self) -> None:
        """All of them at first, later the one that was killed."""
        if self._turn >= 0:
            self._nodes[self._turn].start()
            return
        for node in self._nodes:
            node.start()
        for node in self._nodes[1:]:
            node.join()

    def kill(self) -> None:
        self._turn = (self._turn + 1) % len(self._nodes)
        self._nodes[self._turn].kill()

    def control(self, *arguments: str) -> str:
        return self._nodes[0].control(*arguments)

    def stop(self) -> None:
        for node in reversed(self._nodes):  # the first has everybody's epmd
            node.stop()


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
def running(
    folder: Path, start: int = 24000, small_disk: bool = False, brokers: int = 1, standby: bool = False
) -> Iterator[tuple[Any, Any]]:
    """(PostgreSQL, RabbitMQ), started; stopped and removed afterwards. Raises MissingServiceError.

    ``small_disk``: the database lies on a small file system of its own (`Postgres.disk`), where that can be made.
    ``brokers``: nodes of a RabbitMQ cluster. ``standby``: the database has one (then its disk is never full).
    """
    for name in ("initdb", "postgres", "rabbitmq-server"):
        find_program(name)
    disk = Disk(folder / "pg") if small_disk and not standby else None
    postgres: Any = Replicated(folder, start) if standby else Postgres(folder / "pg", free_port(start))
    rabbit: Any = RabbitMQ(folder / "mq", free_port(start + 10))
    if brokers > 1:
        rabbit = RabbitCluster(folder, start + 10, brokers)
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
