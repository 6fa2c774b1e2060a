"""Whether the files in this folder agree with one another: ports, paths, users, times."""

import pathlib
import re
import tomllib

import yaml

HERE = pathlib.Path(__file__).parent
KUBERNETES = HERE / "kubernetes"


def documents(name):
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def one(things):
    (thing,) = things
    return thing


config = tomllib.loads((KUBERNETES / "server.toml").read_text())
stateful = one(documents("statefulset.yaml"))
pod = stateful["spec"]["template"]["spec"]
init, server = one(pod["initContainers"]), one(pod["containers"])
mounts = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
policy = documents("networkpolicy.yaml")[1]["spec"]
docker = (HERE / "Dockerfile").read_text()
unit = (HERE / "systemd/mvault-server.service").read_text()
generated = one(yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["configMapGenerator"])

# Ports.
https, metrics = port_of(config["listen"]["address"]), port_of(config["metrics"]["address"])
assert {port["name"]: port["containerPort"] for port in server["ports"]} == {"https": https, "metrics": metrics}
open_to_all = [port["port"] for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]]
assert open_to_all == [https], "metrics are for Prometheus alone"
assert [port["port"] for rule in policy["ingress"] if "from" in rule for port in rule["ports"]] == [metrics]
assert f"\nEXPOSE {https} {metrics}\n" in docker

# Paths.
keys = [config["listen"]["key"], config["server"]["key"]]
for path in [*keys, config["listen"]["certificate"]]:
    assert path.startswith(mounts["keys"] + "/"), path
    secret = one(mount["mountPath"] for mount in init["volumeMounts"] if mount["name"] == "secret")
    assert path.replace(mounts["keys"], secret) in init["command"], path
assert "--mode=0400" in init["command"] and f"--target-directory={mounts['keys']}" in init["command"]
assert config["server"]["checkpoint"].startswith(mounts["state"] + "/")
assert one(stateful["spec"]["volumeClaimTemplates"])["metadata"]["name"] == "state"
written = {path for mount, path in mounts.items() if not one(m for m in server["volumeMounts"] if m["name"] == mount).get("readOnly")}
assert written == {mounts["state"]}, "nothing but the memory of the instance is written"
assert server["args"] == ["--config", f"{mounts['config']}/server.toml"] and generated["files"] == ["server.toml"]
assert one(v for v in pod["volumes"] if v["name"] == "config")["configMap"]["name"] == generated["name"]
program = one(re.findall(r'^ENTRYPOINT \["(.*)"\]$', docker, re.M))
assert f"\nExecStart={program} --config /etc/mvault/server.toml\n" in unit

# Users and images.
user = pod["securityContext"]["runAsUser"]
assert f"\nUSER {user}:{pod['securityContext']['runAsGroup']}\n" in docker and pod["securityContext"]["fsGroup"] == user
assert init["image"] == server["image"]

# Times.
drain = config["limits"]["drain_seconds"]
assert pod["terminationGracePeriodSeconds"] > drain
assert int(one(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.M))) > 300, "drain_seconds by default"
print("ports, paths, users and times agree")
