"""Tasks with every kind of argument, for the tests of the admin."""

import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any, Literal, Optional

from django import forms

import background


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@background.job(name="admin.typed")
def typed(
    region: Literal["EU", "US"],
    limit: int = 500,
    ratio: float = 0.5,
    amount: Decimal = Decimal("1.50"),
    dry_run: bool = False,
    day: Optional[datetime.date] = None,  # noqa: UP045
    at: datetime.time | None = None,
    moment: datetime.datetime | None = None,
    ref: uuid.UUID | None = None,
    colour: Colour = Colour.RED,
    note: str = "",
    extra: dict[str, Any] | None = None,
    anything: "list[int] | str" = "x",
):
    """Take one of each."""
    return {"region": region, "limit": limit, "password": "hunter2-result"}


@background.job(name="admin.secretive", secret=["pin"])
def secretive(name: str, token: str = "default", pin: int = 0, headers: dict | None = None):
    return name


@background.job(name="admin.context", takes_context=True)
def with_context(context, count: int = 1):
    return count


@background.job(name="admin.shapes")
def shapes(first: int, /, second: int = 2, *rest: int, third: int = 3, **more: Any):
    return first


@background.job(name="admin.guarded", permission="auth.change_group")
def guarded(number: int = 1):
    return number


class OwnForm(forms.Form):
    city = forms.CharField(max_length=5)
    token = forms.CharField()


@background.job(name="admin.own", form=OwnForm)
def own_form(city: str, token: str):
    return city


@background.job(name="admin.unique", unique="{number}")
def unique(number: int = 1):
    return number


@background.job(name="admin.clash")
def clashing(reason: str, run_after: str = "", user: str = ""):
    return reason
