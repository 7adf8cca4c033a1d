"""A payment gateway and a CRM to try the shop against: they keep a ledger and fail on demand.

Only for demonstrations and tests. The shop knows nothing of it but two addresses.
"""
