"""The table of HTTP statuses: the one place that says what the status of an answer means, where no rule of the manifest does.

A status that means "not now" or "elsewhere" is no fault of the document: the delivery waits and no person has to correct
anything. An effect is repeated without a look-up only where its status promises that nothing was done.
"""

from dataclasses import dataclass
from typing import Literal

from hub.sdk.steps import Request, Response

Meaning = Literal["accepted", "retry", "rate_limited", "authentication", "ambiguous", "rejected"]

#: What each meaning makes the hub do; the errors are in `hub.sdk.errors`.
MEANINGS: dict[Meaning, str] = {
    "accepted": "an answer to work with",
    "retry": "nothing was done: tried again later (`TargetUnavailableError`); costs no try",
    "rate_limited": "nothing was done: the whole connection waits (`RateLimitedError`); costs no try",
    "authentication": "the connection pauses until its credentials are renewed; its messages wait (`AuthenticationError`)",
    "ambiguous": "it may have been applied: looked up before anything is sent again (`AmbiguousWriteError`)",
    "rejected": "the target refuses this document: dead letter (`RejectedByTargetError`)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """One row of the table.

    Attributes:
        first, last: the statuses that it is about.
        read, effect: the meaning for a request that changes nothing, and for one that may.
        code: the cause's stable code; empty: that of the error.
        why: the reason.
        remedy: what a person can do, where something may have to be done.
        only: "page": only if the body is a web page; "wait": only if the answer says how long to wait.
    """

    first: int
    last: int
    read: Meaning
    effect: Meaning
    why: str
    code: str = ""
    remedy: str = ""
    only: Literal["", "page", "wait"] = ""


_URL_REMEDY = "Correct the connection's base_url, or what stands between the hub and the system (ingress, VPN, sign-in page)."
_CREDENTIALS_REMEDY = "Renew the connection's credentials."

#: The first row that fits decides.
STATUSES: tuple[StatusRule, ...] = (
    StatusRule(first=200, last=299, read="accepted", effect="accepted", why="The request was done."),
    StatusRule(
        first=303, last=303, read="retry", effect="ambiguous", code="redirected", remedy=_URL_REMEDY,
        why="See Other may follow an effect that was applied. Redirects are never followed: the other place would get the "
            "credentials.",
    ),
    StatusRule(
        first=300, last=399, read="retry", effect="retry", code="redirected", remedy=_URL_REMEDY,
        why="The system, or a sign-in page before it, is elsewhere. Redirects are never followed: the other place would get "
            "the credentials.",
    ),
    StatusRule(
        first=401, last=401, read="authentication", effect="authentication", remedy=_CREDENTIALS_REMEDY,
        why="The credentials were refused; a session or token was renewed once before.",
    ),
    StatusRule(
        first=403, last=403, only="wait", read="rate_limited", effect="rate_limited",
        why="With Retry-After it is a limit (GitHub's secondary limit, for one), and not the credentials.",
    ),
    StatusRule(
        first=403, last=403, only="page", read="retry", effect="retry", code="not_the_system", remedy=_URL_REMEDY,
        why="A web page: a firewall or gateway before the system refused the request.",
    ),
    StatusRule(
        first=403, last=403, read="authentication", effect="authentication", remedy=_CREDENTIALS_REMEDY,
        why="The credentials may not do this.",
    ),
    StatusRule(
        first=404, last=404, only="page", read="retry", effect="retry", code="not_the_system", remedy=_URL_REMEDY,
        why="A web page: an ingress answered, and the system was not asked. So it is also where a look-up expects 404: nobody "
            "has looked. A system whose own 404 is a page needs an error rule that accepts it.",
    ),
    StatusRule(
        first=405, last=405, read="retry", effect="retry", code="not_the_system", remedy=_URL_REMEDY,
        why="The connector's method does not depend on the document: whatever is at this URL is not the system's interface.",
    ),
    StatusRule(
        first=407, last=407, read="retry", effect="retry", code="proxy_authentication",
        remedy="Give the proxy before the system what it asks for; the connection's credentials are not the cause.",
        why="A proxy refused the request; the system has not seen it.",
    ),
    StatusRule(
        first=408, last=408, read="retry", effect="ambiguous",
        why="The server gave up waiting; gateways say it also when the system behind them took too long.",
    ),
    StatusRule(
        first=421, last=421, read="retry", effect="retry", code="wrong_server", remedy=_URL_REMEDY,
        why="This server does not answer for that host, and did nothing.",
    ),
    StatusRule(
        first=423, last=423, read="retry", effect="retry", code="locked",
        why="Somebody else holds the record; nothing was done.",
    ),
    StatusRule(
        first=425, last=425, read="retry", effect="retry", code="too_early",
        why="The server does not take the request yet, and did nothing.",
    ),
    StatusRule(
        first=426, last=426, read="retry", effect="retry", code="upgrade_required", remedy=_URL_REMEDY,
        why="The server wants another protocol (https, for one), and did nothing.",
    ),
    StatusRule(
        first=429, last=429, read="rate_limited", effect="rate_limited",
        why="The system's limit; nothing was done.",
    ),
    StatusRule(
        first=400, last=499, read="rejected", effect="rejected",
        remedy="Correct the document or the target's data, then replay.",
        why="The system understood the request and refuses it.",
    ),
    StatusRule(
        first=511, last=511, read="retry", effect="retry", code="not_the_system", remedy=_URL_REMEDY,
        why="A network's sign-in page answered; the system has not seen the request.",
    ),
    StatusRule(
        first=100, last=999, read="retry", effect="ambiguous",
        why="The system, or a gateway, failed in the midst. An effect may have been applied: 503 is also what gateways say "
            "after they passed a request on. Retry-After is honoured, by the look-up too.",
    ),
)  # fmt: skip

_PAGE_BEGINNINGS = (b"<!doctype html", b"<html", b"404 page not found", b"default backend - 404")


def is_page(response: Response) -> bool:
    """Whether an answer is a web page (or an ingress's own words), and so not the system's interface."""
    if "html" in response.headers.get("content-type", "").lower():
        return True
    return response.content[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE_BEGINNINGS)


def rule_for(request: Request, response: Response) -> StatusRule:
    """The row that decides what an answer means. A page in a look-up's place is nothing that it expects."""
    if 200 <= response.status <= 299:
        return STATUSES[0]
    fits = {
        "": True,
        "page": is_page(response),
        "wait": bool(response.headers.get("retry-after")) or response.headers.get("x-ratelimit-remaining", "").strip() == "0",
    }
    fitting = (rule for rule in STATUSES if rule.first <= response.status <= rule.last and fits[rule.only])
    found = next(fitting, STATUSES[-1])
    if response.status in request.expect and found.only != "page":
        return STATUSES[0]
    return found


def meaning_of(request: Request, response: Response) -> tuple[Meaning, StatusRule]:
    """What an answer means for a request, and the row that says so."""
    rule = rule_for(request, response)
    return (rule.effect if request.mutates else rule.read), rule
