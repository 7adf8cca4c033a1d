"""Takes docs/images/*.png of the running demo with a headless Chromium.

The browser and its driver run in the image of the sample app's tests, steered from here: so passwords reach
the browser over the driver's connection on loopback, and no list of processes shows them.
"""

import base64
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import demo
import yaml
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ChromeOptions, Remote
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

IMAGES = demo.PROJECT / "docs/images"
BROWSER_IMAGE = "rootstock/test-app:bookworm"
BROWSER = "rootstock-screenshots"
WIDTH, HEIGHT = 1200, 760
START_SECONDS = 30
PAID_SECONDS = 60


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_listener(port: int) -> None:
    """Wait until something listens on the loopback port. Raises DemoError after START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise demo.DemoError(f"chromedriver in {BROWSER_IMAGE} does not listen after {START_SECONDS} s.")


@contextmanager
def browser() -> Iterator[Remote]:
    """Start the browser's container, yield a connection to it, remove it.

    Raises DemoError when the image is missing, the browser does not start, or a page is not as expected.
    """
    if demo.docker("image", "inspect", BROWSER_IMAGE, check=False).returncode != 0:
        raise demo.DemoError(f"image {BROWSER_IMAGE} with the browser is missing: 'make test-app' builds it.")
    demo.docker("rm", "--force", BROWSER, check=False)
    # The host's network, because the demo is published on the host's loopback only.
    run = (
        "run",
        "--detach",
        "--rm",
        "--pull",
        "never",
        "--name",
        BROWSER,
        "--network",
        "host",
        "--shm-size",
        "256m",
    )
    port = free_port()
    demo.docker(*run, "--entrypoint", "chromedriver", BROWSER_IMAGE, f"--port={port}")
    try:
        wait_for_listener(port)
        options = ChromeOptions()
        options.accept_insecure_certs = True  # the demo's certificate is self-signed
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--window-size={WIDTH},{HEIGHT}",
        ):
            options.add_argument(argument)
        driver = Remote(
            ChromeRemoteConnection(f"http://127.0.0.1:{port}", ignore_proxy=True), options=options
        )
        yield driver
        driver.quit()
    except WebDriverException as error:
        reason = (error.msg or type(error).__name__).splitlines()[0]
        raise demo.DemoError(f"the browser failed: {reason}") from None
    finally:
        demo.docker("rm", "--force", BROWSER, check=False)


def take(driver: Remote, name: str) -> None:
    """Write what the browser shows to docs/images/NAME.png."""
    path = IMAGES / f"{name}.png"
    path.write_bytes(driver.get_screenshot_as_png())
    print(f"wrote {path.relative_to(demo.PROJECT)}")


def flower_password() -> str:
    """Return Flower's password from the demo's vault."""
    text = subprocess.run(
        [demo.BIN / "ansible-vault", "view", demo.VAULT],
        cwd=demo.PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return str(yaml.safe_load(text)["vault_flower_password"])


def shop(driver: Remote, site: str) -> None:
    """Place a few orders by the page's form and take the page when all are paid."""
    driver.get(f"{site}/")
    Select(driver.find_element(By.NAME, "product")).select_by_value("beans")
    driver.find_element(By.NAME, "email").send_keys("visitor@example.com")
    count = driver.find_element(By.NAME, "count")
    count.clear()
    count.send_keys("6")
    driver.find_element(By.CSS_SELECTOR, "main form button").click()
    WebDriverWait(driver, PAID_SECONDS).until(
        lambda page: page.find_elements(By.CSS_SELECTOR, "[data-final]")
    )
    take(driver, "app")


def flower(driver: Remote, site: str) -> None:
    """Take Flower's list of workers."""
    credential = base64.b64encode(f"{demo.FLOWER_USER}:{flower_password()}".encode()).decode()
    for command, parameters in (
        ("Network.enable", {}),
        ("Network.setExtraHTTPHeaders", {"headers": {"Authorization": f"Basic {credential}"}}),
    ):
        driver.execute("executeCdpCommand", {"cmd": command, "params": parameters})
    driver.get(f"{site}/flower/workers")
    # A node is named after its pool and its generation.
    WebDriverWait(driver, PAID_SECONDS).until(lambda page: re.search(r"critical\.[\w-]+@", page.page_source))
    take(driver, "flower")


def main() -> int:
    """Take all pictures; return the exit status."""
    try:
        state, port = demo.container_state()
        if state != "running":
            raise demo.DemoError("the demo does not run. Start it: make demo")
        IMAGES.mkdir(parents=True, exist_ok=True)
        with browser() as driver:
            shop(driver, f"https://localhost:{port}")
            flower(driver, f"https://localhost:{port}")
    except demo.DemoError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
