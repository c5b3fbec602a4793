"""What an object makes once, whoever asks first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - used as a decorator, as `property` is
    """A property that is made when it is first asked for, and then stays. Of threads that come first together, one
    makes it and the others wait; with `functools.cached_property`, which has no lock since Python 3.12, each would
    make one: two pools of connections, of which one is never closed."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._making = threading.RLock()
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> once[T] | T:
        if instance is None:
            return self
        made = instance.__dict__  # where it is found from then on, before this is asked
        with self._making:
            if self._name not in made:
                made[self._name] = self._make(instance)
        found: T = made[self._name]
        return found
