from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=80)),
                ("text", models.CharField(max_length=500)),
                ("picture", models.FileField(blank=True, upload_to="pictures")),
                ("thanked", models.BooleanField(default=False)),
            ],
        ),
    ]
