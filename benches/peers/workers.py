"""Peers that are Python libraries, each in a process of its own: does one thing and prints the seconds it took.

    python3 workers.py WHAT ARGUMENT...

The time does not include the start of Python, imports, or reading keys.
"""

import base64
import json
import os
import sys
import time


def jwk(private: bytes, public: bytes) -> dict:
    """Keys as cryptotensors wants them: its own algorithm names, and base64 that is not the URL-safe kind of JWK."""
    b64 = lambda data: base64.b64encode(data).decode()
    return {
        "enc_key": {"kty": "oct", "alg": "aes256gcm", "kid": "bench-enc", "k": b64(os.urandom(32))},
        "sign_key": {"kty": "okp", "alg": "ed25519", "kid": "bench-sign", "d": b64(private), "x": b64(public)},
    }


def timed(work, *arguments):
    start = time.perf_counter()
    result = work(*arguments)
    seconds = time.perf_counter() - start
    print(seconds)
    return result


def cryptotensors_save(model, out, keys):
    from cryptotensors.numpy import save_file
    from safetensors.numpy import load_file

    tensors = load_file(model)
    with open(keys) as file:
        config = json.load(file)
    timed(lambda: save_file(tensors, out, config=config))


def cryptotensors_load(model, keys):
    import cryptotensors
    from cryptotensors.numpy import load_file

    with open(keys) as file:
        keys = json.load(file)
    del keys["sign_key"]["d"]
    cryptotensors.register_direct_key_provider(keys=[keys["enc_key"], keys["sign_key"]])
    timed(load_file, model)


def safetensors_load(model):
    from safetensors.numpy import load_file

    timed(load_file, model)


def model_signing_sign(model, signature, private):
    import model_signing

    timed(model_signing.signing.Config().use_elliptic_key_signer(private_key=private).sign, model, signature)


def model_signing_verify(model, signature, public):
    import model_signing

    timed(model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify, model, signature)


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
