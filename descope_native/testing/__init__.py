"""A stand-in for the service, for tests, demos and other programs.

In a test, as the handler of a transport that needs no network:

    fake = FakeDescope()
    finisher = NativeOAuthFinisher(fake.project_id, InMemoryTransport(fake))
    proof = fake.sign_in("apple", email="ada@example.com", name="Ada Lovelace")
    result = await finisher.finish(**proof.as_arguments())

Where the program under test starts the sign-in, the stand-in is the phone: ``fake.phone(started)``.

For other programs, ``async with fake.serve() as base_url``, or ``descope-native fake``. What they cannot say
in Python they say over HTTP: ``POST /stand-in/phone`` is the phone, ``POST /stand-in/fail-next`` a fault,
``GET /stand-in/calls`` the record, and ``GET /stand-in/openapi.json`` tells the rest.

It speaks literal JSON and shares no code with the client but the shape of an HTTP request, so that it
cannot share the client's mistakes either.
"""

from descope_native.testing._fake import FakeDescope
from descope_native.testing._faults import Fault
from descope_native.testing._journal import Call
from descope_native.testing._openapi import openapi
from descope_native.testing._phone import Proof
from descope_native.testing._sign_ins import Start

__all__ = ["Call", "FakeDescope", "Fault", "Proof", "Start", "openapi"]
