from django.db import models


class Entry(models.Model):
    name = models.CharField(max_length=80)
    text = models.CharField(max_length=500)
    picture = models.FileField(upload_to="pictures", blank=True)
    thanked = models.BooleanField(default=False)
