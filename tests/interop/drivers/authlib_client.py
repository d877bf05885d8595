"""Authlib as an agent would use it: reads one deed per line, prints one outcome per line."""

from __future__ import annotations

import json
import secrets
import sys
import time
from pathlib import Path

import authlib
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc.jwk import import_key

PLACES = {
    "oauth-authorization-server": lambda issuer: get_well_known_url(issuer, external=True),
    "openid-configuration": lambda issuer: get_well_known_url(
        issuer, external=True, suffix="openid-configuration"
    ).replace(f"{path_of(issuer)}/.well-known/openid-configuration", f"/.well-known/openid-configuration{path_of(issuer)}"),
    "openid-configuration below the issuer": lambda issuer: f"{issuer}/.well-known/openid-configuration",
}


def path_of(issuer: str) -> str:
    return "/" + issuer.split("/", 3)[3]


def has_module(word: str) -> bool:
    """Whether Authlib has a module of this name by now; nothing is imported to find out."""
    return any(word in path.stem.lower() or word in path.parent.name.lower() for path in Path(authlib.__path__[0]).rglob("*.py"))


class Client:
    def __init__(self, settings: dict) -> None:
        self.issuer = settings["issuer"]
        self.constraint = settings["constraint"]
        if self.constraint == "dpop" and not has_module("dpop"):
            raise NotImplementedError("Authlib has no module for DPoP")
        jwk = settings.get("jwk")
        method = "none" if jwk is None else "private_key_jwt"
        self.session = OAuth2Session(
            settings["clientId"],
            None if jwk is None else import_key(jwk),
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
        )
        self.algorithm = None if jwk is None else jwk["alg"]
        self.certificate = None
        if self.constraint == "mtls":
            self.certificate = (settings["leaf"]["certificate"], settings["leaf"]["key"])
            self.session.cert = self.certificate
        self.metadata = self.discover("oauth-authorization-server")

    def endpoint(self, name: str) -> str:
        self.sign_anew()
        aliases = self.metadata.get("mtls_endpoint_aliases", {}) if self.certificate else {}
        return aliases.get(name, self.metadata[name])

    def sign_anew(self) -> None:
        """Authlib's own choices are told otherwise: the audience of an assertion is the issuer (7523bis) and not the
        endpoint, it lives a minute and not an hour, and each has an id of its own."""
        if self.algorithm is not None:
            claims = {"exp": int(time.time()) + 60, "jti": secrets.token_hex(16)}
            self.session.register_client_auth_method(PrivateKeyJWT(self.issuer, claims=claims, alg=self.algorithm))

    def discover(self, place: str) -> dict:
        answer = requests.get(PLACES[place](self.issuer), timeout=30)
        answer.raise_for_status()
        metadata = AuthorizationServerMetadata(answer.json())
        metadata.validate()
        if metadata["issuer"] != self.issuer:
            raise ValueError(f"metadata of another issuer: {metadata['issuer']}")
        return answer.json()

    def resource(self, url: str) -> dict:
        raise NotImplementedError("write this cell" if has_module("rfc9728") else "Authlib has no module for RFC 9728")

    def token(self, grant: str, parameters: dict) -> dict:
        return dict(self.session.fetch_token(self.endpoint("token_endpoint"), grant_type=grant, **parameters))

    def authorize(self, redirect: str, scope: str, resource: str) -> str:
        self.verifier = secrets.token_urlsafe(48)
        self.session.redirect_uri = redirect
        self.session.code_challenge_method = "S256"
        url, self.state = self.session.create_authorization_url(
            self.endpoint("authorization_endpoint"), code_verifier=self.verifier, scope=scope, resource=resource
        )
        return url

    def redeem(self, back: str) -> dict:
        endpoint = self.endpoint("token_endpoint")
        words = {"authorization_response": back, "state": self.state, "code_verifier": self.verifier}
        return dict(self.session.fetch_token(endpoint, **words))

    def refresh(self, token: str) -> dict:
        return dict(self.session.refresh_token(self.endpoint("token_endpoint"), refresh_token=token))

    def use(self, token: str, url: str, headers: dict, body: str) -> dict:
        self.session.token = {"access_token": token, "token_type": "Bearer"}
        answer = self.session.post(url, data=body.encode(), headers=headers, timeout=30)
        return {"status": answer.status_code, "text": answer.text}

    def revoke(self, token: str) -> None:
        self.session.revoke_token(self.endpoint("revocation_endpoint"), token=token).raise_for_status()

    def introspect(self, token: str) -> dict:
        answer = self.session.introspect_token(self.endpoint("introspection_endpoint"), token=token)
        answer.raise_for_status()
        return answer.json()

    def introspect_signed(self, token: str) -> dict:
        raise NotImplementedError("write this cell" if has_module("rfc9701") else "Authlib has no module for RFC 9701")


def main() -> None:
    client = None
    for line in sys.stdin:
        asked = json.loads(line)
        deed = asked.pop("deed")
        try:
            if deed == "begin":
                client = Client(asked)
                result = {"version": authlib.__version__}
            else:
                result = getattr(client, deed)(**asked)
            outcome = {"result": result}
        except Exception as error:  # every failure is an outcome of a cell
            outcome = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
