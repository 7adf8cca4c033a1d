"""Refuse a HOST that the inventory does not have. Usage: host_names.py TARGET INVENTORY HOST

HOST is a name or a pattern, as --limit takes it: each name in it must be a host or a group. Ansible itself
only warns of the names that it does not know, and goes on with the others.
"""

import os
import re
import sys

# The warning would come beside the error. Ansible reads it when it is imported.
os.environ["ANSIBLE_HOST_PATTERN_MISMATCH"] = "ignore"

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

#: More would hide what to type.
NAMES_SHOWN = 12


def main(target: str, inventory: str, pattern: str) -> int:
    """Return the exit status."""
    try:
        manager = InventoryManager(loader=DataLoader(), sources=[f"inventories/{inventory}"])
        words = [word.lstrip("!&") for word in re.split("[,:]", pattern)]
        if all(word and manager.list_hosts(word) for word in words) and manager.list_hosts(pattern):
            return 0
        names = [host.name for host in manager.list_hosts("all")]
    except AnsibleError as error:
        sys.stderr.write(f"HOST is {pattern}: inventories/{inventory} cannot be read: {error}\n")
        return 2
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    sys.stderr.write(
        f"HOST is {pattern}: inventories/{inventory} has no such host; it has "
        f"{', '.join(names[:NAMES_SHOWN])}{more}. "
        f"Fix: make {target} INVENTORY={inventory} HOST=<one of them>.\n"
    )
    return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
