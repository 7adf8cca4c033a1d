from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from accounts.models import User


class RegistrationForm(forms.Form):
    name = forms.CharField(max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    email = forms.EmailField(widget=forms.EmailInput(attrs={"autocomplete": "email"}))
    password = forms.CharField(
        strip=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 8 characters.",
    )
    contact_me = forms.BooleanField(label="Tell me about new products", required=False)

    def clean_email(self) -> str:
        email = self.cleaned_data["email"].lower()
        if User.objects.filter(email=email).exists():
            raise ValidationError("This address is already registered.")
        return email

    def clean(self) -> None:
        password = self.cleaned_data.get("password")
        if password:
            user = User(
                email=self.cleaned_data.get("email", ""), first_name=self.cleaned_data.get("name", "")
            )
            try:
                validate_password(password, user)
            except ValidationError as error:
                self.add_error("password", error)
