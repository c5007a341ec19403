"""A connector's manifest as a contract: what it reads and writes, what each write guarantees, what it asks a retailer for."""

from collections.abc import Iterator, Mapping
from typing import Any

from hub.contracts.changes import Change, severity
from hub.sdk.manifest import Manifest

#: Guarantee levels from the strongest to none (DESIGN, "Ambiguous writes").
LEVELS = ("effect-once", "effect-once with look-up", "at-least-once")


def described(manifest: Manifest) -> dict[str, Any]:
    """What others rely on in a manifest."""
    data = manifest.data
    return {
        "version": data["version"], "canonical": data["canonical"],
        "hosts": sorted({*(environment["base_url"] for environment in data["environments"].values()), *_token_hosts(data)}),
        "reads": sorted(name for name, item in manifest.objects.items() if item["read"]),
        "types": sorted({item["map"]["type"] for item in manifest.objects.values() if item["map"]}),
        "writes": {name: manifest.guarantee(name) for name in sorted(manifest.writes)},
        "credentials": sorted(data["credentials"]),
        "settings": {name: _must(said) for name, said in sorted(data["settings"].items())},
    }  # fmt: skip


def _token_hosts(data: Mapping[str, Any]) -> list[str]:
    oauth2 = data["auth"]["oauth2"]
    return [url for url in (oauth2["token_url"], oauth2["authorize_url"]) if url.startswith("http")] if oauth2 else []


def _must(setting: Mapping[str, Any]) -> bool:
    """Whether a retailer has to give it."""
    return bool(setting["required"] and setting["default"] is None)


def compare_connectors(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What changed between the connectors of two contracts."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            found.append(_change("connector-removed", name, "", name, None))
        elif name not in old:
            found.append(_change("connector-added", name, "", None, name))
        else:
            found += _compare(name, old[name], new[name])
    return found


def _change(rule: str, connector: str, place: str, before: Any, after: Any) -> Change:
    where = f"connector {connector}{f' {place}' if place else ''}"
    return Change(rule, severity(rule), where, f"connectors#/{connector}", before, after)


def _compare(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for key, word in (("reads", "read"), ("types", "type")):
        for item in sorted(set(old[key]) - set(new[key])):
            yield _change("connector-read-removed", name, f"{word} {item}", item, None)
        for item in sorted(set(new[key]) - set(old[key])):
            yield _change("connector-read-added", name, f"{word} {item}", None, item)
    for item in sorted(old["writes"].keys() | new["writes"].keys()):
        before, after = old["writes"].get(item), new["writes"].get(item)
        place = f"write {item}"
        if after is None:
            yield _change("connector-write-removed", name, place, before, None)
        elif before is None:
            yield _change("connector-write-added", name, place, None, after)
        elif before != after:
            lowered = LEVELS.index(after) > LEVELS.index(before)
            yield _change(
                "connector-guarantee-lowered" if lowered else "connector-guarantee-raised", name, place, before, after
            )
    for host in sorted(set(new["hosts"]) - set(old["hosts"])):
        yield _change("connector-host-added", name, "", None, host)
    for credential in sorted(set(new["credentials"]) - set(old["credentials"])):
        yield _change("connector-credential-added", name, "", None, credential)
    for setting, required in sorted(new["settings"].items()):
        if required and not old["settings"].get(setting, False):
            yield _change("connector-setting-required", name, "", None, setting)
    for setting in sorted(old["settings"].keys() - new["settings"].keys()):
        yield _change("connector-setting-removed", name, "", setting, None)
    if old["canonical"] != new["canonical"]:
        yield _change("connector-canonical-changed", name, "", old["canonical"], new["canonical"])
