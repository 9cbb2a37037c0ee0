"""Bodies of writes around hooks: what hooks made of them."""

from __future__ import annotations

from server.values import WireObject


def hook_changes(sent: WireObject, written: WireObject) -> WireObject:
    """What a hook or a default made of a body: the answer tells the client."""
    changed = {
        name: value for name, value in written.items() if name not in sent or sent[name] != value
    }
    return {name: value for name, value in changed.items() if name != "password"}
