"""Prints the versions of TLS and the ciphers that the site takes: a handshake for each that OpenSSL knows."""

import json
import ssl
import sys
import warnings

from wire import connect, stranger

VERSIONS = ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3")


def takes(address: str, domain: str, version: str, cipher: str = "ALL") -> str:
    """Return the cipher that a handshake comes to, "" where it comes to nothing."""
    context = stranger()
    try:
        # Level 0: nothing is refused by this side.
        context.set_ciphers(f"{cipher}:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        with connect(address, domain, context=context) as connection:
            return (connection.cipher() or ("",))[0]
    except (ssl.SSLError, ConnectionError):
        return ""


def main(address: str, domain: str) -> None:
    """Try all."""
    known = stranger()
    known.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    older = [each["name"] for each in known.get_ciphers() if each["protocol"] != "TLSv1.3"]
    found = {
        "versions": [version for version in VERSIONS if takes(address, domain, version)],
        "tried": len(older),
        "ciphers": [name for name in older if takes(address, domain, "TLSv1_2", name) == name],
    }
    print(json.dumps(found))


main(**json.loads(sys.argv[1]))
