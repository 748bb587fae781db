"""A stand-in for the service, for tests, demos and other programs: ``FakeDescope``.

It speaks literal JSON and shares no code with the client but the shape of an HTTP request, so that it
cannot share the client's mistakes either.
"""

from descope_native.testing._openapi import openapi
from descope_native.testing._records import Call, Fault, Proof
from descope_native.testing._service import FakeDescope

__all__ = ["Call", "FakeDescope", "Fault", "Proof", "openapi"]
