"""Somebody lacks what counts, and no system will speak: the hub says it again by itself."""

from hub.flow.context import Context
from hub.flow.entities import HUB_SOURCE, STEP, needs
from hub.flow.recipients import NewMessage
from hub.flow.route import admit


def heal(ctx: Context) -> int:
    """Tell those who lack what counts about entities that are due; returns how many were looked at."""
    with ctx.store.read() as uow:
        rows = uow.entities.due(ctx.clock(), 100)
    for row in rows:
        with ctx.store.begin() as uow:
            entity = uow.entities.locked(row["tenant_id"], row["subject"])
            rules = ctx.routes.ownership(uow, row["tenant_id"], row["type"].rpartition(".v")[0])
            if entity is None or entity["due_at"] is None:
                continue
            uow.entities.save({**entity, "due_at": None})
            to = needs(ctx, uow, rules, entity) if rules and not entity["tripped"] else []
            if to:
                now = max(ctx.clock(), entity["updated_at"] + STEP)
                whole = {name: held["value"] for name, held in entity["state"]["fields"].items()}
                data = {"id": entity["state"]["id"], **whole, "updated_at": now.isoformat()}
                source_id = f"{row['subject']}@{now.isoformat()}"[-255:]
                admit(ctx, uow, NewMessage(row["tenant_id"], row["type"], HUB_SOURCE, source_id, data, now, "", "heal"))
        for recipient, _ in to:
            ctx.due.add(row["tenant_id"], recipient.connection_id)
    return len(rows)
