"""PyJWT and joserfc verify tokens from a published key set: reads one JSON document, prints one.

In: {"jwks_uri", "issuer", "audience", "algorithm", "tokens": {name: token}}
Out: {"pyjwt": {name: claims or null}, "joserfc": {name: claims or null}, "why": {…}}
"""

from __future__ import annotations

import json
import sys

import jwt as pyjwt
import requests
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet


def by_pyjwt(asked: dict, client: pyjwt.PyJWKClient, token: str) -> dict:
    key = client.get_signing_key_from_jwt(token)
    required = ["exp", "iat", "iss", "aud", "sub", "jti"]
    claims = pyjwt.decode(
        token, key, algorithms=[asked["algorithm"]], audience=asked["audience"], issuer=asked["issuer"], options={"require": required}
    )
    if pyjwt.get_unverified_header(token)["typ"] != "at+jwt":
        raise ValueError("another type")
    return claims


def by_joserfc(asked: dict, keys: KeySet, token: str) -> dict:
    decoded = joserfc_jwt.decode(token, keys, algorithms=[asked["algorithm"]])
    if decoded.header["typ"] != "at+jwt":
        raise ValueError("another type")
    registry = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": asked["issuer"]},
        aud={"essential": True, "value": asked["audience"]},
        exp={"essential": True},
        sub={"essential": True},
        jti={"essential": True},
    )
    registry.validate(decoded.claims)
    return decoded.claims


def main() -> None:
    asked = json.load(sys.stdin)
    client = pyjwt.PyJWKClient(asked["jwks_uri"])
    keys = KeySet.import_key_set(requests.get(asked["jwks_uri"], timeout=30).json())
    outcome: dict = {"pyjwt": {}, "joserfc": {}, "why": {}}
    for name, token in asked["tokens"].items():
        for library, verify in (("pyjwt", lambda t: by_pyjwt(asked, client, t)), ("joserfc", lambda t: by_joserfc(asked, keys, t))):
            try:
                outcome[library][name] = verify(token)
            except Exception as error:  # a refusal is an outcome
                outcome[library][name] = None
                outcome["why"][f"{library} {name}"] = f"{type(error).__name__}: {error}"
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
