"""What the tests' tasks and services leave behind."""

from django.db import models


class Effect(models.Model):
    """One row for each time something was done."""

    name = models.CharField(max_length=100)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)


class Pulled(models.Model):
    """What a synchronisation brings."""

    sku = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=50)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    owner = models.ForeignKey(Effect, models.SET_NULL, null=True, blank=True)
    kept = models.BooleanField(default=True)
    changed_at = models.DateTimeField(auto_now=True)
    seen_at = models.DateTimeField(null=True, blank=True)
