from django.db import models


class Page(models.Model):
    source = models.TextField()
    html = models.TextField(blank=True)


class Count(models.Model):
    made = models.DateTimeField(auto_now_add=True)
    pages = models.PositiveIntegerField()
