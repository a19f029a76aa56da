"""What the tests' tasks and services leave behind."""

from django.db import models


class Effect(models.Model):
    """One row for each time something was done."""

    name = models.CharField(max_length=100)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
