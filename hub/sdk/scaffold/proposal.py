"""A connector.yaml proposed from a vendor's OpenAPI document: what that says is taken, what it does not say is listed.

Read: base URLs, authentication, lists (where the records are, their id, paging, what changed since), single records, and a
first map to a canonical type by the names of the fields. Nothing is invented: limits, error bodies, idempotency and every
write are the author's to read in the vendor's documents.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from canonical.registry import TYPES

Json = Any
_MOST_OBJECTS = 60
_CURSORS = {"cursor", "page_token", "starting_after", "after", "next_token", "continuation_token"}
_OFFSETS = {"offset", "skip", "$skip", "start"}
_PAGES = {"page", "page_number", "pagenumber"}
_LIMITS = ("limit", "page_size", "pagesize", "per_page", "$top", "size", "count")
_NEXT = ("cursor", "next_cursor", "next", "next_page_token", "continuation_token", "next_token")
_NEXT_URLS = ("@odata.nextLink", "odata.nextLink", "next_url", "nextrecordsurl", "next_page_url")
_LAST, _MORE = {"starting_after", "after"}, ("has_more", "hasmore")
_SINCE = re.compile(r"(updated|modified|changed)_?(since|after|at_min|min|from|at__gte|at_gte)|begin_time|since", re.IGNORECASE)
_CHANGED = (
    "updated_at",
    "modified_at",
    "updateddateutc",
    "last_modified",
    "modified",
    "updated",
    "changed_at",
    "lastmodifieddatetime",
)
_IDS = ("id", "pk", "uuid", "guid")
#: A record's name → the canonical record it may be, and per field of that, the names it goes by.
_RECORDS: Mapping[str, str] = {
    "product": "product.v1", "item": "product.v1", "part": "product.v1", "variant": "product.v1", "article": "product.v1",
    "catalogobject": "product.v1", "customer": "customer.v1", "contact": "customer.v1", "supplier": "supplier.v1",
    "vendor": "supplier.v1", "location": "location.v1", "stocklocation": "location.v1", "account": "account.v1",
}  # fmt: skip
_NAMES: Mapping[str, Sequence[str]] = {
    "sku": ("sku", "code", "item_code", "ipn", "part_number", "number"), "code": ("code", "number", "account_code"),
    "name": ("name", "title", "display_name", "description"), "active": ("active", "is_active", "enabled"),
    "email": ("email", "email_address"), "phone": ("phone", "phone_number"), "updated_at": _CHANGED,
}  # fmt: skip


@dataclass
class Proposal:
    """``manifest`` as connector.yaml holds it, and what the author has to decide, one line each."""

    manifest: dict[str, Json]
    undecided: list[str] = field(default_factory=list)


def propose(openapi: Json, name: str, kind: str, title: str) -> Proposal:
    """A manifest that `parse_manifest` takes. Raises ValueError if ``openapi`` is no OpenAPI 3 document."""
    if not isinstance(openapi, Mapping) or not str(openapi.get("openapi", "")).startswith("3"):
        raise ValueError("not an OpenAPI 3 document (Swagger 2 has to be converted first)")
    return _Reader(openapi, name, kind, title).read()


class _Reader:
    def __init__(self, openapi: Mapping[str, Json], name: str, kind: str, title: str) -> None:
        self._root = openapi
        self._found = Proposal({
            "connector": name, "name": title, "version": "0.1.0", "kind": kind, "canonical": 1,
            "summary": f"Proposed from {openapi.get('info', {}).get('title', 'an OpenAPI document')}.",
        })  # fmt: skip

    def read(self) -> Proposal:
        self._servers()
        self._authentication()
        self._found.manifest["limits"] = {"concurrency": 2}
        self._ask("limits: how many requests in which time does the vendor permit, and how many at once?")
        self._ask("errors: what do error bodies look like, which mean a refusal, which a limit? (status codes are assumed)")
        self._ask(
            "writes: which canonical documents does it take, and how is a lost answer resolved (native_key, upsert, find)?"
        )
        objects = dict(list(self._objects())[:_MOST_OBJECTS])
        if objects:
            self._found.manifest["objects"] = objects
        else:
            self._ask("objects: no list of records was recognised; declare reads by hand")
        first = next((item["read"]["request"]["path"] for item in objects.values()), None)
        if first:
            self._found.manifest["check"] = {"request": {"path": first}}
        return self._found

    def _ask(self, line: str) -> None:
        self._found.undecided.append(line)

    def _servers(self) -> None:
        urls = [str(server.get("url", "")) for server in self._root.get("servers") or ()]
        public = [url for url in urls if url.startswith("https://") and "{" not in url]
        if public:
            self._found.manifest["environments"] = {
                "production" if index == 0 else f"environment_{index + 1}": {"base_url": url.rstrip("/")}
                for index, url in enumerate(dict.fromkeys(public))
            }  # fmt: skip
        else:
            self._found.manifest["self_hosted"] = True
            self._ask(f"environments: {', '.join(urls) or 'no server'} is no public https URL; self_hosted is assumed")

    def _authentication(self) -> None:
        schemes = (self._root.get("components") or {}).get("securitySchemes") or {}
        for name, declared in schemes.items():
            scheme = self._resolved(declared)
            kind, way = scheme.get("type"), str(scheme.get("scheme", "")).lower()
            if kind == "oauth2" and self._oauth2(name, scheme.get("flows") or {}):
                return
            if kind == "http" and way == "bearer":
                self._found.manifest |= {"credentials": {"token": {"description": f"Access token ({name})."}},
                                         "auth": {"headers": {"Authorization": "Bearer {token}"}}}  # fmt: skip
                return
            if kind == "apiKey" and scheme.get("in") == "header":
                self._found.manifest |= {"credentials": {"key": {"description": f"API key ({name})."}},
                                         "auth": {"headers": {str(scheme.get("name")): "{key}"}}}  # fmt: skip
                if str(scheme.get("name")).lower() == "authorization":
                    self._ask(f"auth: {name} is sent as Authorization; does it need a prefix (Token, Bearer)?")
                return
        self._ask(f"auth: none of {', '.join(schemes) or 'no scheme'} is a header that could be proposed")

    def _oauth2(self, name: str, flows: Mapping[str, Json]) -> bool:
        """By a person's agreement where there is that flow, else by the client's own credentials."""
        client: dict[str, Json] = {
            "client_id": {"description": f"Client id ({name})."},
            "client_secret": {"description": "Client secret."},
        }
        for flow, grant in (("authorizationCode", "authorization_code"), ("clientCredentials", "client_credentials")):
            declared = flows.get(flow)
            if not isinstance(declared, Mapping) or not str(declared.get("tokenUrl", "")).startswith("https://"):
                continue
            oauth2: dict[str, Json] = {"grant": grant, "token_url": declared["tokenUrl"]}
            if grant == "authorization_code":
                oauth2["authorize_url"] = str(declared.get("authorizationUrl", ""))
                client["refresh_token"] = {"description": "Refresh token; had by a person's agreement.", "required": False}
            scopes = [str(scope) for scope in declared.get("scopes") or {}]
            self._found.manifest |= {"credentials": client, "auth": {"oauth2": oauth2}}
            self._ask(f"auth: which scopes does it need, as few as possible? {name} has {', '.join(scopes[:30]) or 'none'}")
            self._ask(f"auth: {name} is asked with the client's secret in a Basic header; if the vendor wants it in the form: "
                      "client_auth: post")  # fmt: skip
            return True
        return False

    def _objects(self) -> Iterator[tuple[str, dict[str, Json]]]:
        paths = self._root.get("paths") or {}
        seen: set[str] = set()
        for path, item in paths.items():
            if "{" in path or not isinstance(item, Mapping) or "get" not in item:
                continue
            found = self._list(item["get"])
            if found is None:
                continue
            records, envelope, record = found
            name = re.sub(r"[^a-z0-9]+", "_", path.strip("/").lower()).strip("_")
            properties = self._properties(record)
            identity = self._named(
                properties, (*_IDS, f"{_singular(name.rpartition('_')[2])}id", f"{_singular(name.rpartition('_')[2])}_id")
            )
            if name in seen or identity is None:
                continue
            seen.add(name)
            yield name, self._object(name, path, item, records, envelope, properties, identity)

    def _object(
        self, name: str, path: str, item: Json, records: str, envelope: Mapping[str, Json], properties: Mapping[str, Json],
        identity: str,
    ) -> dict[str, Json]:  # fmt: skip
        parameters = {
            str(p.get("name")): p
            for p in map(self._resolved, [*(item.get("parameters") or ()), *(item["get"].get("parameters") or ())])
        }
        query = [key for key, p in parameters.items() if p.get("in") == "query"]
        params: dict[str, Json] = {}
        paging: dict[str, Json] = {"type": "none"}
        limit = next((key for key in query if key.lower() in _LIMITS), None)
        following = self._named(envelope, _NEXT)
        cursor, offset = (next((key for key in query if key.lower() in names), None) for names in (_CURSORS, _OFFSETS))
        link = self._named(envelope, _NEXT_URLS)
        if link is None and following and not offset and self._resolved(envelope[following]).get("format") == "uri":
            link = following
        more = self._named(envelope, _MORE)
        if link:
            paging = {"type": "next_url", "token": _expression(link)}
        elif cursor and cursor.lower() in _LAST and more:
            paging, params[cursor] = {"type": "last", "more": _expression(more)}, "= page"
        elif cursor and following:
            paging, params[cursor] = {"type": "cursor", "token": _expression(following)}, "= page"
        elif offset:
            paging, params[offset] = {"type": "offset"}, "= page || `0`"
        elif number := next((key for key in query if key.lower() in _PAGES), None):
            paging, params[number] = {"type": "page"}, "= page || `1`"
            self._ask(f"objects.{name}.read.paging: {path} pages by number; how many records has a full page (paging.limit)?")
        else:
            self._ask(f"objects.{name}.read.paging: {path} does not say how it pages")
        if limit:
            params[limit] = "= limit"
        since, changed = next((key for key in query if _SINCE.fullmatch(key)), None), self._named(properties, _CHANGED)
        request: dict[str, Json] = {"path": path, **({"params": params} if params else {})}
        read: dict[str, Json] = {
            "request": request, "records": records, "ref": f"text({_expression(identity)})", "paging": paging,
        }  # fmt: skip
        if since and changed:
            params[since] = "= since"
            request["params"], read["incremental"] = params, _expression(changed)
        else:
            lacks = "parameter for what changed since" if not since else "field that says when it changed"
            self._ask(f"objects.{name}.read.incremental: {path} has no {lacks}; every poll would read everything")
        found: dict[str, Json] = {"read": read}
        below, paths = re.compile(re.escape(path.rstrip("/")) + r"/\{[^}]+\}/?"), self._root["paths"]
        single = next((other for other in paths if below.fullmatch(other) and "get" in paths[other]), None)
        if single:
            found["fetch"] = {"path": re.sub(r"\{[^}]+\}", "{ref}", single)}
        if proposed := self._map(name, properties, identity):
            found["map"] = proposed
        return found

    def _map(self, name: str, properties: Mapping[str, Json], identity: str) -> dict[str, Json] | None:
        type_name = _RECORDS.get(_singular(name.rpartition("_")[2]))
        if type_name is None:
            return None
        data, missing = {"id": f"= text(record.{_expression(identity)})"}, []
        for key, canonical in TYPES[type_name].schema_class().fields.items():
            if key == "id":
                continue
            theirs = self._named(properties, (key, *_NAMES.get(key, ())))
            if theirs is not None and key in (*_NAMES, "id"):
                data[key] = f"= record.{_expression(theirs)}"
            elif canonical.required:
                missing.append(key)
        if missing:
            self._ask(f"objects.{name}.map: {type_name} needs {', '.join(missing)}, which no field of the record is named like")
        self._ask(f"objects.{name}.map: proposed by names only; look at a record: hub plugin map")
        changed = self._named(properties, _CHANGED)
        if not changed:
            self._ask(
                f"objects.{name}.map.source_id: no field is named like a time of change; add one to source_id if there is"
            )
        parts = [
            f"'{name}'",
            f"text(record.{_expression(identity)})",
            *([f"text(record.{_expression(changed)})"] if changed else []),
        ]
        return {"type": type_name, "source_id": f"= join(':', [{', '.join(parts)}])", "data": data}

    def _list(self, operation: Json) -> tuple[str, Mapping[str, Json], Json] | None:
        """(where the records are, the answer's other fields, a record's schema) if an operation answers a list."""
        for status, answer in (operation.get("responses") or {}).items():
            content = self._resolved(answer).get("content") or {}
            schema = next((media.get("schema") for kind, media in content.items() if "json" in kind), None)
            if not str(status).startswith("2") or schema is None:
                continue
            whole = self._resolved(schema)
            if whole.get("type") == "array":
                return "@", {}, self._resolved(whole.get("items") or {})
            properties = self._properties(whole)
            lists = [
                (key, inner)
                for key, value in properties.items()
                if (inner := self._resolved(value)).get("type") == "array"
                and key.lower() not in ("errors", "warnings", "links")
            ]
            for key, inner in lists:
                record = self._resolved(inner.get("items") or {})
                if self._properties(record):
                    return _expression(key), properties, record
        return None

    def _properties(self, schema: Json, depth: int = 0) -> dict[str, Json]:
        schema = self._resolved(schema)
        found: dict[str, Json] = {}
        for part in schema.get("allOf") or () if depth < 5 else ():
            found |= self._properties(part, depth + 1)
        return found | dict(schema.get("properties") or {})

    def _resolved(self, value: Json, depth: int = 0) -> dict[str, Json]:
        reference = value.get("$ref") if isinstance(value, Mapping) else None
        if isinstance(reference, str) and reference.startswith("#/") and depth < 20:
            target: Json = self._root
            for step in reference[2:].split("/"):
                target = target.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
            return self._resolved(target, depth + 1)
        return dict(value) if isinstance(value, Mapping) else {}

    @staticmethod
    def _named(properties: Mapping[str, Json], names: Sequence[str]) -> str | None:
        by_name = {key.lower().replace("_", ""): key for key in properties}
        return next(
            (by_name[name.lower().replace("_", "")] for name in names if name.lower().replace("_", "") in by_name), None
        )


def _singular(word: str) -> str:
    return re.sub(r"ies$", "y", word) if word.endswith("ies") else word.removesuffix("s")


def _expression(name: str) -> str:
    """A field's name as JMESPath."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f'"{name}"'
