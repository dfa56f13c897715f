"""connect() and disconnect() by signature, as PythonQt has them."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from Testing.Slicer.desk.api_names import split
from Testing.Slicer.desk.pythonqt import slot_errors
from Testing.Slicer.desk.pythonqt.binding import QtCore, address, rawConnect, rawDisconnect

Slot = Callable[..., Any]

# Sender's address and signature -> the slots connected there, each with what Qt really calls.
_connections: dict[tuple[int, str], list[tuple[Slot, Slot]]] = {}
_VARIADIC = inspect.CO_VARARGS


def install() -> None:
    """Replaces QObject's methods. shiboken answers `connect` before it looks at the class, hence __getattribute__."""
    rawGet = QtCore.QObject.__getattribute__
    replaced = {"connect": connect, "disconnect": disconnect}

    def get(self: Any, name: str) -> Any:
        return types.MethodType(replaced[name], self) if name in replaced else rawGet(self, name)

    QtCore.QObject.__getattribute__ = get
    QtCore.QObject.connect, QtCore.QObject.disconnect = connect, disconnect


def connect(sender: Any, signature: str, receiver: Any, slotSignature: str | None = None) -> bool:
    """`sender.connect("clicked(bool)", function)` or `sender.connect("clicked()", object, "slot()")`.

    Raises AttributeError for a signal that does not exist; PythonQt prints this and returns False.
    """
    slot = _slot(receiver, slotSignature)
    signal = normalized(signature)
    called = slot_errors.guarded(slot, argument_count(slot))
    declared = declared_signal(sender, signal)
    if declared is not None:
        declared.connect(called)
    elif sender.metaObject().indexOfSignal(signal) >= 0:
        rawConnect(sender, QtCore.SIGNAL(signal), called)
    else:
        raise AttributeError(f"{sender.metaObject().className()} has no signal '{signal}'")
    _remember(sender, signal, slot, called)
    return True


def disconnect(sender: Any, signature: str, receiver: Any = None, slotSignature: str | None = None) -> bool:
    """Ends the connections of that signal to that slot (to all slots without one). False when there were none."""
    slot = None if receiver is None else _slot(receiver, slotSignature)
    signal = normalized(signature)
    connected = _connections.get((address(sender), signal), [])
    ended = [pair for pair in connected if slot is None or pair[0] == slot]
    for pair in ended:
        _disconnect_one(sender, signal, pair[1])
        connected.remove(pair)
    return bool(ended)


def _disconnect_one(sender: Any, signal: str, called: Slot) -> None:
    declared = declared_signal(sender, signal)
    if declared is not None:
        declared.disconnect(called)
    else:
        rawDisconnect(sender, QtCore.SIGNAL(signal), called)


def _slot(receiver: Any, slotSignature: str | None) -> Slot:
    slot = receiver if slotSignature is None else getattr(receiver, split(slotSignature)[0])
    if not callable(slot):
        raise TypeError(f"cannot connect to {slot!r}: it is not callable")
    return slot  # type: ignore[no-any-return]


def _remember(sender: Any, signal: str, slot: Slot, called: Slot) -> None:
    key = (address(sender), signal)
    if key not in _connections:
        # Another object may come to lie at the same address.
        sender.destroyed.connect(lambda *_: _connections.pop(key, None))
    _connections.setdefault(key, []).append((slot, called))


def normalized(signature: str) -> str:
    """A signature as Qt's meta-objects write it."""
    return bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()


def declared_signal(sender: Any, signal: str) -> Any:
    """The signal of a stand-in, which its C++ types name although PySide6 does not know them; None for one of Qt's."""
    for cls in type(sender).__mro__:
        attribute = vars(cls).get("_signalAttributes", {}).get(signal)
        if attribute is not None:
            return getattr(sender, attribute)
    return None


def argument_count(slot: Slot) -> int | None:
    """How many arguments PythonQt hands over; None for all of them, where it cannot know or the slot takes any number."""
    function = getattr(slot, "__func__", slot)
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & _VARIADIC:
        return None
    return int(code.co_argcount) - int(inspect.ismethod(slot))
