from django.urls import include, path

from accounts import views as accounts
from crm import views as crm
from operations import views as operations
from orders import views as orders
from reports import views as reports

handler404 = "shop.views.not_found"

api = [
    path("orders", orders.api_orders, name="orders"),
    path("orders/<uuid:order_id>", orders.api_order, name="order"),
    path("orders/<uuid:order_id>/cancel", orders.api_cancel, name="cancel"),
    path("reports", reports.api_reports, name="reports"),
    path("reports/<uuid:report_id>", reports.api_report, name="report"),
    path("leads", crm.api_leads, name="leads"),
    path("leads/<uuid:lead_id>", crm.api_lead, name="lead"),
    path("accounts", accounts.api_accounts, name="accounts"),
    path("operations", operations.api_operations, name="operations"),
]

urlpatterns = [
    path("", include((orders.pages, "orders"))),
    path("reports/", include((reports.pages, "reports"))),
    path("accounts/", include((accounts.pages, "accounts"))),
    path("operations/", include((operations.pages, "operations"))),
    path("api/", include((api, "api"))),
    path("healthz", operations.healthz),
    path("readyz", operations.readyz),
]
