"""The pages in headless Chromium, on a desktop and on a phone. SCREENSHOTS names a directory for pictures."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from dispatch import services as dispatch
from operations.models import FailedTask
from orders.models import Order
from tests import stack

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module", params=SIZES)
def browser(request: pytest.FixtureRequest, site: str) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    width, height = SIZES[request.param]
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "ignore-certificate-errors",
        "hide-scrollbars",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": request.param == "phone"},
    )
    driver.size_name = request.param
    yield driver
    driver.quit()


def picture(browser: webdriver.Chrome, name: str) -> None:
    """Keeps a picture, and fails when the page is wider than the screen or the browser complains."""
    width = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0, f"{name} is {width} px too wide"
    # Certificates are the deployment's; a refused script or style is ours.
    complaints = [e["message"] for e in browser.get_log("browser") if "favicon" not in e["message"]]
    assert [c for c in complaints if "status of 422" not in c and "503" not in c] == []
    if directory := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(directory) / f"{name}-{browser.size_name}.png"))


def submit(browser: webdriver.Chrome, **fields: str) -> None:
    for name, value in fields.items():
        field = browser.find_element(By.NAME, name)
        if field.tag_name == "select":
            Select(field).select_by_value(value)
        elif field.get_attribute("type") == "checkbox":
            field.click()
        else:
            field.clear()
            field.send_keys(value)
    browser.find_element(By.CSS_SELECTOR, "main form button").click()


def text(browser: webdriver.Chrome) -> str:
    # In one step: between two, the page may have changed what was found.
    return str(browser.execute_script("return document.querySelector('main').innerText"))


def mark(browser: webdriver.Chrome) -> None:
    """A reload would forget this."""
    browser.execute_script("window.notReloaded = true")


def not_reloaded(browser: webdriver.Chrome) -> bool:
    return browser.execute_script("return window.notReloaded === true")


def test_an_order_becomes_paid_before_ones_eyes(
    browser: webdriver.Chrome, site: str, worker: stack.Process
) -> None:
    browser.get(site)
    picture(browser, "order-form")
    submit(browser, product="beans", email="not an address")
    stack.wait_for(lambda: "Enter a valid email address." in text(browser))
    picture(browser, "order-form-wrong")
    with worker.paused():
        submit(browser, email="a@example.com")
        stack.wait_for(lambda: "Waiting for payment" in text(browser))
        mark(browser)
        picture(browser, "order-waiting")
    stack.wait_for(lambda: "1 of 1 finished" in text(browser))
    assert "Paid" in text(browser)
    assert "£24.90" in text(browser)
    assert not_reloaded(browser)
    picture(browser, "order-paid")
    browser.get(site)
    assert "1 \u00d7 Coffee beans" in text(browser)


def test_many_orders_with_faults(browser: webdriver.Chrome, site: str, worker: stack.Process) -> None:
    stack.faults(
        {"target": "charge", "kind": "error_after", "share": 0.3},
        {"target": "charge", "kind": "slow", "seconds": 0.4, "share": 0.5},
        {"target": "charge", "kind": "decline", "share": 0.2},
    )
    browser.get(site)
    submit(browser, product="grinder", email="a@example.com", count="24")
    stack.wait_for(lambda: "24 orders" in text(browser))
    mark(browser)
    stack.wait_for(lambda: "Checking payment" in text(browser) and "Paid" in text(browser))
    picture(browser, "orders-live")

    def finished() -> bool:
        Order.objects.filter(status=Order.Status.UNKNOWN).update(due_at=timezone.now())
        dispatch.sweep()
        return "24 of 24 finished" in text(browser)

    stack.wait_for(finished, 60)
    assert not_reloaded(browser)
    picture(browser, "orders-finished")
    charges = stack.ledger()["charges"]
    assert charges == Order.objects.filter(status=Order.Status.PAID).count()


def test_a_waiting_order_is_cancelled(browser: webdriver.Chrome, site: str, worker: stack.Process) -> None:
    browser.get(site)
    with worker.paused():
        submit(browser, product="mug", email="a@example.com")
        stack.wait_for(lambda: "Waiting for payment" in text(browser))
        # The button is replaced every second: found and pressed in one step.
        browser.execute_script("document.querySelector('td button').click()")
        stack.wait_for(lambda: "Cancelled" in text(browser))
    assert Order.objects.get().status == Order.Status.CANCELLED


def test_a_report_moves_and_ends(browser: webdriver.Chrome, site: str, worker: stack.Process) -> None:
    for product in ("mug", "beans"):
        browser.get(site)
        submit(browser, product=product, email="a@example.com", count="3")
        stack.wait_for(lambda: "3 of 3 finished" in text(browser))
    browser.get(f"{site}/reports/")
    submit(browser)
    stack.wait_for(lambda: "Running" in text(browser))
    mark(browser)
    values = set()

    def done() -> bool:
        values.add(browser.execute_script("return document.querySelector('progress').value"))
        if len(values) == 2:
            picture(browser, "report-running")
        return "Done 100 %" in text(browser)

    stack.wait_for(done)
    assert len(values) >= 3, values
    assert "£112.20" in text(browser)
    assert not_reloaded(browser)
    picture(browser, "report-done")
    browser.get(f"{site}/reports/")
    picture(browser, "reports")


def test_registration_and_sign_in(browser: webdriver.Chrome, site: str, worker: stack.Process) -> None:
    browser.delete_all_cookies()
    browser.get(f"{site}/accounts/register/")
    submit(browser, name="Ada Lovelace", email="ada@example.com", password="short", contact_me="on")
    stack.wait_for(lambda: "too short" in text(browser))
    picture(browser, "register-wrong")
    with worker.paused():
        submit(browser, password="correct horse battery")
        stack.wait_for(lambda: "Waiting for a worker" in text(browser))
        mark(browser)
    stack.wait_for(lambda: "Sent" in text(browser))
    assert not_reloaded(browser)
    picture(browser, "account")
    browser.find_element(By.XPATH, "//button[text()='Sign out']").click()
    stack.wait_for(lambda: "Place orders" in text(browser))
    browser.get(f"{site}/accounts/login/")
    submit(browser, username="ada@example.com", password="correct horse battery")
    stack.wait_for(lambda: "Place orders" in text(browser))
    browser.get(f"{site}/accounts/")
    assert "Ada Lovelace" in text(browser)


def test_operations_shows_queues_and_failures(
    browser: webdriver.Chrome, site: str, worker: stack.Process
) -> None:
    FailedTask.objects.create(task="crm.tasks.sync_lead_to_crm", task_id="x", error="HTTPError")
    browser.get(site)
    with worker.paused():
        submit(browser, product="mug", email="a@example.com", count="12")
        stack.wait_for(lambda: "12 orders" in text(browser))
        browser.get(f"{site}/operations/")
        # One of them has already left the queue for the worker's socket.
        stack.wait_for(lambda: re.search(r"critical\s+1[12]\s", text(browser)))
        assert re.search(r"Orders\s+12\s", text(browser))
        assert "HTTPError" in text(browser)
        picture(browser, "operations")
        mark(browser)
    stack.wait_for(lambda: re.search(r"critical\s+0\s", text(browser)))
    assert not_reloaded(browser)


def test_a_page_without_its_server_says_so(browser: webdriver.Chrome, site: str) -> None:
    browser.get(f"{site}/operations/")
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    stack.wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, ".stale"))
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline | {"offline": False})
    stack.wait_for(lambda: not browser.find_elements(By.CSS_SELECTOR, ".stale"))
    browser.get_log("browser")


def test_unknown_page(browser: webdriver.Chrome, site: str) -> None:
    browser.get(f"{site}/nowhere/")
    assert "Not found" in text(browser)
    browser.get_log("browser")
