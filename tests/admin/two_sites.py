"""A site with two admins."""

from django.contrib import admin
from django.urls import path

from background.admin import register

second = admin.AdminSite(name="second")
register(second)

urlpatterns = [path("admin/", admin.site.urls), path("second/", second.urls)]
