from django.urls import path

from jobs import views

urlpatterns = [
    path("", views.index, name="index"),
    path("jobs/", views.create, name="create"),
    path("jobs/<uuid:job>/", views.show, name="show"),
    path("ticks/", views.ticks, name="ticks"),
]
