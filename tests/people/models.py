from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models

from background.models.ids import uuid7


class People(BaseUserManager):
    def create_superuser(self, email, password=None):
        return self.create(email=email, is_superuser=True, is_staff=True)


class Person(AbstractBaseUser, PermissionsMixin):
    """A user without a username, with a key that is no number."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)

    objects = People()
    USERNAME_FIELD = "email"
