"""The addresses of the customers' pages."""

from django.urls import path

from project.examples.saas import views

app_name = "saas"
urlpatterns = [
    path("", views.accounts, name="accounts"),
    path("<int:pk>/export/", views.export, name="export"),
    path("<int:pk>/export/<int:number>/", views.download, name="download"),
]
