"""The pharmacy app's rules: what Pestle loads at start. Each module registers its own hooks."""

from cloud import (  # noqa: F401  (imported for what they register)
    accounts,
    benefits,
    copay,
    deliveries,
    messages,
    prescriptions,
    profiles,
    staffing,
)
