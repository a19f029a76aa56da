"""The addresses of the customers' pages."""

from django.urls import path

from project.examples.saas.views import Accounts, Download, Export

app_name = "saas"
urlpatterns = [
    path("", Accounts.as_view(), name="accounts"),
    path("<int:pk>/export/", Export.as_view(), name="export"),
    path("<int:pk>/export/<int:number>/", Download.as_view(), name="download"),
]
