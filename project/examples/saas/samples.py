"""Owns the customers with which a fresh site begins."""

import random
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from project.examples.saas.models import Account

# Names, and the days that are left of their trials; None: they pay.
CUSTOMERS = {"Acorn": None, "Birch": 20, "Cedar": 2, "Dogwood": 0.0003, "Elm": -1}
METRICS = ["API calls", "pages", "sent messages"]


@transaction.atomic
def open_accounts() -> list[Account]:
    """Return the sample accounts, made where they are missing. Their owners cannot log in. Blocks."""
    owner, _ = get_user_model().objects.get_or_create(username="saas-sample", defaults={"email": "owner@example.com"})
    plans = {
        name: {"owner": owner, "plan": Account.Plan.PAID}
        if days is None
        else {"owner": owner, "trial_ends_at": timezone.now() + timedelta(days=days)}
        for name, days in CUSTOMERS.items()
    }
    return [Account.objects.get_or_create(name=name, defaults=values)[0] for name, values in plans.items()]


def use(accounts: list[Account]) -> tuple[Account, str, int]:
    """Return who uses how much of what."""
    return random.choice(accounts), random.choice(METRICS), random.randint(1, 9)
