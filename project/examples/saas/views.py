"""Owns what customers see: their accounts, what they have used this month, and their exports."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Sum
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.views.decorators.http import require_POST

from background.jobs.context import subject_of
from background.models import Artifact, Run
from project.examples.saas.background import ask_for_export, export_data
from project.examples.saas.models import Account

# A site of its own has its own login page.
for_customers = login_required(login_url=reverse_lazy("admin:login"))


def exports(account: Account) -> Any:
    """Return the runs that have exported the data of an account, or will."""
    return Run.objects.filter(subject=subject_of(account), task=export_data.module_path)


@for_customers
def accounts(request: HttpRequest) -> HttpResponse:
    found = list(Account.objects.visible_to(request.user).order_by("name")[:100])
    this_month = timezone.localdate().replace(day=1)
    for one in found:
        used = one.usage.filter(day__gte=this_month).values("metric")
        one.used = used.annotate(total=Sum("amount")).order_by("metric")
        one.exports = exports(one).order_by("-id").prefetch_related("artifacts")[:3]
    return render(request, "saas/accounts.html", {"accounts": found})


@for_customers
@require_POST
def export(request: HttpRequest, pk: int) -> HttpResponse:
    ask_for_export(get_object_or_404(Account.objects.visible_to(request.user), pk=pk))
    return redirect("saas:accounts")


@for_customers
def download(request: HttpRequest, pk: int, number: int) -> FileResponse:
    """Hand out the file of an export, to those who may see the account that it is about."""
    account = get_object_or_404(Account.objects.visible_to(request.user), pk=pk)
    file = get_object_or_404(Artifact, pk=number, run__in=exports(account))
    return FileResponse(file.file.open("rb"), as_attachment=True, filename=file.name, content_type="text/csv")
