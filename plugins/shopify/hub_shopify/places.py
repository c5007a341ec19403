"""Names places and trading days by a connection's settings."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hub_shopify.shapes import JSON, Json, tail


@dataclass(frozen=True)
class Places:
    """Locations, zone and trading day of one shop."""

    settings: JSON

    def location(self, gid: str | None) -> dict[str, str]:
        """The tenant's code of a location; the online shop's without one."""
        if gid is None:
            return {"code": str(self.settings["online_location"])}
        return {"code": str(self.settings["locations"].get(tail(gid), tail(gid)))}

    def of_order(self, order: JSON) -> dict[str, str]:
        """Where an order was rung up."""
        return self.location((order["retailLocation"] or {}).get("id"))

    def business_date(self, occurred_at: str) -> str:
        """The trading day of an instant, by the shop's zone and the hour its day begins."""
        hours, minutes = str(self.settings["business_day_start"]).split(":")
        local = datetime.fromisoformat(occurred_at).astimezone(ZoneInfo(str(self.settings["timezone"])))
        return (local - timedelta(hours=int(hours), minutes=int(minutes))).date().isoformat()

    def head(self, order: JSON, identity: str, occurred_at: str) -> Json:
        """What every transaction of an order begins with."""
        return {
            "id": identity, "number": order["name"], "location": self.of_order(order), "occurred_at": occurred_at,
            "business_date": self.business_date(occurred_at),
        }  # fmt: skip
