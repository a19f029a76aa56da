"""What the runs that use the ORM read and write."""

from django.db import models


class Item(models.Model):
    value = models.IntegerField(default=0)

    def __str__(self):
        return f"item {self.pk}"
