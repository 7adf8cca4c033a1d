from django import forms
from django.core.validators import RegexValidator


class LeadForm(forms.Form):
    name = forms.CharField(max_length=150)
    email = forms.EmailField()
    phone = forms.CharField(
        max_length=30,
        required=False,
        validators=[RegexValidator(r"^\+?[0-9 ()-]{5,}$", "Enter a phone number, such as +44 20 7946 0000.")],
    )
