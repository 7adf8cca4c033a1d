"""What playbooks/preflight.yml refuses: rules over a resolved inventory, and over what its servers have."""
