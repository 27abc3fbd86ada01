"""Faults that a client may see; everything else is a bug and told as "internal error"."""

from __future__ import annotations


class ServiceFault(Exception):
    """The message is meant for people; `fault` is DataLink's word for the kind (DataLink 1.1, 3.4)."""

    fault, status = "DefaultFault", 500


class UsageFault(ServiceFault):
    """The request is wrong: names the parameter, the value and what is allowed."""

    fault, status = "UsageFault", 400


class NotFoundFault(ServiceFault):
    fault, status = "NotFoundFault", 404


class ForbiddenFault(ServiceFault):
    fault, status = "AuthorizationFault", 403


class TooLargeFault(ServiceFault):
    """More bytes, rows or columns than the limits allow."""

    fault, status = "UsageFault", 413


class TimeoutFault(ServiceFault):
    """A limit of time was reached; the message names it and points to async."""

    fault, status = "TransientFault", 408


class BusyFault(ServiceFault):
    """Try again after `retry_after` seconds."""

    fault, status = "TransientFault", 503

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after
