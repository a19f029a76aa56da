"""Owns what customers see: their accounts, what they have used this month, and their exports."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.db.models import Sum
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse_lazy
from django.utils import timezone
from django.views import View
from django.views.generic import ListView

from background.jobs.context import subject_of
from background.models import Artifact, Run
from project.examples.saas.background import ask_for_export, export_data
from project.examples.saas.models import Account


def exports(account: Account) -> Any:
    """Return the runs that have exported the data of an account, or will."""
    return Run.objects.filter(subject=subject_of(account), task=export_data.module_path)


class Own(LoginRequiredMixin, View):
    """Shows accounts to those who may see them; for others there are none. A site of its own has its own login page."""

    login_url = reverse_lazy("admin:login")

    def account(self, pk: int) -> Account:
        return get_object_or_404(Account.objects.visible_to(self.request.user), pk=pk)


class Accounts(Own, ListView):
    template_name = "saas/accounts.html"

    def get_queryset(self) -> list[Account]:
        found = list(Account.objects.visible_to(self.request.user).order_by("name")[:100])
        this_month = timezone.localdate().replace(day=1)
        for one in found:
            one.used = (
                one.usage.filter(day__gte=this_month).values("metric").annotate(total=Sum("amount")).order_by("metric")
            )
            one.exports = exports(one).order_by("-id").prefetch_related("artifacts")[:3]
        return found


class Export(Own):
    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        ask_for_export(self.account(pk))
        return redirect("saas:accounts")


class Download(Own):
    """Hand out the file of an export, to those who may see the account that it is about."""

    def get(self, request: HttpRequest, pk: int, number: int) -> FileResponse:
        file = get_object_or_404(Artifact, pk=number, run__in=exports(self.account(pk)))
        try:
            return FileResponse(
                file.file.open("rb"), as_attachment=True, filename=file.name, content_type="application/zip"
            )
        except OSError as error:
            raise Http404("The file is gone.") from error
