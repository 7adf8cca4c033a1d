from django import forms

from orders.models import Product
from orders.templatetags.money import pounds

#: Orders that one request may place.
MAX_COUNT = 500

#: What a browser gets from the gateway's own form in a real shop; these are its test cards.
TOKENS = [("tok_visa", "Visa ending in 4242"), ("tok_declined", "Visa ending in 0002 (is declined)")]


class OrderForm(forms.Form):
    product = forms.ChoiceField(choices=[(p.value, f"{p.label}, {pounds(p.price)}") for p in Product])
    email = forms.EmailField(label="Email for the receipt")
    payment_token = forms.ChoiceField(label="Card", choices=TOKENS, required=False)
    count = forms.IntegerField(
        label="How many orders", min_value=1, max_value=MAX_COUNT, initial=1, required=False
    )

    def clean_payment_token(self) -> str:
        return self.cleaned_data["payment_token"] or TOKENS[0][0]

    def clean_count(self) -> int:
        count = self.cleaned_data["count"]
        return 1 if count is None else count
