from django import template

register = template.Library()


@register.filter
def pounds(pence: int) -> str:
    return f"£{pence / 100:,.2f}"
