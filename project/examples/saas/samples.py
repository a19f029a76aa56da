"""Owns the customers with which a fresh site begins."""

import random
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.utils import timezone

from project.examples.saas.models import Account

# Names, and the days that are left of their trials; None: they pay.
CUSTOMERS = {"Acorn": None, "Birch": 20, "Cedar": 2, "Dogwood": 0.0003, "Elm": -1}


def open_accounts() -> None:
    """Open the sample accounts. Their owner cannot log in."""
    owner = get_user_model().objects.create(username="saas-sample", email="owner@example.com")
    for name, days in CUSTOMERS.items():
        if days is None:
            Account.objects.create(name=name, owner=owner, plan=Account.Plan.PAID)
        else:
            Account.objects.create(name=name, owner=owner, trial_ends_at=timezone.now() + timedelta(days=days))


def usage() -> tuple[Account, str, int]:
    """Return who uses how much of what."""
    account = Account.objects.get(name=random.choice(list(CUSTOMERS)))
    return account, random.choice(["API calls", "pages", "sent messages"]), random.randint(1, 9)
