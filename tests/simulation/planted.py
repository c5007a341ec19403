"""Known bugs, planted one at a time: each is a patch of the hub's own code and the check that has to notice it.

The list of RELIABILITY 2.3, as far as this hub has the part it names (there is no OAuth refresh, no closed period and no
tax rounding of its own yet; those five are replaced by bugs of parts that exist and are marked so).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from hub.flow import claim, deliver, outcome, recover, replay, translate
from hub.flow.context import Context
from hub.flow.recipients import NewMessage
from hub.flow.relay import Relay
from hub.identity import vault as vault_module
from hub.policies import dead_letter, rate_limit
from hub.runtime import performer as performer_module
from hub.runtime.session import Session
from hub.sdk import steps
from hub.sdk import webhook as webhook_module
from hub.settings import Settings
from hub.store import deliveries as deliveries_module
from hub.store import group as group_module
from hub.store import ledger
from hub.store.bulk import Bulk
from hub.store.deliveries import Deliveries
from hub.store.messages import Messages
from hub.store.tables import delivery
from simulation import checks
from simulation.world import START

Patch = Callable[[pytest.MonkeyPatch], Any]


def _answer_before_commit(patch: pytest.MonkeyPatch) -> None:
    def commit(self: Any, jobs: Any) -> None:
        try:
            with self._store.begin() as uow:
                for job in jobs:
                    job.future.set_result(job.many(uow, [job.item])[0])
        except OSError:
            return

    patch.setattr(group_module.GroupCommit, "_commit", commit)


def _no_inbox(patch: pytest.MonkeyPatch) -> None:
    from hub.flow import ingest
    from hub.store import new_id

    admit_many = ingest.admit_many

    def fresh(ctx: Any, uow: Any, messages: list[NewMessage], **more: Any) -> Any:
        return admit_many(ctx, uow, [replace(item, source_id=f"{item.source_id}/{new_id()}") for item in messages], **more)

    patch.setattr(ingest, "admit_many", fresh)


def _inbox_apart(patch: pytest.MonkeyPatch) -> None:
    """The raw input is settled in a transaction of its own, before its messages are stored."""
    commit_each = Context.commit_each

    async def apart(self: Any, many: Any, item: Any, *key: str, weight: int = 1) -> Any:
        if many is translate._commit:
            row = item.row
            with self.store.begin() as uow:
                uow.raws.settle(
                    row["tenant_id"], row["id"], self.instance, {"state": "translated", "settled_at": row["received_at"]}
                )
            patch.setattr("hub.store.messages.RawInputs.end", lambda self, rows: list(rows))
        return await commit_each(self, many, item, *key, weight=weight)

    patch.setattr(Context, "commit_each", apart)


def _id_cursor(patch: pytest.MonkeyPatch) -> None:
    last = {"id": ""}
    original = Deliveries.take_due

    def take(self: Any, tenant_id: str, connection_id: str, lane: str, now: Any, limit: int) -> Any:
        found = [row for row in original(self, tenant_id, connection_id, lane, now, limit) if row["id"] > last["id"]]
        last["id"] = max([last["id"], *(row["id"] for row in found)])
        return found

    patch.setattr(Deliveries, "take_due", take)


def _no_quiesce(patch: pytest.MonkeyPatch) -> None:
    ambiguous = outcome._ambiguous
    patch.setattr(outcome, "_ambiguous", lambda *given: replace(ambiguous(*given), after_seconds=0.0))


def _no_lease(patch: pytest.MonkeyPatch) -> None:
    async def held(self: Any, hold: Any, attempt: Any = None) -> None:
        return None

    patch.setattr(deliver.Guard, "_held", held)
    patch.setattr(deliver.Guard, "_check_lease", lambda self: None)


def _no_intent(patch: pytest.MonkeyPatch) -> None:
    async def before(self: Any, request: Any) -> None:
        return None

    patch.setattr(deliver.Guard, "before_effect", before)
    patch.setattr(deliver, "_sends_at_once", lambda session: False)


def _an_old_claim_is_an_intent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claim, "_INTENDED_SECONDS", 1e9)


def _settles_without_fence(patch: pytest.MonkeyPatch) -> None:
    def settle(given: Any, _: Any) -> Any:
        statement = sa.update(delivery).where(delivery.c.tenant_id == given.c.tenant_id, delivery.c.id == given.c.id)
        released = {"lease_owner": None, "lease_until": None, "published_at": None}
        changed = {name: given.c[name] for name in deliveries_module._SETTLED}
        return statement.values({**released, **changed}).returning(delivery.c.tenant_id, delivery.c.id)

    patch.setattr(deliveries_module, "_SETTLE", Bulk(deliveries_module._SETTLE._columns, settle))


def _no_fence_before_sending(patch: pytest.MonkeyPatch) -> None:
    def intend(given: Any, _: Any) -> Any:
        statement = sa.update(delivery).where(delivery.c.tenant_id == given.c.tenant_id, delivery.c.id == given.c.id)
        until = sa.bindparam("until", type_=delivery.c.lease_until.type)
        return statement.values(state="sending", lease_until=until).returning(delivery.c.tenant_id, delivery.c.id)

    patch.setattr(deliveries_module, "_INTEND", Bulk(deliveries_module._CLAIM, intend))


def _broker_counts(patch: pytest.MonkeyPatch) -> None:
    """Tries are not counted in the store."""
    later = outcome._later
    patch.setattr(outcome, "_later", lambda *given, **more: replace(later(*given, **more), counts=False))


def _no_tenant_filter(patch: pytest.MonkeyPatch) -> None:
    def get(self: Any, tenant_id: str, delivery_id: str) -> Any:
        return self._one(sa.select(delivery).where(delivery.c.id == delivery_id))

    patch.setattr(Deliveries, "get", get)


def _signature_over_reserialised(patch: pytest.MonkeyPatch) -> None:
    original = webhook_module.verify

    def verify(scheme: Any, secrets: Any, body: bytes, *rest: Any) -> Any:
        try:
            body = orjson.dumps(orjson.loads(body))
        except orjson.JSONDecodeError:
            pass
        return original(scheme, secrets, body, *rest)

    patch.setattr(checks, "verify", verify)


def _timestamp_not_checked(patch: pytest.MonkeyPatch) -> None:
    original = webhook_module.verify

    def verify(scheme: Any, *rest: Any) -> Any:
        return original(replace(scheme, tolerance_seconds=10**9), *rest)

    patch.setattr(checks, "verify", verify)


def _float_amounts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(steps.Response, "json", lambda self: orjson.loads(self.content))


def _chain_without_sequence(patch: pytest.MonkeyPatch) -> None:
    """Each record is proved by its own digest alone, wherever it stands."""
    import hashlib

    def digest(record: Any) -> str:
        content = {name: record[name] for name in ("tenant_id", "actor", "action", "subject", "detail")}
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def verify(self: Any, tenant_id: str) -> Any:
        rows = [row for row in self.page(tenant_id, None, 10_000) if row["action"].startswith("message.")]
        return next((row["sequence"] for row in rows if digest(row) != row["digest"]), None)

    patch.setattr(ledger, "digest_of", digest)
    patch.setattr(ledger.Audit, "verify", verify)


def _audit_after_commit(patch: pytest.MonkeyPatch) -> None:
    from hub.store import MemoryStore

    original = MemoryStore.begin

    def begin(self: Any, durable: bool = True) -> Any:
        import contextlib

        @contextlib.contextmanager
        def apart() -> Any:
            with original(self) as uow:
                yield uow
                pending, uow.audit._pending = uow.audit._pending, {}
            if pending:
                with original(self) as uow:
                    uow.audit._pending = pending

        return apart()

    patch.setattr(MemoryStore, "begin", begin)


def _limiter_fails_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rate_limit, "pacing", lambda limits: None)


def _redirects_followed(patch: pytest.MonkeyPatch) -> None:
    request = performer_module.aiohttp.ClientSession.request
    patch.setattr(
        performer_module.aiohttp.ClientSession,
        "request",
        lambda self, *a, **k: request(self, *a, **{**k, "allow_redirects": True}),
    )


def _replay_without_probe(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replay, "_sent", lambda *_: set())


def _replay_with_a_new_key(patch: pytest.MonkeyPatch) -> None:
    values = replay._again_values
    patch.setattr(replay, "_again_values", lambda now: {**values(now), "key": "XDNEW"})


def _sent_counts_as_unsent(patch: pytest.MonkeyPatch) -> None:
    """After a crash in the midst of sending the delivery is simply tried again."""
    settle = Deliveries.settle

    def forgetful(self: Any, ends: Any) -> Any:
        blind = {"state": "pending", "probe": False, "available_at": START}
        return settle(self, [(row, {**v, **blind} if v.get("cause_code") == "worker_lost" else v) for row, v in ends])

    patch.setattr(Deliveries, "settle", forgetful)


def _never_published_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Deliveries, "forget_published", lambda self, before: 0)


def _refused_counts_as_published(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Relay, "_give_back", lambda self, rows: None)


def _no_hold_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(deliveries_module, "unblocked", sa.true)
    patch.setattr(deliveries_module, "_TAKE", Bulk(deliveries_module._KEY, deliveries_module._take))
    patch.setattr(deliveries_module, "_TAKE_DUE", deliveries_module._take_due())
    add = Deliveries.add

    def unmarked(self: Any, rows: Any) -> Any:
        added = add(self, rows)
        self._update(delivery, (delivery.c.id.in_(list(added)),), {"behind": False})
        return added

    patch.setattr(Deliveries, "add", unmarked)


def _stale_states_applied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Deliveries, "newest_applied", lambda self, rows: {})


def _no_breaker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rate_limit, "failed", lambda row, limits, now: None)


def _no_dedupe_by_age(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settings, "__post_init__", lambda self: None)


def _no_jitter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checks, "backoff_seconds", lambda settings, attempt, source: 2.0**attempt)
    patch.setattr(dead_letter, "backoff_seconds", lambda settings, attempt, source: 2.0**attempt)


class _NoLock:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: Any) -> None:
        return None


def _login_without_lock(patch: pytest.MonkeyPatch) -> None:
    original = Session.__init__

    def init(self: Any, *given: Any, **more: Any) -> None:
        original(self, *given, **more)
        self.login_lock = _NoLock()

    patch.setattr(Session, "__init__", init)


def _sealed_without_place(patch: pytest.MonkeyPatch) -> None:
    seal, unseal = vault_module.Vault.seal, vault_module.Vault.open
    patch.setattr(vault_module.Vault, "seal", lambda self, secret, *bound: seal(self, secret, "anywhere"))
    patch.setattr(vault_module.Vault, "open", lambda self, sealed, *bound: unseal(self, sealed, "anywhere"))


def _poison_blocks(patch: pytest.MonkeyPatch) -> None:
    """What the target refuses is tried again for ever."""
    decide = outcome.decide

    def stubborn(*given: Any) -> Any:
        found = decide(*given)
        return replace(found, state="pending", after_seconds=1.0) if found and found.state == "dead" else found

    patch.setattr(deliver.outcome, "decide", stubborn)


def _short_memory(patch: pytest.MonkeyPatch) -> None:
    """Source ids are forgotten after a minute."""
    patch.setattr(Messages, "by_source", lambda self, keys: {})

    def add(self: Any, rows: list[Any]) -> set[str]:
        for row in rows:
            self._c.execute(sa.insert(_message()).values(_renamed(row)))
        return {row["id"] for row in rows}

    patch.setattr(Messages, "add", add)


def _message() -> sa.Table:
    from hub.store.tables import message

    return message


def _renamed(row: Any) -> Any:
    return {**row, "source_id": f"{row['source_id']}#{row['id']}"}


def _age(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recover, "recover", lambda ctx, others_are_dead=False: 0)


#: Bug → (how it is planted, the check that notices it).
BUGS: dict[str, tuple[Patch, Callable[[], None]]] = {
    "answer before commit": (_answer_before_commit, checks.answers_follow_the_commit),
    "published and lost is never published again": (_never_published_again, checks.what_was_published_and_lost_comes_again),
    "a refused publish counts (no confirm)": (_refused_counts_as_published, checks.a_refused_publish_is_due_at_once),
    "no inbox": (_no_inbox, lambda: checks.swept("event")),
    "inbox outside the transaction": (_inbox_apart, lambda: checks.swept("webhook")),
    "id-cursor outbox": (_id_cursor, checks.nothing_committed_is_skipped_by_the_sweep),
    "no quiesce": (_no_quiesce, lambda: checks.swept("applied after the time-out")),
    "no lease check before sending": (_no_lease, lambda: checks.a_paused_worker_sends_nothing()),
    "no intent before sending": (_no_intent, lambda: checks.swept("sent without looking")),
    "an old claim counts as the intent": (_an_old_claim_is_an_intent, checks.a_claim_that_was_taken_back_sends_nothing),
    "fence not checked before sending": (_no_fence_before_sending, checks.a_worker_that_was_overtaken_does_not_settle),
    "fence not checked when settling": (_settles_without_fence, checks.a_worker_that_was_overtaken_does_not_settle),
    "a crash while sending is retried blindly": (_sent_counts_as_unsent, lambda: checks.swept("sent without looking")),
    "leases are never taken back": (_age, lambda: checks.swept("event")),
    "dedupe forgets": (_short_memory, lambda: checks.swept("event")),
    "dedupe shorter than the retry horizon": (_no_dedupe_by_age, checks.forgetting_sooner_than_retrying_is_refused),
    "retry without jitter": (_no_jitter, checks.retries_are_spread),
    "tries are not counted in the store": (_broker_counts, checks.tries_end),
    "missing tenant filter": (_no_tenant_filter, checks.tenants_are_apart),
    "log-in without lock (for: refresh without lock)": (_login_without_lock, checks.many_callers_log_in_once),
    "secret sealed without its place (for: token saved after use)": (_sealed_without_place, checks.secrets_are_sealed_for_their_place),
    "signature over re-serialised JSON": (_signature_over_reserialised, checks.signatures_are_over_the_bytes_as_they_came),
    "timestamp not checked": (_timestamp_not_checked, checks.old_signatures_are_refused),
    "float amount": (_float_amounts, checks.amounts_keep_every_digit),
    "no hold-back (for: line and document rounding swapped)": (_no_hold_back, checks.what_comes_later_waits_for_its_sibling),
    "late state applied (for: closed period writable)": (_stale_states_applied, lambda: checks.swept("late state")),
    "chain hash without sequence": (_chain_without_sequence, checks.the_audit_chain_shows_swapped_records),
    "audit after commit": (_audit_after_commit, lambda: checks.swept("event")),
    "limiter fails open": (_limiter_fails_open, checks.limits_are_kept),
    "redirect followed": (_redirects_followed, checks.redirects_are_not_followed),
    "replay without probe": (_replay_without_probe, lambda: checks.swept("refused though applied, replayed")),
    "replay under a new key (DLQ redrive without id)": (
        _replay_with_a_new_key, lambda: checks.swept("refused though applied, replayed")),
    "no breaker": (_no_breaker, checks.an_outage_kills_nothing_and_is_probed_rarely),
    "poison is retried for ever": (_poison_blocks, checks.poison_costs_one_entry_each_and_delays_nobody),
}  # fmt: skip
